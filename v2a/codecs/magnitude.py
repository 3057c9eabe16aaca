"""The magnitude codec: STFT magnitudes are coded, phases are reconstructed.

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
from v2a.codecs import autoencoder
from v2a.codecs import channel_level
from v2a.codecs import griffin_lim
from v2a.codecs import stft
from v2a.models import layers
from v2a.models import stack

MAGNITUDE_FLOOR = 1e-3
LOG_MAGNITUDE_MEAN, LOG_MAGNITUDE_STD = -5.0, 2.0
MAX_LOG_MAGNITUDE = 2.0


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


class MagnitudeAutoencoder(autoencoder.Autoencoder):
  """Codes log-magnitudes and channel levels; see the module."""

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
      bottleneck: one of `autoencoder.BOTTLENECKS`.
      num_codebooks, codebook_size: of the rvq bottleneck.
      num_channel_level_bands: in which channel levels are coded, in stereo.
      num_griffin_lim_iterations: of phase reconstruction.
      rngs: for initial weights.
      dtype: of products.

    Raises:
      ValueError: an unknown bottleneck.
    """
    super().__init__(spec, bottleneck=bottleneck, num_latent_channels=num_latent_channels)
    self.n_fft, self.num_griffin_lim_iterations = n_fft, num_griffin_lim_iterations
    self.num_bins = n_fft // 2 + 1
    self.num_channel_level_bands = num_channel_level_bands if spec.num_channels == 2 else 0
    features = spec.patch_frames * self.num_bins + self.num_channel_level_bands
    make_block = lambda rngs: layers.ConvNeXtBlock(width, rngs=rngs, dtype=dtype)
    self.patch_in = layers.Linear(features, width, ('patch', 'embed'), rngs=rngs, dtype=dtype)
    self.encoder = stack.make(make_block, num_encoder_layers, rngs)
    self._make_bottleneck(width, num_codebooks, codebook_size, rngs, dtype)
    self.decoder = stack.make(make_block, num_decoder_layers, rngs)
    self.head = layers.Linear(width, features, ('embed', 'patch'), rngs=rngs, dtype=dtype, scale=0.3)

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

  def trunk(self, wave_BNA: jax.Array) -> jax.Array:
    """See `Autoencoder`."""
    return self.trunk_of_features(self.spectral_features(self.spectrogram(wave_BNA)))

  def trunk_of_features(self, features: SpectralFeatures) -> jax.Array:
    """Returns the input of the bottleneck, see `trunk`, of features."""
    B, J, _ = features.log_magnitude_BJF.shape
    patch_BTI = ((features.log_magnitude_BJF - LOG_MAGNITUDE_MEAN) / LOG_MAGNITUDE_STD).reshape(
      B, J // self.spec.patch_frames, -1
    )
    x_BTD = self.patch_in(jnp.concatenate([patch_BTI, features.channel_level_BTR], axis=-1))
    return self.to_latent(layers.layer_norm(stack.scan(self.encoder, x_BTD)))

  def synthesize(self, latent_BTC: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """See `Autoencoder`; the result continues the phases of the prefix."""
    return self.to_waveform(self.decode_features(latent_BTC), prefix_BNA)

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
    """Returns wave_BNA of features, with reconstructed phases; see `synthesize`."""
    hop = self.spec.hop_samples
    prefix_BJF = None
    if prefix_BNA is not None:
      spec_BAJF = griffin_lim.prefix_spectrogram(prefix_BNA, self.n_fft, hop)
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
