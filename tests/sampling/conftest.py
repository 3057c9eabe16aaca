"""A tiny model with random weights, built once for all tests."""

import os

from flax import nnx
import jax
import numpy as np
import pytest

from v2a import weights
from v2a.config import schema
from v2a.sampling import bundle


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
  """The folder of a bundle; its weights are random, also those that training moves away from zero."""
  base = tmp_path_factory.getbasetemp()
  shared = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'bundle' / 'tiny'
  if shared.exists():  # built by another process of this run
    return shared
  path, rng = tmp_path_factory.mktemp('building') / 'tiny', np.random.default_rng(0)
  for part, make in bundle.PART_BUILDERS.items():
    c = schema.tiny(schema.base()).unlock()
    c.task = {'codec_rvq': 'codec', 'masked': 'tokens'}.get(part, part)
    c.codec.bottleneck = 'rvq' if part in ('codec_rvq', 'tokens', 'masked') else 'kl'
    c.tokens.is_causal = part != 'masked'
    # Shapes alone are traced; numbers from NumPy spare the tests from compiling initial values.
    wanted = weights.flatten(nnx.state(nnx.eval_shape(lambda make=make, c=c: make(c, nnx.Rngs(0)))))
    arrays = {name: _random(rng, f'.{name}', array) for name, array in wanted.items()}
    weights.export(arrays, path / part, c.lock(), 'float32')
  shared.parent.mkdir(exist_ok=True)
  try:
    return path.rename(shared)
  except OSError:  # Another process was faster.
    return path


def _random(rng, name, array):
  """Returns weights of the size of initial ones, with noise where those are zero or one."""
  *_, module, kind = name.split('.')
  around = {'scale_D': 1.0, 'latent_std_C': 1.0, 'share_KV': 1.0, 'log_scale': 2.3}.get(kind, 0.0)
  spread = {'kernel_IO': 0.2, 'kernel_SD': 0.3, 'table_KVD': 0.7, 'codebook_KVC': 0.5, 'byte_VD': 0.5}
  # Modulations and the layers that tell velocities or tokens start from zero, a codec's head from little.
  is_small = module in ('linear', 'final', 'heads', 'head')
  values = around + (0.05 if is_small else spread.get(kind, 0.05)) * rng.standard_normal(array.shape)
  return values.astype(array.dtype)


@pytest.fixture(scope='session')
def model(folder):
  """The bundle on one device. Tests share what it has compiled."""
  return bundle.load(folder, jax.devices()[:1])
