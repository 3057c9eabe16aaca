"""Trains the diffusion transformer and its conditioner (`tasks.conditioning`) by flow matching on latents."""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import builders
from v2a import keys
from v2a.data import records
from v2a.diffusion import loss
from v2a.diffusion import process
from v2a.training import task as task_lib
from v2a.training.tasks import audio_masks
from v2a.training.tasks import conditioning
from v2a.training.tasks import latents


class FlowTask(task_lib.Task[builders.FlowModel]):
  """Trains the flow model; see the module."""

  codec_bottleneck = 'kl'
  record_fields = (*conditioning.RECORD_FIELDS, *latents.RECORD_FIELDS)

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.conditioning = c, conditioning.Conditioning(c)
    self.sequence_lengths = {'audio steps of a clip': self.conditioning.spec.num_latents}

  def build(self, key: jax.Array) -> builders.FlowModel:
    """Returns a flow model with random parameters."""
    return builders.flow(self.c, nnx.Rngs(key))

  def initialise(self, model: builders.FlowModel, source: records.RecordSource) -> builders.FlowModel:
    """Loads the sync encoder."""
    del source
    return self.conditioning.initialise(model)

  def collate(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns the inputs of conditions, a sample of each clip's latents, and which steps count."""
    inputs, latent_BTC = self.conditioning.collate(items, rng), latents.sample(items, rng)
    is_valid_BT = self.conditioning.valid_steps(items, latent_BTC.shape[1])
    return inputs | {'latent_BTC': latent_BTC, 'is_valid_BT': is_valid_BT}

  def sample_random_inputs(self, batch: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Returns masks of conditions, timesteps, noise, and the weights of clips."""
    latent_BTC, c, time_key = batch['latent_BTC'], self.c.flow, keys.derive(key, 'times')
    keep_masks = self.conditioning.sample_random_inputs(batch, keys.derive(key, 'conditions'))
    return (
      keep_masks
      | audio_masks.clip_weights(batch)
      | {
        't_B': process.sample_times(time_key, latent_BTC.shape[0], c.logit_normal_mean, c.logit_normal_std),
        'noise_BTC': jax.random.normal(keys.derive(key, 'noise'), latent_BTC.shape, jnp.float32),
      }
    )

  def loss(self, model: builders.FlowModel, batch: dict, step: jax.Array) -> task_lib.LossOutput:
    """Returns the flow matching loss, with its means in bands of timesteps as metrics."""
    del step
    condition = self.conditioning.encode(model, batch)
    predict = lambda z_BTC, t_B: model.velocity(z_BTC, t_B, condition)
    value, metrics = loss.flow_matching(
      predict,
      batch['latent_BTC'],
      batch['noise_BTC'],
      batch['t_B'],
      mask_BT=batch['is_valid_BT'],
      weight_B=batch['weight_B'],
    )
    return task_lib.LossOutput(value, metrics | audio_masks.metrics(batch))
