"""Every trained parameter of every task has a gradient: one without is only stored and decayed."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import weights
from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.training import task as task_lib
from v2a.training import tasks

CONFIGS = {
  'codec': {'task': 'codec'},
  'RVQ codec': {'task': 'codec', 'codec.bottleneck': 'rvq'},
  'stereo magnitude codec': {
    'task': 'codec',
    'codec.architecture': 'stereo_magnitude',
    'codec.mel_weight': 1.0,
  },
  'phase codec': {'task': 'codec', 'codec.architecture': 'phase', 'codec.mel_weight': 1.0},
  'waveform codec': {'task': 'codec', 'codec.architecture': 'waveform', 'codec.mel_weight': 1.0},
  'sync': {'task': 'sync'},
  'flow': {'task': 'flow'},
  'tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.token_dropout_probability': 0.5},
  'masked tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.is_causal': False},
}
LAYERS = 'blocks'  # parameters of a stack have a leading axis of layers


def gradients(task_name, num_layers):
  """Returns the loss's gradient by dotted name; with random weights, since some are zero-initialised."""
  changes = [f'--config.{key}={value}' for key, value in CONFIGS[task_name].items()]
  c = files.override(schema.tiny(schema.base()), changes).unlock()
  # Each condition is dropped for some clips, which trains its null.
  c.conditioning.update(drop_video=0.5, drop_text=0.5, drop_transcript=0.5)
  for section in (c.flow, c.tokens):
    section.update(num_joint_layers=num_layers, num_audio_layers=num_layers)
  task, rng = tasks.make(c.lock()), np.random.default_rng(0)
  graphdef, params, rest = nnx.split(nnx.eval_shape(lambda: task.build(jax.random.key(0))), nnx.Param, ...)
  noise = lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype)
  params, rest = jax.tree.map(noise, params), jax.tree.map(noise, rest)
  sizes = c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size
  items = [
    fake_records.make(schema.clip_spec(c), seed, *sizes) | {'transcript': 'a word'} for seed in range(8)
  ]
  batch = task.collate(items, rng)

  @jax.jit
  def gradient(params, rest, batch):
    def loss(params):
      model = nnx.merge(graphdef, params, rest)
      return task_lib.sampled_loss(task, model, batch, jax.random.key(1), jnp.zeros((), int)).loss

    return jax.grad(loss)(params)

  return weights.flatten(gradient(params, rest, batch))


def untrained(task_name, num_layers):
  """Returns the names of parameters, or layers of them, whose gradient is exactly zero."""
  found = []
  for name, gradient in gradients(task_name, num_layers).items():
    is_stack = any(part.endswith(LAYERS) for part in name.split('.'))
    layers = enumerate(np.asarray(gradient)) if is_stack else [('', np.asarray(gradient))]
    found += [f'{name}[{index}]' if is_stack else name for index, own in layers if not own.any()]
  return found


@pytest.mark.parametrize('task_name', CONFIGS)
def test_every_parameter_has_a_gradient(task_name):
  assert untrained(task_name, 2) == []
