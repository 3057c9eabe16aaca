"""What tests of whole training runs share."""

import math

import jax
import numpy as np
import toy

from v2a import weights
from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training.checkpoints import checkpoint

ONE = {'devices': jax.devices()[:1]}


def state_of(workdir, step, **sizes):
  """Returns the flat state of a checkpoint, restored to a mesh."""
  task, c = toy.Task(), toy.configuration()
  mesh = mesh_lib.make(sizes, jax.devices()[: math.prod(sizes.values())])
  abstract = state_lib.abstract(task, optimizer_lib.make(c.training), mesh)
  checkpoints = checkpoint.Checkpoints(workdir)
  state = checkpoints.restore(step, abstract)
  checkpoints.close()
  assert state_lib.shardings(state) == state_lib.shardings(abstract)
  return {name: np.asarray(value) for name, value in weights.flatten(state).items()}
