"""Trains the diffusion transformer with its conditioner, by flow matching on latents.

Each condition is dropped on its own (config.conditioning.drop_*), which trains the nulls that
guidance needs. The sync encoder starts from the contrastive sync model where one is given.

  L = L_flow + w |f(worn) - f(unworn)|^2 / Var f(unworn)                         (1)

over the clips whose picture is worn (tasks.wear): their sync features f are pulled to those that the picture
had before, w = config.flow.wear_weight. No gradient flows into f(unworn).
"""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import assembly
from v2a import config
from v2a import weights
from v2a.conditioning import text
from v2a.diffusion import loss
from v2a.training.tasks import latents
from v2a.training.tasks import wear


class FlowTask:
  """See the module."""

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.spec = c, config.clip_spec(c)

  def build(self, key: jax.Array) -> nnx.Module:
    """Returns a fresh flow model."""
    return assembly.flow(self.c, nnx.Rngs(key))

  def initialise(self, model: nnx.Module, source) -> nnx.Module:
    """Gives the sync encoder the weights of config.init_from.sync."""
    del source
    if self.c.init_from.sync:
      export = weights.load_export(self.c.init_from.sync)
      weights.assign(model.conditioner.sync, export.arrays, 'video', self.c.init_from.sync)
    return model

  def prepare(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns frames, bytes of both texts and a draw of each clip's latents."""
    text_BU, text_length_B = text.to_bytes([r['text'] for r in items], self.spec.num_text_bytes)
    transcript_BW, transcript_length_B = text.to_bytes(
        [r['transcript'] for r in items], self.spec.num_transcript_bytes)
    semantic_frames, sync_frames, is_worn = zip(*(self._frames(record, rng) for record in items))
    pairs = {}
    if self.c.flow.wear_weight:
      pairs = {'unworn_frame_BLYX3': np.stack([record['sync_frame_LYX3'] for record in items]),
               'is_worn_B': np.array(is_worn)}
    return pairs | {
        'semantic_frame_BMYX3': np.stack(semantic_frames),
        'sync_frame_BLYX3': np.stack(sync_frames),
        'has_video_B': np.array([record['has_video'] for record in items]),
        'text_BU': text_BU, 'text_length_B': text_length_B,
        'transcript_BW': transcript_BW, 'transcript_length_B': transcript_length_B,
        'latent_BTC': latents.draw(items, rng),
    }

  def _frames(self, record: dict, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bool]:
    """Returns semantic and sync frames, and whether they are worn."""
    semantic_frame_MYX3, sync_frame_LYX3 = record['semantic_frame_MYX3'], record['sync_frame_LYX3']
    if not self.c.data.wear or rng.random() >= self.c.data.wear:
      return semantic_frame_MYX3, sync_frame_LYX3, False
    worn = wear.draw(rng)
    return (wear.apply(worn, semantic_frame_MYX3, self.spec.semantic_fps, rng),
            wear.apply(worn, sync_frame_LYX3, self.spec.sync_fps, rng), True)

  def loss(self, model: nnx.Module, batch: dict, key: jax.Array, step: jax.Array):
    """Returns the loss of the module, the flow-matching loss in bands of time, and what wear does."""
    del step
    inputs = {name: value for name, value in batch.items()
              if name not in ('latent_BTC', 'unworn_frame_BLYX3', 'is_worn_B')}
    drop_key, flow_key = jax.random.split(key)
    c, size = self.c.conditioning, inputs['has_video_B'].shape
    keys = jax.random.split(drop_key, 3)
    keep = [jax.random.bernoulli(keys[i], 1 - drop, size)
            for i, drop in enumerate((c.drop_video, c.drop_text, c.drop_transcript))]
    whole = model.conditioner(**inputs)
    condition = model.conditioner.drop(whole, *keep)
    predict = lambda z_BTC, t_B: model.velocity(z_BTC, t_B, condition)
    total, parts = loss.flow_matching(predict, batch['latent_BTC'], flow_key,
                                      time_mean=self.c.flow.time_mean, time_std=self.c.flow.time_std)
    if self.c.flow.wear_weight:
      parts['wear'] = wear_distance(model, whole.sync_BLD, batch)
      total += self.c.flow.wear_weight * parts['wear']
    return total, parts


def wear_distance(model: nnx.Module, sync_BLD: jax.Array, batch: dict) -> jax.Array:
  """Returns the second term of eq. 1 without its weight; 0 where no clip is worn."""
  unworn_BLD = jax.lax.stop_gradient(model.conditioner.sync(batch['unworn_frame_BLYX3'])).astype(jnp.float32)
  counts_B11 = (batch['is_worn_B'] & batch['has_video_B'])[:, None, None]
  error_BLD = jnp.where(counts_B11, jnp.square(sync_BLD - unworn_BLD), 0.0)
  share = jnp.maximum(jnp.mean(counts_B11), 1 / len(counts_B11))
  return jnp.mean(error_BLD) / (share * jnp.mean(jnp.var(unworn_BLD, axis=(0, 1))) + 1e-6)
