"""Convolutional encoder and decoder of waveforms: the networks of DAC, for any number of audio channels.

  encoder: conv 7, then for each stride s: residual units, activation, conv 2s of stride s; activation, conv 3
  decoder: conv 7, then for each stride s: activation, transposed conv 2s, residual units; activation, conv 7,
    tanh

  residual unit: x + conv1(act(conv7_d(act(x)))), one for each dilation d                              (1)
  snake: x + sin(a x)^2 / a, with a learned a for each channel                                         (2)
  kernel = g v / ||v||, weight normalization: one g for each output channel, or for each input channel
    of a transposed convolution                                                                        (3)

The width doubles with each stride of the encoder, and halves with each of the decoder. Paddings are zeros:
ceil(s / 2) on both sides of a strided convolution, and as much is cut off a transposed one. N samples encode
to N / hop steps, where hop is the product of the strides. T steps decode to T hop samples if all strides are
even; each odd stride loses samples at the end.

Kumar et al. 2023, arXiv 2306.06546, sec. 3 and app. A; snake: Ziyin et al. 2020, arXiv 2006.08195, eq. 3;
weight normalization: Salimans and Kingma 2016, arXiv 1602.07868, eq. 2.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import math
from typing import Any
from typing import Protocol

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import shapes

ACTIVATIONS = ('snake', 'elu')
DILATIONS = (1, 3, 9)
_EDGE_SIZE, _UNIT_SIZE, _LATENT_SIZE = 7, 7, 3


class Snake(nnx.Module):
  """The activation of eq. 2, in float32."""

  def __init__(self, width: int, axis: str | None = None):
    self.alpha_D = nnx.Param(jnp.ones(width), axes=(axis,))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    x32, alpha_11D = x_BTD.astype(jnp.float32), self.alpha_D[...][None, None]
    return (x32 + jnp.square(jnp.sin(alpha_11D * x32)) / (alpha_11D + 1e-9)).astype(x_BTD.dtype)


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


class EncoderBlock(nnx.Module):
  """Residual units and a strided convolution, which doubles the width."""

  def __init__(
    self,
    width: int,
    stride: int,
    *,
    dilations: Sequence[int] = DILATIONS,
    activation_name: str = 'snake',
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the block.

    Args:
      width: of the input.
      stride: of the convolution.
      dilations: one for each residual unit.
      activation_name: one of ACTIVATIONS.
      use_weight_norm: whether kernels are normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.units = nnx.List([ResidualUnit(width, each, activation_name, **options) for each in dilations])
    self.activation = activation(activation_name, width, 'embed')
    self.conv = Strided(width, 2 * width, stride, ('embed', None), **options)

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    for unit in self.units:
      x_BTD = unit(x_BTD)
    return self.conv(self.activation(x_BTD))

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `Conv.inputs`."""
    return chain_inputs([*self.units, self.conv], first, last)


class DecoderBlock(nnx.Module):
  """A transposed convolution, which halves the width, and residual units."""

  def __init__(
    self,
    width: int,
    stride: int,
    *,
    dilations: Sequence[int] = DILATIONS,
    activation_name: str = 'snake',
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the block; see `EncoderBlock`.

    Args:
      width: of the input.
      stride: of the convolution.
      dilations: one for each residual unit.
      activation_name: one of ACTIVATIONS.
      use_weight_norm: whether kernels are normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.activation = activation(activation_name, width, 'embed')
    self.conv = Transposed(width, width // 2, stride, ('embed', None), **options)
    self.units = nnx.List([ResidualUnit(width // 2, each, activation_name, **options) for each in dilations])

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    x_BTD = self.conv(self.activation(x_BTD))
    for unit in self.units:
      x_BTD = unit(x_BTD)
    return x_BTD

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `Conv.inputs`."""
    return chain_inputs([self.conv, *self.units], first, last)


class Encoder(nnx.Module):
  """Waveform to latents."""

  def __init__(
    self,
    num_channels: int,
    width: int,
    strides: Sequence[int],
    *,
    num_latent_channels: int,
    dilations: Sequence[int] = DILATIONS,
    activation_name: str = 'snake',
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the network.

    Args:
      num_channels: A, audio channels.
      width: of the first convolution; doubled by each stride.
      strides: from the waveform to the latents.
      num_latent_channels: C of the output.
      dilations: of the residual units of each block.
      activation_name: one of ACTIVATIONS.
      use_weight_norm: whether kernels are normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products; the waveform's type is that of everything between them.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.num_channels, self.strides = num_channels, tuple(strides)
    last_width = width * 2 ** len(strides)
    self.conv_in = Conv(num_channels, width, _EDGE_SIZE, ('channels', 'embed'), **options)
    blocks = [
      EncoderBlock(width * 2**i, stride, dilations=dilations, activation_name=activation_name, **options)
      for i, stride in enumerate(strides)
    ]
    self.blocks = nnx.List(blocks)
    self.activation = activation(activation_name, last_width, 'embed')
    self.conv_out = Conv(last_width, num_latent_channels, _LATENT_SIZE, ('embed', 'latent'), **options)

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return math.prod(self.strides)

  @property
  def receptive_field_samples(self) -> tuple[int, int]:
    """How many samples before, and after, the first of its hop a latent step depends on."""
    first, last = chain_inputs([self.conv_in, *self.blocks, self.conv_out], 0, 0)
    return -first, last

  def __call__(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns x_BTC.

    Args:
      wave_BNA: a multiple of `hop_samples` samples; a rest is lost.

    Raises:
      ValueError: the waveform has another number of channels.
    """
    shapes.check(wave_BNA=wave_BNA)
    check_channels(wave_BNA, self.num_channels)
    x_BTD = self.conv_in(wave_BNA)
    for block in self.blocks:
      x_BTD = block(x_BTD)
    return self.conv_out(self.activation(x_BTD))


class Decoder(nnx.Module):
  """Latents to waveform."""

  def __init__(
    self,
    num_channels: int,
    width: int,
    strides: Sequence[int],
    *,
    num_latent_channels: int,
    dilations: Sequence[int] = DILATIONS,
    activation_name: str = 'snake',
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the network.

    Args:
      num_channels: A, audio channels.
      width: of the first convolution; halved by each stride.
      strides: from the latents to the waveform.
      num_latent_channels: C of the input.
      dilations: of the residual units of each block.
      activation_name: one of ACTIVATIONS.
      use_weight_norm: whether kernels are normalized (eq. 3).
      rngs: for initial weights.
      dtype: of products; the latents' type is that of everything between them.

    Raises:
      ValueError: the width cannot be halved so often.
    """
    if width % 2 ** len(strides):
      raise ValueError(
        f'width must be a multiple of {2 ** len(strides)} for {len(strides)} strides; got {width}.'
      )
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.num_channels, self.strides = num_channels, tuple(strides)
    last_width = width // 2 ** len(strides)
    self.conv_in = Conv(num_latent_channels, width, _EDGE_SIZE, ('latent', 'embed'), **options)
    blocks = [
      DecoderBlock(width // 2**i, stride, dilations=dilations, activation_name=activation_name, **options)
      for i, stride in enumerate(strides)
    ]
    self.blocks = nnx.List(blocks)
    self.activation = activation(activation_name, last_width, 'embed')
    self.conv_out = Conv(last_width, num_channels, _EDGE_SIZE, ('embed', 'channels'), **options)

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return math.prod(self.strides)

  @property
  def receptive_field_steps(self) -> tuple[int, int]:
    """How many latent steps before, and after, its own the samples of a hop depend on."""
    first, last = chain_inputs([self.conv_in, *self.blocks, self.conv_out], 0, self.hop_samples - 1)
    return -first, last

  def __call__(self, x_BTC: jax.Array) -> jax.Array:
    """Returns wave_BNA in [-1, 1]."""
    shapes.check(x_BTC=x_BTC)
    x_BTD = self.conv_in(x_BTC)
    for block in self.blocks:
      x_BTD = block(x_BTD)
    return jnp.tanh(self.conv_out(self.activation(x_BTD)))


def check_channels(wave_BNA: jax.Array, num_channels: int) -> None:
  """Checks the audio channels of a waveform.

  Raises:
    ValueError: there are others than `num_channels`.
  """
  if wave_BNA.shape[2] != num_channels:
    raise ValueError(
      f'the codec has {num_channels} audio channel(s); got wave_BNA of shape {tuple(wave_BNA.shape)}.'
    )


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


class EncoderNetwork(Protocol):
  """What `encode_in_pieces` uses of an encoder."""

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    ...

  @property
  def receptive_field_samples(self) -> tuple[int, int]:
    """See `Encoder.receptive_field_samples`."""
    ...

  def __call__(self, wave_BNA: jax.Array) -> jax.Array: ...


class DecoderNetwork(Protocol):
  """What `decode_in_pieces` uses of a decoder."""

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    ...

  @property
  def receptive_field_steps(self) -> tuple[int, int]:
    """See `Decoder.receptive_field_steps`."""
    ...

  def __call__(self, x_BTC: jax.Array) -> jax.Array: ...


def encode_in_pieces(
  encoder: EncoderNetwork, wave_BNA: jax.Array, num_steps: int, extra_steps: int = 0
) -> jax.Array:
  """Returns latents x_BTC of a waveform that is encoded piece by piece, with context: as if in one piece.

  Args:
    encoder: the network.
    wave_BNA: a multiple of `hop_samples` samples.
    num_steps: latent steps of a piece, without its context.
    extra_steps: context before each piece beyond the receptive field of the convolutions, for an LSTM.

  Raises:
    ValueError: the number of samples is not a multiple of the hop.
  """
  hop, num_samples = encoder.hop_samples, wave_BNA.shape[1]
  if num_samples % hop:
    raise ValueError(f'the waveform must be a multiple of {hop} samples; got {num_samples}.')
  before, after = (-(-reach // hop) for reach in encoder.receptive_field_samples)
  pieces = []
  for start, stop, first, last in _pieces(num_samples // hop, num_steps, before + extra_steps, after):
    pieces.append(encoder(wave_BNA[:, first * hop : last * hop])[:, start - first : stop - first])
  return jnp.concatenate(pieces, axis=1)


def decode_in_pieces(
  decoder: DecoderNetwork, x_BTC: jax.Array, num_steps: int, extra_steps: int = 0
) -> jax.Array:
  """Returns wave_BNA of latents that are decoded piece by piece, with context: as if in one piece.

  Args:
    decoder: the network.
    x_BTC: latents.
    num_steps: latent steps of a piece, without its context.
    extra_steps: context before each piece beyond the receptive field of the convolutions, for an LSTM.
  """
  hop = decoder.hop_samples
  before, after = decoder.receptive_field_steps
  pieces = []
  for start, stop, first, last in _pieces(x_BTC.shape[1], num_steps, before + extra_steps, after):
    pieces.append(decoder(x_BTC[:, first:last])[:, (start - first) * hop : (stop - first) * hop])
  return jnp.concatenate(pieces, axis=1)


def _pieces(total: int, num_steps: int, before: int, after: int) -> Iterable[tuple[int, int, int, int]]:
  """Yields start and stop of each piece, and those of the piece with its context."""
  for start in range(0, total, num_steps):
    stop = min(start + num_steps, total)
    yield start, stop, max(start - before, 0), min(stop + after, total)
