"""When the state is saved, and where."""

import time

import jax

from v2a.training import console
from v2a.training import intervals
from v2a.training import run as run_lib
from v2a.training import state as state_lib
from v2a.training.checkpoints import checkpoint
from v2a.training.checkpoints import local_checkpoint
from v2a.training.distributed import processes

Target = checkpoint.Checkpoints | local_checkpoint.LocalCheckpoints


class Saver:
  """Saves the state of a run when it is due."""

  def __init__(self, run: run_lib.Run, start: int):
    """Args: run: the run. start: number of the first step, whose state is on storage or fresh."""
    self._run = run
    self._start = start
    self._saved_at_s = time.monotonic()  # by this process' clock

  def target(self, step: int, is_stopping: bool) -> Target | None:
    """Returns where the state before a step is to be saved, None where it is not; the same in all processes.

    Args:
      step: number of the next step.
      is_stopping: whether a signal ends the training before that step.
    """
    training = self._run.c.training
    if is_stopping:
      return self._run.checkpoints
    if step == self._start:
      return None
    if intervals.is_due(step, training.checkpoint_every_steps) or self._is_overdue(step):
      return self._run.checkpoints
    return self._run.local if intervals.is_due(step, training.local_checkpoint_every_steps) else None

  def _is_overdue(self, step: int) -> bool:
    """Whether the last checkpoint is too old by the clock of process 0; all check it in the same steps."""
    training = self._run.c.training
    if not training.checkpoint_every_s or not intervals.is_due(step, training.log_every_steps):
      return False
    age_s = time.monotonic() - self._saved_at_s
    return bool(processes.broadcast_from_process_0(age_s > training.checkpoint_every_s))

  def save(self, target: Target, state: state_lib.State) -> None:
    """Saves a state to what `target` returned."""
    target.save(state, self._run.c, self._run.position)
    if target is self._run.checkpoints:
      self._saved_at_s = time.monotonic()

  def report_errors(self, step: int) -> None:
    """Prints why saves of this process failed since the last call; training continues."""
    for target in filter(None, (self._run.checkpoints, self._run.local)):
      if error := target.pop_error():
        where = f'Process {jax.process_index()}, step' if jax.process_count() > 1 else 'Step'
        console.error(
          f'{where} {step}: {error}; training continues, and tries the next checkpoint when it is due.'
        )
