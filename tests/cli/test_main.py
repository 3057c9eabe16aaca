"""The program's frame: one line and exit code 2 for the input's faults, overrides, pipes, interrupts."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import pytest

from v2a import workarounds
from v2a.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]


def stand_in(monkeypatch, run, command='models'):
  """Lets a sub-command run another function, through the real frame."""
  module = types.SimpleNamespace(
    add_flags=lambda parser: parser.add_argument('--json', action='store_true'), run=run
  )
  monkeypatch.setattr(main.importlib, 'import_module', lambda name: module)
  return command


def fail(error: BaseException):
  """Returns a sub-command that raises an error."""

  def run(args: argparse.Namespace) -> int:
    raise error

  return run


BAD = [
  (['trian'], "v2a: no command 'trian'. Did you mean train?"),
  (
    ['xyzzy'],
    "v2a: no command 'xyzzy'. There are generate, data, train, codec, compile, evaluate, compare, demo, "
    'models, doctor.',
  ),
  (['--nope'], 'v2a: unrecognized arguments: --nope (see v2a --help)'),
  (['models', '--jsn'], 'v2a: unrecognized arguments: --jsn. Did you mean --json? (see v2a models --help)'),
  (['models', 'extra'], 'v2a: unrecognized arguments: extra. (see v2a models --help)'),
  (['models', '--config.a=1'], 'v2a: unrecognized arguments: --config.a=1. (see v2a models --help)'),
  (['doctor', '--json=1'], "v2a: argument --json: ignored explicit argument '1' (see v2a doctor --help)"),
]


@pytest.mark.parametrize(('argv', 'line'), BAD, ids=lambda value: str(value)[:40])
def test_bad_words(argv, line, capsys):
  assert main.main(argv) == 2
  out, err = capsys.readouterr()
  assert (out, err) == ('', line + '\n')


ERRORS = [
  (ValueError('num_samples must be positive;\n got -1.'), 'v2a: num_samples must be positive; got -1.'),
  (FileNotFoundError(2, 'No such file or directory', 'clip.mp4'), 'v2a: clip.mp4: No such file or directory'),
  (PermissionError(13, 'Permission denied', 'secret'), 'v2a: secret: Permission denied'),
  (IsADirectoryError(21, 'Is a directory', 'folder'), 'v2a: folder: Is a directory'),
  (FileNotFoundError('no model named x'), 'v2a: no model named x'),
  (OSError(28, 'No space left on device'), 'v2a: [Errno 28] No space left on device'),
  (
    UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid start byte'),
    "v2a: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
  ),
  (ValueError(), 'v2a: ValueError'),
  (ValueError('long ' * 1000), 'v2a: ' + ('long ' * 1000)[: main.MAX_MESSAGE - 3] + '...'),
]


@pytest.mark.parametrize(('error', 'line'), ERRORS, ids=lambda value: type(value).__name__)
def test_faults_of_the_input_are_one_line(error, line, monkeypatch, capsys):
  command = stand_in(monkeypatch, fail(error))
  assert main.main([command]) == 2
  assert capsys.readouterr().err == line + '\n'


@pytest.mark.parametrize(('error', 'line'), [
  (MemoryError(), 'v2a: out of memory'),
  (MemoryError('Unable to allocate 7 PiB'), 'v2a: out of memory (Unable to allocate 7 PiB)'),
  (RuntimeError('RESOURCE_EXHAUSTED: 9 bytes.'), 'v2a: out of memory (RESOURCE_EXHAUSTED: 9 bytes.)'),
  (RuntimeError('std::bad_alloc'), 'v2a: out of memory (std::bad_alloc)'),
  (RuntimeError("can't start new thread"), "v2a: out of memory (can't start new thread)"),
  (OSError(12, 'Cannot allocate memory'), 'v2a: [Errno 12] Cannot allocate memory'),
])  # fmt: skip
def test_too_little_memory_is_one_line(error, line, monkeypatch, capsys):
  assert main.main([stand_in(monkeypatch, fail(error))]) == 2
  err = capsys.readouterr().err
  assert err.startswith(line) and err.count('\n') == 1


def test_debug_shows_the_traceback(monkeypatch):
  monkeypatch.setenv('V2A_DEBUG', '1')
  command = stand_in(monkeypatch, fail(ValueError('x')))
  with pytest.raises(ValueError, match='x'):
    main.main([command])


def test_own_faults_are_not_hidden(monkeypatch):
  command = stand_in(monkeypatch, fail(ZeroDivisionError('a bug')))
  with pytest.raises(ZeroDivisionError):
    main.main([command])


def test_interrupt(monkeypatch, capsys):
  command = stand_in(monkeypatch, fail(KeyboardInterrupt()))
  assert main.main([command]) == 130
  assert capsys.readouterr().err == 'v2a: interrupted\n'


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_are_one_line(number, code, monkeypatch, capsys):
  def run(args: argparse.Namespace) -> int:
    os.kill(os.getpid(), number)
    time.sleep(5)
    return 0

  before = signal.getsignal(number)
  assert main.main([stand_in(monkeypatch, run)]) == code
  assert capsys.readouterr().err == f'v2a: interrupted ({number.name})\n'
  assert signal.getsignal(number) == before


def test_training_answers_signals_itself(monkeypatch):
  seen = []
  stand_in(monkeypatch, lambda args: seen.append(signal.getsignal(signal.SIGTERM)) or 0)
  before = signal.getsignal(signal.SIGTERM)
  main.main(['train'])
  main.main(['models'])
  assert seen[0] == before != seen[1]


@pytest.mark.parametrize('code', [0, 1, 2])
def test_the_exit_code_is_the_command_s(code, monkeypatch):
  assert main.main([stand_in(monkeypatch, lambda args: code)]) == code


def test_overrides_are_the_training_command_s_alone(monkeypatch):
  seen = {}
  command = stand_in(monkeypatch, lambda args: seen.update(vars(args)) or 0, 'train')
  assert main.main([command, '--config.a.b=3', '--json', '--config.c=x y']) == 0
  assert seen == {'json': True, 'overrides': ['--config.a.b=3', '--config.c=x y']}
  assert main.main([command, '--confg.a=3']) == 2


def test_closed_pipe():
  reader, writer = os.pipe()
  os.close(reader)  # before the program starts: a shell's `| true` sometimes closes too late
  command = [sys.executable, '-m', 'v2a', 'models', '--json']
  ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
  os.close(writer)
  assert ran.stderr == ''
  assert ran.returncode == 1


def test_models_as_json(capsys):
  assert main.main(['models', '--json']) == 0
  for model in json.loads(capsys.readouterr().out):
    assert set(model) == {'name', 'path', 'size_bytes', 'summary'}


def test_doctor_as_json(capsys):
  code = main.main(['doctor', '--json'])
  found = json.loads(capsys.readouterr().out)
  assert code == bool(found['missing'])
  assert found['devices'] and found['espeak'] and all(found['codecs'].values())
  assert found['versions']['jax']
  assert 'whisper-large-v3-turbo' in found['missing_for_metrics']


def test_doctor_tells_what_metrics_lack_from_what_is_required(monkeypatch, capsys):
  monkeypatch.delenv('V2A_WEIGHTS', raising=False)
  assert main.main(['doctor']) == 0
  out = capsys.readouterr().out
  assert 'panns: weights Cnn14' in out and out.endswith('\nmissing   nothing required is missing\n')


@pytest.mark.parametrize(
  'variables', [{'JAX_NUM_CPU_DEVICES': '2'}, {'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}]
)
def test_cpu_devices_run_collectives_in_one_order(variables, monkeypatch, capsys):
  """Otherwise devices occasionally deadlock."""
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('JAX_NUM_CPU_DEVICES', '1')
  monkeypatch.setenv('XLA_FLAGS', '')
  assert main.main([]) == 0 and not os.environ['XLA_FLAGS']
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert main.main([]) == 0
  assert workarounds.ORDERED_COLLECTIVES in os.environ['XLA_FLAGS']
  assert variables.get('XLA_FLAGS', '') in os.environ['XLA_FLAGS']
