"""The joint-attention diffusion transformer.

Four streams (audio latents, video, text, transcript) keep their own weights and attend jointly over
all positions; then audio-only blocks refine the latents (Esser et al. 2024, arXiv 2403.03206,
sec. 4; Cheng et al. 2024, arXiv 2412.15322, sec. 3.3). Nothing reads the other streams after the last joint
block, so there they have keys and values alone (`pre_only` of other implementations). Audio and video
positions are seconds. A transcript says nothing of when; its tokens are spread evenly over the clip, which
is where attention starts to look for them.

Every block is modulated (adaLN, Peebles and Xie 2022, arXiv 2212.09748, sec. 3.2) by

  c_B  = time embedding + pooled conditions                                  (1)
  c_BT = c_B + sync features on the latent grid                              (2)

eq. 2 for the audio stream, the audio-only blocks and the final layer, so that each latent step
knows what moves at that instant; eq. 1 for the other streams.
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import execution
from v2a import shapes
from v2a.models import attention
from v2a.models import layers
from v2a.models import stack
from v2a.sharding import rules

STREAMS = ('audio', 'video', 'text', 'transcript')


def spread_times(mask_BW: jax.Array, clip_s: float) -> jax.Array:
  """Returns time_BW in seconds of the tokens of a mask, side by side from 0 to clip_s."""
  num_B1 = jnp.maximum(jnp.sum(mask_BW, axis=1, keepdims=True), 1)
  return (jnp.arange(mask_BW.shape[1])[None] + 0.5) * clip_s / num_B1


class Modulation(nnx.Module):
  """Vectors from a condition, zero at first: shift and scale, or shift, scale, gate of attention and MLP."""

  def __init__(self, width: int, num: int, *, rngs: nnx.Rngs, dtype=jnp.float32):
    self.num = num
    self.linear = layers.Linear(width, num * width, ('embed', 'mlp'), rngs=rngs, scale=0.0, dtype=dtype)

  def __call__(self, c_BSD: jax.Array) -> list[jax.Array]:
    # Gathered at once: cut up first, each vector would be moved on its own.
    y_BSF = rules.constrain(self.linear(jax.nn.silu(c_BSD)), 'batch', 'time', None)
    return jnp.split(y_BSF, self.num, axis=-1)


class Stream(nnx.Module):
  """One stream's half of a block: projections, MLP and their modulation."""

  def __init__(
    self, width: int, num_heads: int, mlp_ratio: float, conv_size: int, *, rngs: nnx.Rngs, dtype=jnp.float32
  ):
    self.modulation = Modulation(width, 6, rngs=rngs, dtype=dtype)
    self.attention = layers.SelfAttentionProjections(width, num_heads, rngs=rngs, dtype=dtype)
    self.mlp = layers.Mlp(width, int(width * mlp_ratio), rngs=rngs, conv_size=conv_size, dtype=dtype)

  def pre_attention(self, x_BSD: jax.Array, c_BSD: jax.Array, time_BS: jax.Array | None):
    """Returns q, k, v and the modulation that `post_attention` needs."""
    shift, scale, *rest = self.modulation(c_BSD)
    return self.attention.project(layers.layer_norm(x_BSD) * (1 + scale) + shift, time_BS), rest

  def post_attention(self, x_BSD: jax.Array, y_BSHE: jax.Array, rest: list[jax.Array]) -> jax.Array:
    """Returns the stream after attention's values and the MLP were added."""
    gate, mlp_shift, mlp_scale, mlp_gate = rest
    x_BSD = x_BSD + gate * self.attention.merge(y_BSHE)
    return x_BSD + mlp_gate * self.mlp(layers.layer_norm(x_BSD) * (1 + mlp_scale) + mlp_shift)


class KeyValueStream(nnx.Module):
  """One stream's part of the last joint block: it is read and does not change."""

  def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs, dtype=jnp.float32):
    self.modulation = Modulation(width, 2, rngs=rngs, dtype=dtype)
    self.attention = layers.KeyValueProjections(width, num_heads, rngs=rngs, dtype=dtype)

  def pre_attention(self, x_BSD: jax.Array, c_BSD: jax.Array, time_BS: jax.Array | None):
    """Returns as Stream.pre_attention does: None for q, then k and v; and no modulation."""
    shift, scale = self.modulation(c_BSD)
    return (None, *self.attention.project(layers.layer_norm(x_BSD) * (1 + scale) + shift, time_BS)), None


def present(streams: dict) -> list[str]:
  """Returns the names of the streams that are there in the order of STREAMS; a scan sorts a dict's keys."""
  return [name for name in STREAMS if name in streams]


def pre_attention(block: nnx.Module, streams: dict, conditions: dict, times: dict):
  """Returns queries by stream, keys and values of all positions, and modulations for `post_attention`.

  Streams that have no queries are not among the first and the last.
  """
  queries, keys, values, rests = {}, [], [], {}
  for name in present(streams):
    (query_BSHE, key_BSHE, value_BSHE), rest = getattr(block, name).pre_attention(
      streams[name], conditions[name], times[name]
    )
    if query_BSHE is not None:
      queries[name], rests[name] = query_BSHE, rest
    keys.append(key_BSHE)
    values.append(value_BSHE)
  return (queries, jnp.concatenate(keys, axis=1), jnp.concatenate(values, axis=1)), rests


def attend(queries: dict, k_BSHE: jax.Array, v_BSHE: jax.Array, mask_BS: jax.Array) -> dict:
  """Returns what the positions of each stream that has queries read of all."""
  if not queries:
    return {}
  if execution.current().mesh_size('context') > 1:
    # Parts of single streams; of all in a row the parts would not lie where the streams' own do.
    return {name: attention.attend(q_BQHE, k_BSHE, v_BSHE, mask_BS) for name, q_BQHE in queries.items()}
  q_BQHE = jnp.concatenate(list(queries.values()), axis=1)
  ends = np.cumsum([q_BQHE.shape[1] for q_BQHE in queries.values()])
  read = jnp.split(attention.attend(q_BQHE, k_BSHE, v_BSHE, mask_BS), ends[:-1], axis=1)
  return dict(zip(queries, read))


def post_attention(block: nnx.Module, streams: dict, read: dict, rests: dict) -> dict:
  """Returns the streams that read (see `attend`), after what they read and the MLPs were added."""
  return {
    name: getattr(block, name).post_attention(streams[name], read[name], rests[name])
    for name in present(read)
  }


class JointBlock(nnx.Module):
  """All streams attend to all positions; in the last block the audio alone does."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_ratio: float,
    conv_size: int,
    *,
    is_last: bool = False,
    rngs: nnx.Rngs,
    dtype=jnp.float32,
  ):
    for name in STREAMS:
      size = conv_size if name in ('audio', 'video') else 0
      setattr(
        self,
        name,
        KeyValueStream(width, num_heads, rngs=rngs, dtype=dtype)
        if is_last and name != 'audio'
        else Stream(width, num_heads, mlp_ratio, size, rngs=rngs, dtype=dtype),
      )

  def __call__(self, streams: dict, conditions: dict, times: dict, masks: dict) -> dict:
    """Returns the streams after the block; of the last block the audio alone."""
    qkv, rests = pre_attention(self, streams, conditions, times)
    mask_BS = jnp.concatenate([masks[name] for name in present(streams)], axis=1)
    return post_attention(self, streams, attend(*qkv, mask_BS), rests)


class AudioBlock(nnx.Module):
  """The latents attend to themselves."""

  def __init__(
    self, width: int, num_heads: int, mlp_ratio: float, conv_size: int, *, rngs: nnx.Rngs, dtype=jnp.float32
  ):
    self.audio = Stream(width, num_heads, mlp_ratio, conv_size, rngs=rngs, dtype=dtype)

  def __call__(self, x_BTD: jax.Array, c_BTD: jax.Array, time_BT: jax.Array) -> jax.Array:
    (q_BTHE, k_BTHE, v_BTHE), rest = self.audio.pre_attention(x_BTD, c_BTD, time_BT)
    return self.audio.post_attention(x_BTD, attention.attend(q_BTHE, k_BTHE, v_BTHE), rest)


class MMDiT(nnx.Module):
  """Predicts the velocity of noisy latents from a time and conditions."""

  def __init__(
    self,
    *,
    num_latent_channels: int,
    latent_rate_hz: float,
    semantic_rate_hz: float,
    sync_rate_hz: float,
    condition_width: int,
    width: int,
    num_heads: int,
    num_joint_layers: int,
    num_audio_layers: int,
    mlp_ratio: float,
    conv_size: int,
    rngs: nnx.Rngs,
    dtype=jnp.float32,
  ):
    """Args: rates of the three timed streams; width of the incoming features; own sizes."""
    self.rates_hz = {'audio': latent_rate_hz, 'video': semantic_rate_hz}
    self.sync_rate_hz, self.width = sync_rate_hz, width
    linear = lambda i, o, scale=1.0: layers.Linear(
      i, o, ('latent', 'embed'), rngs=rngs, scale=scale, dtype=dtype
    )
    self.latent_in = linear(num_latent_channels, width)
    self.latent_conv = layers.DepthwiseConv(width, 7, rngs=rngs)
    self.video_in = linear(condition_width, width)
    self.text_in = linear(condition_width, width)
    self.transcript_in = linear(condition_width, width)
    self.sync_in = layers.Mlp(condition_width, 2 * width, rngs=rngs, conv_size=3, dtype=dtype)
    self.sync_out = linear(condition_width, width)
    self.time_in, self.time_out = linear(width, width), linear(width, width)
    self.pool_in, self.pool_out = linear(3 * width, width), linear(width, width)
    block = (width, num_heads, mlp_ratio, conv_size)
    self.joint_blocks = stack.make(
      lambda rngs: JointBlock(*block, rngs=rngs, dtype=dtype), num_joint_layers - 1, rngs
    )
    self.last_joint_block = JointBlock(*block, is_last=True, rngs=rngs, dtype=dtype)
    self.audio_blocks = stack.make(
      lambda rngs: AudioBlock(*block, rngs=rngs, dtype=dtype), num_audio_layers, rngs
    )
    self.final_modulation = Modulation(width, 2, rngs=rngs, dtype=dtype)
    self.final = layers.Linear(
      width, num_latent_channels, ('embed', 'latent'), rngs=rngs, scale=0.0, dtype=dtype
    )

  def __call__(
    self,
    z_BTC: jax.Array,
    t_B: jax.Array,
    *,
    semantic_BMD: jax.Array,
    sync_BLD: jax.Array,
    text_BUD: jax.Array,
    text_mask_BU: jax.Array,
    transcript_BWD: jax.Array,
    transcript_mask_BW: jax.Array,
  ) -> jax.Array:
    """Returns velocities BTC.

    Args:
      z_BTC: noisy latents.
      t_B: times in [0, 1], 1 is noise.
      semantic_BMD: picture features at the semantic rate.
      sync_BLD: motion features at the sync rate.
      text_BUD: prompt tokens; text_mask_BU tells which are read.
      transcript_BWD: dialogue tokens; transcript_mask_BW tells which are read.
    """
    shapes.check(
      z_BTC=z_BTC,
      t_B=t_B,
      semantic_BMD=semantic_BMD,
      sync_BLD=sync_BLD,
      text_BUD=text_BUD,
      text_mask_BU=text_mask_BU,
      transcript_BWD=transcript_BWD,
      transcript_mask_BW=transcript_mask_BW,
    )
    streams = {
      'audio': self.latent_conv(self.latent_in(z_BTC)),
      'video': self.video_in(semantic_BMD),
      'text': self.text_in(jnp.where(text_mask_BU[..., None], text_BUD, 0)),
      'transcript': self.transcript_in(jnp.where(transcript_mask_BW[..., None], transcript_BWD, 0)),
    }
    num_latents = z_BTC.shape[1]
    masks = {
      'audio': jnp.ones(z_BTC.shape[:2], bool),
      'video': jnp.ones(semantic_BMD.shape[:2], bool),
      'text': text_mask_BU,
      'transcript': transcript_mask_BW,
    }
    times = {
      name: jnp.asarray(layers.grid_times(streams[name].shape[1], rate_hz))[None]
      for name, rate_hz in self.rates_hz.items()
    }
    clip_s = num_latents / self.rates_hz['audio']
    times |= {'text': None, 'transcript': spread_times(transcript_mask_BW, clip_s)}
    c_B1D = (self._time(t_B) + self._pooled(streams, masks))[:, None]
    sync_BTD = layers.resample_time(
      sync_BLD + self.sync_in(sync_BLD), self.sync_rate_hz, num_latents, self.rates_hz['audio']
    )
    c_BTD = c_B1D + self.sync_out(sync_BTD)
    conditions = {name: c_BTD if name == 'audio' else c_B1D for name in STREAMS}
    streams = stack.scan(self.joint_blocks, streams, conditions, times, masks)
    joint = lambda block, streams, _: (block(streams, conditions, times, masks), None)
    streams, _ = stack.apply_one(joint, self.last_joint_block, streams)
    x_BTD = stack.scan(self.audio_blocks, streams['audio'], c_BTD, times['audio'])
    shift, scale = self.final_modulation(c_BTD)
    return self.final(layers.layer_norm(x_BTD) * (1 + scale) + shift)

  def _time(self, t_B: jax.Array) -> jax.Array:
    features_BD = layers.timestep_features(t_B, self.width)
    return self.time_out(jax.nn.silu(self.time_in(features_BD)))

  def _pooled(self, streams: dict, masks: dict) -> jax.Array:
    pooled = [layers.masked_mean(streams[name], masks[name]) for name in STREAMS[1:]]
    return self.pool_out(jax.nn.silu(self.pool_in(jnp.concatenate(pooled, axis=-1))))
