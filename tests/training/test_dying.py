"""Trainings of one or several processes that are stopped or killed, hang or cannot save, and are resumed."""

import json
import pathlib
import re
import shutil
import sys
import time

import jax
import numpy as np
import pytest
import toy

from launch import exit_codes
from launch import local
from v2a import weights
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import record_writer

MEMBER = pathlib.Path(__file__).parent / 'member.py'
LINE = re.compile(r'step (\d+)/\d+ loss ([\d.e-]+), .*numbers ([\d.]+), squares ([\d.]+)')
NUM_STEPS = 8
# Compiled like the tests, with a compilation cache for the next process.
FAST_COMPILE = {
  'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
  'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
}


class Run:
  """One attempt: its exit code, those of its processes, its duration in seconds and its output."""

  def __init__(self, workdir, num_processes=1, num_devices=1, exit_timeout_s=90, **settings):
    settings = {'num_steps': NUM_STEPS, 'checkpoint_every_steps': 2, 'keep_latest': 2} | settings
    arguments = [str(workdir), json.dumps(settings)]
    lines = local.commands(num_processes, local._free_port(), arguments, [sys.executable, str(MEMBER)])
    output, begin_s = [], time.monotonic()
    group = local.ProcessGroup(lines, local.environment(num_devices) | FAST_COMPILE, show=output.append)
    self.code = group.wait(exit_timeout_s)  # processes that exit so much later than the first are killed: 137
    self.codes = [exit_codes.from_returncode(process.returncode) for process in group.processes]
    self.seconds = time.monotonic() - begin_s
    self.text = ''.join(output)

  def logged(self):
    """Returns step -> (loss, sums of the clips' numbers)."""
    return {
      int(step): (float(loss), (numbers, squares)) for step, loss, numbers, squares in LINE.findall(self.text)
    }


def losses(workdir):
  """Returns the loss of every step, float32."""
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(str(workdir / 'tensorboard'))
  events.Reload()
  return {event.step: event.value for event in events.Scalars('loss')}


def arrays(workdir):
  return weights.load_export(workdir / 'model').arrays


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  """The folder of an uninterrupted run, and what it logged."""
  workdir = tmp_path_factory.mktemp('uninterrupted')
  run = Run(workdir, num_devices=4)
  assert run.code == 0, run.text
  assert set(run.logged()) == set(range(1, NUM_STEPS + 1))
  return workdir, run.logged()


def check_same(uninterrupted, workdir, *runs):
  """Checks that the attempts together trained on the batches of the uninterrupted run, and gave its model."""
  folder, logged = uninterrupted
  steps = set()
  for run in runs:
    for step, (loss, clips) in run.logged().items():
      assert clips == logged[step][1], f'other clips in step {step}'
      assert loss == pytest.approx(logged[step][0], rel=2e-3), step  # as many digits as are printed
      steps.add(step)
  assert steps == set(logged)
  found = arrays(workdir)
  assert {name: value.shape for name, value in found.items()} == {
    name: value.shape for name, value in arrays(folder).items()
  }
  for name, value in arrays(folder).items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_signal_to_one_process_makes_both_save_the_same_step(uninterrupted, tmp_path):
  # The signal takes a moment to reach the other process, longer than all steps without pauses.
  first = Run(tmp_path, 2, 2, pause_s=1, faults=[{'kind': 'terminate', 'at': 3, 'process': 1}])
  assert first.codes == [143, 143], first.text
  at = int(re.search(r'saved at step (\d+)', first.text).group(1))
  assert [path.name for path in (tmp_path / 'checkpoints').iterdir()].count(str(at)) == 1
  second = Run(tmp_path, 2, 2)
  assert second.code == 0, second.text
  assert min(second.logged()) == at + 1
  check_same(uninterrupted, tmp_path, first, second)


@pytest.mark.slow
@pytest.mark.parametrize('at', [NUM_STEPS - 1, NUM_STEPS])
def test_a_signal_before_the_last_step_or_after_it_is_ignored(uninterrupted, tmp_path, at):
  run = Run(tmp_path, 2, 2, linger_s=1.5, faults=[{'kind': 'terminate', 'at': at, 'process': 1}])
  if run.codes == [143, 143] and at < NUM_STEPS:
    pytest.skip('The signal was noticed before the last step.')
  assert run.codes == [0, 0], run.text
  check_same(uninterrupted, tmp_path, run)


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_processes(uninterrupted, tmp_path):
  reference = losses(uninterrupted[0])
  for folder, num_processes in (('two', 2), ('again', 2), ('four', 4)):
    run = Run(tmp_path / folder, num_processes, 4 // num_processes)
    assert run.code == 0, run.text
    found = losses(tmp_path / folder)
    assert found == pytest.approx(reference, abs=1e-5)
  assert losses(tmp_path / 'two') == losses(tmp_path / 'again')
  two, again = arrays(tmp_path / 'two'), arrays(tmp_path / 'again')
  assert all(np.array_equal(two[name], again[name]) for name in two)


@pytest.mark.slow
@pytest.mark.parametrize('process', [0, 1])
def test_one_process_is_killed_and_the_other_exits(uninterrupted, tmp_path, process):
  first = Run(tmp_path, 2, 2, exit_timeout_s=30, faults=[{'kind': 'kill', 'at': 5, 'process': process}])
  assert first.codes[process] == 137 and first.codes[1 - process] == 134, first.text
  assert exit_codes.is_retriable(first.code)
  second = Run(tmp_path, 2, 2)
  assert second.code == 0, second.text
  assert 'Resuming from step' in second.text
  check_same(uninterrupted, tmp_path, first, second)


@pytest.mark.slow
@pytest.mark.parametrize(('fast_clock', 'saved'), [(0, {'3', '6', str(NUM_STEPS)}), (1, {str(NUM_STEPS)})])
def test_two_processes_save_together_by_the_clock_of_process_0(tmp_path, fast_clock, saved):
  run = Run(
    tmp_path,
    num_processes=2,
    num_devices=2,
    checkpoint_every_steps=100,
    keep_latest=9,
    log_every_steps=3,
    fast_clock=fast_clock,
  )
  assert run.codes == [0, 0], run.text
  assert {path.name for path in (tmp_path / 'checkpoints').iterdir()} == saved


@pytest.mark.slow
def test_a_bug_of_one_process_is_reported_as_a_bug(tmp_path):
  run = Run(tmp_path, 2, 2, faults=[{'kind': 'bug', 'at': 5, 'process': 1}])
  assert run.codes == [134, 1] and run.code == 1, run.text
  assert 'ZeroDivisionError: bug' in run.text


@pytest.mark.slow
@pytest.mark.parametrize('is_replaced', [False, True])
def test_local_checkpoints_are_used_unless_a_machine_was_replaced(uninterrupted, tmp_path, is_replaced):
  workdir, folder = tmp_path / 'run', tmp_path / 'local'
  own = {
    'checkpoint_every_steps': 3,
    'local_checkpoint_every_steps': 1,
    'local_checkpoint_folder': str(folder),
  }
  first = Run(workdir, 2, 2, faults=[{'kind': 'kill', 'at': 6, 'process': 1}], **own)
  assert exit_codes.is_retriable(first.code), first.text
  if is_replaced:
    shutil.rmtree(next(folder.glob('v2a-*')) / '1')
  second = Run(workdir, 2, 2, **own)
  assert second.code == 0, second.text
  first_step = min(second.logged())
  assert first_step == 4 if is_replaced else first_step > 4
  check_same(uninterrupted, workdir, first, second)
  assert not list(folder.glob('*/*'))


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['hang', 'hang in a step', 'hang in the input'])
def test_the_watchdog_ends_a_hang(uninterrupted, tmp_path, kind):
  first = Run(tmp_path, watchdog_s=40, faults=[{'kind': kind, 'at': 5}])
  assert first.code == 42, first.text
  assert 'no progress for' in first.text and 'Thread 0x' in first.text
  functions = {'hang': 'evaluate', 'hang in a step': '_hang', 'hang in the input': 'read_with_faults'}
  assert functions[kind] in first.text
  second = Run(tmp_path)
  assert second.code == 0, second.text
  check_same(uninterrupted, tmp_path, first, second)


@pytest.mark.slow
def test_a_crash_while_saving_leaves_the_previous_checkpoint(uninterrupted, tmp_path):
  first = Run(tmp_path, faults=[{'kind': 'die while saving', 'at': 6}])
  assert exit_codes.is_retriable(first.code) and first.code == 153, first.text
  names = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  complete = {int(name) for name in names if name.isdigit()}
  assert '6' not in names and len(names) > len(complete), 'no checkpoint is incomplete'
  second = Run(tmp_path)
  assert second.code == 0 and f'Resuming from step {max(complete)}' in second.text, second.text
  assert not any('tmp' in path.name for path in (tmp_path / 'checkpoints').iterdir())
  check_same(uninterrupted, tmp_path, first, second)


@pytest.mark.slow
def test_a_full_disk_does_not_stop_training(uninterrupted, tmp_path):
  # With three seconds per step, a save has ended before the disk changes.
  run = Run(tmp_path, pause_s=3, faults=[{'kind': 'disk full', 'at': 4}, {'kind': 'disk free', 'at': 6}])
  assert run.code == 0, run.text
  assert 'the checkpoint of step 4 could not be written' in run.text
  assert sorted(int(path.name) for path in (tmp_path / 'checkpoints').iterdir()) == [6, 8]
  check_same(uninterrupted, tmp_path, run)


@pytest.mark.slow
@pytest.mark.parametrize('indices', [(0,), (0, 1)])
def test_a_full_disk_of_one_of_several_processes_does_not_stop_training(uninterrupted, tmp_path, indices):
  faults = [
    {'kind': f'disk {state}', 'at': at, 'process': index}
    for state, at in (('full', 4), ('free', 6))
    for index in indices
  ]
  run = Run(tmp_path, 2, 2, pause_s=3, checkpoint_timeout_s=10.0, faults=faults)
  assert run.codes == [0, 0], run.text
  assert re.search('the checkpoint of step 4 could not be written.*File too large', run.text), run.text
  assert sorted(int(path.name) for path in (tmp_path / 'checkpoints').iterdir()) == [6, 8]
  check_same(uninterrupted, tmp_path, run)


@pytest.mark.slow
def test_a_storage_error_while_reading_clips_is_retriable(uninterrupted, tmp_path):
  first = Run(tmp_path, 2, 2, pause_s=1, faults=[{'kind': 'fault in the input', 'at': 5, 'process': 1}])
  assert 75 in first.codes and first.code == 75 and exit_codes.is_retriable(75), first.text
  assert first.text.count('Traceback') == 0 and first.seconds < 60, first.text
  second = Run(tmp_path, 2, 2)
  assert second.code == 0 and min(second.logged()) == 5, second.text
  check_same(uninterrupted, tmp_path, first, second)


@pytest.mark.slow
def test_a_disk_that_stays_full_is_an_error_at_the_end(tmp_path):
  run = Run(tmp_path, pause_s=3, faults=[{'kind': 'disk full', 'at': 4}])
  assert run.code == 75, run.text
  assert re.search('v2a: training stopped, .*: the checkpoint of step 8 could not', run.text), run.text
  assert {path.name for path in (tmp_path / 'checkpoints').iterdir()} <= {'2'}, (
    'incomplete checkpoints are deleted'
  )


@pytest.mark.slow
def test_a_workdir_that_is_not_shared_is_refused(tmp_path):
  run = Run(tmp_path / 'run', 2, 2, unshared='workdir', shared_workdir_timeout_s=3.0)
  assert run.codes == [2, 2], run.text
  lines = [line for line in run.text.splitlines() if 'member: ' in line]
  assert len(lines) == 2 and all('must be on storage that all processes share' in line for line in lines)
  assert 'process [0, 1] of 2 did not see the files of the others within 3 s' in lines[0]
  assert not [path for path in (tmp_path / 'run').rglob('*') if path.is_file()], 'nothing was trained'


@pytest.mark.slow
def test_records_that_differ_between_machines_are_refused(tmp_path):
  spec = schema.clip_spec(toy.configuration())
  for index in range(2):
    items = [fake_records.make(spec, seed + index) for seed in range(8)]
    record_writer.write(tmp_path / f'machine{index}' / 'data', items, spec)
  run = Run(tmp_path / 'run', 2, 2, unshared='records', records=['data'])
  assert run.codes == [2, 2], run.text
  assert run.text.count('must be the same in all processes; process [1] of 2 and process 0 differ') == 2
  shutil.rmtree(tmp_path / 'machine1' / 'data')
  run = Run(tmp_path / 'run', 2, 2, unshared='records', records=['data'])
  assert run.codes == [2, 2], run.text
  assert 'data is no folder of records' in run.text
  assert 'config.data.train: process [1] of 2 cannot use it' in run.text
  assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_four_processes_resume_as_two_on_another_mesh(uninterrupted, tmp_path):
  # With a second per step, the signal reaches all processes before the last step.
  first = Run(tmp_path, 4, 1, pause_s=1, faults=[{'kind': 'terminate', 'at': 2, 'process': 3}])
  assert first.codes == [143] * 4, first.text
  second = Run(tmp_path, 2, 2, mesh={'data': 1, 'fsdp': 2, 'tensor': 2})
  assert second.code == 0, second.text
  check_same(uninterrupted, tmp_path, first, second)
