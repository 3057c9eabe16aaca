"""Resumption: the state that training starts from or resumes from.

Order of sources: the newest checkpoint of the training folder (of the same step, the shared one before the
local one), the model that config.init_from.model names, weights that the task initialises from elsewhere,
random parameters.
"""

import jax
import ml_collections

from v2a import keys
from v2a import weights
from v2a.training import history
from v2a.training import run as run_lib
from v2a.training import state as state_lib

_OF_RECORDS = 'records_hash', 'num_records'
# What must not change when a training is resumed; other keys may (num_steps, logging, mesh).
_FIXED = ('task', 'seed', 'clip', 'codec', 'conditioning', 'sync', 'flow', 'tokens')


def start(run: run_lib.Run) -> state_lib.State:
  """Returns the state to train from: restored from a checkpoint, or fresh.

  Raises:
    ValueError: the folder holds another run, or one that was trained for more steps.
    FileNotFoundError: there is no model that config.init_from.model names.
  """
  step, source, path = run.checkpoints.latest_step(), run.checkpoints, run.workdir
  if run.local:
    local_step = run.local.latest_step(run.abstract)
    if local_step is not None and (step is None or local_step > step):
      step, source, path = local_step, run.local, run.local.path
  if step is not None:
    _check_same_run(run, step, *source.read(step))
  if run.local:
    run.local.delete_after(last_step=-1 if step is None else step)
  if step is None:
    return _fresh(run)
  run.log.line(f'Resuming from step {step} in {path}.')
  return source.restore(step, run.abstract)


def _fresh(run: run_lib.Run) -> state_lib.State:
  key = keys.derive(jax.random.key(run.c.seed), 'parameters')
  state = state_lib.init(run.task, run.optimizer, run.abstract, key)
  model = state_lib.model(run.graphdef, state, use_ema=False)
  if source := run.c.init_from.model:
    weights.assign(model, weights.load_export(source).arrays, source=source)
    run.log.line(f'Starting from the weights in {source}.')
  else:
    model = run.task.initialise(model, run.items)
  return state_lib.replace(run.task, state, model)


def _accept_records(run: run_lib.Run, step: int, position: dict) -> dict:
  """Returns the saved position with the present records; a change of them is logged and recorded."""
  present = {key: run.position[key] for key in _OF_RECORDS}
  replaced = {key: position.get(key) for key in _OF_RECORDS}
  if replaced != present:
    run.log.line(
      f'From step {step} on {present["num_records"]} records are read instead of {replaced["num_records"]}, '
      'in an order of their own (config.data.accept_other_records).'
    )
    if jax.process_index() == 0:
      history.append_records(run.workdir, step, replaced, present)
  return position | present


def _check_same_run(
  run: run_lib.Run, step: int, saved_config: ml_collections.ConfigDict, position: dict
) -> None:
  saved, current = saved_config.to_dict(), run.c.to_dict()
  changed = [key for key in _FIXED if saved[key] != current[key]]
  if run.c.data.accept_other_records and not changed:
    position = _accept_records(run, step, position)
  # Checkpoints of older versions have no digest of the codec.
  changed += [key for key in run.position if position.get(key, run.position[key]) != run.position[key]]
  if changed:
    raise ValueError(
      f'{run.workdir} holds a run of step {step} with another {", ".join(changed)}; use '
      f'another --workdir, or start from its weights by config.init_from.model{_hint(changed)}.'
    )
  if step > run.c.training.num_steps:
    raise ValueError(
      f'{run.workdir} has been trained for {step} steps, beyond config.training.num_steps='
      f'{run.c.training.num_steps}.'
    )


def _hint(changed: list[str]) -> str:
  """Returns how to continue where the records alone are others."""
  if set(changed) <= set(_OF_RECORDS):
    return ', or continue with these records by config.data.accept_other_records=true'
  return ''
