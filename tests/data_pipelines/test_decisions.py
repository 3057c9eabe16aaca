"""Decisions: every clip has one outcome, with reason and numbers; duplicates of test clips are rejected."""

import collections
import json
import pathlib
import shutil

import numpy as np
import pytest

from data_pipelines import analysis
from data_pipelines import cut
from data_pipelines import decisions
from data_pipelines import plan
from data_pipelines.filters import filter as filter_lib
from data_pipelines.sources import items
from tests.data_pipelines import test_plan
from v2a.media import write

ASSETS = pathlib.Path(analysis.__file__).parents[1] / 'v2a/assets/demo'
SETTINGS = analysis.Settings(cut.Cutting('whole', 1.0, 30.0), filters=('peak', 'still_share'))
THRESHOLDS = {'peak': filter_lib.Threshold(min=-40.0)}


@pytest.fixture(name='folders', scope='module')
def build_analysis(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
  """Returns a plan and its analysis: two good clips, a copy, a quiet, a damaged and a missing one."""
  videos, output = tmp_path_factory.mktemp('videos'), tmp_path_factory.mktemp('build')
  rng = np.random.default_rng(0)
  for name in ('ball', 'keys', 'engine'):
    gain = 10 ** (-60 / 20) if name == 'engine' else 0.3
    noise_NA = gain * rng.uniform(-1, 1, (4 * 16000, 1)).astype(np.float32)
    write.mux(ASSETS / f'{name}.mp4', noise_NA, 16000, videos / f'{name}.mp4')
  shutil.copy(videos / 'ball.mp4', videos / 'copy.mp4')
  (videos / 'damaged.mp4').write_bytes(b'no video' * 1000)
  splits = {'ball': 'test', 'copy': 'train', 'keys': 'train', 'engine': 'train', 'damaged': 'train'}
  entries = [
    items.Item(name, items.MediaFile(videos / f'{name}.mp4'), name, split=split)
    for name, split in splits.items()
  ]
  problem = items.Problem('missing', 'gone', 'a.csv:7', 'no file of this id')
  content = plan.make(test_plan.ListSource([*entries, problem]), output / 'plan', plan.Settings())
  for split, count in content['num_shards'].items():
    for index in range(count):
      analysis.analyse_shard(output / 'plan', split, index, output / 'analysis', SETTINGS)
  return output / 'plan', output / 'analysis'


def test_every_clip_has_one_outcome(folders: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path):
  content = decisions.decide(*folders, tmp_path / 'decisions', THRESHOLDS)
  assert content['counts'] == {
    '': {'missing': 1},
    'test': {'accepted': 1},
    'train': {'accepted': 1, 'duplicate': 1, 'failed': 1, 'filter:peak': 1},
  }
  assert decisions.read_accepted(tmp_path / 'decisions', 'test', 0) == ['ball']
  assert decisions.read_accepted(tmp_path / 'decisions', 'train', 0) == ['keys']
  rows = [json.loads(line) for line in (tmp_path / 'decisions' / decisions.REJECTED).read_text().splitlines()]
  found = {row['id']: row for row in rows}
  assert collections.Counter(row['id'] for row in rows).most_common(1)[0][1] == 1
  assert set(found) == {'gone', 'copy', 'engine', 'damaged'}
  assert found['copy']['reason'].startswith('of ball by ') and found['copy']['split'] == 'train'
  assert found['engine']['measured']['peak']['value'] < -40
  assert found['gone']['where'] == 'a.csv:7' and found['gone']['outcome'] == 'missing'
  assert 'damaged' in found['damaged']['reason']


def test_other_thresholds_need_no_decoding(
  folders: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  def refuse(*args):
    raise AssertionError('decoded')

  monkeypatch.setattr(analysis.decode, 'open_file', refuse)
  content = decisions.decide(*folders, tmp_path / 'decisions', {})
  assert content['counts']['train'] == {'accepted': 2, 'duplicate': 1, 'failed': 1}


def test_a_shard_that_was_not_analysed_is_an_error(
  folders: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
):
  shutil.copytree(folders[1] / 'test', tmp_path / 'analysis' / 'test')
  with pytest.raises(FileNotFoundError, match='00000.jsonl'):
    decisions.decide(folders[0], tmp_path / 'analysis', tmp_path / 'decisions', THRESHOLDS)
  assert [path.name for path in tmp_path.iterdir()] == ['analysis']
