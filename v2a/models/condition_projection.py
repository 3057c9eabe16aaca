"""What both generators make of a condition: tokens of three streams, and modulation.

  c_B  = pooled tokens of video, text and transcript                         (1)
  c_BT = c_B + sync features on the latent grid                              (2)

Video positions are seconds. A transcript does not say when its words are spoken; its tokens are spread evenly
over the clip, which is where attention expects them at first. Text has no positions.
"""

from typing import Protocol

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.models import layers

STREAMS = ('video', 'text', 'transcript')


class Condition(Protocol):
  """Encoded conditions of a batch; see `conditioning.condition.Condition`, which is one."""

  @property
  def semantic_BMD(self) -> jax.Array:
    """Frame features at the semantic rate."""

  @property
  def sync_BLD(self) -> jax.Array:
    """Motion features at the sync rate."""

  @property
  def text_BUD(self) -> jax.Array:
    """Prompt tokens; those outside the mask may hold anything."""

  @property
  def text_mask_BU(self) -> jax.Array:
    """Which prompt tokens are read."""

  @property
  def transcript_BWD(self) -> jax.Array:
    """Dialogue tokens; those outside the mask may hold anything."""

  @property
  def transcript_mask_BW(self) -> jax.Array:
    """Which dialogue tokens are read."""


@struct.dataclass
class ConditionTokens:
  """The conditions as tokens, by the names of STREAMS.

  Attributes:
    streams: tokens (BSD).
    times: positions in seconds (1S or BS); None for text.
    masks: which tokens are read (BS).
    c_BD: eq. 1.
  """

  streams: dict[str, jax.Array]
  times: dict[str, jax.Array | None]
  masks: dict[str, jax.Array]
  c_BD: jax.Array


def spread_times(mask_BW: jax.Array, clip_s: float) -> jax.Array:
  """Returns time_BW in seconds of the tokens of a mask, side by side from 0 to clip_s."""
  num_B1 = jnp.maximum(jnp.sum(mask_BW, axis=1, keepdims=True), 1)
  return (jnp.arange(mask_BW.shape[1])[None] + 0.5) * clip_s / num_B1


class ConditionProjection(nnx.Module):
  """Base class of networks that read a Condition.

  A base class, not an attribute: stored weights have the paths of these layers without a prefix.
  """

  def __init__(
    self,
    *,
    condition_width: int,
    width: int,
    latent_rate_hz: float,
    semantic_rate_hz: float,
    sync_rate_hz: float,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes all layers but those of `add_pooling`.

    Args:
      condition_width: of the incoming features.
      width: of the network.
      latent_rate_hz, semantic_rate_hz, sync_rate_hz: of latent steps and of both kinds of features.
      rngs: for initial weights.
      dtype: of products.
    """
    self.latent_rate_hz, self.semantic_rate_hz, self.sync_rate_hz = (
      latent_rate_hz,
      semantic_rate_hz,
      sync_rate_hz,
    )
    linear = lambda: layers.Linear(condition_width, width, ('latent', 'embed'), rngs=rngs, dtype=dtype)
    self.video_in, self.text_in, self.transcript_in = linear(), linear(), linear()
    self.sync_in = layers.Mlp(condition_width, 2 * width, rngs=rngs, conv_size=3, dtype=dtype)
    self.sync_out = linear()

  def add_pooling(self, width: int, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = jnp.float32) -> None:
    """Makes the layers of eq. 1; on its own, since a subclass may initialize others before."""
    linear = lambda num_in: layers.Linear(num_in, width, ('latent', 'embed'), rngs=rngs, dtype=dtype)
    self.pool_in, self.pool_out = linear(len(STREAMS) * width), linear(width)

  def latent_times(self, num_steps: int) -> jax.Array:
    """Returns time_1T, the centres of latent steps in seconds."""
    return jnp.asarray(layers.grid_times(num_steps, self.latent_rate_hz))[None]

  def condition_tokens(self, condition: Condition, clip_s: float) -> ConditionTokens:
    """Returns the conditions as tokens.

    Args:
      condition: features of a batch.
      clip_s: length of the clip, over which the transcript is spread.
    """
    text_mask_BU, transcript_mask_BW = condition.text_mask_BU, condition.transcript_mask_BW
    shapes.check(
      semantic_BMD=condition.semantic_BMD,
      sync_BLD=condition.sync_BLD,
      text_BUD=condition.text_BUD,
      text_mask_BU=text_mask_BU,
      transcript_BWD=condition.transcript_BWD,
      transcript_mask_BW=transcript_mask_BW,
    )
    num_frames = condition.semantic_BMD.shape[1]
    # where: masked tokens may hold NaN, which a product would spread.
    streams = {
      'video': self.video_in(condition.semantic_BMD),
      'text': self.text_in(jnp.where(text_mask_BU[..., None], condition.text_BUD, 0)),
      'transcript': self.transcript_in(jnp.where(transcript_mask_BW[..., None], condition.transcript_BWD, 0)),
    }
    masks = {
      'video': jnp.ones(condition.semantic_BMD.shape[:2], bool),
      'text': text_mask_BU,
      'transcript': transcript_mask_BW,
    }
    times = {
      'video': jnp.asarray(layers.grid_times(num_frames, self.semantic_rate_hz))[None],
      'text': None,
      'transcript': spread_times(transcript_mask_BW, clip_s),
    }
    pooled = [layers.masked_mean(streams[name], masks[name]) for name in STREAMS]
    c_BD = self.pool_out(jax.nn.silu(self.pool_in(jnp.concatenate(pooled, axis=-1))))
    return ConditionTokens(streams, times, masks, c_BD)

  def step_modulation(self, condition: Condition, c_B1D: jax.Array, num_steps: int) -> jax.Array:
    """Returns c_BTD of latent steps (eq. 2).

    Args:
      condition: features of a batch.
      c_B1D: eq. 1, and for diffusion the time embedding.
      num_steps: latent steps.
    """
    sync_BLD = condition.sync_BLD + self.sync_in(condition.sync_BLD)
    sync_BTD = layers.resample_time(sync_BLD, self.sync_rate_hz, num_steps, self.latent_rate_hz)
    return c_B1D + self.sync_out(sync_BTD)
