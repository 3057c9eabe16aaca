"""Layers of convolutional codecs: convolutions with weight normalization, activations and residual units.

  residual unit: x + conv1(act(conv7_d(act(x)))), one for each dilation d                              (1)
  snake: x + sin(a x)^2 / a, with a learned a for each channel                                         (2)
  kernel = g v / ||v||, weight normalization: one g for each output channel, or for each input channel
    of a transposed convolution                                                                        (3)

Paddings are zeros: ceil(s / 2) on both sides of a strided convolution, and as much is cut off a transposed
one.

Kumar et al. 2023, arXiv 2306.06546, sec. 3 and app. A; snake: Ziyin et al. 2020, arXiv 2006.08195, eq. 3;
weight normalization: Salimans and Kingma 2016, arXiv 1602.07868, eq. 2.
"""

from collections.abc import Iterable
import math
from typing import Any
from typing import Protocol

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

ACTIVATIONS = ('snake', 'elu')
DILATIONS = (1, 3, 9)
_UNIT_SIZE = 7


# sin(r)^2 / r^2 as a polynomial of r^2, for |r| <= pi / 2; its error is below 1e-9.
_SQUARE = np.linspace(1e-6, (np.pi / 2) ** 2, 1000)
_FITTED = np.polynomial.Chebyshev.fit(_SQUARE, np.sin(np.sqrt(_SQUARE)) ** 2 / _SQUARE, 6)
_COEFFICIENTS = _FITTED.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)
# Pi in two parts; multiples of the first below 2^15 are exact.
_PI_HIGH, _PI_LOW = np.float32(3.140625), np.float32(np.pi - 3.140625)


def sine_squared(x: jax.Array) -> jax.Array:
  """Returns sin(x)^2 of float32 values, within 2e-6 for |x| up to 1000; differentiable.

  On a CPU it takes a twentieth of the time of `jnp.sin`, which would be more than half of that of a small
  decoder.
  """
  multiple = jnp.round(x * np.float32(1 / np.pi))
  square = jnp.square(x - multiple * _PI_HIGH - multiple * _PI_LOW)
  value = jnp.full_like(square, _COEFFICIENTS[-1])
  for coefficient in _COEFFICIENTS[-2::-1]:
    value = value * square + coefficient
  return value * square


class Snake(nnx.Module):
  """The activation of eq. 2, in float32."""

  def __init__(self, width: int, axis: str | None = None):
    self.alpha_D = nnx.Param(jnp.ones(width), axes=(axis,))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    x32, alpha_11D = x_BTD.astype(jnp.float32), self.alpha_D[...][None, None]
    return (x32 + sine_squared(alpha_11D * x32) / (alpha_11D + 1e-9)).astype(x_BTD.dtype)


class Elu(nnx.Module):
  """The exponential linear unit; it has no parameters."""

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    return jax.nn.elu(x_BTD)


def activation(name: str, width: int, axis: str | None = None) -> Snake | Elu:
  """Returns an activation.

  Args:
    name: one of ACTIVATIONS.
    width: number of channels.
    axis: logical axis of the channels.

  Raises:
    ValueError: an unknown name.
  """
  if name not in ACTIVATIONS:
    raise ValueError(f'activation must be one of {ACTIVATIONS}; got {name!r}.')
  return Snake(width, axis) if name == 'snake' else Elu()


class Conv(nnx.Module):
  """A convolution over time, of stride 1.

  Measured on a CPU of two cores, at (B 4, T 16000, C 32) and (B 4, T 500, C 256), for the output and for
  each gradient. XLA's convolution of 7 taps, dilated or not, takes 8 to 28 ms; a sum of 7 products, or one
  product over 7 concatenated shifts, 4 to 10 times as long at 32 channels, and 0.7 to 2.5 times at 256. Its
  strided convolution takes 10 to 70 % longer than one of 2 taps over blocks of s samples (`Strided`). Of its
  transposed convolution (`lhs_dilation`) the gradient of the kernel takes 11 and 70 times as long as that of
  a product and an overlap-add (`Transposed`).
  """

  # Axis of the kernel SIO whose size is the number of scales g of eq. 3.
  _SCALE_AXIS = 2

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    size: int,
    axes: tuple[str | None, str | None],
    *,
    dilation: int = 1,
    padding: tuple[int, int] | None = None,
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the layer.

    Args:
      in_channels, out_channels: before and after.
      size: taps of the kernel.
      axes: logical axes of (in, out).
      dilation: steps between taps.
      padding: zeros before and after; None for as many as leave the length as it is.
      use_weight_norm: whether the kernel is normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products.
    """
    self.size, self.dilation, self.dtype = size, dilation, dtype
    reach = dilation * (size - 1)
    self.padding = (reach // 2, reach - reach // 2) if padding is None else padding
    # Uniform within 1 / sqrt(inputs of an output), as in the published trainings.
    bound = 1 / math.sqrt(in_channels * self._taps_of_output())
    kernel_SIO = jax.random.uniform(
      rngs.params(), (size, in_channels, out_channels), jnp.float32, -bound, bound
    )
    kernel_axes = ('kernel', *axes)
    self.use_weight_norm = use_weight_norm
    if use_weight_norm:
      self.v_SIO = nnx.Param(kernel_SIO, axes=kernel_axes)
      # Its only axis is 'I' in transposed convolutions.
      self.g_O = nnx.Param(self._norms(kernel_SIO).ravel(), axes=(kernel_axes[self._SCALE_AXIS],))
    else:
      self.kernel_SIO = nnx.Param(kernel_SIO, axes=kernel_axes)
    self.bias_O = nnx.Param(jnp.zeros(out_channels), axes=axes[1:])

  def _taps_of_output(self) -> int:
    return self.size

  def _norms(self, v_SIO: jax.Array) -> jax.Array:
    axes = tuple(axis for axis in range(3) if axis != self._SCALE_AXIS)
    return jnp.sqrt(jnp.sum(jnp.square(v_SIO), axis=axes, keepdims=True))

  def kernel(self) -> jax.Array:
    """Returns kernel_SIO (eq. 3), float32."""
    if not self.use_weight_norm:
      return self.kernel_SIO[...]
    v_SIO = self.v_SIO[...]
    norms = self._norms(v_SIO)
    return v_SIO * (self.g_O[...].reshape(norms.shape) / norms)

  def _convolve(self, x_BTI: jax.Array, kernel_SIO: jax.Array, padding: tuple[int, int], dilation: int = 1):
    """Returns the convolution of stride 1 in the type of products."""
    return jax.lax.conv_general_dilated(
      x_BTI.astype(self.dtype),
      kernel_SIO.astype(self.dtype),
      (1,),
      [padding],
      rhs_dilation=(dilation,),
      dimension_numbers=('NWC', 'WIO', 'NWC'),
    )

  def __call__(self, x_BTI: jax.Array) -> jax.Array:
    return self._finish(self._convolve(x_BTI, self.kernel(), self.padding, self.dilation), x_BTI)

  def _finish(self, y_BTO: jax.Array, like: jax.Array) -> jax.Array:
    return (y_BTO + self.bias_O[...].astype(y_BTO.dtype)[None, None]).astype(like.dtype)

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """Returns the first and the last input step that the output steps from `first` to `last` depend on."""
    start = first - self.padding[0]
    return start, start + last - first + self.dilation * (self.size - 1)


class Strided(Conv):
  """A convolution of 2s taps and stride s."""

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    stride: int,
    axes: tuple[str | None, str | None],
    *,
    padding: tuple[int, int] | None = None,
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the layer.

    Args:
      in_channels, out_channels: before and after.
      stride: s.
      axes: logical axes of (in, out).
      padding: zeros before and after; None for ceil(s / 2).
      use_weight_norm: whether the kernel is normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products.
    """
    self.stride = stride
    half = -(-stride // 2)
    super().__init__(
      in_channels,
      out_channels,
      2 * stride,
      axes,
      padding=(half, half) if padding is None else padding,
      use_weight_norm=use_weight_norm,
      rngs=rngs,
      dtype=dtype,
    )

  def __call__(self, x_BTI: jax.Array) -> jax.Array:
    B, T, I = x_BTI.shape
    num_blocks = (T + sum(self.padding)) // self.stride
    # A negative padding cuts samples that fill no block.
    after = num_blocks * self.stride - T - self.padding[0]
    padded_BTI = jax.lax.pad(
      x_BTI, jnp.zeros((), x_BTI.dtype), [(0, 0, 0), (self.padding[0], after, 0), (0, 0, 0)]
    )
    block_BTI = padded_BTI.reshape(B, num_blocks, self.stride * I)
    kernel_2IO = self.kernel().reshape(2, self.stride * I, -1)
    return self._finish(self._convolve(block_BTI, kernel_2IO, (0, 0)), x_BTI)

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `Conv.inputs`."""
    return first * self.stride - self.padding[0], (last + 2) * self.stride - 1 - self.padding[0]


class Transposed(Conv):
  """The transpose of a convolution of 2s taps and stride s: each input adds to 2s outputs."""

  _SCALE_AXIS = 1

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    stride: int,
    axes: tuple[str | None, str | None],
    *,
    cut: tuple[int, int] | None = None,
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the layer.

    Args:
      in_channels, out_channels: before and after.
      stride: s.
      axes: logical axes of (in, out).
      cut: samples that are cut off the s (T + 1) outputs, before and after; None for ceil(s / 2).
      use_weight_norm: whether the kernel is normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products.
    """
    self.stride = stride
    half = -(-stride // 2)
    self.cut = (half, half) if cut is None else cut
    super().__init__(
      in_channels,
      out_channels,
      2 * stride,
      axes,
      padding=(0, 0),
      use_weight_norm=use_weight_norm,
      rngs=rngs,
      dtype=dtype,
    )

  def _taps_of_output(self) -> int:
    return 2

  def overlap_add(self, x_BTI: jax.Array) -> jax.Array:
    """Returns all s (T + 1) outputs."""
    B, T, I = x_BTI.shape
    kernel_IO = self.kernel().transpose(1, 0, 2).reshape(I, -1)
    y_BT2O = (x_BTI.astype(self.dtype) @ kernel_IO.astype(self.dtype)).reshape(B, T, 2, -1)
    # Block t of the output is the first half for input t and the second half for input t - 1.
    first_BTO, second_BTO = (
      jnp.pad(y_BT2O[:, :, half], ((0, 0), (half, 1 - half), (0, 0))) for half in range(2)
    )
    y_BTO = (first_BTO + second_BTO).reshape(B, (T + 1) * self.stride, -1)
    return self._finish(y_BTO, x_BTI)

  def __call__(self, x_BTI: jax.Array) -> jax.Array:
    return self.trim(self.overlap_add(x_BTI))

  def trim(self, y_BTO: jax.Array) -> jax.Array:
    """Returns outputs without what is cut."""
    return y_BTO[:, self.cut[0] : y_BTO.shape[1] - self.cut[1]]

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `Conv.inputs`."""
    # Output n is in block (n + cut) // s.
    return (first + self.cut[0]) // self.stride - 1, (last + self.cut[0]) // self.stride


class ResidualUnit(nnx.Module):
  """Eq. 1."""

  def __init__(
    self,
    width: int,
    dilation: int,
    activation_name: str = 'snake',
    *,
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the unit.

    Args:
      width: number of channels.
      dilation: of the convolution of 7 taps.
      activation_name: one of ACTIVATIONS.
      use_weight_norm: whether kernels are normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.activation1 = activation(activation_name, width, 'embed')
    self.conv1 = Conv(width, width, _UNIT_SIZE, ('embed', 'mlp'), dilation=dilation, **options)
    self.activation2 = activation(activation_name, width, 'mlp')
    self.conv2 = Conv(width, width, 1, ('mlp', 'embed'), **options)

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    return x_BTD + self.conv2(self.activation2(self.conv1(self.activation1(x_BTD))))

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `Conv.inputs`."""
    return self.conv1.inputs(first, last)


class Layer(Protocol):
  """A layer whose outputs depend on a range of inputs."""

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `Conv.inputs`."""
    ...


def chain_inputs(layers: Iterable[Layer], first: int, last: int) -> tuple[int, int]:
  """Returns the first and the last step that output steps of a chain of layers depend on.

  Args:
    layers: in the order of computation.
    first, last: output steps.
  """
  for layer in reversed([*layers]):
    first, last = layer.inputs(first, last)
  return first, last
