"""Signals end a program by an exception, so that nothing half-written stays; what is ignored stays so."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from v2a import files
from v2a import termination

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Writes a file for a long time, and takes a while to clean up.
WRITER = """
import pathlib, sys, time
from v2a import files, termination
try:
  with termination.raise_on_signals(), files.atomic_write(sys.argv[1]) as partial:
    partial.write_text('half')
    try:
      print('ready', flush=True)
      time.sleep(float(sys.argv[2]))
    finally:
      time.sleep(1)  # the second signal arrives meanwhile, also on a busy machine
except termination.Terminated as stop:
  print(stop.name, flush=True)
  raise
"""


def start(folder: pathlib.Path, length_s: float, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
  """Starts the writer and waits until its file is half-written."""
  words = [*prefix, sys.executable, '-c', WRITER, str(folder / 'out.txt'), str(length_s)]
  process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == 'ready\n'
  assert [path.suffix for path in folder.iterdir()] == ['.txt'] and not (folder / 'out.txt').exists()
  return process


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_nothing_half_written(number, code, tmp_path):
  process = start(tmp_path, 60)
  process.send_signal(number)
  time.sleep(0.1)
  process.send_signal(signal.SIGTERM)  # as `timeout` does; it must not interrupt the cleaning up
  assert process.communicate(timeout=20)[0] == f'{signal.Signals(number).name}\n'
  assert process.returncode == code and not list(tmp_path.iterdir())


def test_what_is_ignored_stays_ignored(tmp_path):
  process = start(tmp_path, 0.5, ('sh', '-c', 'trap "" HUP; exec "$@"', 'sh'))  # what nohup does
  process.send_signal(signal.SIGHUP)
  assert process.communicate(timeout=20)[0] == '' and process.returncode == 0
  assert [path.name for path in tmp_path.iterdir()] == ['out.txt']


def test_handlers_are_put_back(tmp_path):
  before = [signal.getsignal(number) for number in termination.SIGNALS]
  with pytest.raises(termination.Terminated) as caught, termination.raise_on_signals():
    with files.atomic_write(tmp_path / 'out') as partial:
      partial.write_text('half')
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(5)
  assert caught.value.code == 143 and not list(tmp_path.iterdir())
  assert [signal.getsignal(number) for number in termination.SIGNALS] == before


class SignalledWhenFinalized:
  """An object in whose finalizer a signal arrives; Python ignores the exception that its handler raises."""

  def __init__(self, number):
    self.number = number

  def __del__(self):
    os.kill(os.getpid(), self.number)
    time.sleep(0.5)


@pytest.mark.parametrize(
  ('number', 'error'), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, termination.Terminated)]
)
def test_a_signal_in_a_finalizer_is_not_lost(number, error, capsys):
  hook, start_s = sys.unraisablehook, time.monotonic()
  with pytest.raises(error), termination.raise_on_signals():
    SignalledWhenFinalized(number)
    time.sleep(60)
    pytest.fail('the signal was lost')
  assert time.monotonic() - start_s < 50  # the wait was interrupted
  assert sys.unraisablehook is hook and 'ignored' not in capsys.readouterr().err


def test_other_threads_change_nothing():
  found = []

  def work():
    with termination.raise_on_signals():
      found.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert found == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(('code', 'is_awaited'), [(130, False), (0, True)])
def test_a_program_that_was_interrupted_does_not_wait_for_threads(code, is_awaited):
  """XLA's still ran when the interpreter ended, for half a minute, and then crashed."""
  text = f"""
import threading, time
from v2a import termination
threading.Thread(target=lambda: (time.sleep(3), print('thread', end=''))).start()
print('main ', end='')
termination.exit_program({code})
"""
  found = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True)
  assert found.returncode == code
  assert found.stdout == ('main thread' if is_awaited else 'main ')
