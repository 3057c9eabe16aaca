"""Long sounds in pieces: with the receptive field as context they are coded as the whole."""

from collections.abc import Iterable
from typing import Protocol

import jax
import jax.numpy as jnp


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
