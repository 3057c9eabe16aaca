"""A complete model of the smallest size with random weights, for tests that sample."""

import pathlib

from flax import nnx
import numpy as np
import pytest

from v2a import builders
from v2a import weights
from v2a.config import schema


@pytest.fixture(scope='session')
def tiny_bundle(tmp_path_factory) -> pathlib.Path:
  """Returns the folder of an untrained model with a window of two seconds."""
  folder = tmp_path_factory.mktemp('models') / 'untrained'
  rng = np.random.default_rng(0)
  for part, make in (('codec', builders.codec), ('flow', builders.flow)):
    c = schema.tiny(schema.base()).unlock()
    c.task, c.clip.clip_s = part, 2.0
    # Only shapes are traced; random weights are from NumPy, to avoid the compilation of initializers.
    shapes = weights.flatten(nnx.state(nnx.eval_shape(lambda make=make, c=c: make(c, nnx.Rngs(0)))))
    arrays = {
      name: (0.05 * rng.normal(size=array.shape)).astype(array.dtype) for name, array in shapes.items()
    }
    about = (
      {'step': 3, 'batch_size': 8} if part == 'flow' else {'step': 5, 'batch_size': 2, 'flops_per_clip': 7}
    )
    weights.export(arrays, folder / part, c.lock(), about=about)
  return folder
