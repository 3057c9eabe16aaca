"""What can be trained; each task is built from a configuration. See `training.loop` for the protocol."""

from flax import nnx
import jax
import ml_collections

from v2a.training.tasks import codec
from v2a.training.tasks import flow
from v2a.training.tasks import sync
from v2a.training.tasks import tokens

TASKS = {'codec': codec.CodecTask, 'sync': sync.SyncTask, 'flow': flow.FlowTask, 'tokens': tokens.TokensTask}


def make(c: ml_collections.ConfigDict):
  """Returns the task that `config.task` names."""
  return TASKS[c.task](c)


def loss(task, model: nnx.Module, batch: dict, key: jax.Array, step: jax.Array):
  """Returns the task's loss and metrics on a batch, drawing what is random from `key`."""
  drawn = task.sample_random_inputs(batch, key) if hasattr(task, 'sample_random_inputs') else {}
  return task.loss(model, batch | drawn, step)
