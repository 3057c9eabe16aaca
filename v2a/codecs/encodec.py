"""Convolutional encoder and decoder of waveforms: the networks of EnCodec, causal or not.

  encoder: conv 7, then for each stride s: residual units, ELU, conv 2s of stride s; LSTM, ELU, conv 7
  decoder: conv 7, LSTM, then for each stride s: ELU, transposed conv 2s, residual units; ELU, conv 7

  residual unit: shortcut(x) + conv1(ELU(conv3_d(ELU(x)))), the convolutions through width / 2          (1)
  LSTM: x + lstm(x), over time from the first step to the last                                          (2)

A convolution of k taps, dilation d and stride s is padded by (k - 1) d + 1 - s samples: all of them before
the sound if it is causal, else half on each side; and after it by as many as fill the last step. So N samples
encode to ceil(N / hop) steps, and T steps decode to T hop samples. Kernels have weight normalization
(`codecs.convolutional` eq. 3), or each convolution is followed by a norm over its whole output, all channels
and all steps (`time_group_norm`).

Because of the LSTM a step depends on all steps before it; with `time_group_norm` on all of the sound, so that
pieces differ from the whole.

Defossez et al. 2022, arXiv 2210.13438, sec. 3.1.
"""

import dataclasses
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.codecs import convolution_layers
from v2a.codecs import convolutional

NORMS = ('weight_norm', 'time_group_norm')
PAD_MODES = ('reflect', 'constant')


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Sizes of the networks; the defaults are those of the published models.

  Attributes:
    num_channels: audio channels.
    width: of the convolution at the sample rate; doubled by each stride of the encoder.
    strides: of the decoder, from the latents to the waveform; those of the encoder are the reverse.
    num_latent_channels: C.
    is_causal: whether outputs depend on no later samples.
    norm: one of NORMS.
    pad_mode: one of PAD_MODES.
    size, last_size, unit_size: taps of the first convolution, the last one, and those of residual units.
    num_units: residual units of a block; unit j has the dilation `dilation_growth`^j.
    dilation_growth: see `num_units`.
    compression: width of a residual unit over that of its branch.
    has_shortcut: whether the shortcut of a residual unit is a convolution, not the identity.
    num_lstm_layers: layers of the LSTM.
    trim_right_ratio: the part of what is cut off a causal transposed convolution that is cut at its end.
  """

  num_channels: int = 1
  width: int = 32
  strides: tuple[int, ...] = (8, 5, 4, 2)
  num_latent_channels: int = 128
  is_causal: bool = True
  norm: str = 'weight_norm'
  pad_mode: str = 'reflect'
  size: int = 7
  last_size: int = 7
  unit_size: int = 3
  num_units: int = 1
  dilation_growth: int = 2
  compression: int = 2
  has_shortcut: bool = True
  num_lstm_layers: int = 2
  trim_right_ratio: float = 1.0

  def __post_init__(self):
    if self.norm not in NORMS:
      raise ValueError(f'norm must be one of {NORMS}; got {self.norm!r}.')
    if self.pad_mode not in PAD_MODES:
      raise ValueError(f'pad_mode must be one of {PAD_MODES}; got {self.pad_mode!r}.')
    if not self.is_causal and self.trim_right_ratio != 1.0:
      raise ValueError(f'trim_right_ratio must be 1 if is_causal is false; got {self.trim_right_ratio}.')

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return math.prod(self.strides)

  @property
  def last_width(self) -> int:
    """Width at the latent rate."""
    return self.width * 2 ** len(self.strides)


class TimeGroupNorm(nnx.Module):
  """Zero mean and unit variance over all channels and steps of a clip, then a learned affine map."""

  def __init__(self, width: int):
    self.scale_D = nnx.Param(jnp.ones(width), axes=(None,))
    self.bias_D = nnx.Param(jnp.zeros(width), axes=(None,))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    x32 = x_BTD.astype(jnp.float32)
    x32 = x32 - jnp.mean(x32, axis=(1, 2), keepdims=True)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=(1, 2), keepdims=True) + 1e-5)
    return (x32 * self.scale_D[...][None, None] + self.bias_D[...][None, None]).astype(x_BTD.dtype)


class PaddedConv(nnx.Module):
  """A convolution with the padding and the norm of an architecture."""

  def __init__(
    self,
    arch: Architecture,
    in_channels: int,
    out_channels: int,
    size: int,
    axes: tuple[str | None, str | None],
    *,
    stride: int = 1,
    dilation: int = 1,
    rngs: nnx.Rngs,
  ):
    """Makes the layer.

    Args:
      arch: padding and norm.
      in_channels, out_channels: before and after.
      size: taps; 2 `stride` if that is not 1.
      axes: logical axes of (in, out).
      stride: samples of a step.
      dilation: steps between taps.
      rngs: for initial weights.
    """
    options: dict[str, Any] = {'use_weight_norm': arch.norm == 'weight_norm', 'padding': (0, 0), 'rngs': rngs}
    if stride > 1:
      self.conv = convolution_layers.Strided(in_channels, out_channels, stride, axes, **options)
    else:
      self.conv = convolution_layers.Conv(in_channels, out_channels, size, axes, dilation=dilation, **options)
    self.norm = TimeGroupNorm(out_channels) if arch.norm == 'time_group_norm' else None
    self.stride, self.pad_mode = stride, arch.pad_mode
    total = (size - 1) * dilation + 1 - stride
    after = 0 if arch.is_causal else total // 2
    self.padding = (total - after, after)

  def __call__(self, x_BTI: jax.Array) -> jax.Array:
    before, after = self.padding
    x_BTI = _pad(x_BTI, before, after + -x_BTI.shape[1] % self.stride, self.pad_mode)
    y_BTO = self.conv(x_BTI)
    return y_BTO if self.norm is None else self.norm(y_BTO)

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `convolution_layers.Conv.inputs`."""
    first, last = self.conv.inputs(first, last)
    return first - self.padding[0], last - self.padding[0]


def _pad(x_BTD: jax.Array, before: int, after: int, mode: str) -> jax.Array:
  """Returns x with padding along time.

  A sound shorter than its reflection is extended by zeros first, which are cut off afterwards.
  """
  if mode != 'reflect':
    return jnp.pad(x_BTD, ((0, 0), (before, after), (0, 0)))
  extra = max(max(before, after) + 1 - x_BTD.shape[1], 0)
  x_BTD = jnp.pad(x_BTD, ((0, 0), (0, extra), (0, 0)))
  x_BTD = jnp.pad(x_BTD, ((0, 0), (before, after), (0, 0)), mode='reflect')
  return x_BTD[:, : x_BTD.shape[1] - extra]


class TransposedConv(nnx.Module):
  """A transposed convolution of 2s taps and stride s, with the norm and the cut of an architecture."""

  def __init__(self, arch: Architecture, in_channels: int, out_channels: int, stride: int, *, rngs: nnx.Rngs):
    """Makes the layer.

    Args:
      arch: norm, and where outputs are cut.
      in_channels, out_channels: before and after.
      stride: s.
      rngs: for initial weights.
    """
    after = math.ceil(stride * arch.trim_right_ratio) if arch.is_causal else stride // 2
    self.conv = convolution_layers.Transposed(
      in_channels,
      out_channels,
      stride,
      ('embed', None),
      cut=(stride - after, after),
      use_weight_norm=arch.norm == 'weight_norm',
      rngs=rngs,
    )
    self.norm = TimeGroupNorm(out_channels) if arch.norm == 'time_group_norm' else None

  def __call__(self, x_BTI: jax.Array) -> jax.Array:
    if self.norm is None:
      return self.conv(x_BTI)
    # The statistics of the norm include what is cut.
    return self.conv.trim(self.norm(self.conv.overlap_add(x_BTI)))

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `convolution_layers.Conv.inputs`."""
    return self.conv.inputs(first, last)


class LstmLayer(nnx.Module):
  """One layer of an LSTM, with the gates input, forget, cell, output (Hochreiter and Schmidhuber 1997)."""

  def __init__(self, width: int, *, rngs: nnx.Rngs):
    bound = 1 / math.sqrt(width)
    uniform = lambda *shape: jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound)
    self.input_IO = nnx.Param(uniform(width, 4 * width), axes=('embed', 'mlp'))
    self.hidden_IO = nnx.Param(uniform(width, 4 * width), axes=('embed', 'mlp'))
    # Two biases that are added: as published.
    self.input_bias_O = nnx.Param(uniform(4 * width), axes=('mlp',))
    self.hidden_bias_O = nnx.Param(uniform(4 * width), axes=('mlp',))

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    hidden_IO = self.hidden_IO[...]
    bias_O = self.input_bias_O[...] + self.hidden_bias_O[...]
    gate_BTO = x_BTD @ self.input_IO[...] + bias_O[None, None]

    def step(carry, gate_BO):
      hidden_BD, cell_BD = carry
      entry, forget, cell, output = jnp.split(gate_BO + hidden_BD @ hidden_IO, 4, axis=-1)
      cell_BD = jax.nn.sigmoid(forget) * cell_BD + jax.nn.sigmoid(entry) * jnp.tanh(cell)
      hidden_BD = jax.nn.sigmoid(output) * jnp.tanh(cell_BD)
      return (hidden_BD, cell_BD), hidden_BD

    zero_BD = jnp.zeros_like(x_BTD[:, 0])
    _, hidden_TBD = jax.lax.scan(step, (zero_BD, zero_BD), gate_BTO.transpose(1, 0, 2))
    return hidden_TBD.transpose(1, 0, 2)


class Lstm(nnx.Module):
  """Eq. 2."""

  def __init__(self, width: int, num_layers: int, *, rngs: nnx.Rngs):
    self.layers = nnx.List([LstmLayer(width, rngs=rngs) for _ in range(num_layers)])

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    y_BTD = x_BTD
    for layer in self.layers:
      y_BTD = layer(y_BTD)
    return x_BTD + y_BTD


class ResidualUnit(nnx.Module):
  """Eq. 1."""

  def __init__(self, arch: Architecture, width: int, dilation: int, *, rngs: nnx.Rngs):
    """Makes the unit.

    Args:
      arch: taps, compression, shortcut.
      width: of input and output.
      dilation: of the first convolution.
      rngs: for initial weights.
    """
    hidden = width // arch.compression
    self.conv1 = PaddedConv(
      arch, width, hidden, arch.unit_size, ('embed', 'mlp'), dilation=dilation, rngs=rngs
    )
    self.conv2 = PaddedConv(arch, hidden, width, 1, ('mlp', 'embed'), rngs=rngs)
    self.shortcut = (
      PaddedConv(arch, width, width, 1, ('embed', None), rngs=rngs) if arch.has_shortcut else None
    )

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    y_BTD = self.conv2(jax.nn.elu(self.conv1(jax.nn.elu(x_BTD))))
    return y_BTD + (x_BTD if self.shortcut is None else self.shortcut(x_BTD))

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `convolution_layers.Conv.inputs`."""
    return self.conv1.inputs(first, last)


def _units(arch: Architecture, width: int, rngs: nnx.Rngs) -> nnx.List:
  dilations = [arch.dilation_growth**j for j in range(arch.num_units)]
  return nnx.List([ResidualUnit(arch, width, dilation, rngs=rngs) for dilation in dilations])


class EncoderBlock(nnx.Module):
  """Residual units and a strided convolution, which doubles the width."""

  def __init__(self, arch: Architecture, width: int, stride: int, *, rngs: nnx.Rngs):
    """Makes the block.

    Args:
      arch: of the networks.
      width: of the input.
      stride: of the convolution.
      rngs: for initial weights.
    """
    self.units = _units(arch, width, rngs)
    self.conv = PaddedConv(arch, width, 2 * width, 2 * stride, ('embed', None), stride=stride, rngs=rngs)

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    for unit in self.units:
      x_BTD = unit(x_BTD)
    return self.conv(jax.nn.elu(x_BTD))

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `convolution_layers.Conv.inputs`."""
    return convolution_layers.chain_inputs([*self.units, self.conv], first, last)


class DecoderBlock(nnx.Module):
  """A transposed convolution, which halves the width, and residual units."""

  def __init__(self, arch: Architecture, width: int, stride: int, *, rngs: nnx.Rngs):
    """Makes the block.

    Args:
      arch: of the networks.
      width: of the input.
      stride: of the convolution.
      rngs: for initial weights.
    """
    self.conv = TransposedConv(arch, width, width // 2, stride, rngs=rngs)
    self.units = _units(arch, width // 2, rngs)

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    x_BTD = self.conv(jax.nn.elu(x_BTD))
    for unit in self.units:
      x_BTD = unit(x_BTD)
    return x_BTD

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `convolution_layers.Conv.inputs`."""
    return convolution_layers.chain_inputs([self.conv, *self.units], first, last)


class Encoder(nnx.Module):
  """Waveform to latents."""

  def __init__(self, arch: Architecture, *, rngs: nnx.Rngs):
    self.arch = arch
    self.conv_in = PaddedConv(
      arch, arch.num_channels, arch.width, arch.size, ('channels', 'embed'), rngs=rngs
    )
    self.blocks = nnx.List(
      [
        EncoderBlock(arch, arch.width * 2**i, stride, rngs=rngs)
        for i, stride in enumerate(reversed(arch.strides))
      ]
    )
    self.lstm = Lstm(arch.last_width, arch.num_lstm_layers, rngs=rngs)
    self.conv_out = PaddedConv(
      arch, arch.last_width, arch.num_latent_channels, arch.last_size, ('embed', 'latent'), rngs=rngs
    )

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return self.arch.hop_samples

  @property
  def receptive_field_samples(self) -> tuple[int, int]:
    """How many samples before, and after, the first of its hop a step depends on, but for LSTM and norms."""
    first, last = convolution_layers.chain_inputs([self.conv_in, *self.blocks, self.conv_out], 0, 0)
    return -first, max(last, 0)

  def __call__(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns x_BTC.

    Args:
      wave_BNA: any number of samples.

    Raises:
      ValueError: the waveform has another number of channels.
    """
    shapes.check(wave_BNA=wave_BNA)
    convolutional.check_channels(wave_BNA, self.arch.num_channels)
    x_BTD = self.conv_in(wave_BNA)
    for block in self.blocks:
      x_BTD = block(x_BTD)
    return self.conv_out(jax.nn.elu(self.lstm(x_BTD)))


class Decoder(nnx.Module):
  """Latents to waveform."""

  def __init__(self, arch: Architecture, *, rngs: nnx.Rngs):
    self.arch = arch
    self.conv_in = PaddedConv(
      arch, arch.num_latent_channels, arch.last_width, arch.size, ('latent', 'embed'), rngs=rngs
    )
    self.lstm = Lstm(arch.last_width, arch.num_lstm_layers, rngs=rngs)
    self.blocks = nnx.List(
      [
        DecoderBlock(arch, arch.last_width // 2**i, stride, rngs=rngs)
        for i, stride in enumerate(arch.strides)
      ]
    )
    self.conv_out = PaddedConv(
      arch, arch.width, arch.num_channels, arch.last_size, ('embed', 'channels'), rngs=rngs
    )

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return self.arch.hop_samples

  @property
  def receptive_field_steps(self) -> tuple[int, int]:
    """How many steps before, and after, its own the samples of a hop depend on, but for LSTM and norms."""
    layers = [self.conv_in, *self.blocks, self.conv_out]
    first, last = convolution_layers.chain_inputs(layers, 0, self.hop_samples - 1)
    return -first, last

  def __call__(self, x_BTC: jax.Array) -> jax.Array:
    """Returns wave_BNA of T hop samples."""
    shapes.check(x_BTC=x_BTC)
    x_BTD = self.lstm(self.conv_in(x_BTC))
    for block in self.blocks:
      x_BTD = block(x_BTD)
    return self.conv_out(jax.nn.elu(x_BTD))
