"""The build command: flags become settings, a dry run writes nothing, and bad input is one line."""

import pathlib
import subprocess
import sys

import pytest

from data_pipelines import build
from data_pipelines import pipeline
from data_pipelines.filters import filter as filter_lib
from v2a.data import media_folder

ROOT = pathlib.Path(build.__file__).parents[1]
ASSETS = ROOT / 'v2a/assets/demo'


def settings(*flags: str) -> pipeline.Settings:
  return build.settings_of(build.parse(['--source', str(ASSETS), '--output', 'x', *flags]))


def test_flags_become_settings():
  assert settings().source == f'folder:{ASSETS}' and settings().planning.items_per_shard == 512
  found = settings(
    '--source', 'vggsound:a.csv', '--media', 'videos', '--source-setting', 'split=test', '--cut', 'scenes',
    '--filters', 'peak,loudness', '--threshold', 'loudness=-40:', '--split', 'train=0.9,test=0.1',
    '--annotate', 'signal', '--captioner', 'a@b@http://host/v1', '--api-key-env', 'KEY',
  )  # fmt: skip
  assert found.source == 'vggsound:a.csv'
  assert dict(found.source_settings) == {'media': 'videos', 'split': 'test'}
  assert found.analysing.cutting.mode == 'scenes' and found.analysing.filters == ('peak', 'loudness')
  assert found.thresholds is not None
  assert found.thresholds['loudness'] == filter_lib.Threshold(min=-40.0) and 'peak' in found.thresholds
  assert found.planning.shares == {'train': 0.9, 'test': 0.1}
  assert found.annotating.captioner is not None
  assert found.annotating.captioner.model == 'a@b' and found.annotating.captioner.api_key_env == 'KEY'
  assert settings('--no-thresholds').thresholds == {}


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--threshold', 'loudness'], '--threshold must be NAME=MIN:MAX'),
    (['--threshold', 'loud=1:2'], "there is no filter 'loud'"),
    (['--threshold', 'peak=high:'], "--threshold peak=high:: wanted a number; got 'high'"),
    (['--filters', 'peek'], 'filters must be of'),
    (['--annotate', 'siri'], 'annotators must be of'),
    (['--captioner', 'http://host/v1'], '--captioner must be MODEL@URL'),
    (['--captioner', 'm@host'], 'must begin with http'),
    (['--split', 'train=0.5'], 'must be >= 0 and sum to 1'),
    (['--source-setting', 'split'], '--source-setting must be KEY=VALUE'),
    (['--source-setting', 'colour=red'], "has no setting 'colour'"),
    (['--source', 'vggsond:a.csv'], 'did you mean vggsound'),
    (['--source', 'nothing'], 'nothing does not exist'),
    (['--min-seconds', '5', '--max-seconds', '4'], 'min_s <= max_s'),
    (['--num-workers', '0'], '--num-workers'),
    (['--verify', '--resume'], 'not allowed with'),
    (['--output', 's3://bucket/set'], 's3://bucket/set'),
  ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(flags, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert build.main(['--source', str(ASSETS), '--output', 'set', *flags]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('data_pipelines.build: ') and message in line
  assert not list(tmp_path.iterdir())


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  flags = [
    '--dry-run',
    '--filters',
    'still_share',
    '--captioner',
    'm@http://host/v1',
    '--usd-per-m-output',
    '10',
  ]
  assert build.main(['--source', str(ASSETS), '--output', 'set', *flags]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith('items:    6,') and lines[1].startswith('clips:    about 6,')
  # 350 tokens an answer, at 10 USD a million.
  assert lines[3] == 'requests: about 6 to endpoints, 0.02 USD by the stated prices'
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_interrupted_build_is_resumed(tmp_path):
  """By a real Ctrl-C, in the middle."""
  command = [
    sys.executable,
    '-m',
    'data_pipelines.build',
    '--source',
    str(ASSETS),
    '--output',
    str(tmp_path / 'set'),
  ]
  command += ['--clips-per-shard', '1', '--filters', 'still_share,black_share']
  process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
  while not list(tmp_path.glob('set/build/analysis/*/*.jsonl')):
    assert process.poll() is None
  process.send_signal(2)
  _, errors = process.communicate()
  assert process.returncode == 130 and errors.splitlines()[-1].endswith('--resume continues the build')
  assert not list(tmp_path.rglob('*.partial*'))
  subprocess.run([*command, '--resume'], cwd=ROOT, check=True)
  assert len(media_folder.MediaFolder(tmp_path / 'set/train')) == 6
