"""Metrics of steps, read by the host one step late, so that the device never waits for it."""

import functools
import math
import time

import jax

from v2a.config import schema
from v2a.training import console
from v2a.training import costs
from v2a.training import intervals
from v2a.training import logger as logger_lib
from v2a.training import run as run_lib
from v2a.training import step_timer as step_timer_lib

_NUM_ANNOUNCED = 2  # steps after a start that are reported one by one


class NonFiniteError(SystemExit):
  """Loss or gradient became NaN or infinite; exit code 3."""

  def __init__(self, message: str):
    super().__init__(3)
    self.message = message


class MetricsReader:
  """Reads metrics one step late, raises where loss or gradient are not finite, and logs.

  Attributes:
    timer: of the steps.
  """

  def __init__(self, run: run_lib.Run, start: int):
    """Args: run: the run. start: number of the first step."""
    self._run = run
    self._accumulator = logger_lib.MetricAccumulator()
    self._pending: tuple[int, dict[str, jax.Array]] | None = None
    self._unprinted, self._start = [], start
    self._begin_s = time.perf_counter()
    devices = list(run.mesh.devices.flat)
    self.timer = step_timer_lib.StepTimer(
      run.c.training.batch_size, schema.clip_spec(run.c).num_latents, costs.min_step_s(run.c, devices)
    )
    self._goodput = None
    if jax.process_index() == 0:
      self._goodput = step_timer_lib.Goodput(run.logs.path / step_timer_lib.GOODPUT_FILE, start)

  def push(self, step: int, values: dict[str, jax.Array]) -> None:
    """Takes the metrics of a step that was just started, and reads those of the step before.

    Raises:
      NonFiniteError: loss or gradient of the step before are not finite.
    """
    previous, self._pending = self._pending, (step, values)
    if previous:
      self._read(*previous)

  def flush(self) -> None:
    """Reads the metrics of the last step, which waits for the device.

    Raises:
      NonFiniteError: its loss or gradient are not finite.
    """
    previous, self._pending = self._pending, None
    if previous:
      self._read(*previous)

  def log(self) -> None:
    """Prints and writes the metrics that were read and are due."""
    unprinted, self._unprinted = self._unprinted, []
    for write in unprinted:
      write()

  def _read(self, step: int, values: dict[str, jax.Array]) -> None:
    metrics = {name: float(value) for name, value in jax.device_get(values).items()}
    if not (math.isfinite(metrics['loss']) and math.isfinite(metrics['grad_norm'])):
      self._stop(step, metrics)
    self._accumulator.add(metrics)
    step_s = self.timer.step()
    num_done, training, log = step + 1, self._run.c.training, self._run.log
    if intervals.is_due(num_done, training.log_every_steps) or num_done == training.num_steps:
      rates, seconds = self.timer.flush()
      if self._goodput and rates:
        rates['goodput'] = self._goodput.add(num_done, seconds)
      self._unprinted.append(functools.partial(log.progress, num_done, self._accumulator.flush(), rates))
    elif num_done - self._start <= _NUM_ANNOUNCED:
      text = f'step {num_done}/{training.num_steps} {self._announcement(num_done, step_s)}'
      self._unprinted.append(functools.partial(log.line, text))

  def _announcement(self, num_done: int, step_s: float | None) -> str:
    """Describes one of the first steps, since the first line of metrics may be far."""
    if step_s is None:
      return f'after {logger_lib.format_duration(time.perf_counter() - self._begin_s)}, with compilation'
    training = self._run.c.training
    left = logger_lib.format_duration((training.num_steps - num_done) * step_s)
    return f'took {step_s:.3g} s, {left} left; metrics follow every {training.log_every_steps} steps'

  def _stop(self, step: int, metrics: dict[str, float]) -> None:
    checkpoints, local = self._run.checkpoints, self._run.local
    checkpoints.pop_error(wait=True)
    shared = checkpoints.latest_step()
    steps = (() if shared is None else (shared,)) + (local.steps() if local else ())
    latest = max(steps, default=None)
    left = (
      'no checkpoint was written before' if latest is None else f'the checkpoint of step {latest} is kept'
    )
    message = (
      f'Training stopped in step {step}: the loss is {metrics["loss"]}, the norm of its gradient '
      f'{metrics["grad_norm"]}; {left}. Lower config.training.learning_rate or check the data.'
    )
    console.error(f'v2a: {message}')
    raise NonFiniteError(message)
