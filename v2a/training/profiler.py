"""A profile of some steps, as config.training.profile_* says."""

import jax

from v2a.training import run as run_lib


class Profiler:
  """Writes a profile of the steps [profile_at_step, profile_at_step + profile_steps) on process 0."""

  def __init__(self, run: run_lib.Run):
    training = run.c.training
    self._begin, self._end = training.profile_at_step, training.profile_at_step + training.profile_steps
    self._is_enabled = bool(training.profile_steps) and jax.process_index() == 0
    self._folder = run.logs.path / 'profile'
    self._is_running = False

  def before_step(self, step: int) -> None:
    """Starts or stops the profile before a step, counted from the first of this process."""
    if self._is_enabled and self._begin <= step < self._end and not self._is_running:
      jax.profiler.start_trace(str(self._folder))
      self._is_running = True
    elif step >= self._end:
      self.stop()

  def stop(self) -> None:
    """Ends and writes the profile, where one is running."""
    if self._is_running:
      jax.profiler.stop_trace()
      self._is_running = False
