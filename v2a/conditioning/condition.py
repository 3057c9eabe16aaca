"""Condition: the encoded video, text and transcript of a batch, any of which may be absent.

The modalities are optional and independent: each has a learned null embedding, and `drop` puts it in place of
what is absent or dropped in training (for classifier-free guidance).
"""

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp

from v2a import clip
from v2a import shapes
from v2a.conditioning import text
from v2a.conditioning import video

# What a model can be trained without: sync features, their times (each step gets the mean over the clip), and
# semantic features.
ABLATIONS = ('sync', 'sync_times', 'semantic')
# Entries of a batch that a Conditioner reads.
INPUTS = (
  'semantic_frame_BMYX3',
  'sync_frame_BLYX3',
  'has_video_B',
  'text_byte_BU',
  'text_length_B',
  'transcript_byte_BW',
  'transcript_length_B',
)


@struct.dataclass
class Condition:
  """Encoded conditions of a batch.

  Attributes:
    semantic_BMD: frame features at the semantic rate.
    sync_BLD: motion features at the sync rate.
    text_BUD, text_mask_BU: prompt tokens, and which hold text.
    transcript_BWD, transcript_mask_BW: dialogue tokens, and which hold text.
  """

  semantic_BMD: jax.Array
  sync_BLD: jax.Array
  text_BUD: jax.Array
  text_mask_BU: jax.Array
  transcript_BWD: jax.Array
  transcript_mask_BW: jax.Array


def concatenate(conditions: list[Condition]) -> Condition:
  """Returns the conditions concatenated along the batch."""
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *conditions)


class Conditioner(nnx.Module):
  """The encoders of all modalities, and their null embeddings."""

  def __init__(
    self,
    spec: clip.ClipSpec,
    *,
    width: int,
    semantic: dict,
    sync: dict,
    text_encoder: dict,
    transcript_encoder: dict,
    ablate: tuple[str, ...] = (),
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the encoders.

    Args:
      spec: rates and lengths of a clip.
      width: of all features.
      semantic, sync, text_encoder, transcript_encoder: further arguments of each encoder.
      ablate: some of ABLATIONS, which the model is trained without.
      rngs: for initial weights.
      dtype: of products.

    Raises:
      ValueError: an unknown ablation.
    """
    if unknown := sorted(set(ablate) - set(ABLATIONS)):
      raise ValueError(f'conditioning.ablate must be some of {ABLATIONS}; got {unknown}.')
    self.ablate = tuple(ablate)
    size = spec.frame_size
    self.semantic = video.SemanticEncoder(
      frame_size=size, out_features=width, rngs=rngs, dtype=dtype, **semantic
    )
    self.sync = video.SyncEncoder(frame_size=size, width=width, rngs=rngs, dtype=dtype, **sync)
    self.text = text.TextEncoder(
      num_bytes=spec.num_text_bytes, width=width, rngs=rngs, dtype=dtype, **text_encoder
    )
    self.transcript = text.TextEncoder(
      num_bytes=spec.num_transcript_bytes, width=width, rngs=rngs, dtype=dtype, **transcript_encoder
    )
    null = lambda: nnx.Param(0.3 * jax.random.normal(rngs.params(), (width,)), axes=('embed',))
    self.semantic_null_D, self.sync_null_D = null(), null()
    self.text_null_D, self.transcript_null_D = null(), null()

  def encode_text(self, byte_BU: jax.Array, length_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns prompt tokens BUD and their mask BU; the null embedding for an empty prompt.

    Args:
      byte_BU: bytes of the prompts.
      length_B: number of bytes of each.
    """
    return _or_null(*self.text(byte_BU, length_B), length_B > 0, self.text_null_D[...])

  def encode_video(
    self, semantic_frame_BMYX3: jax.Array, sync_frame_BLYX3: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns semantic tokens BMD and sync features BLD."""
    semantic_BMD, sync_BLD = self.semantic(semantic_frame_BMYX3), self.sync(sync_frame_BLYX3)
    if 'semantic' in self.ablate:
      semantic_BMD = jnp.zeros_like(semantic_BMD)
    if 'sync' in self.ablate:
      sync_BLD = jnp.zeros_like(sync_BLD)
    if 'sync_times' in self.ablate:
      sync_BLD = jnp.broadcast_to(jnp.mean(sync_BLD, axis=1, keepdims=True), sync_BLD.shape)
    return semantic_BMD, sync_BLD

  def __call__(
    self,
    *,
    semantic_frame_BMYX3: jax.Array,
    sync_frame_BLYX3: jax.Array,
    has_video_B: jax.Array,
    text_byte_BU: jax.Array,
    text_length_B: jax.Array,
    transcript_byte_BW: jax.Array,
    transcript_length_B: jax.Array,
  ) -> Condition:
    """Returns the encoded condition of a batch.

    Args:
      semantic_frame_BMYX3, sync_frame_BLYX3: uint8 frames at both rates.
      has_video_B: False gives the null embeddings of the video.
      text_byte_BU, text_length_B: see `text.to_bytes`; length 0 gives the null embedding.
      transcript_byte_BW, transcript_length_B: likewise.
    """
    shapes.check(
      semantic_frame_BMYX3=semantic_frame_BMYX3,
      has_video_B=has_video_B,
      text_byte_BU=text_byte_BU,
      text_length_B=text_length_B,
      transcript_byte_BW=transcript_byte_BW,
      transcript_length_B=transcript_length_B,
    )
    semantic_BMD, sync_BLD = self.encode_video(semantic_frame_BMYX3, sync_frame_BLYX3)
    text_BUD, text_mask_BU = self.encode_text(text_byte_BU, text_length_B)
    transcript_BWD, transcript_mask_BW = _or_null(
      *self.transcript(transcript_byte_BW, transcript_length_B),
      transcript_length_B > 0,
      self.transcript_null_D[...],
    )
    condition = Condition(semantic_BMD, sync_BLD, text_BUD, text_mask_BU, transcript_BWD, transcript_mask_BW)
    everything_B = jnp.ones_like(has_video_B)
    return self.drop(condition, has_video_B, everything_B, everything_B)

  def drop(
    self, condition: Condition, keep_video_B: jax.Array, keep_text_B: jax.Array, keep_transcript_B: jax.Array
  ) -> Condition:
    """Condition dropout: returns the condition with null embeddings for modalities that are not kept.

    Args:
      condition: of a batch.
      keep_video_B, keep_text_B, keep_transcript_B: False drops a modality.
    """
    shapes.check(keep_video_B=keep_video_B, keep_text_B=keep_text_B, keep_transcript_B=keep_transcript_B)
    keep_B11 = keep_video_B[:, None, None]
    text_BUD, text_mask_BU = _or_null(
      condition.text_BUD, condition.text_mask_BU, keep_text_B, self.text_null_D[...]
    )
    transcript_BWD, transcript_mask_BW = _or_null(
      condition.transcript_BWD, condition.transcript_mask_BW, keep_transcript_B, self.transcript_null_D[...]
    )
    return Condition(
      semantic_BMD=jnp.where(keep_B11, condition.semantic_BMD, self.semantic_null_D[...][None, None]),
      sync_BLD=jnp.where(keep_B11, condition.sync_BLD, self.sync_null_D[...][None, None]),
      text_BUD=text_BUD,
      text_mask_BU=text_mask_BU,
      transcript_BWD=transcript_BWD,
      transcript_mask_BW=transcript_mask_BW,
    )


def _or_null(token_BSD, mask_BS, keep_B, null_D):
  """Returns tokens and mask where kept; else the null embedding with a mask of the first position only."""
  first_BS = jnp.broadcast_to(jnp.arange(mask_BS.shape[1])[None] == 0, mask_BS.shape)
  return (
    jnp.where(keep_B[:, None, None], token_BSD, null_D[None, None]),
    jnp.where(keep_B[:, None], mask_BS, first_BS),
  )
