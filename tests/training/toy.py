"""A task small enough for every test: predicts the mean color of a clip's frames from its waveform."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a.config import schema
from v2a.data import record_schema
from v2a.training import task as task_lib


class Model(nnx.Module):
  """Two stacked hidden layers between waveform features and one number; a frozen gain and a statistic."""

  def __init__(self, rngs: nnx.Rngs):
    def sample(*shape):
      return jax.random.normal(rngs.params(), shape) / np.sqrt(shape[-2])

    self.inner = nnx.Param(sample(16, 32), axes=('embed', 'mlp'))
    self.bias = nnx.Param(jnp.zeros(32), axes=('mlp',))
    self.layers = nnx.Param(sample(2, 32, 32), axes=('embed', 'mlp'))
    self.outer = nnx.Param(sample(32, 1), axes=('mlp', None))
    self.gain = nnx.Param(jnp.ones(1), axes=(None,))
    self.scale = nnx.Variable(jnp.full((), 2.0))

  def __call__(self, x_BF: jax.Array) -> jax.Array:
    h_BF = jnp.tanh(x_BF @ self.inner[...] + self.bias[...][None])
    for index in range(2):
      h_BF = jnp.tanh(h_BF @ self.layers[index])
    return (h_BF @ self.outer[...])[:, 0] * self.gain[...] * self.scale[...]


class Task(task_lib.Task[Model]):
  """The toy task, with independent noise for each clip; from step `nan_from` on the loss is NaN."""

  def __init__(self, noise: float = 0.1, nan_from: int | None = None):
    self.noise = noise
    self.nan_from = nan_from
    self.num_finalized = 0

  def build(self, key):
    return Model(nnx.Rngs(key))

  def is_trainable(self, path):
    return path[-1] != 'gain'

  def collate(self, items, rng):
    rows, targets = [], []
    for record in items:
      start = rng.integers(0, record['wave_NA'].shape[0] - 16)
      rows.append(record_schema.wave_to_float(record['wave_NA'][start : start + 16, 0]))
      targets.append(record['sync_frame_LYX3'].mean() / 255)
    return {'x_BF': np.stack(rows), 'y_B': np.asarray(targets, np.float32)}

  def sample_random_inputs(self, batch, key):
    return {'noise_BF': self.noise * jax.random.normal(key, batch['x_BF'].shape)}

  def loss(self, model, batch, step):
    error_B = model(batch['x_BF'] + batch['noise_BF']) - batch['y_B']
    loss = jnp.mean(error_B**2)
    if self.nan_from is not None:
      loss = jnp.where(step >= self.nan_from, jnp.nan, loss)
    return task_lib.LossOutput(loss, {'error': jnp.mean(jnp.abs(error_B))})

  def finalize(self, model, source):
    self.num_finalized += 1
    model.scale[...] = jnp.full((), float(len(source)))
    return model


class EmaTask(Task):
  """The toy task, whose untrained scale is a moving average, with weight 0.1, of the mean target."""

  def loss(self, model, batch, step):
    stats = {'target': jnp.mean(batch['y_B'])}
    return dataclasses.replace(super().loss(model, batch, step), stats=stats)

  def update_ema(self, model, stats, key):
    del key
    model.scale[...] = 0.9 * model.scale[...] + 0.1 * stats['target']
    return {'scale': model.scale[...]}


def configuration(**training):
  """Returns the tiny configuration with a constant rate, and values of the section `training`."""
  c = schema.tiny(schema.base()).unlock()
  c.training.update(schedule='constant', checkpoint_every_steps=1000, learning_rate=1e-2)
  c.training.update(training)
  return c.lock()
