"""Every command prints one line when it is interrupted."""

import pytest

from data_pipelines import annotate_records
from data_pipelines import build
from data_pipelines import clip_records
from data_pipelines import demo
from data_pipelines import encode
from data_pipelines import synthetic
from scripts import fit_ood
from scripts import train_classifiers
from scripts import train_embedder
from v2a import termination

COMMANDS = (
  annotate_records,
  build,
  clip_records,
  demo,
  train_embedder,
  encode,
  fit_ood,
  train_classifiers,
  synthetic,
)


@pytest.mark.parametrize('command', COMMANDS, ids=lambda module: module.__name__)
def test_an_interrupted_command_prints_one_line(command, monkeypatch, capsys):
  name = command.__name__
  run = '_render' if command is synthetic else '_run'
  for fault, code, message in (
    (KeyboardInterrupt(), 130, ''),
    (termination.Terminated(15), 143, ' (SIGTERM)'),
    (MemoryError(), 2, 'out of memory'),
    (RuntimeError('std::bad_alloc'), 2, 'out of memory (std::bad_alloc)'),
    (OSError(28, 'No space left on device', 'x'), 2, 'x: No space left on device'),
  ):

    def end(*_, fault=fault):
      raise fault

    monkeypatch.setattr(command, run, end)
    argv = ['--num-clips', '1', '--output', 'x'] if command is synthetic else []
    assert command.main(argv) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'{name}: ') and line.endswith(message) and ('interrupted' in line) == (code > 2)
