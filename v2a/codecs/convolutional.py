"""Convolutional encoder and decoder of waveforms: the networks of DAC, for any number of audio channels.

  encoder: conv 7, then for each stride s: residual units, activation, conv 2s of stride s; activation, conv 3
  decoder: conv 7, then for each stride s: activation, transposed conv 2s, residual units; activation, conv 7,
    tanh

of the layers in `convolution_layers`. The width doubles with each stride of the encoder, and halves with each
of the decoder. N samples encode to N / hop steps, where hop is the product of the strides. T steps decode to
T hop samples; in DAC itself each odd stride loses samples at the end (`keep_length`).

Kumar et al. 2023, arXiv 2306.06546, sec. 3 and app. A.
"""

from collections.abc import Sequence
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.codecs import convolution_layers as layers

_EDGE_SIZE, _LATENT_SIZE = 7, 3


class EncoderBlock(nnx.Module):
  """Residual units and a strided convolution, which doubles the width."""

  def __init__(
    self,
    width: int,
    stride: int,
    *,
    dilations: Sequence[int] = layers.DILATIONS,
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
      activation_name: one of `convolution_layers.ACTIVATIONS`.
      use_weight_norm: whether kernels have weight normalization.
      rngs: for initial weights.
      dtype: of products.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.units = nnx.List(
      [layers.ResidualUnit(width, each, activation_name, **options) for each in dilations]
    )
    self.activation = layers.activation(activation_name, width, 'embed')
    self.conv = layers.Strided(width, 2 * width, stride, ('embed', None), **options)

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    for unit in self.units:
      x_BTD = unit(x_BTD)
    return self.conv(self.activation(x_BTD))

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `convolution_layers.Conv.inputs`."""
    return layers.chain_inputs([*self.units, self.conv], first, last)


class DecoderBlock(nnx.Module):
  """A transposed convolution, which halves the width, and residual units."""

  def __init__(
    self,
    width: int,
    stride: int,
    *,
    dilations: Sequence[int] = layers.DILATIONS,
    activation_name: str = 'snake',
    keep_length: bool = True,
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the block; see `EncoderBlock`.

    Args:
      width: of the input.
      stride: of the convolution.
      dilations: one for each residual unit.
      activation_name: one of `convolution_layers.ACTIVATIONS`.
      keep_length: whether the output has exactly `stride` times the steps of the input; without, it has one
        sample less if the stride is odd, as in DAC.
      use_weight_norm: whether kernels have weight normalization.
      rngs: for initial weights.
      dtype: of products.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.activation = layers.activation(activation_name, width, 'embed')
    cut = (stride // 2, stride - stride // 2) if keep_length else None
    self.conv = layers.Transposed(width, width // 2, stride, ('embed', None), cut=cut, **options)
    self.units = nnx.List(
      [layers.ResidualUnit(width // 2, each, activation_name, **options) for each in dilations]
    )

  def __call__(self, x_BTD: jax.Array) -> jax.Array:
    x_BTD = self.conv(self.activation(x_BTD))
    for unit in self.units:
      x_BTD = unit(x_BTD)
    return x_BTD

  def inputs(self, first: int, last: int) -> tuple[int, int]:
    """See `convolution_layers.Conv.inputs`."""
    return layers.chain_inputs([self.conv, *self.units], first, last)


class Encoder(nnx.Module):
  """Waveform to latents."""

  def __init__(
    self,
    num_channels: int,
    width: int,
    strides: Sequence[int],
    *,
    num_latent_channels: int,
    dilations: Sequence[int] = layers.DILATIONS,
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
      activation_name: one of `convolution_layers.ACTIVATIONS`.
      use_weight_norm: whether kernels have weight normalization.
      rngs: for initial weights.
      dtype: of products; the waveform's type is that of everything between them.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs, 'dtype': dtype}
    self.num_channels, self.strides = num_channels, tuple(strides)
    last_width = width * 2 ** len(strides)
    self.conv_in = layers.Conv(num_channels, width, _EDGE_SIZE, ('channels', 'embed'), **options)
    blocks = [
      EncoderBlock(width * 2**i, stride, dilations=dilations, activation_name=activation_name, **options)
      for i, stride in enumerate(strides)
    ]
    self.blocks = nnx.List(blocks)
    self.activation = layers.activation(activation_name, last_width, 'embed')
    self.conv_out = layers.Conv(last_width, num_latent_channels, _LATENT_SIZE, ('embed', 'latent'), **options)

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return math.prod(self.strides)

  @property
  def receptive_field_samples(self) -> tuple[int, int]:
    """How many samples before, and after, the first of its hop a latent step depends on."""
    first, last = layers.chain_inputs([self.conv_in, *self.blocks, self.conv_out], 0, 0)
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
    dilations: Sequence[int] = layers.DILATIONS,
    activation_name: str = 'snake',
    keep_length: bool = True,
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
      activation_name: one of `convolution_layers.ACTIVATIONS`.
      keep_length: see `DecoderBlock`.
      use_weight_norm: whether kernels have weight normalization.
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
    self.conv_in = layers.Conv(num_latent_channels, width, _EDGE_SIZE, ('latent', 'embed'), **options)
    block_options: dict[str, Any] = options | {'activation_name': activation_name, 'keep_length': keep_length}
    blocks = [
      DecoderBlock(width // 2**i, stride, dilations=dilations, **block_options)
      for i, stride in enumerate(strides)
    ]
    self.blocks = nnx.List(blocks)
    self.activation = layers.activation(activation_name, last_width, 'embed')
    self.conv_out = layers.Conv(last_width, num_channels, _EDGE_SIZE, ('embed', 'channels'), **options)

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return math.prod(self.strides)

  @property
  def receptive_field_steps(self) -> tuple[int, int]:
    """How many latent steps before, and after, its own the samples of a hop depend on."""
    first, last = layers.chain_inputs([self.conv_in, *self.blocks, self.conv_out], 0, self.hop_samples - 1)
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
