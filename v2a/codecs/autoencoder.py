"""What all codecs share: a trunk, one of two bottlenecks (kl | rvq), and normalised latents.

waveform -> `trunk` -> bottleneck -> `synthesize` -> waveform

Subclasses define the two networks: `magnitude.MagnitudeAutoencoder` (STFT magnitudes, reconstructed phases),
`stereo_magnitude.StereoMagnitudeAutoencoder` (those of both channels, mid and side), `phase.PhaseAutoencoder`
(STFT with a phase head) and `waveform.WaveformAutoencoder` (convolutions).
"""

import abc

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import clip
from v2a import shapes
from v2a.codecs import discriminators as discriminators_lib
from v2a.codecs import quantizer
from v2a.models import layers

BOTTLENECKS = ('kl', 'rvq')
LOG_STD_RANGE = (-6.0, 2.0)


class Statistic(nnx.Variable):
  """What was measured on data, such as mean and standard deviation of latents; not trained."""


def split_posterior(x_BTF: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns mean and log standard deviation (each BTC), the halves of the input of a kl bottleneck."""
  mean_BTC, log_std_BTC = jnp.split(x_BTF.astype(jnp.float32), 2, axis=-1)
  return mean_BTC, jnp.clip(log_std_BTC, *LOG_STD_RANGE)


class Autoencoder(nnx.Module):
  """Encodes waveforms as normalised latents or codes, and decodes them, at the rates of a ClipSpec.

  Attributes:
    discriminators: set by adversarial training alone, and removed from the exported model.
  """

  discriminators: discriminators_lib.Discriminators

  def __init__(self, spec: clip.ClipSpec, *, bottleneck: str, num_latent_channels: int):
    """Takes what all codecs have.

    Args:
      spec: rates and lengths of a clip.
      bottleneck: one of BOTTLENECKS.
      num_latent_channels: C.

    Raises:
      ValueError: an unknown bottleneck.
    """
    if bottleneck not in BOTTLENECKS:
      raise ValueError(f'codec.bottleneck must be one of {BOTTLENECKS}; got {bottleneck!r}.')
    self.spec, self.bottleneck, self.num_latent_channels = spec, bottleneck, num_latent_channels

  def _make_bottleneck(
    self,
    width: int,
    num_codebooks: int,
    codebook_size: int,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ) -> None:
    """Makes the bottleneck and its projections; between the networks, whose initial weights follow it.

    Args:
      width: of the networks at the latent rate.
      num_codebooks, codebook_size: of the rvq bottleneck.
      rngs: for initial weights.
      dtype: of products.
    """
    channels = self.num_latent_channels
    num_out = 2 * channels if self.bottleneck == 'kl' else channels
    self.to_latent = layers.Linear(width, num_out, ('embed', 'latent'), rngs=rngs, dtype=dtype)
    if self.bottleneck == 'rvq':
      self.quantizer = quantizer.ResidualQuantizer(num_codebooks, codebook_size, channels, rngs=rngs)
    self.from_latent = layers.Linear(channels, width, ('latent', 'embed'), rngs=rngs, dtype=dtype)
    self.latent_mean_C = Statistic(jnp.zeros(channels))
    self.latent_std_C = Statistic(jnp.ones(channels))

  @abc.abstractmethod
  def trunk(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns the input of the bottleneck, BTF: mean and log std (kl), or latents (rvq)."""

  @abc.abstractmethod
  def synthesize(self, latent_BTC: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of latents that are not normalised.

    Args:
      latent_BTC: the latents.
      prefix_BNA: beginning of the waveform, if it was decoded before: a codec that invents phases continues
        them; the others ignore it.
    """

  def posterior(self, wave_BNA: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and log standard deviation before normalisation (each BTC; kl bottleneck)."""
    return split_posterior(self.trunk(wave_BNA))

  def encode(self, wave_BNA: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation of the normalised latents (each BTC; kl bottleneck)."""
    mean_BTC, log_std_BTC = self.posterior(wave_BNA)
    scale = 1 / self.latent_std_C[...][None, None]
    mean_BTC = (mean_BTC - self.latent_mean_C[...][None, None]) * scale
    return mean_BTC, jnp.exp(log_std_BTC) * scale

  def encode_tokens(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns codes_BTK (rvq bottleneck)."""
    return self.quantizer.encode(self.trunk(wave_BNA).astype(jnp.float32))

  def decode(self, latent_BTC: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of normalised latents; see `synthesize`."""
    shapes.check(latent_BTC=latent_BTC)
    mean_C, std_C = self.latent_mean_C[...], self.latent_std_C[...]
    return self.synthesize(latent_BTC * std_C[None, None] + mean_C[None, None], prefix_BNA)

  def decode_tokens(self, codes_BTK: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of codes (rvq bottleneck); see `synthesize`."""
    return self.synthesize(self.quantizer.decode(codes_BTK), prefix_BNA)
