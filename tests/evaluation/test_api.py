"""The public functions return the same values as the command line, without files."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from examples import add_a_metric
import v2a
from v2a.cli import main
from v2a.media import write
from v2a.metrics import registry
from v2a.reports import evaluation_report

DATA = 'synthetic:77'
ASSETS = pathlib.Path(v2a.__file__).parent / 'assets' / 'demo'


@pytest.fixture(scope='module')
def pipeline(tiny_bundle):
  return v2a.load(tiny_bundle)


def test_evaluate_returns_the_report_of_the_command(pipeline, tiny_bundle, capsys):
  lines = []
  found = v2a.evaluate(
    pipeline,
    DATA,
    num_clips=2,
    groups=('synthetic', 'signal'),
    batch_size=2,
    report_progress=lines.append,
    steps=1,
  )
  words = ['evaluate', '--model', str(tiny_bundle), '--data', DATA, '--num-clips', '2', '--batch-size', '2']
  assert main.main([*words, '--steps', '1', '--json']) == 0
  printed = json.loads(capsys.readouterr().out)
  assert (
    found['failures'] == [] and 'distribution' not in found and any('soundtracks' in line for line in lines)
  )
  for group in ('synthetic', 'signal'):
    assert found[group] == printed[group]
  assert found['settings'] == printed['settings']


def test_a_metric_of_the_registry_reaches_result_and_reports(tiny_bundle, tmp_path, monkeypatch):
  registered, added = registry._all(), add_a_metric.make()
  monkeypatch.setattr(registry, '_all', lambda: registered | {added.name: added})
  found = v2a.evaluate(tiny_bundle, DATA, num_clips=2, groups=('signal',), batch_size=2, steps=1)
  assert list(found['signal'])[-1] == added.name and found['signal'][added.name]['n'] == 2
  assert added.name in evaluation_report.format_table(found)
  assert added.scores == []  # an evaluation scores copies
  words = ['evaluate', '--model', tiny_bundle, '--data', DATA, '--num-clips', 2, '--batch-size', 2]
  words += ['--steps', 1, '--output', tmp_path / 'out', '--page', tmp_path / 'page.html']
  assert main.main([str(word) for word in words]) == 0
  assert added.name in json.loads((tmp_path / 'out' / 'report.json').read_text())['signal']
  assert 'correlation of loudness curves' in (tmp_path / 'page.html').read_text()


def test_compare_tests_each_metric_against_the_first_system(tiny_bundle, tmp_path):
  shutil.copytree(tiny_bundle, tmp_path / 'copy')
  found = v2a.compare([tiny_bundle, tmp_path / 'copy'], DATA, num_clips=2, batch_size=2, steps=1)
  assert set(found['models']) == {'untrained', 'copy'} and set(found['differences']) == {'copy'}
  assert found['models']['copy']['signal'] == found['models']['untrained']['signal']


def test_settings_of_clips_without_annotations_are_those_of_a_user_without_a_prompt(pipeline, tmp_path):
  noise_NA = 0.1 * np.random.default_rng(0).standard_normal((64000, 1)).astype(np.float32)
  for name in ('ball', 'engine'):
    write.mux(ASSETS / f'{name}.mp4', noise_NA, 16000, tmp_path / f'{name}.mp4')
  found = v2a.evaluate(pipeline, tmp_path, num_clips=2, groups=('signal',), batch_size=2, steps=1)
  default = pipeline.bundle.generator(None).config.generation.negative_prompt
  assert found['settings']['negative_prompt_used'] == default == 'silence'


def test_invalid_arguments_raise_before_a_model_is_loaded(tmp_path):
  with pytest.raises(FileNotFoundError, match='must be synthetic:heldout, synthetic:SEED or a folder'):
    v2a.evaluate('no such model', tmp_path / 'nowhere')
  with pytest.raises(ValueError, match='the number of clips must be at least 2'):
    v2a.evaluate('no such model', DATA, num_clips=0)
  with pytest.raises(ValueError, match='the number of clips must be at least 2'):
    v2a.compare(['no such model', 'nor this'], DATA, num_clips=0)
  with pytest.raises(ValueError, match='the number of seeds must be at least 1'):
    v2a.evaluate('no such model', DATA, num_seeds=0)
  with pytest.raises(ValueError, match='steps must lie in 1'):
    v2a.evaluate('no such model', DATA, steps=0)
  with pytest.raises(ValueError, match='steps must lie in 1'):
    v2a.compare(['no such model', 'nor this'], DATA, steps=0)
  with pytest.raises(TypeError, match="unexpected keyword argument 'prompt'"):
    v2a.evaluate('no such model', DATA, prompt='rain')  # ty: ignore[unknown-argument]
  with pytest.raises(ValueError, match='groups of metrics must be of'):
    v2a.metrics.load(('colour',))
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    v2a.nothing  # noqa: B018
  with pytest.raises(ValueError, match="no metric 'colour'"):
    v2a.metrics.get('colour')


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      {'models': 'default'},
      "models must be a list (each element a str or pathlib.Path); got 'default' (str).",
    ),
    ({'models': ['default', 3]}, 'models[1] must be a str or pathlib.Path; got 3 (int).'),
    ({'num_clips': '2'}, "num_clips must be a whole number or None; got '2' (str)."),
    ({'clip_s': '2'}, "clip_s must be a number or None; got '2' (str)."),
    ({'steps': 1.5}, 'steps must be a whole number or None; got 1.5 (float).'),
    ({'guidance': 'x'}, "guidance must be a number or None; got 'x' (str)."),
  ],
  ids=lambda value: '+'.join(value) if isinstance(value, dict) else '',
)
def test_compare_names_an_argument_of_another_type(arguments, message):
  with pytest.raises(TypeError) as caught:
    v2a.compare(**{'models': ['no such model', 'nor this'], 'data': DATA, **arguments})
  assert str(caught.value) == message


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'model': None}, 'model must be a str or pathlib.Path; got None.'),
    ({'groups': 'signal'}, "groups must be a list (each element a str); got 'signal' (str)."),
    ({'num_seeds': 1.5}, 'num_seeds must be a whole number; got 1.5 (float).'),
    ({'seed': '1'}, "seed must be a whole number; got '1' (str)."),
    ({'temperature': 'x'}, "temperature must be a number or None; got 'x' (str)."),
  ],
  ids=lambda value: '+'.join(value) if isinstance(value, dict) else '',
)
def test_evaluate_names_an_argument_of_another_type(arguments, message):
  with pytest.raises(TypeError) as caught:
    v2a.evaluate(**{'model': 'no such model', 'data': DATA, **arguments})
  assert str(caught.value) == message
