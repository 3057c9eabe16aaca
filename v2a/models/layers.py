"""Layers shared by every network.

Parameters are `nnx.Param(value, axes=(...))`: one logical axis name (or None) a dimension, which
`sharding.rules` maps to mesh axes. Parameters are float32; products run in the `dtype` a layer was
built with. Residual streams, norms and softmax statistics stay float32.

  rope(x, s): pairs (x_2i, x_2i+1) turned by the angle  2 pi s / period_i           (1)

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
    dtype=jnp.float32,
  ):
    """Args: sizes; logical axes of (in, out); `scale` of the initial kernel."""
    std = scale / np.sqrt(in_features)
    kernel_IO = std * jax.random.truncated_normal(
      rngs.params(), -2, 2, (in_features, out_features), jnp.float32
    )
    self.kernel_IO = nnx.Param(kernel_IO, axes=axes, product_dtype=jnp.dtype(dtype).name)
    self.bias_O = nnx.Param(jnp.zeros(out_features), axes=axes[1:]) if use_bias else None
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    x, kernel = x.astype(self.dtype), self.kernel_IO.get_value()
    y = _product(x, *kernel) if isinstance(kernel, Cast) else x @ kernel.astype(self.dtype)
    return y if self.bias_O is None else y + _spread(self.bias_O[...], y)


class Cast(NamedTuple):
  """A kernel in the type of its products, and the one it was cast from, which receives the gradient."""

  rounded_IO: jax.Array
  kernel_IO: jax.Array


@jax.custom_vjp
def _product(x: jax.Array, rounded_IO: jax.Array, kernel_IO: jax.Array) -> jax.Array:
  """Returns x @ rounded_IO; its gradient is that of kernel_IO, summed and returned in kernel_IO's type."""
  del kernel_IO
  return x @ rounded_IO


def _product_forward(x, rounded_IO, kernel_IO):
  # Of the kernel no more than an empty array is kept, for its type: not read, it is not gathered. Where x
  # needs no gradient, as data, no product makes one.
  kept_IO = rounded_IO.value if x.perturbed else None
  return x.value @ rounded_IO.value, (x.value, kept_IO, jnp.zeros((0,), kernel_IO.value.dtype))


def _product_gradient(kept, dy):
  x, rounded_IO, empty = kept
  if isinstance(dy, jax.custom_derivatives.SymbolicZero):
    dy = jnp.zeros(dy.shape, dy.dtype)
  positions = tuple(range(x.ndim - 1))
  kernel_gradient_IO = jax.lax.dot_general(
    x, dy, ((positions, positions), ((), ())), preferred_element_type=empty.dtype
  )
  dx = None if rounded_IO is None else dy @ rounded_IO.T
  return dx, None, kernel_gradient_IO


_product.defvjp(_product_forward, _product_gradient, symbolic_zeros=True)


def _spread(x_D: jax.Array, like: jax.Array) -> jax.Array:
  """A vector along the last axis of `like` in its shape and type; the gradient keeps its own type."""
  return jnp.broadcast_to(x_D.reshape((1,) * (like.ndim - 1) + x_D.shape), like.shape).astype(like.dtype)


def cast(params: nnx.State, gradient_dtype: str = 'float32') -> nnx.State:
  """Returns parameters with the kernels of `Linear` in the type in which their products run.

  Args:
    params: float32.
    gradient_dtype: of sums in the kernels' gradients, over positions, clips and devices: float32, or bfloat16
      for the type of the products.
  """

  def one(leaf):
    name = leaf.get_metadata().get('product_dtype') if isinstance(leaf, nnx.Variable) else None
    if name is None or jnp.dtype(name) == leaf.get_value().dtype:
      return leaf
    rounded_IO = leaf.get_value().astype(name)
    return leaf.replace(rounded_IO if gradient_dtype != 'float32' else Cast(rounded_IO, leaf.get_value()))

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
  """Zero mean and unit variance over the last axis, without parameters; float32 inside.

  Variance is E[x^2] - E[x]^2, and the gradient is by hand: so both directions read x twice, where two means
  one after the other would read it three times. A GPU spends half of a step on reading (docs/scaling.md).
  """
  return _normalised(x)[0]


def _normalised(x: jax.Array):
  x32 = x.astype(jnp.float32)
  mean = jnp.mean(x32, axis=-1, keepdims=True)
  variance = jnp.maximum(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) - jnp.square(mean), 0.0)
  rate = jax.lax.rsqrt(variance + 1e-6)
  return ((x32 - mean) * rate).astype(x.dtype), (x, mean, rate)


def _normalised_gradient(kept, dy: jax.Array):
  x, mean, rate = kept
  dy32, y32 = dy.astype(jnp.float32), (x.astype(jnp.float32) - mean) * rate
  along = jnp.mean(dy32 * y32, axis=-1, keepdims=True)
  return ((rate * (dy32 - jnp.mean(dy32, axis=-1, keepdims=True) - y32 * along)).astype(x.dtype),)


layer_norm.defvjp(_normalised, _normalised_gradient)


def rope(x_BSHE: jax.Array, time_BS: jax.Array) -> jax.Array:
  """Turns pairs of features by angles that are proportional to time (eq. 1).

  Args:
    x_BSHE: queries or keys.
    time_BS: seconds of every position; one row for all where B is 1.
  """
  assert time_BS.ndim == 2 and time_BS.shape[0] in (1, x_BSHE.shape[0]), time_BS.shape
  num_pairs = x_BSHE.shape[-1] // 2
  period_E = np.geomspace(ROPE_MIN_PERIOD_S, ROPE_MAX_PERIOD_S, num_pairs)
  angle_BSE = 2 * np.pi * time_BS[..., None] / jnp.asarray(period_E[None, None], jnp.float32)
  cos_BS1E, sin_BS1E = jnp.cos(angle_BSE)[:, :, None], jnp.sin(angle_BSE)[:, :, None]
  x32 = x_BSHE.astype(jnp.float32)
  first, second = x32[..., :num_pairs], x32[..., num_pairs:]
  turned = jnp.concatenate(
    [first * cos_BS1E - second * sin_BS1E, first * sin_BS1E + second * cos_BS1E], axis=-1
  )
  return turned.astype(x_BSHE.dtype)


def depthwise_conv(x_BTD: jax.Array, kernel_SD: jax.Array) -> jax.Array:
  """A centred convolution over T, channel by channel, zeros outside.

  A sum of shifted products: XLA has no fast depthwise convolution for CPUs, and a TPU fuses this.
  """
  size = kernel_SD.shape[0]
  left = size // 2
  padded = jnp.pad(x_BTD, ((0, 0), (left, size - 1 - left), (0, 0)))
  num_steps = x_BTD.shape[1]
  y_BTD = sum(padded[:, s : s + num_steps] * _spread(kernel_SD[s], x_BTD) for s in range(size))
  return ad_checkpoint.checkpoint_name(y_BTD, DEPTHWISE_CONV_OUTPUT)


class DepthwiseConv(nnx.Module):
  """A learned `depthwise_conv`, near the identity at first."""

  def __init__(self, width: int, size: int, *, rngs: nnx.Rngs):
    kernel_SD = 0.1 * jax.random.normal(rngs.params(), (size, width))
    self.kernel_SD = nnx.Param(kernel_SD.at[size // 2].add(1.0), axes=(None, 'embed'))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    return depthwise_conv(x_BTD, self.kernel_SD[...])


class Mlp(nnx.Module):
  """SwiGLU (Shazeer 2020, arXiv 2002.05202, eq. 6), with an optional local convolution inside."""

  def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs, conv_size: int = 0, dtype=jnp.float32):
    self.gate = Linear(width, hidden, ('embed', 'mlp'), rngs=rngs, dtype=dtype)
    self.up = Linear(width, hidden, ('embed', 'mlp'), rngs=rngs, dtype=dtype)
    self.down = Linear(hidden, width, ('mlp', 'embed'), rngs=rngs, dtype=dtype)
    self.conv = DepthwiseConv(width, conv_size, rngs=rngs) if conv_size else None

  def __call__(self, x_BSD: jax.Array) -> jax.Array:
    if self.conv is not None:
      x_BSD = self.conv(x_BSD)
    return self.down(jax.nn.silu(self.gate(x_BSD)) * self.up(x_BSD))


class SelfAttentionProjections(nnx.Module):
  """Queries, keys, values with q/k RMS norm, and the projection back."""

  def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs, dtype=jnp.float32):
    if width % num_heads or (width // num_heads) % 2:
      raise ValueError(f'width / num_heads must be an even whole number; got {width} / {num_heads}.')
    head_size = width // num_heads
    self.num_heads = num_heads
    # Columns lie head by head (query, key and value of one, then of the next): a part of them is whole heads.
    self.qkv_by_head = Linear(width, 3 * width, ('embed', 'heads'), rngs=rngs, use_bias=False, dtype=dtype)
    self.query_norm = RMSNorm(head_size)
    self.key_norm = RMSNorm(head_size)
    self.out = Linear(width, width, ('heads', 'embed'), rngs=rngs, dtype=dtype)

  def project(self, x_BSD: jax.Array, time_BS: jax.Array | None) -> tuple[jax.Array, ...]:
    """Returns q, k, v (each BSHE); positions in seconds turn q and k where given."""
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
  """Keys and values alone, of what is read and reads nothing; see SelfAttentionProjections."""

  def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs, dtype=jnp.float32):
    self.num_heads = num_heads
    self.kv_by_head = Linear(width, 2 * width, ('embed', 'heads'), rngs=rngs, use_bias=False, dtype=dtype)
    self.key_norm = RMSNorm(width // num_heads)

  def project(self, x_BSD: jax.Array, time_BS: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns k and v (each BSHE); positions in seconds turn k where given."""
    by_head = self.kv_by_head(x_BSD).reshape(x_BSD.shape[:2] + (self.num_heads, -1))
    k_BSHE, v_BSHE = jnp.split(by_head, 2, axis=-1)
    k_BSHE = self.key_norm(k_BSHE)
    return (k_BSHE if time_BS is None else rope(k_BSHE, time_BS)), v_BSHE


class EncoderBlock(nnx.Module):
  """A pre-norm transformer block that attends to every unmasked position."""

  def __init__(
    self, width: int, num_heads: int, *, rngs: nnx.Rngs, mlp_ratio: float = 2.0, dtype=jnp.float32
  ):
    self.attention = SelfAttentionProjections(width, num_heads, rngs=rngs, dtype=dtype)
    self.mlp = Mlp(width, int(width * mlp_ratio), rngs=rngs, dtype=dtype)

  def __call__(
    self, x_BSD: jax.Array, mask_BS: jax.Array | None = None, time_BS: jax.Array | None = None
  ) -> jax.Array:
    q_BSHE, k_BSHE, v_BSHE = self.attention.project(layer_norm(x_BSD), time_BS)
    x_BSD = x_BSD + self.attention.merge(attention.attend(q_BSHE, k_BSHE, v_BSHE, mask_BS))
    return x_BSD + self.mlp(layer_norm(x_BSD))


class ConvNeXtBlock(nnx.Module):
  """Depthwise convolution over time, norm, two-layer MLP, layer scale (arXiv 2201.03545)."""

  def __init__(
    self, width: int, *, rngs: nnx.Rngs, mlp_ratio: float = 3.0, conv_size: int = 7, dtype=jnp.float32
  ):
    hidden = int(width * mlp_ratio)
    self.conv = DepthwiseConv(width, conv_size, rngs=rngs)
    self.up = Linear(width, hidden, ('embed', 'mlp'), rngs=rngs, dtype=dtype)
    self.down = Linear(hidden, width, ('mlp', 'embed'), rngs=rngs, dtype=dtype)
    self.scale_D = nnx.Param(jnp.full(width, 0.3, jnp.float32), axes=('embed',))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    y_BTD = self.down(jax.nn.gelu(self.up(layer_norm(self.conv(x_BTD)))))
    return x_BTD + self.scale_D[...][None, None] * y_BTD


def masked_mean(x_BSD: jax.Array, mask_BS: jax.Array) -> jax.Array:
  """Returns the mean over the positions of a mask (BD); zero where there are none."""
  mask_BS1 = mask_BS[..., None]
  total_BD = jnp.sum(jnp.where(mask_BS1, x_BSD, 0), axis=1)
  return total_BD / jnp.maximum(jnp.sum(mask_BS1, axis=1), 1)


def timestep_features(t_B: jax.Array, width: int) -> jax.Array:
  """Returns cosines and sines of a diffusion time in [0, 1] at geometric frequencies (BD)."""
  frequency_D = jnp.asarray(2 * np.pi * np.geomspace(0.25, 250.0, width // 2), jnp.float32)
  angle_BD = t_B.astype(jnp.float32)[:, None] * frequency_D[None]
  return jnp.concatenate([jnp.cos(angle_BD), jnp.sin(angle_BD)], axis=-1)


def grid_times(num_steps: int, rate_hz: float) -> np.ndarray:
  """Returns the centre of every step in seconds: (k + 0.5) / rate."""
  return ((np.arange(num_steps) + 0.5) / rate_hz).astype(np.float32)


def resample_time(x_BSD: jax.Array, rate_hz: float, num_steps: int, step_rate_hz: float) -> jax.Array:
  """Linear interpolation of features onto another grid of step centres, held at the ends.

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
