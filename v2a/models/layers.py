"""Layers shared by every network.

Parameters are `nnx.Param(value, axes=(...))`: one logical axis name (or None) per dimension, which
`sharding.rules` maps to mesh axes. Parameters are float32; matrix products run in the `dtype` a layer was
built with. Residual streams, norms and softmax statistics stay float32.

Rotary position embedding (RoPE):

  rope(x, s): pairs (x_i, x_{i + E / 2}) rotated by the angle  2 pi s / period_i           (1)

where s is a time in seconds and the periods are spaced geometrically, so that streams of different
rates line up by construction (Su et al. 2021, arXiv 2104.09864, eq. 34, with s for the index).
"""

from typing import NamedTuple

from flax import nnx
import jax
from jax import ad_checkpoint
import jax.numpy as jnp
import numpy as np

from v2a.models import attention

ROPE_MIN_PERIOD_S = 0.16
ROPE_MAX_PERIOD_S = 80.0


DEPTHWISE_CONV_OUTPUT = 'depthwise_conv'  # checkpoint name, for remat policies


class Linear(nnx.Module):
  """An affine map of the last axis."""

  def __init__(
    self,
    in_features: int,
    out_features: int,
    axes: tuple,
    *,
    rngs: nnx.Rngs,
    use_bias: bool = True,
    scale: float = 1.0,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the layer.

    Args:
      in_features, out_features: sizes of the last axis before and after.
      axes: logical axes of (in, out).
      rngs: for initial weights.
      use_bias: whether to add a bias, 0 at initialization.
      scale: of the initial kernel, whose standard deviation is scale / sqrt(in_features) before truncation.
      dtype: of the product.
    """
    std = scale / np.sqrt(in_features)
    kernel_IO = std * jax.random.truncated_normal(
      rngs.params(), -2, 2, (in_features, out_features), jnp.float32
    )
    self.kernel_IO = nnx.Param(kernel_IO, axes=axes, product_dtype=jnp.dtype(dtype).name)
    self.bias_O = nnx.Param(jnp.zeros(out_features), axes=axes[1:]) if use_bias else None
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    x, kernel = x.astype(self.dtype), self.kernel_IO.get_value()
    y = _product(x, *kernel) if isinstance(kernel, CastKernel) else x @ kernel.astype(self.dtype)
    return y if self.bias_O is None else y + _broadcast_last(self.bias_O[...], y)


class CastKernel(NamedTuple):
  """A kernel in the type of its products, and the kernel it was cast from, which receives the gradient."""

  rounded_IO: jax.Array
  kernel_IO: jax.Array


@jax.custom_vjp
def _product(x: jax.Array, rounded_IO: jax.Array, kernel_IO: jax.Array) -> jax.Array:
  """Returns x @ rounded_IO; the gradient goes to kernel_IO, and is summed in the type of kernel_IO."""
  del kernel_IO
  return x @ rounded_IO


def _product_forward(x, rounded_IO, kernel_IO):
  # Residuals hold only the type of kernel_IO, as an empty array: it is not read, so it need not be gathered.
  # Where x needs no gradient, because it is data, the product for it is left out.
  saved_IO = rounded_IO.value if x.perturbed else None
  return x.value @ rounded_IO.value, (x.value, saved_IO, jnp.zeros((0,), kernel_IO.value.dtype))


def _product_gradient(residuals, dy):
  x, rounded_IO, empty = residuals
  if isinstance(dy, jax.custom_derivatives.SymbolicZero):
    dy = jnp.zeros(dy.shape, dy.dtype)
  positions = tuple(range(x.ndim - 1))
  kernel_gradient_IO = jax.lax.dot_general(
    x, dy, ((positions, positions), ((), ())), preferred_element_type=empty.dtype
  )
  dx = None if rounded_IO is None else dy @ rounded_IO.T
  return dx, None, kernel_gradient_IO


_product.defvjp(_product_forward, _product_gradient, symbolic_zeros=True)


def _broadcast_last(x_D: jax.Array, like: jax.Array) -> jax.Array:
  """Returns a vector along the last axis of `like`, in its shape and type; the gradient keeps x_D's type."""
  return jnp.broadcast_to(x_D.reshape((1,) * (like.ndim - 1) + x_D.shape), like.shape).astype(like.dtype)


def cast(params: nnx.State, gradient_dtype: str = 'float32') -> nnx.State:
  """Returns parameters with the kernels of `Linear` cast to the type in which their products run.

  Args:
    params: float32 parameters.
    gradient_dtype: type in which gradients of kernels are summed over positions, clips and devices: float32,
      or bfloat16 for the type of the products.
  """

  def one(leaf):
    name = leaf.get_metadata().get('product_dtype') if isinstance(leaf, nnx.Variable) else None
    if name is None or jnp.dtype(name) == leaf.get_value().dtype:
      return leaf
    rounded_IO = leaf.get_value().astype(name)
    return leaf.replace(
      rounded_IO if gradient_dtype != 'float32' else CastKernel(rounded_IO, leaf.get_value())
    )

  return jax.tree.map(one, params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


class RMSNorm(nnx.Module):
  """Division by the root mean square of the last axis, times a learned scale."""

  def __init__(self, width: int, axis: str | None = None):
    self.scale_D = nnx.Param(jnp.ones(width), axes=(axis,))

  def __call__(self, x: jax.Array) -> jax.Array:
    x32 = x.astype(jnp.float32)
    rms = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + 1e-6)
    scale_D = self.scale_D[...]
    return (x32 * rms * scale_D.reshape((1,) * (x.ndim - 1) + scale_D.shape)).astype(x.dtype)


@jax.custom_vjp
def layer_norm(x: jax.Array) -> jax.Array:
  """Returns x with zero mean and unit variance over the last axis; no parameters, float32 inside.

  The variance is E[x^2] - E[x]^2, and the gradient is written by hand: so forward and backward read x twice,
  where two means in turn would read it three times. A GPU spends half of a step on reading memory
  (docs/results/scaling.md).
  """
  return _layer_norm_forward(x)[0]


def _layer_norm_forward(x: jax.Array):
  x32 = x.astype(jnp.float32)
  mean = jnp.mean(x32, axis=-1, keepdims=True)
  variance = jnp.maximum(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) - jnp.square(mean), 0.0)
  inverse_std = jax.lax.rsqrt(variance + 1e-6)
  return ((x32 - mean) * inverse_std).astype(x.dtype), (x, mean, inverse_std)


def _layer_norm_gradient(residuals, dy: jax.Array):
  x, mean, inverse_std = residuals
  dy32, y32 = dy.astype(jnp.float32), (x.astype(jnp.float32) - mean) * inverse_std
  projection = jnp.mean(dy32 * y32, axis=-1, keepdims=True)
  dx32 = inverse_std * (dy32 - jnp.mean(dy32, axis=-1, keepdims=True) - y32 * projection)
  return (dx32.astype(x.dtype),)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_gradient)


def rope(x_BSHE: jax.Array, time_BS: jax.Array) -> jax.Array:
  """Returns queries or keys with rotary position embedding (RoPE), by time: eq. 1.

  Args:
    x_BSHE: queries or keys.
    time_BS: position of every token in seconds; with B = 1, of all rows.
  """
  assert time_BS.ndim == 2 and time_BS.shape[0] in (1, x_BSHE.shape[0]), time_BS.shape
  num_pairs = x_BSHE.shape[-1] // 2
  period_E = np.geomspace(ROPE_MIN_PERIOD_S, ROPE_MAX_PERIOD_S, num_pairs)
  angle_BSE = 2 * np.pi * time_BS[..., None] / jnp.asarray(period_E[None, None], jnp.float32)
  cos_BS1E, sin_BS1E = jnp.cos(angle_BSE)[:, :, None], jnp.sin(angle_BSE)[:, :, None]
  x32 = x_BSHE.astype(jnp.float32)
  first, second = x32[..., :num_pairs], x32[..., num_pairs:]
  rotated = jnp.concatenate(
    [first * cos_BS1E - second * sin_BS1E, first * sin_BS1E + second * cos_BS1E], axis=-1
  )
  return rotated.astype(x_BSHE.dtype)


def depthwise_conv(x_BTD: jax.Array, kernel_SD: jax.Array) -> jax.Array:
  """Returns a centred convolution over T, channel by channel, with zero padding.

  It is a sum of shifted products: XLA has no fast depthwise convolution for CPUs, and on TPUs it fuses the
    sum.
  """
  size = kernel_SD.shape[0]
  left = size // 2
  padded = jnp.pad(x_BTD, ((0, 0), (left, size - 1 - left), (0, 0)))
  num_steps = x_BTD.shape[1]
  y_BTD = sum(padded[:, s : s + num_steps] * _broadcast_last(kernel_SD[s], x_BTD) for s in range(size))
  return ad_checkpoint.checkpoint_name(y_BTD, DEPTHWISE_CONV_OUTPUT)


class DepthwiseConv(nnx.Module):
  """A learned `depthwise_conv`, near the identity at initialization."""

  def __init__(self, width: int, size: int, *, rngs: nnx.Rngs):
    kernel_SD = 0.1 * jax.random.normal(rngs.params(), (size, width))
    self.kernel_SD = nnx.Param(kernel_SD.at[size // 2].add(1.0), axes=(None, 'embed'))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    return depthwise_conv(x_BTD, self.kernel_SD[...])


class Mlp(nnx.Module):
  """SwiGLU (Shazeer 2020, arXiv 2002.05202, eq. 6), after an optional depthwise convolution."""

  def __init__(
    self,
    width: int,
    hidden: int,
    *,
    rngs: nnx.Rngs,
    conv_size: int = 0,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the network.

    Args:
      width: of input and output.
      hidden: width of the hidden layer.
      rngs: for initial weights.
      conv_size: steps of the depthwise convolution; 0 for no convolution.
      dtype: of products.
    """
    self.gate = Linear(width, hidden, ('embed', 'mlp'), rngs=rngs, dtype=dtype)
    self.up = Linear(width, hidden, ('embed', 'mlp'), rngs=rngs, dtype=dtype)
    self.down = Linear(hidden, width, ('mlp', 'embed'), rngs=rngs, dtype=dtype)
    self.conv = DepthwiseConv(width, conv_size, rngs=rngs) if conv_size else None

  def __call__(self, x_BSD: jax.Array) -> jax.Array:
    if self.conv is not None:
      x_BSD = self.conv(x_BSD)
    return self.down(jax.nn.silu(self.gate(x_BSD)) * self.up(x_BSD))


class SelfAttentionProjections(nnx.Module):
  """Projections to queries, keys and values, with RMS norm of queries and keys, and the output projection."""

  def __init__(
    self, width: int, num_heads: int, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = jnp.float32
  ):
    """Makes the projections.

    Args:
      width: of the stream.
      num_heads: heads, each of width / num_heads features.
      rngs: for initial weights.
      dtype: of products.

    Raises:
      ValueError: the size of a head is not an even whole number.
    """
    if width % num_heads or (width // num_heads) % 2:
      raise ValueError(f'width / num_heads must be an even whole number; got {width} / {num_heads}.')
    head_size = width // num_heads
    self.num_heads = num_heads
    # Columns are ordered head by head (query, key and value of each), so that shards of them are whole heads.
    self.qkv_by_head = Linear(width, 3 * width, ('embed', 'heads'), rngs=rngs, use_bias=False, dtype=dtype)
    self.query_norm = RMSNorm(head_size)
    self.key_norm = RMSNorm(head_size)
    self.out = Linear(width, width, ('heads', 'embed'), rngs=rngs, dtype=dtype)

  def project(self, x_BSD: jax.Array, time_BS: jax.Array | None) -> tuple[jax.Array, ...]:
    """Returns q, k, v (each BSHE), with rotary embedding of q and k where positions in seconds are given."""
    by_head = self.qkv_by_head(x_BSD).reshape(x_BSD.shape[:2] + (self.num_heads, -1))
    q_BSHE, k_BSHE, v_BSHE = jnp.split(by_head, 3, axis=-1)
    q_BSHE, k_BSHE = self.query_norm(q_BSHE), self.key_norm(k_BSHE)
    if time_BS is not None:
      q_BSHE, k_BSHE = rope(q_BSHE, time_BS), rope(k_BSHE, time_BS)
    return q_BSHE, k_BSHE, v_BSHE

  def merge(self, y_BSHE: jax.Array) -> jax.Array:
    """Returns the output projection of attended values."""
    return self.out(y_BSHE.reshape(y_BSHE.shape[:2] + (-1,)))


class KeyValueProjections(nnx.Module):
  """Projections to keys and values, for tokens without queries; see SelfAttentionProjections."""

  def __init__(
    self, width: int, num_heads: int, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = jnp.float32
  ):
    """Makes the projections.

    Args:
      width: of the stream.
      num_heads: heads, each of width / num_heads features.
      rngs: for initial weights.
      dtype: of products.
    """
    self.num_heads = num_heads
    self.kv_by_head = Linear(width, 2 * width, ('embed', 'heads'), rngs=rngs, use_bias=False, dtype=dtype)
    self.key_norm = RMSNorm(width // num_heads)

  def project(self, x_BSD: jax.Array, time_BS: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns k and v (each BSHE), with rotary embedding of k where positions in seconds are given."""
    by_head = self.kv_by_head(x_BSD).reshape(x_BSD.shape[:2] + (self.num_heads, -1))
    k_BSHE, v_BSHE = jnp.split(by_head, 2, axis=-1)
    k_BSHE = self.key_norm(k_BSHE)
    return (k_BSHE if time_BS is None else rope(k_BSHE, time_BS)), v_BSHE


class EncoderBlock(nnx.Module):
  """A pre-norm transformer block with bidirectional attention."""

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    rngs: nnx.Rngs,
    mlp_ratio: float = 2.0,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the block.

    Args:
      width: of input and output.
      num_heads: heads of attention, each of width / num_heads features.
      rngs: for initial weights.
      mlp_ratio: hidden width of the MLP, relative to the width.
      dtype: of products.
    """
    self.attention = SelfAttentionProjections(width, num_heads, rngs=rngs, dtype=dtype)
    self.mlp = Mlp(width, int(width * mlp_ratio), rngs=rngs, dtype=dtype)

  def __call__(
    self, x_BSD: jax.Array, mask_BS: jax.Array | None = None, time_BS: jax.Array | None = None
  ) -> jax.Array:
    q_BSHE, k_BSHE, v_BSHE = self.attention.project(layer_norm(x_BSD), time_BS)
    x_BSD = x_BSD + self.attention.merge(attention.attend(q_BSHE, k_BSHE, v_BSHE, mask_BS))
    return x_BSD + self.mlp(layer_norm(x_BSD))


class ConvNeXtBlock(nnx.Module):
  """Depthwise convolution over time, norm, two-layer MLP, layer scale (Liu et al. 2022, arXiv 2201.03545)."""

  def __init__(
    self,
    width: int,
    *,
    rngs: nnx.Rngs,
    mlp_ratio: float = 3.0,
    conv_size: int = 7,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the block.

    Args:
      width: of input and output.
      rngs: for initial weights.
      mlp_ratio: hidden width of the MLP, relative to the width.
      conv_size: steps of the depthwise convolution.
      dtype: of products.
    """
    hidden = int(width * mlp_ratio)
    self.conv = DepthwiseConv(width, conv_size, rngs=rngs)
    self.up = Linear(width, hidden, ('embed', 'mlp'), rngs=rngs, dtype=dtype)
    self.down = Linear(hidden, width, ('mlp', 'embed'), rngs=rngs, dtype=dtype)
    self.scale_D = nnx.Param(jnp.full(width, 0.3, jnp.float32), axes=('embed',))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    y_BTD = self.down(jax.nn.gelu(self.up(layer_norm(self.conv(x_BTD)))))
    return x_BTD + self.scale_D[...][None, None] * y_BTD


def masked_mean(x_BSD: jax.Array, mask_BS: jax.Array) -> jax.Array:
  """Returns the mean over the positions of a mask (BD); 0 where a mask is empty."""
  mask_BS1 = mask_BS[..., None]
  total_BD = jnp.sum(jnp.where(mask_BS1, x_BSD, 0), axis=1)
  return total_BD / jnp.maximum(jnp.sum(mask_BS1, axis=1), 1)


def timestep_features(t_B: jax.Array, width: int) -> jax.Array:
  """Returns sinusoidal features (BD) of diffusion times in [0, 1], at geometric frequencies."""
  frequency_D = jnp.asarray(2 * np.pi * np.geomspace(0.25, 250.0, width // 2), jnp.float32)
  angle_BD = t_B.astype(jnp.float32)[:, None] * frequency_D[None]
  return jnp.concatenate([jnp.cos(angle_BD), jnp.sin(angle_BD)], axis=-1)


def grid_times(num_steps: int, rate_hz: float) -> np.ndarray:
  """Returns time_T, the centre of every step in seconds: (k + 0.5) / rate."""
  return ((np.arange(num_steps) + 0.5) / rate_hz).astype(np.float32)


def resample_time(x_BSD: jax.Array, rate_hz: float, num_steps: int, step_rate_hz: float) -> jax.Array:
  """Returns features linearly interpolated at the centres of another grid of steps, constant beyond the ends.

  Args:
    x_BSD: features at (k + 0.5) / rate_hz seconds.
    rate_hz: their rate.
    num_steps: steps of the new grid.
    step_rate_hz: its rate.
  """
  num_old = x_BSD.shape[1]
  if rate_hz == step_rate_hz and num_old == num_steps:
    return x_BSD
  position_T = np.clip(grid_times(num_steps, step_rate_hz) * rate_hz - 0.5, 0, num_old - 1)
  low_T = np.floor(position_T).astype(np.int32)
  high_T = np.minimum(low_T + 1, num_old - 1)
  weight_T = (position_T - low_T)[None, :, None].astype(np.float32)
  return x_BSD[:, low_T] * (1 - weight_T) + x_BSD[:, high_T] * weight_T
