"""Trains the diffusion transformer and its conditioner (see tasks.conditions) by flow matching on latents."""

from flax import nnx
import jax
import ml_collections
import numpy as np

from v2a import assembly
from v2a.diffusion import loss
from v2a.training.tasks import conditions
from v2a.training.tasks import latents


class FlowTask:
  """See the module."""

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.conditions = c, conditions.Conditions(c)

  def build(self, key: jax.Array) -> nnx.Module:
    """Returns a fresh flow model."""
    return assembly.flow(self.c, nnx.Rngs(key))

  def initialise(self, model: nnx.Module, source) -> nnx.Module:
    """Gives the sync encoder its start."""
    del source
    return self.conditions.initialise(model)

  def prepare(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns what conditions are made of, and a draw of each clip's latents."""
    return self.conditions.prepare(items, rng) | {'latent_BTC': latents.draw(items, rng)}

  def loss(self, model: nnx.Module, batch: dict, key: jax.Array, step: jax.Array):
    """Returns the loss of the module, and it in bands of time."""
    del step
    drop_key, flow_key = jax.random.split(key)
    condition = self.conditions.encode(model, batch, drop_key)
    predict = lambda z_BTC, t_B: model.velocity(z_BTC, t_B, condition)
    return loss.flow_matching(predict, batch['latent_BTC'], flow_key,
                              time_mean=self.c.flow.time_mean, time_std=self.c.flow.time_std)
