"""What can be trained; each task is built from a configuration. See `training.loop` for the protocol."""

import ml_collections

from v2a.training.tasks import codec
from v2a.training.tasks import flow
from v2a.training.tasks import sync
from v2a.training.tasks import tokens

TASKS = {'codec': codec.CodecTask, 'sync': sync.SyncTask, 'flow': flow.FlowTask, 'tokens': tokens.TokensTask}


def make(c: ml_collections.ConfigDict):
  """Returns the task that `config.task` names."""
  return TASKS[c.task](c)
