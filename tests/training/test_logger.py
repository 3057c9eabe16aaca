"""What training prints and records of its progress."""

import json
import math
import re

import pytest
import toy

from tests.training import runs
from v2a.config import files as files_lib
from v2a.training import history
from v2a.training import logger as logger_lib
from v2a.training import loop


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [(0.2, '0s'), (59.6, '1m00s'), (185, '3m05s'), (7625, '2h07m'), (float('inf'), 'unknown time')],
)
def test_durations(seconds, text):
  assert logger_lib.format_duration(seconds) == text


def test_metrics_are_averaged_without_nan():
  accumulator = logger_lib.MetricAccumulator()
  accumulator.add({'loss': 1.0, 'b': 5.0})
  accumulator.add({'loss': 3.0, 'b': math.nan, 'c': math.nan})
  assert accumulator.flush() == {'loss': 2.0, 'b': 5.0}
  assert accumulator.flush() == {}
  assert logger_lib.format_metrics({'a': 1.0, 'loss': 2.0}) == 'loss 2, a 1'


def test_the_first_steps_are_reported(tmp_path, capsys):
  loop.train(toy.configuration(num_steps=6, log_every_steps=5), tmp_path, toy.Task(), **runs.ONE)
  lines = [line for line in capsys.readouterr().out.splitlines() if 'annotations are longer' not in line]
  header, compiling, compiled, first, second, metrics = lines[:6]
  assert 'parameters trained' in header and compiling == 'Compiling step 1; that may take minutes.'
  assert re.fullmatch(r'Compiled in \S+s\.', compiled)
  assert re.fullmatch(r'step 1/6 after \d+s, with compilation', first)
  assert re.fullmatch(r'step 2/6 took [\d.e-]+ s, \d+s left; metrics follow every 5 steps', second)
  assert metrics.startswith('step 5/6 loss')


def test_compilation_is_reported_if_every_step_is_logged_and_on_resuming(tmp_path, capsys):
  for begin, end in ((0, 2), (2, 4)):
    loop.train(toy.configuration(num_steps=end, log_every_steps=1), tmp_path, toy.Task(), **runs.ONE)
    lines = capsys.readouterr().out.splitlines()
    index = lines.index(f'Compiling step {begin + 1}; that may take minutes.')
    assert re.fullmatch(r'Compiled in \S+s\.', lines[index + 1])
    assert lines[index + 2].startswith(f'step {begin + 1}/{end} loss'), lines
    assert re.fullmatch(rf'step {end}/{end} loss .* \d+s left', lines[index + 3]), lines


def test_changes_on_resuming_are_reported_and_recorded(tmp_path, capsys):
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **runs.ONE)
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **runs.ONE)
  assert not (tmp_path / history.HISTORY).exists() and 'From step' not in capsys.readouterr().out
  c = toy.configuration(num_steps=3, learning_rate=1e-3)
  loop.train(c, tmp_path, toy.Task(), **runs.ONE)
  output = capsys.readouterr().out
  assert 'From step 2 on: ' in output and 'config.training.learning_rate=0.001 (was 0.01)' in output
  assert 'config.training.num_steps=3 (was 2)' in output
  assert files_lib.load(tmp_path / 'config.json') == c
  (previous,) = map(json.loads, (tmp_path / history.HISTORY).read_text().splitlines())
  assert previous['until_step'] == 2 and previous['config']['training']['learning_rate'] == 1e-2
