"""Host memory does not grow with the number of saves."""

import dataclasses
import gc
import pathlib

import jax
import jax.numpy as jnp
import pytest
import toy

from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training.checkpoints import checkpoint


def resident_mb():
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * 4096 / 1e6


class Large(toy.Task):
  """The toy task with an additional weight of 8 MB."""

  def build(self, key):
    model = super().build(key)
    model.large = toy.nnx.Param(jnp.zeros((2048, 1024)), axes=(None, None))
    return model


@pytest.mark.slow
def test_memory_does_not_grow_over_fifty_saves(tmp_path):
  c, task, mesh = toy.configuration(), Large(), mesh_lib.make({}, jax.devices()[:1])
  optimizer = optimizer_lib.make(c.training)
  state = state_lib.init(task, optimizer, state_lib.abstract(task, optimizer, mesh), jax.random.key(0))
  checkpoints = checkpoint.Checkpoints(tmp_path, keep_latest=1)
  used_mb = []
  for step in range(50):
    checkpoints.save(dataclasses.replace(state, step=jnp.asarray(step, jnp.int32)), c, {})
    checkpoints.wait()
    gc.collect()
    used_mb.append(resident_mb())
  checkpoints.close()
  # A state has 34 MB (weight, EMA, two moments). The first saves fill pools that later ones use again.
  assert max(used_mb[-10:]) - max(used_mb[5:15]) < 34, used_mb
