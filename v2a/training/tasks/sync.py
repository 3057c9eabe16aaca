"""Trains the sync model: a contrastive loss between the video and the audio of segments.

  L = (CE(v A^T s) + CE(a V^T s)) / 2                                            (1)

over segments: row i of v and a are the video and audio embeddings of segment i, A and V hold all segments of
all clips, s is a learned scale. Negatives are other clips and other segments of the same clip, so that the
embeddings discriminate both content and time (Radford et al. 2021, arXiv 2103.00020, fig. 3; Iashin et al.
2024, arXiv 2401.16423, sec. 3.1 for segments).
"""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import builders
from v2a.config import schema
from v2a.training import task as task_lib
from v2a.training.tasks import audio_masks
from v2a.training.tasks import latents


class SyncTask(task_lib.Task[builders.SyncModel]):
  """Trains the sync model; see the module."""

  has_per_clip_loss = False
  codec_bottleneck = 'kl'
  record_fields = (
    *('id', 'sync_frame_LYX3', 'has_video', 'has_audio', 'num_valid_samples'),
    *latents.RECORD_FIELDS,
  )

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.spec = c, schema.clip_spec(c)
    self.sequence_lengths = {
      'audio steps of a clip': self.spec.num_latents,
      'frames of a clip': self.spec.num_sync_frames,
      'patches of a frame': (c.clip.frame_size // c.conditioning.sync.patch) ** 2,
    }

  def build(self, key: jax.Array) -> builders.SyncModel:
    """Returns a sync model with random parameters."""
    return builders.sync(self.c, nnx.Rngs(key))

  def collate(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns frames at the sync rate, a sample of each clip's latents, and which steps count."""
    latent_BTC = latents.sample(items, rng)
    has_video_B = np.array([record['has_video'] for record in items])
    is_audio_BT = audio_masks.valid_steps(items, self.spec.latent_hop_samples, latent_BTC.shape[1])
    return {
      'sync_frame_BLYX3': np.stack([record['sync_frame_LYX3'] for record in items]),
      'latent_BTC': latent_BTC,
      'is_valid_BT': has_video_B[:, None] & is_audio_BT,
    }

  def sample_random_inputs(self, batch: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Returns weight_BS of segments: 0 without audio or video, with a mean of 1 over the batch."""
    del key
    edges = builders.segment_edges(self.spec, self.c.sync.segment_s, builders.latent_rate(self.spec))
    parts = [batch['is_valid_BT'][:, first:last] for first, last in zip(edges, edges[1:])]
    counts_BS = jnp.stack([jnp.all(part_BT, axis=1) for part_BT in parts], axis=1).astype(jnp.float32)
    return {'weight_BS': counts_BS / jnp.maximum(jnp.mean(counts_BS), 1 / counts_BS.size)}

  def loss(self, model: builders.SyncModel, batch: dict, step: jax.Array) -> task_lib.LossOutput:
    """Returns eq. 1, with top-1 accuracies over the batch and within clips as metrics."""
    del step
    video_BSD = model.embed_video(batch['sync_frame_BLYX3'])
    audio_BSD = model.embed_audio(batch['latent_BTC'])
    weight_S = batch['weight_BS'].reshape(-1)
    counts_S = weight_S > 0
    video_SD, audio_SD = (x.reshape(-1, x.shape[-1]) for x in (video_BSD, audio_BSD))
    scale = jnp.exp(jnp.minimum(model.log_scale[...], 4.0))
    logits_QS = scale * jnp.einsum('QD,SD->QS', video_SD, audio_SD)
    logits_QS = jnp.where(counts_S[None, :] & counts_S[:, None], logits_QS, -1e9)
    target_S = jnp.arange(logits_QS.shape[0])
    forward_S = -jnp.diagonal(jax.nn.log_softmax(logits_QS, axis=1))
    backward_S = -jnp.diagonal(jax.nn.log_softmax(logits_QS, axis=0))
    # The weights are of the whole batch, so that microbatches with fewer counted segments weigh less.
    value = jnp.mean(weight_S * jnp.where(counts_S, forward_S + backward_S, 0.0)) / 2
    accuracy = jnp.mean(weight_S * (jnp.argmax(logits_QS, axis=1) == target_S))
    accuracy_in_clip = self._accuracy_in_clip(video_BSD, audio_BSD, batch['weight_BS'])
    metrics = {'top1': accuracy, 'instant': accuracy_in_clip, 'scale': scale}
    return task_lib.LossOutput(value, metrics | audio_masks.metrics(batch))

  def _accuracy_in_clip(self, video_BSD, audio_BSD, weight_BS):
    """Returns the share of segments whose own audio is the nearest among the segments of their clip."""
    cosine_BQS = jnp.einsum('BQD,BSD->BQS', video_BSD, audio_BSD)
    cosine_BQS = jnp.where(weight_BS[:, None] > 0, cosine_BQS, -2.0)
    return jnp.mean(weight_BS * (jnp.argmax(cosine_BQS, axis=-1) == jnp.arange(cosine_BQS.shape[1])[None]))
