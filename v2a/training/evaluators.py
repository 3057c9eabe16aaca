"""Evaluation within training, by the callables that `loop.train` is given."""

from v2a.training import logger as logger_lib
from v2a.training import run as run_lib
from v2a.training import state as state_lib


def evaluate(run: run_lib.Run, state: state_lib.State, step: int) -> None:
  """Calls all evaluators with the model of a state, and logs what they return."""
  if not run.evaluators:
    return
  model = run.model(state)
  values = {}
  for evaluator in run.evaluators:
    values |= evaluator(model, step)
  media = {
    name: value
    for name, value in values.items()
    if isinstance(value, (logger_lib.AudioSummary, logger_lib.ImageSummary))
  }
  scalars = {name: value for name, value in values.items() if name not in media}
  run.log.scalars(step, {f'evaluation/{name}': value for name, value in scalars.items()})
  run.log.write_media(step, {f'evaluation/{name}': value for name, value in media.items()})
  run.log.line(f'step {step} evaluation: {logger_lib.format_metrics(scalars)}')
  run.watchdog.reset()
