"""Transformer blocks whose streams (audio, video, text, transcript) attend jointly.

Each stream keeps its own weights; its queries attend to the keys and values of all (Esser et al. 2024,
arXiv 2403.03206, sec. 4; Cheng et al. 2024, arXiv 2412.15322, sec. 3.3). In the last joint block only the
audio has queries, since nothing reads the other streams after it (`pre_only` of other implementations).

Every block is modulated (adaLN, Peebles and Xie 2022, arXiv 2212.09748, sec. 3.2).
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import execution
from v2a.models import attention
from v2a.models import condition_projection
from v2a.models import layers
from v2a.sharding import rules

STREAMS = ('audio', *condition_projection.STREAMS)


class Modulation(nnx.Module):
  """adaLN: projects a condition to shifts, scales and gates, all zero at initialization."""

  def __init__(self, width: int, num: int, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = jnp.float32):
    """Makes the projection.

    Args:
      width: of the stream and of its condition.
      num: number of vectors.
      rngs: for initial weights.
      dtype: of products.
    """
    self.num = num
    self.linear = layers.Linear(width, num * width, ('embed', 'mlp'), rngs=rngs, scale=0.0, dtype=dtype)

  def __call__(self, c_BSD: jax.Array) -> list[jax.Array]:
    """Returns `num` vectors, each BSD."""
    # Gathered before the split: XLA would gather each vector on its own.
    y_BSF = rules.constrain(self.linear(jax.nn.silu(c_BSD)), 'batch', 'time', None)
    return jnp.split(y_BSF, self.num, axis=-1)


class Stream(nnx.Module):
  """One stream of a block: projections, MLP and their modulation."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_ratio: float,
    conv_size: int,
    *,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the stream.

    Args:
      width: of the stream.
      num_heads: heads of attention, each of width / num_heads features.
      mlp_ratio: hidden width of the MLP, relative to the width.
      conv_size: steps or tokens of the depthwise convolution before the MLP; 0 for no convolution.
      rngs: for initial weights.
      dtype: of products.
    """
    self.modulation = Modulation(width, 6, rngs=rngs, dtype=dtype)
    self.attention = layers.SelfAttentionProjections(width, num_heads, rngs=rngs, dtype=dtype)
    self.mlp = layers.Mlp(width, int(width * mlp_ratio), rngs=rngs, conv_size=conv_size, dtype=dtype)

  def pre_attention(
    self, x_BSD: jax.Array, c_BSD: jax.Array, time_BS: jax.Array | None
  ) -> tuple[tuple[jax.Array, ...], list[jax.Array]]:
    """Returns (q, k, v), each BSHE, and the modulation that `post_attention` needs."""
    shift, scale, *modulation = self.modulation(c_BSD)
    return self.attention.project(layers.layer_norm(x_BSD) * (1 + scale) + shift, time_BS), modulation

  def post_attention(self, x_BSD: jax.Array, y_BSHE: jax.Array, modulation: list[jax.Array]) -> jax.Array:
    """Returns the stream after the residual branches of attention (attended values y_BSHE) and MLP."""
    gate, mlp_shift, mlp_scale, mlp_gate = modulation
    x_BSD = x_BSD + gate * self.attention.merge(y_BSHE)
    return x_BSD + mlp_gate * self.mlp(layers.layer_norm(x_BSD) * (1 + mlp_scale) + mlp_shift)


class KeyValueStream(nnx.Module):
  """One stream of the last joint block that has no queries: it is attended to and does not change."""

  def __init__(
    self, width: int, num_heads: int, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = jnp.float32
  ):
    """Makes the stream.

    Args:
      width: of the stream.
      num_heads: heads of attention, each of width / num_heads features.
      rngs: for initial weights.
      dtype: of products.
    """
    self.modulation = Modulation(width, 2, rngs=rngs, dtype=dtype)
    self.attention = layers.KeyValueProjections(width, num_heads, rngs=rngs, dtype=dtype)

  def pre_attention(
    self, x_BSD: jax.Array, c_BSD: jax.Array, time_BS: jax.Array | None
  ) -> tuple[tuple[jax.Array | None, ...], None]:
    """Returns as Stream.pre_attention does, with None for q and for the modulation."""
    shift, scale = self.modulation(c_BSD)
    return (None, *self.attention.project(layers.layer_norm(x_BSD) * (1 + scale) + shift, time_BS)), None


def present(streams: dict) -> list[str]:
  """Returns the names of the streams of a dict, in the order of STREAMS: a scan sorts the keys of a dict."""
  return [name for name in STREAMS if name in streams]


def pre_attention(
  block: nnx.Module, streams: dict, conditions: dict, times: dict
) -> tuple[tuple[dict, jax.Array, jax.Array], dict]:
  """Applies `pre_attention` of each stream of a block.

  Args:
    block: has a Stream or KeyValueStream for each stream, under its name.
    streams: x_BSD by name of the stream.
    conditions: c_BSD by name, the input of the modulation; S may be 1.
    times: positions time_BS in seconds by name; None for a stream without rotary embedding.

  Returns:
    (queries by stream, keys of all positions, values of all positions), and modulations by stream for
    `post_attention`. Streams without queries are in neither of the dicts.
  """
  queries, keys, values, modulations = {}, [], [], {}
  for name in present(streams):
    (query_BSHE, key_BSHE, value_BSHE), modulation = getattr(block, name).pre_attention(
      streams[name], conditions[name], times[name]
    )
    if query_BSHE is not None:
      queries[name], modulations[name] = query_BSHE, modulation
    keys.append(key_BSHE)
    values.append(value_BSHE)
  return (queries, jnp.concatenate(keys, axis=1), jnp.concatenate(values, axis=1)), modulations


def attend(queries: dict, k_BSHE: jax.Array, v_BSHE: jax.Array, mask_BS: jax.Array) -> dict:
  """Returns attended values of each stream that has queries.

  Args:
    queries: q_BQHE by stream.
    k_BSHE, v_BSHE: keys and values of all positions.
    mask_BS: which positions are read.
  """
  if not queries:
    return {}
  if execution.current().mesh_size('context') > 1:
    # Each stream is sharded along its own sequence; shards of the concatenation would lie elsewhere.
    return {name: attention.attend(q_BQHE, k_BSHE, v_BSHE, mask_BS) for name, q_BQHE in queries.items()}
  q_BQHE = jnp.concatenate(list(queries.values()), axis=1)
  ends = np.cumsum([q_BQHE.shape[1] for q_BQHE in queries.values()])
  attended = jnp.split(attention.attend(q_BQHE, k_BSHE, v_BSHE, mask_BS), ends[:-1], axis=1)
  return dict(zip(queries, attended))


def post_attention(block: nnx.Module, streams: dict, attended: dict, modulations: dict) -> dict:
  """Returns the streams that have queries, after the block.

  Args:
    block: see `pre_attention`.
    streams: x_BSD by name before the block.
    attended: of `attend`.
    modulations: of `pre_attention`.
  """
  return {
    name: getattr(block, name).post_attention(streams[name], attended[name], modulations[name])
    for name in present(attended)
  }


class JointBlock(nnx.Module):
  """All streams attend to all positions; in the last block only the audio does."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_ratio: float,
    conv_size: int,
    *,
    is_last: bool = False,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the block.

    Args:
      width: of the streams.
      num_heads: heads of attention, each of width / num_heads features.
      mlp_ratio: hidden width of the MLP, relative to the width.
      conv_size: steps of the depthwise convolution before the MLPs of audio and video; 0 for no convolution.
      is_last: whether it is the last joint block, in which only the audio has queries.
      rngs: for initial weights.
      dtype: of products.
    """
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
    """Returns the streams after the block; of the last block only the audio.

    Args:
      streams: x_BSD by name of the stream.
      conditions: c_BSD by name, the input of the modulation; S may be 1.
      times: positions time_BS in seconds by name; None for a stream without rotary embedding.
      masks: mask_BS by name, which positions are read.
    """
    qkv, modulations = pre_attention(self, streams, conditions, times)
    mask_BS = jnp.concatenate([masks[name] for name in present(streams)], axis=1)
    return post_attention(self, streams, attend(*qkv, mask_BS), modulations)


class AudioBlock(nnx.Module):
  """The audio attends to itself."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_ratio: float,
    conv_size: int,
    *,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the block.

    Args:
      width: of the stream.
      num_heads: heads of attention, each of width / num_heads features.
      mlp_ratio: hidden width of the MLP, relative to the width.
      conv_size: latent steps of the depthwise convolution before the MLP; 0 for no convolution.
      rngs: for initial weights.
      dtype: of products.
    """
    self.audio = Stream(width, num_heads, mlp_ratio, conv_size, rngs=rngs, dtype=dtype)

  def __call__(self, x_BTD: jax.Array, c_BTD: jax.Array, time_BT: jax.Array) -> jax.Array:
    (q_BTHE, k_BTHE, v_BTHE), modulation = self.audio.pre_attention(x_BTD, c_BTD, time_BT)
    return self.audio.post_attention(x_BTD, attention.attend(q_BTHE, k_BTHE, v_BTHE), modulation)
