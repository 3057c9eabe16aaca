"""How training ends: the last checkpoint, the last evaluation, the exported model."""

import signal
from typing import NoReturn

from flax import nnx
import jax
from jax.experimental import multihost_utils
import numpy as np

from v2a import storage
from v2a import weights
from v2a.training import evaluators
from v2a.training import metrics_reader
from v2a.training import run as run_lib
from v2a.training import state as state_lib
from v2a.training import training_data
from v2a.training.distributed import stopping


def finish(run: run_lib.Run, state: state_lib.State) -> storage.Path:
  """Saves, evaluates and exports the state after the last step; returns the folder of the exported model.

  Raises:
    OSError: the checkpoint or the export could not be written.
  """
  # Saved before the last evaluation, which may take long, and before `Task.finalize`, so that more steps can
  # follow.
  run.checkpoints.save(state, run.c, run.position)
  run.checkpoints.wait()
  run.watchdog.reset()
  step = int(jax.device_get(state.step))
  evaluators.evaluate(run, state, step)
  path = export(run, state)
  if run.local:
    run.local.clear()
  run.log.line(f'Done: {step} steps; the model is in {path}.')
  return path


def stop_on_signal(
  run: run_lib.Run, state: state_lib.State, signal_number: int, reader: metrics_reader.MetricsReader
) -> NoReturn:
  """Waits for the checkpoint of a state and exports its model; then prints and leaves.

  Args:
    run: the run.
    state: given to `run.checkpoints` already.
    signal_number: the signal.
    reader: whose lines are not printed yet.

  Raises:
    stopping.Interrupted: always.
  """
  step = int(jax.device_get(state.step))
  outcome = f'saved at step {step} in {run.workdir}'
  try:
    run.checkpoints.wait()
    run.watchdog.reset()
    export(run, state)  # after the checkpoint: the sender of the signal may not wait for long
  except OSError as error:
    # Not bad input: a new start resumes from the last complete checkpoint.
    reason = ' '.join(str(error).split())
    outcome = f'not all of step {step} could be saved ({reason}); what was saved before stays'
  reader.log()
  run.log.line(f'Stopped by {signal.Signals(signal_number).name}; {outcome}.')
  raise stopping.Interrupted(signal_number)


def export(run: run_lib.Run, state: state_lib.State) -> storage.Path:
  """Writes the finalized model (`v2a.weights`), and returns its folder."""
  model = run.task.finalize(run.model(state), run.items)
  path = run.workdir / weights.EXPORT_FOLDER
  # What `Task.finalize` computes is on each process alone, and the same on all.
  arrays = jax.tree.map(
    lambda leaf: leaf if leaf.is_fully_addressable else multihost_utils.process_allgather(leaf, tiled=True),
    nnx.state(model),
  )
  if jax.process_index() == 0:
    about = {'name': run.c.name, 'step': int(jax.device_get(state.step)), **run.position}
    about['data'] = training_data.of_run(run)
    weights.export(jax.tree.map(np.asarray, arrays), path, run.c, 'float32', about)
  if jax.process_count() > 1:
    # A process that leaves earlier is waited for, but not for long.
    multihost_utils.sync_global_devices('exported')
  return path
