import errno
import io
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import types

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator
import toy

from launch import exit_codes
from v2a import files
from v2a import weights
from v2a.config import files as files_lib
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import loader
from v2a.data import records
from v2a.sharding import mesh as mesh_lib
from v2a.training import history
from v2a.training import logger as logger_lib
from v2a.training import loop
from v2a.training import metrics_reader
from v2a.training import optimizer as optimizer_lib
from v2a.training import saving
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training.checkpoints import checkpoint
from v2a.training.distributed import stopping

HERE = pathlib.Path(__file__).parent
ONE = {'devices': jax.devices()[:1]}


def state_of(workdir, step, **sizes):
  """Returns the flat state of a checkpoint, restored to a mesh."""
  task, c = toy.Task(), toy.configuration()
  mesh = mesh_lib.make(sizes, jax.devices()[: math.prod(sizes.values())])
  abstract = state_lib.abstract(task, optimizer_lib.make(c.training), mesh)
  checkpoints = checkpoint.Checkpoints(workdir)
  state = checkpoints.restore(step, abstract)
  checkpoints.close()
  assert state_lib.shardings(state) == state_lib.shardings(abstract)
  return {name: np.asarray(value) for name, value in weights.flatten(state).items()}


def assert_same(a, b):
  assert set(a) == set(b)
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope='module')
def four(tmp_path_factory):
  """An uninterrupted run of four steps."""
  workdir = tmp_path_factory.mktemp('four')
  task, steps = toy.Task(), []

  def evaluate(model, step):
    steps.append(step)
    return {'validation_error': float(model.scale[...])}

  c = toy.configuration(evaluate_every_steps=3, keep_latest=5)
  path = loop.train(c, workdir, task, [evaluate], **ONE)
  assert path == workdir / 'model' and steps == [3, 4] and task.num_finalized == 1
  return workdir


def test_two_steps_resumed_for_two_equal_four_steps_bit_for_bit(four, tmp_path, capsys):
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **ONE)
  two = state_of(tmp_path, 2)
  capsys.readouterr()
  loop.train(toy.configuration(num_steps=4), tmp_path, toy.Task(), **ONE)
  output = capsys.readouterr().out
  assert 'step 3/4' in output and 'step 2/4' not in output, 'training was not resumed'
  assert_same(state_of(tmp_path, 4), state_of(four, 4))
  assert any(not np.array_equal(two[name], value) for name, value in state_of(four, 4).items())


def test_restored_to_another_mesh(four):
  assert_same(state_of(four, 4, data=2, fsdp=2, tensor=2), state_of(four, 4))


def test_files_of_a_finished_run(four, capsys):
  assert files_lib.load(four / 'config.json') == toy.configuration(evaluate_every_steps=3, keep_latest=5)
  assert 'inner' in (four / 'parameters.txt').read_text()
  export = weights.load_export(four)
  assert export.about['step'] == 4 and export.about['batch_size'] == 8
  # `Task.finalize` changes the exported model, and not the checkpoint that training resumes from.
  state = state_of(four, 4)
  assert export.arrays['scale'] == 16.0 and state['frozen.scale'] == 2.0
  np.testing.assert_array_equal(export.arrays['inner'], state['ema.inner'])
  events = event_accumulator.EventAccumulator(str(four / 'tensorboard'))
  events.Reload()
  assert [event.step for event in events.Scalars('loss')] == [1, 2, 3, 4]
  assert [event.step for event in events.Scalars('evaluation/validation_error')] == [3, 4]
  tags = set(events.Tags()['scalars'])
  assert {
    'grad_norm',
    'learning_rate',
    'error',
    'steps_per_s',
    'clips_per_s',
    'tokens_per_s',
    'step_s_p50',
    'step_s_p99',
    'data_wait',
    'goodput',
  } <= tags


def test_an_incomplete_checkpoint_is_ignored(four, tmp_path):
  shutil.copytree(four, tmp_path / 'run')
  folder = tmp_path / 'run' / checkpoint.FOLDER
  (folder / '4').rename(folder / '4.orbax-checkpoint-tmp')
  shutil.rmtree(folder / '4.orbax-checkpoint-tmp' / 'position')
  checkpoints = checkpoint.Checkpoints(tmp_path / 'run')
  assert checkpoints.latest_step() is None
  checkpoints.close()


def test_checkpoints_by_the_clock_of_process_0(tmp_path, monkeypatch):
  ticks = itertools.count()  # a second per reading of the clock
  monkeypatch.setattr(saving, 'time', types.SimpleNamespace(monotonic=lambda: next(ticks)))
  c = toy.configuration(num_steps=7, log_every_steps=1, keep_latest=9, checkpoint_every_s=1.5)
  loop.train(c, tmp_path, toy.Task(), **ONE)
  # The clock is read at the start, in each step that logs, and again after a save.
  assert sorted(int(path.name) for path in (tmp_path / checkpoint.FOLDER).iterdir()) == [2, 4, 6, 7]


def test_the_newest_checkpoints_and_multiples_are_not_deleted(tmp_path):
  c = toy.configuration(num_steps=6, checkpoint_every_steps=1, keep_latest=2, keep_every_steps=3)
  loop.train(c, tmp_path, toy.Task(), **ONE)
  checkpoints = checkpoint.Checkpoints(tmp_path, 2, 3)
  assert checkpoints.steps() == (3, 5, 6)
  saved, position = checkpoints.read(5)
  assert saved == c and position['num_records'] == 16 and len(position['records_hash']) == 64
  checkpoints.close()


@pytest.mark.parametrize(
  'change',
  [
    '--config.seed=1',
    '--config.training.batch_size=16',
    '--config.flow.width=48',
    '--config.data.num_fake_records=17',
  ],
)
def test_another_run_in_the_folder_is_refused(four, change):
  c = files_lib.override(toy.configuration(), [change])
  with pytest.raises(ValueError, match='holds a run of step 4 with another'):
    loop.train(c, four, toy.Task(), **ONE)


def test_a_folder_with_other_parameter_groups_is_refused_in_one_line(four):
  task = toy.Task()
  task.param_groups = {'outer': {'clip_norm': 0.5}}
  message = 'Checkpoint .*/4 is of another model .* does not fit; .*opt_state'
  with pytest.raises(ValueError, match=message) as caught:
    loop.train(toy.configuration(num_steps=5), four, task, **ONE)
  assert '\n' not in str(caught.value)


def test_raw_parameters_are_evaluated_and_exported_if_the_task_uses_no_ema(tmp_path):
  evaluated = []
  for is_averaged in (True, False):
    task, workdir = toy.Task(), tmp_path / str(is_averaged)
    task.use_ema = is_averaged
    evaluate = lambda model, step: {'outer': evaluated.append(np.asarray(model.outer[...])) or 0.0}
    c = toy.configuration(num_steps=2, evaluate_every_steps=5)
    path = loop.train(c, workdir, task, [evaluate], **ONE)
    state, exported = state_of(workdir, 2), weights.load_export(path).arrays['outer']
    used, other = ('ema', 'params')[:: 1 if is_averaged else -1]
    np.testing.assert_array_equal(exported, state[f'{used}.outer'])
    np.testing.assert_array_equal(exported, evaluated[-1])
    assert not np.array_equal(exported, state[f'{other}.outer'])


def test_starting_from_named_weights(four, tmp_path):
  c = files_lib.override(toy.configuration(num_steps=2), [f'--config.init_from.model={four}'])
  task = toy.Task()
  task.is_trainable = lambda path: path[-1] == 'bias'
  loop.train(c, tmp_path, task, **ONE)
  before, after = weights.load_export(four).arrays, weights.load_export(tmp_path).arrays
  np.testing.assert_array_equal(after['inner'], before['inner'])
  assert not np.array_equal(after['bias'], before['bias'])
  with pytest.raises(FileNotFoundError, match='No model at'):
    loop.train(files_lib.override(c, ['--config.init_from.model=nowhere']), tmp_path / 'b', task, **ONE)


def test_a_task_may_initialise(tmp_path):
  task = toy.Task()

  def initialise(model, source):
    model.gain[...] = model.gain[...] * len(source)
    return model

  task.initialise = initialise
  loop.train(toy.configuration(num_steps=2), tmp_path, task, **ONE)
  assert weights.load_export(tmp_path).arrays['gain'] == 16.0


@pytest.mark.parametrize(('nan_from', 'saved_steps'), [(3, (2,)), (4, (2, 4))])
def test_a_loss_that_is_not_finite_stops_training(tmp_path, capsys, nan_from, saved_steps):
  before = signal.getsignal(signal.SIGTERM)
  c = toy.configuration(num_steps=9, checkpoint_every_steps=2, keep_latest=9)
  with pytest.raises(metrics_reader.NonFiniteError) as error:
    loop.train(c, tmp_path, toy.Task(nan_from=nan_from), **ONE)
  assert error.value.code == 3 and signal.getsignal(signal.SIGTERM) is before
  assert f'stopped in step {nan_from}: the loss is nan' in capsys.readouterr().err
  assert not (tmp_path / 'model').exists()
  checkpoints = checkpoint.Checkpoints(tmp_path)
  # Checkpoint 4 has the state after steps 0 to 3, so a NaN in step 3 affects it, and one in step 4 does not.
  assert checkpoints.steps() == saved_steps
  checkpoints.close()
  state = state_of(tmp_path, saved_steps[-1])
  assert all(np.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_exits(tmp_path, number, code, four, capsys):
  before = signal.getsignal(number)

  def send(model, step):
    os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before, 'a second signal must have its previous effect'
    return {}

  c = toy.configuration(evaluate_every_steps=2)
  with pytest.raises(stopping.Interrupted) as error:
    loop.train(c, tmp_path, toy.Task(), [send], **ONE)
  assert error.value.code == code and signal.getsignal(number) is before
  assert 'saved at step 2' in capsys.readouterr().out
  assert weights.load_export(tmp_path).about['step'] == 2
  loop.train(toy.configuration(num_steps=4), tmp_path, toy.Task(), **ONE)
  assert_same(state_of(tmp_path, 4), state_of(four, 4))


def test_the_exit_code_is_that_of_the_signal_even_if_nothing_can_be_saved(tmp_path, capsys, monkeypatch):
  def send(model, step):
    os.kill(os.getpid(), signal.SIGTERM)
    return {}

  def full(self):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(checkpoint.Checkpoints, 'wait', full)
  with pytest.raises(stopping.Interrupted) as error:
    loop.train(toy.configuration(evaluate_every_steps=2), tmp_path, toy.Task(), [send], **ONE)
  assert error.value.code == 143
  assert 'not all of step 2 could be saved ([Errno 28] No space left on device)' in capsys.readouterr().out


def test_a_storage_error_in_training_is_retriable(tmp_path, capsys, monkeypatch):
  def fail(batches, step):
    raise OSError(errno.EIO, 'Input/output error')

  monkeypatch.setattr(loader.Batches, '__getitem__', fail)
  with pytest.raises(stopping.StorageError) as error:
    loop.train(toy.configuration(), tmp_path, toy.Task(), **ONE)
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


def test_steps_of_the_profile_are_counted_from_the_first_of_the_process(tmp_path):
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **ONE)
  loop.train(toy.configuration(num_steps=4, profile_at_step=1, profile_steps=1), tmp_path, toy.Task(), **ONE)
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_metrics_are_read_one_step_late_so_that_the_device_never_waits(tmp_path, monkeypatch):
  events, make, read = [], step_lib.make, metrics_reader.MetricsReader._read

  def make_recorded(*args):
    step_fn = make(*args)

    def step(leaves, batch):
      events.append('step')
      assert all(isinstance(value, jax.Array) for value in batch.values()), 'transferred before the step'
      return step_fn(leaves, batch)

    return step

  def read_recorded(reader, step, values):
    events.append(f'read {step}')
    read(reader, step, values)

  monkeypatch.setattr(step_lib, 'make', make_recorded)
  monkeypatch.setattr(metrics_reader.MetricsReader, '_read', read_recorded)
  loop.train(toy.configuration(), tmp_path, toy.Task(), **ONE)
  assert events == ['step', 'step', 'read 0', 'step', 'read 1', 'step', 'read 2', 'read 3']


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
    loop.train(c, tmp_path, toy.Task(), [evaluate], **ONE)
  assert stopped.value.code == 130
  checkpoints = checkpoint.Checkpoints(tmp_path)
  assert checkpoints.latest_step() == 2
  checkpoints.close()
  monkeypatch.undo()
  loop.train(c, tmp_path, toy.Task(), **ONE)


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
    loop.train(c, tmp_path, toy.Task(), [evaluate], **ONE)
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
    loop.train(toy.configuration(num_steps=6), tmp_path, toy.Task(), **ONE)
  after = order[order.index('signal') + 1 :]
  assert after[0] == 'saved' and after[1].startswith('step 2/6 loss'), after


def test_the_first_steps_are_reported(tmp_path, capsys):
  loop.train(toy.configuration(num_steps=6, log_every_steps=5), tmp_path, toy.Task(), **ONE)
  lines = [line for line in capsys.readouterr().out.splitlines() if 'annotations are longer' not in line]
  header, compiling, compiled, first, second, metrics = lines[:6]
  assert 'parameters trained' in header and compiling == 'Compiling step 1; that may take minutes.'
  assert re.fullmatch(r'Compiled in \S+s\.', compiled)
  assert re.fullmatch(r'step 1/6 after \d+s, with compilation', first)
  assert re.fullmatch(r'step 2/6 took [\d.e-]+ s, \d+s left; metrics follow every 5 steps', second)
  assert metrics.startswith('step 5/6 loss')


def test_compilation_is_reported_if_every_step_is_logged_and_on_resuming(tmp_path, capsys):
  for begin, end in ((0, 2), (2, 4)):
    loop.train(toy.configuration(num_steps=end, log_every_steps=1), tmp_path, toy.Task(), **ONE)
    lines = capsys.readouterr().out.splitlines()
    index = lines.index(f'Compiling step {begin + 1}; that may take minutes.')
    assert re.fullmatch(r'Compiled in \S+s\.', lines[index + 1])
    assert lines[index + 2].startswith(f'step {begin + 1}/{end} loss'), lines
    assert re.fullmatch(rf'step {end}/{end} loss .* \d+s left', lines[index + 3]), lines


def test_changes_on_resuming_are_reported_and_recorded(tmp_path, capsys):
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **ONE)
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **ONE)
  assert not (tmp_path / history.HISTORY).exists() and 'From step' not in capsys.readouterr().out
  c = toy.configuration(num_steps=3, learning_rate=1e-3)
  loop.train(c, tmp_path, toy.Task(), **ONE)
  output = capsys.readouterr().out
  assert 'From step 2 on: ' in output and 'config.training.learning_rate=0.001 (was 0.01)' in output
  assert 'config.training.num_steps=3 (was 2)' in output
  assert files_lib.load(tmp_path / 'config.json') == c
  (previous,) = map(json.loads, (tmp_path / history.HISTORY).read_text().splitlines())
  assert previous['until_step'] == 2 and previous['config']['training']['learning_rate'] == 1e-2


def test_shards_are_verified_once_per_workdir(tmp_path, monkeypatch, capsys):
  c = toy.configuration(num_steps=2).unlock()
  spec = schema.clip_spec(c)
  records.write(tmp_path / 'data', [fake_records.make(spec, seed) for seed in range(8)], spec)
  c.data.update(train=(str(tmp_path / 'data'),), num_fake_records=0)
  hashed, digest = [], files.sha256
  monkeypatch.setattr(files, 'sha256', lambda path: hashed.append(path) or digest(path))
  for _ in range(2):
    loop.train(c, tmp_path / 'run', toy.Task(), **ONE)
  assert len(hashed) == 1 and capsys.readouterr().out.count('Verified 1 shards of records') == 1
