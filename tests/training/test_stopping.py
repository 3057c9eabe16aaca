"""What stops training, its exit code, and what is saved: signals, NaN, storage errors, closed pipes."""

import errno
import io
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import toy

from launch import exit_codes
from tests.training import runs
from v2a.data import loader
from v2a.training import logger as logger_lib
from v2a.training import loop
from v2a.training import metrics_reader
from v2a.training.checkpoints import checkpoint
from v2a.training.distributed import stopping

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize(('nan_from', 'saved_steps'), [(3, (2,)), (4, (2, 4))])
def test_a_loss_that_is_not_finite_stops_training(tmp_path, capsys, nan_from, saved_steps):
  before = signal.getsignal(signal.SIGTERM)
  c = toy.configuration(num_steps=9, checkpoint_every_steps=2, keep_latest=9)
  with pytest.raises(metrics_reader.NonFiniteError) as error:
    loop.train(c, tmp_path, toy.Task(nan_from=nan_from), **runs.ONE)
  assert error.value.code == 3 and signal.getsignal(signal.SIGTERM) is before
  assert f'stopped in step {nan_from}: the loss is nan' in capsys.readouterr().err
  assert not (tmp_path / 'model').exists()
  checkpoints = checkpoint.Checkpoints(tmp_path)
  # Checkpoint 4 has the state after steps 0 to 3, so a NaN in step 3 affects it, and one in step 4 does not.
  assert checkpoints.steps() == saved_steps
  checkpoints.close()
  state = runs.state_of(tmp_path, saved_steps[-1])
  assert all(np.isfinite(value).all() for value in state.values())


def test_the_exit_code_is_that_of_the_signal_even_if_nothing_can_be_saved(tmp_path, capsys, monkeypatch):
  def send(model, step):
    os.kill(os.getpid(), signal.SIGTERM)
    return {}

  def full(self):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(checkpoint.Checkpoints, 'wait', full)
  with pytest.raises(stopping.Interrupted) as error:
    loop.train(toy.configuration(evaluate_every_steps=2), tmp_path, toy.Task(), [send], **runs.ONE)
  assert error.value.code == 143
  assert 'not all of step 2 could be saved ([Errno 28] No space left on device)' in capsys.readouterr().out


def test_a_storage_error_in_training_is_retriable(tmp_path, capsys, monkeypatch):
  def fail(batches, step):
    raise OSError(errno.EIO, 'Input/output error')

  monkeypatch.setattr(loader.Batches, '__getitem__', fail)
  with pytest.raises(stopping.StorageError) as error:
    loop.train(toy.configuration(), tmp_path, toy.Task(), **runs.ONE)
  assert error.value.code == 75 and exit_codes.is_retriable(75)
  assert 'a file could not be read or written: [Errno 5] Input/output error' in capsys.readouterr().err


def test_a_process_that_is_terminated_exits_with_143(tmp_path):
  code = textwrap.dedent("""
      import os, signal, sys
      sys.path.insert(0, sys.argv[1])
      import toy
      from v2a.training import loop
      def terminate(model, step):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}
      loop.train(toy.configuration(evaluate_every_steps=1), sys.argv[2], toy.Task(), [terminate])
      """)
  environment = os.environ | {
    'PYTHONPATH': str(HERE.parents[1]),
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
  }
  ran = subprocess.run(
    [sys.executable, '-c', code, str(HERE), str(tmp_path)], env=environment, capture_output=True, text=True
  )
  assert ran.returncode == 143, ran.stderr
  assert 'Stopped by SIGTERM; saved at step 1' in ran.stdout


class _ClosedPipe(io.StringIO):
  """A pipe without a reader."""

  def write(self, text):
    raise BrokenPipeError(errno.EPIPE, 'Broken pipe')


def test_a_closed_pipe_loses_no_state(tmp_path, monkeypatch):
  """Ctrl-C on `v2a train | tee log`: the reader has exited, and nothing can be printed from then on."""

  def evaluate(model, step):
    if step == 2:
      monkeypatch.setattr(sys, 'stdout', _ClosedPipe())
      monkeypatch.setattr(sys, 'stderr', _ClosedPipe())
      os.kill(os.getpid(), signal.SIGINT)
    return {}

  c = toy.configuration(num_steps=6, evaluate_every_steps=1)
  with pytest.raises(stopping.Interrupted) as stopped:
    loop.train(c, tmp_path, toy.Task(), [evaluate], **runs.ONE)
  assert stopped.value.code == 130
  checkpoints = checkpoint.Checkpoints(tmp_path)
  assert checkpoints.latest_step() == 2
  checkpoints.close()
  monkeypatch.undo()
  loop.train(c, tmp_path, toy.Task(), **runs.ONE)


@pytest.fixture
def order(monkeypatch):
  """What a training prints and when it has saved, in order."""
  found, wait, line = [], checkpoint.Checkpoints.wait, logger_lib.Log.line
  monkeypatch.setattr(checkpoint.Checkpoints, 'wait', lambda self: (wait(self), found.append('saved')))
  monkeypatch.setattr(logger_lib.Log, 'line', lambda self, text: (found.append(text), line(self, text)))
  return found


def test_nothing_is_printed_between_a_signal_and_the_save(tmp_path, order):

  def evaluate(model, step):
    if step == 2:
      os.kill(os.getpid(), signal.SIGINT)
      order.append('signal')
    return {}

  c = toy.configuration(num_steps=6, evaluate_every_steps=1)
  with pytest.raises(stopping.Interrupted):
    loop.train(c, tmp_path, toy.Task(), [evaluate], **runs.ONE)
  after = order[order.index('signal') + 1 :]
  # The evaluation in progress prints its result; the line of the step comes after the save.
  assert after[0].startswith('step 2 evaluation') and after[1] == 'saved', after
  assert after[2].startswith('step 2/6 loss'), after
  assert after[-1].startswith('Stopped by SIGINT; saved at step 2')


def test_a_signal_during_a_step_saves_before_metrics_are_printed(tmp_path, monkeypatch, order):
  push = metrics_reader.MetricsReader.push

  def push_and_stop(self, step, values):
    push(self, step, values)
    if step == 2:
      os.kill(os.getpid(), signal.SIGINT)
      order.append('signal')

  monkeypatch.setattr(metrics_reader.MetricsReader, 'push', push_and_stop)
  with pytest.raises(stopping.Interrupted):
    loop.train(toy.configuration(num_steps=6), tmp_path, toy.Task(), **runs.ONE)
  after = order[order.index('signal') + 1 :]
  assert after[0] == 'saved' and after[1].startswith('step 2/6 loss'), after
