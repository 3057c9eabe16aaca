"""Every task's first step, weights drawn, on one device and on meshes over all axes."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from v2a import config
from v2a import configfile
from v2a.sharding import mesh as mesh_lib
from v2a.training import input as input_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import tasks

CASES = {
    'codec': {'task': 'codec'},
    'codec with discriminators': {'task': 'codec', 'codec.adversarial_weight': 1.0},
    'codec of codes': {'task': 'codec', 'codec.bottleneck': 'rvq'}, 'sync': {'task': 'sync'},
    'flow': {'task': 'flow'},
    'tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.hide_past': 0.5},
    'masked tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.is_causal': False}}
MESHES = ({'replica': 2, 'fsdp': 2, 'context': 2}, {'data': 2, 'fsdp': 2, 'tensor': 2})


def first_step(case, sizes):
  """Returns loss, norm of the gradient and all other metrics of a step on a mesh."""
  changes = [f'--config.{key}={value}' for key, value in CASES[case].items()]
  c = configfile.override(config.tiny(config.base()), changes)
  task, optimizer = tasks.make(c), optimizer_lib.make(c.training)
  mesh = mesh_lib.make(sizes, jax.devices()[:math.prod(sizes.values())])
  abstract = state_lib.abstract(task, optimizer, mesh)
  state = state_lib.init(task, optimizer, abstract, jax.random.key(0))
  rng = np.random.default_rng(0)
  # Fresh models have heads of zeros, behind which nothing is seen.
  drawn = lambda leaf: jax.device_put(0.1 * rng.standard_normal(leaf.shape, np.float32), leaf.sharding)
  params = jax.tree.map(drawn, state.params)
  step = step_lib.make(c, task, state_lib.graph(task), optimizer, mesh, abstract)
  batch = input_lib.Batches(task, input_lib.source(c), c.training.batch_size, 1, c.seed)[0]
  _, metrics = step(jax.tree.leaves(dataclasses.replace(state, params=params)),
                    input_lib.to_devices(batch, mesh, c.training.batch_size))
  return {name: float(value) for name, value in metrics.items()}


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_every_task_is_the_same_on_every_mesh(case):
  wanted = first_step(case, {'data': 1})
  assert wanted['grad_norm'] > 0
  for sizes in MESHES:
    assert first_step(case, sizes) == pytest.approx(wanted, rel=2e-3, abs=1e-5), sizes
