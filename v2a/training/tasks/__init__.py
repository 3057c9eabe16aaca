"""Training tasks, each built from a configuration; see `training.task` for their interface."""

import ml_collections

from v2a.training import task as task_lib
from v2a.training.tasks import codec
from v2a.training.tasks import flow
from v2a.training.tasks import sync
from v2a.training.tasks import tokens

TASKS = {'codec': codec.CodecTask, 'sync': sync.SyncTask, 'flow': flow.FlowTask, 'tokens': tokens.TokensTask}


def make(c: ml_collections.ConfigDict) -> task_lib.Task:
  """Returns the task that `config.task` names."""
  return TASKS[c.task](c)
