"""Trains the sync model: sound and picture of one instant against all other instants of the batch.

  L = (CE(v A^T s) + CE(a V^T s)) / 2                                            (1)

over segments: row i of v and a are the picture and the sound of segment i, A and V hold all segments
of all clips, s is a learned scale. Negatives are other clips and other instants of the same clip, so
that both what and when must be told apart (Radford et al. 2021, arXiv 2103.00020, fig. 3; Iashin et
al. 2024, arXiv 2401.16423, sec. 3.1 for segments).
"""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import assembly
from v2a import config
from v2a.training.tasks import latents


class SyncTask:
  """See the module."""

  is_by_clip = False

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.spec = c, config.clip_spec(c)

  def build(self, key: jax.Array) -> nnx.Module:
    """Returns a fresh sync model."""
    return assembly.sync(self.c, nnx.Rngs(key))

  def prepare(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns frames at the sync rate and a draw of each clip's latents."""
    return {
        'sync_frame_BLYX3': np.stack([record['sync_frame_LYX3'] for record in items]),
        'latent_BTC': latents.draw(items, rng),
        'is_whole_B': np.array([record['has_video'] and record['has_audio'] for record in items]),
    }

  def loss(self, model: nnx.Module, batch: dict, step: jax.Array):
    """Returns eq. 1 and the share of segments whose own sound is the nearest."""
    del step
    video_BSD = model.embed_video(batch['sync_frame_BLYX3'])
    audio_BSD = model.embed_audio(batch['latent_BTC'])
    num_segments = video_BSD.shape[1]
    is_whole_S = jnp.repeat(batch['is_whole_B'], num_segments)
    video_SD, audio_SD = (x.reshape(-1, x.shape[-1]) for x in (video_BSD, audio_BSD))
    scale = jnp.exp(jnp.minimum(model.log_scale[...], 4.0))
    logits_QS = scale * jnp.einsum('QD,SD->QS', video_SD, audio_SD)
    logits_QS = jnp.where(is_whole_S[None, :] & is_whole_S[:, None], logits_QS, -1e9)
    target_S = jnp.arange(logits_QS.shape[0])
    forward_S = -jnp.diagonal(jax.nn.log_softmax(logits_QS, axis=1))
    backward_S = -jnp.diagonal(jax.nn.log_softmax(logits_QS, axis=0))
    total = jnp.maximum(jnp.sum(is_whole_S), 1)
    value = jnp.sum(jnp.where(is_whole_S, forward_S + backward_S, 0.0)) / (2 * total)
    hits = jnp.sum(is_whole_S & (jnp.argmax(logits_QS, axis=1) == target_S)) / total
    within = self._within(video_BSD, audio_BSD)
    return value, {'top1': hits, 'instant': within, 'scale': scale}

  def _within(self, video_BSD, audio_BSD):
    """The share of segments whose own sound is the nearest within the clip."""
    cosine_BQS = jnp.einsum('BQD,BSD->BQS', video_BSD, audio_BSD)
    return jnp.mean(jnp.argmax(cosine_BQS, axis=-1) == jnp.arange(cosine_BQS.shape[1])[None])
