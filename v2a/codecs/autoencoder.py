"""The codec: one STFT-domain trunk, two bottlenecks.

waveform -> log-magnitudes (and channel level differences) -> patches of `patch_frames` frames -> ConvNeXt
blocks at the latent rate -> bottleneck (kl | rvq) -> ConvNeXt blocks -> log-magnitudes -> phases -> inverse
STFT -> waveform.

  log_magnitude = log(|X| 4 / n_fft + 0.001),   |X| the root of the mean power of the channels     (1)

so that a full-scale sine is near 0 and silence is -6.9. Stereo is coded as level differences in bands, see
`codecs.channel_level`. The network consists of matrix products at the latent rate. Phases are not coded but
reconstructed, see `codecs.griffin_lim`: a head that predicts them (Siuzdak 2023, arXiv 2306.00814) was tried
first, and after 1,500 steps lost two thirds of the energy of tonal sounds to frames that cancel each other.
Log-magnitudes of both channels were tried, too: after 2,400 steps every sound was in the centre, since
panning is so small a part of the loss.
"""

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp

from v2a import clip
from v2a import shapes
from v2a.codecs import channel_level
from v2a.codecs import discriminators as discriminators_lib
from v2a.codecs import griffin_lim
from v2a.codecs import quantizer
from v2a.codecs import stft
from v2a.models import layers
from v2a.models import stack

BOTTLENECKS = ('kl', 'rvq')
MAGNITUDE_FLOOR = 1e-3
LOG_MAGNITUDE_MEAN, LOG_MAGNITUDE_STD = -5.0, 2.0
MAX_LOG_MAGNITUDE = 2.0
LOG_STD_RANGE = (-6.0, 2.0)


@struct.dataclass
class SpectralFeatures:
  """The features that the codec encodes and decodes.

  Attributes:
    log_magnitude_BJF: log-magnitudes (eq. 1).
    channel_level_BTR: level differences of left and right in bands (`channel_level` eq. 1); no bands in a
      mono codec.
  """

  log_magnitude_BJF: jax.Array
  channel_level_BTR: jax.Array


class LatentStatistic(nnx.Variable):
  """Mean or standard deviation of latents, measured on data; not trained."""


class Autoencoder(nnx.Module):
  """Encodes waveforms as normalised latents or codes, and decodes them, at the rates of a ClipSpec.

  Attributes:
    discriminators: set by adversarial training alone, and removed from the exported model.
  """

  discriminators: discriminators_lib.Discriminators

  def __init__(
    self,
    spec: clip.ClipSpec,
    *,
    n_fft: int,
    num_latent_channels: int,
    width: int,
    num_encoder_layers: int,
    num_decoder_layers: int,
    bottleneck: str,
    num_codebooks: int,
    codebook_size: int,
    num_channel_level_bands: int,
    num_griffin_lim_iterations: int,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the codec.

    Args:
      spec: rates and lengths of a clip.
      n_fft: STFT window in samples.
      num_latent_channels: C.
      width: of the trunk.
      num_encoder_layers, num_decoder_layers: ConvNeXt blocks.
      bottleneck: one of BOTTLENECKS.
      num_codebooks, codebook_size: of the rvq bottleneck.
      num_channel_level_bands: in which channel levels are coded, in stereo.
      num_griffin_lim_iterations: of phase reconstruction.
      rngs: for initial weights.
      dtype: of products.

    Raises:
      ValueError: an unknown bottleneck.
    """
    if bottleneck not in BOTTLENECKS:
      raise ValueError(f'codec.bottleneck must be one of {BOTTLENECKS}; got {bottleneck!r}.')
    self.spec, self.n_fft, self.bottleneck = spec, n_fft, bottleneck
    self.num_latent_channels, self.num_griffin_lim_iterations = (
      num_latent_channels,
      num_griffin_lim_iterations,
    )
    self.num_bins, self.num_channel_level_bands = (
      n_fft // 2 + 1,
      num_channel_level_bands if spec.num_channels == 2 else 0,
    )
    features = spec.patch_frames * self.num_bins + self.num_channel_level_bands
    make_block = lambda rngs: layers.ConvNeXtBlock(width, rngs=rngs, dtype=dtype)
    self.patch_in = layers.Linear(features, width, ('patch', 'embed'), rngs=rngs, dtype=dtype)
    self.encoder = stack.make(make_block, num_encoder_layers, rngs)
    num_out = 2 * num_latent_channels if bottleneck == 'kl' else num_latent_channels
    self.to_latent = layers.Linear(width, num_out, ('embed', 'latent'), rngs=rngs, dtype=dtype)
    if bottleneck == 'rvq':
      self.quantizer = quantizer.ResidualQuantizer(
        num_codebooks, codebook_size, num_latent_channels, rngs=rngs
      )
    self.from_latent = layers.Linear(num_latent_channels, width, ('latent', 'embed'), rngs=rngs, dtype=dtype)
    self.decoder = stack.make(make_block, num_decoder_layers, rngs)
    self.head = layers.Linear(width, features, ('embed', 'patch'), rngs=rngs, dtype=dtype, scale=0.3)
    self.latent_mean_C = LatentStatistic(jnp.zeros(num_latent_channels))
    self.latent_std_C = LatentStatistic(jnp.ones(num_latent_channels))

  def spectral_features(self, spec_BAJF: jax.Array) -> SpectralFeatures:
    """Returns the features of a complex spectrogram."""
    power_BAJF = (jnp.square(spec_BAJF.real) + jnp.square(spec_BAJF.imag)) * (4 / self.n_fft) ** 2
    log_magnitude_BJF = jnp.log(jnp.sqrt(jnp.mean(power_BAJF, axis=1)) + MAGNITUDE_FLOOR)
    B, _, J, _ = spec_BAJF.shape
    if not self.num_channel_level_bands:
      return SpectralFeatures(log_magnitude_BJF, jnp.zeros((B, J // self.spec.patch_frames, 0)))
    return SpectralFeatures(
      log_magnitude_BJF, channel_level.from_power(power_BAJF, self._band_weights(), self.spec.patch_frames)
    )

  def band_magnitude(self, features: SpectralFeatures) -> jax.Array:
    """Returns the linear magnitude of each band in each latent step (BTR)."""
    amplitude_BJF = jnp.exp(features.log_magnitude_BJF) - MAGNITUDE_FLOOR
    B, J, F = amplitude_BJF.shape
    amplitude_BTF = amplitude_BJF.reshape(B, -1, self.spec.patch_frames, F).mean(axis=2)
    return amplitude_BTF @ self._band_weights()

  def _band_weights(self):
    return channel_level.band_weights(self.spec.sample_rate_hz, self.num_bins, self.num_channel_level_bands)

  def spectrogram(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns the complex spectrogram BAJF of a waveform, on the grid of the codec."""
    return stft.forward(wave_BNA, self.n_fft, self.spec.hop_samples)

  def trunk(self, features: SpectralFeatures) -> jax.Array:
    """Returns the input of the bottleneck, BTC: mean and log std (kl), or latents (rvq)."""
    B, J, _ = features.log_magnitude_BJF.shape
    patch_BTI = ((features.log_magnitude_BJF - LOG_MAGNITUDE_MEAN) / LOG_MAGNITUDE_STD).reshape(
      B, J // self.spec.patch_frames, -1
    )
    x_BTD = self.patch_in(jnp.concatenate([patch_BTI, features.channel_level_BTR], axis=-1))
    return self.to_latent(layers.layer_norm(stack.scan(self.encoder, x_BTD)))

  def posterior(self, features: SpectralFeatures) -> tuple[jax.Array, jax.Array]:
    """Returns mean and log standard deviation before normalisation (each BTC; kl bottleneck)."""
    mean_BTC, log_std_BTC = jnp.split(self.trunk(features).astype(jnp.float32), 2, axis=-1)
    return mean_BTC, jnp.clip(log_std_BTC, *LOG_STD_RANGE)

  def encode(self, wave_BNA: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation of the normalised latents (each BTC; kl bottleneck)."""
    mean_BTC, log_std_BTC = self.posterior(self.spectral_features(self.spectrogram(wave_BNA)))
    scale = 1 / self.latent_std_C[...][None, None]
    mean_BTC = (mean_BTC - self.latent_mean_C[...][None, None]) * scale
    return mean_BTC, jnp.exp(log_std_BTC) * scale

  def encode_tokens(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns codes_BTK (rvq bottleneck)."""
    return self.quantizer.encode(
      self.trunk(self.spectral_features(self.spectrogram(wave_BNA))).astype(jnp.float32)
    )

  def decode(self, latent_BTC: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of normalised latents.

    Args:
      latent_BTC: the latents.
      prefix_BNA: beginning of the waveform, if it was decoded before: the result continues its phases.
    """
    shapes.check(latent_BTC=latent_BTC)
    mean_C, std_C = self.latent_mean_C[...], self.latent_std_C[...]
    return self.to_waveform(
      self.decode_features(latent_BTC * std_C[None, None] + mean_C[None, None]), prefix_BNA
    )

  def decode_tokens(self, codes_BTK: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of codes (rvq bottleneck); see `decode`."""
    return self.to_waveform(self.decode_features(self.quantizer.decode(codes_BTK)), prefix_BNA)

  def decode_features(self, latent_BTC: jax.Array) -> SpectralFeatures:
    """Returns the features of latents that are not normalised."""
    x_BTD = stack.scan(self.decoder, self.from_latent(latent_BTC))
    x_BTI = self.head(layers.layer_norm(x_BTD)).astype(jnp.float32)
    B, T, _ = x_BTI.shape
    num_magnitudes = self.spec.patch_frames * self.num_bins
    log_magnitude_BJF = x_BTI[..., :num_magnitudes].reshape(B, T * self.spec.patch_frames, self.num_bins)
    log_magnitude_BJF = log_magnitude_BJF * LOG_MAGNITUDE_STD + LOG_MAGNITUDE_MEAN
    return SpectralFeatures(
      jnp.minimum(log_magnitude_BJF, MAX_LOG_MAGNITUDE), jnp.tanh(x_BTI[..., num_magnitudes:])
    )

  def magnitude(self, features: SpectralFeatures) -> jax.Array:
    """Returns |STFT| BAJF of features; log-magnitudes at or below the floor are silence."""
    magnitude_BJF = jax.nn.relu(jnp.exp(features.log_magnitude_BJF) - MAGNITUDE_FLOOR) * (self.n_fft / 4)
    if not self.num_channel_level_bands:
      return magnitude_BJF[:, None]
    gain_BAJF = channel_level.gains(features.channel_level_BTR, self._band_weights(), self.spec.patch_frames)
    return magnitude_BJF[:, None] * gain_BAJF

  def to_waveform(self, features: SpectralFeatures, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of features, with reconstructed phases; see `decode`."""
    hop = self.spec.hop_samples
    prefix_BJF = None
    if prefix_BNA is not None:
      # The last frames of the prefix extend past its end; their phases are not known.
      reach = -(-(self.n_fft - hop) // (2 * hop))
      spec_BAJF = self.spectrogram(prefix_BNA)[:, :, :-reach]
      prefix_BJF = griffin_lim.unit_phasor(jnp.mean(spec_BAJF, axis=1))
    return griffin_lim.reconstruct(
      self.magnitude(features), self.n_fft, hop, self.num_griffin_lim_iterations, prefix_BJF
    )

  def to_waveform_with_phases(self, features: SpectralFeatures, spec_BAJF: jax.Array) -> jax.Array:
    """Returns wave_BNA of features with the phases of a spectrogram; differentiable.

    Args:
      features: give the magnitudes.
      spec_BAJF: gives the phases.
    """
    return stft.inverse(
      self.magnitude(features) * griffin_lim.unit_phasor(spec_BAJF), self.n_fft, self.spec.hop_samples
    )
