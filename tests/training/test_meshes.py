"""Every task's first step, with random weights: one device, meshes over all axes, and microbatches agree."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from v2a import weights
from v2a.config import files
from v2a.config import schema
from v2a.data import loader
from v2a.data import records
from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import tasks

CONFIGS = {
  'codec': {'task': 'codec'},
  'codec with every loss': {
    'task': 'codec',
    **{f'codec.{name}_weight': 1.0 for name in ('stft', 'mel', 'kl', 'adversarial', 'feature_matching')},
  },
  'stereo magnitude codec': {'task': 'codec', 'codec.architecture': 'stereo_magnitude'},
  'RVQ codec': {'task': 'codec', 'codec.bottleneck': 'rvq'},
  'sync': {'task': 'sync'},
  'flow': {'task': 'flow'},
  'tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.token_dropout_probability': 0.5},
  'masked tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.is_causal': False},
}
MESHES = ({'replica': 2, 'fsdp': 2, 'context': 2}, {'data': 2, 'fsdp': 2, 'tensor': 2})


def source(c):
  """Returns records, some of which have no audio, or padding, at various positions in a batch."""
  spec, items = schema.clip_spec(c), []
  for seed in range(c.training.batch_size):
    record = loader.fake(c, seed)
    if seed % 4 == 1:
      record |= {'has_audio': False, 'wave_NA': 0 * record['wave_NA']}
    if seed % 8 in (2, 3):
      # Half a second is longer than the codec's crops, a tenth is not.
      num_valid = spec.sample_rate_hz // (2 if seed % 2 else 10)
      wave_NA = record['wave_NA'] * (np.arange(spec.num_samples) < num_valid)[:, None]
      record |= {'num_valid_samples': num_valid, 'wave_NA': wave_NA.astype(np.int16)}
    items.append(record)
  return records.InMemorySource(items, spec)


def first_step(name, sizes, microbatches=1):
  """Returns the metrics of a step on a mesh, and Adam's first moments."""
  changes = CONFIGS[name] | {'training.microbatches': microbatches}
  c = files.override(
    schema.tiny(schema.base()), [f'--config.{key}={value}' for key, value in changes.items()]
  )
  task = tasks.make(c)
  optimizer = optimizer_lib.make(c.training, getattr(task, 'param_groups', None))
  mesh = mesh_lib.make(sizes, jax.devices()[: math.prod(sizes.values())])
  abstract = state_lib.abstract(task, optimizer, mesh)
  state = state_lib.init(task, optimizer, abstract, jax.random.key(0))
  rng = np.random.default_rng(0)
  # Output layers are initialised with zeros, which would hide differences before them.
  sample = lambda leaf: jax.device_put(0.1 * rng.standard_normal(leaf.shape, np.float32), leaf.sharding)
  params = jax.tree.map(sample, state.params)
  step = step_lib.make(c, task, state_lib.graph(task), optimizer, mesh, abstract)
  items = source(c)
  batch = loader.Batches(task, items, loader.order(c, items, 1), 1)[0]
  leaves, metrics = step(
    jax.tree.leaves(dataclasses.replace(state, params=params)),
    loader.to_devices(batch, mesh, [c.training.batch_size]),
  )
  moments = weights.flatten(jax.tree.unflatten(jax.tree.structure(state), leaves).opt_state)
  moments = {name: np.asarray(leaf) for name, leaf in moments.items() if '.mu.' in name}
  return {name: float(value) for name, value in metrics.items()}, moments


@functools.cache
def reference(name):
  return first_step(name, {})


def assert_same(step, wanted):
  assert step[0] == pytest.approx(wanted[0], rel=2e-3, abs=1e-5)
  assert step[1].keys() == wanted[1].keys() and len(wanted[1])
  largest = max(np.abs(leaf).max() for leaf in wanted[1].values())
  for name, leaf in wanted[1].items():
    np.testing.assert_allclose(step[1][name], leaf, rtol=5e-3, atol=1e-4 * largest, err_msg=name)


def test_microbatches_do_not_change_a_codec_with_every_loss():
  wanted = reference('codec with every loss')
  assert wanted[0]['grad_norm_discriminators'] > 0 and wanted[0]['with_sound'] == 0.75
  for microbatches in (2, 4):
    assert_same(first_step('codec with every loss', {}, microbatches), wanted)


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in CONFIGS if name != 'sync'])
@pytest.mark.parametrize(
  ('sizes', 'microbatches'), [({}, 4), ({'data': 2, 'fsdp': 2}, 2), ({'fsdp': 2, 'tensor': 2}, 4)]
)
def test_microbatches_do_not_change_a_step_on_any_mesh(name, sizes, microbatches):
  assert_same(first_step(name, sizes, microbatches), reference(name))


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_every_task_is_the_same_on_every_mesh(name):
  wanted = reference(name)
  assert wanted[0]['grad_norm'] > 0
  for sizes in MESHES:
    assert_same(first_step(name, sizes), wanted)
