"""The codec: one STFT-domain trunk, two bottlenecks.

wave -> log-magnitude spectrogram -> patches of `patch_frames` frames -> ConvNeXt blocks at the latent
rate -> bottleneck (kl | rvq) -> ConvNeXt blocks -> log-magnitudes -> phases -> inverse STFT -> wave.

  level = log(|X| 4 / n_fft + 0.001)                                                     (1)

so that a full-scale sine is near 0 and silence is -6.9. Everything the network does is matrix
multiplication at the latent rate. Phases are not coded but made consistent afterwards, see
`codecs.phase`: a head that predicts them (Siuzdak 2023, arXiv 2306.00814) was tried first, and after
1,500 steps lost two thirds of the energy of tonal sounds to frames that cancel each other.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import clip
from v2a import shapes
from v2a.codecs import phase
from v2a.codecs import quantizer
from v2a.codecs import stft
from v2a.models import layers

BOTTLENECKS = ('kl', 'rvq')
FLOOR = 1e-3
LEVEL_MEAN, LEVEL_STD = -5.0, 2.0
MAX_LEVEL = 2.0
LOG_STD_RANGE = (-6.0, 2.0)


class LatentStatistic(nnx.Variable):
  """Stored mean or standard deviation of latents; data, not trained."""


class Autoencoder(nnx.Module):
  """Waves to normalised latents and back, at the rates of a ClipSpec."""

  def __init__(self, spec: clip.ClipSpec, *, n_fft: int, num_latent_channels: int, width: int,
               num_encoder_layers: int, num_decoder_layers: int, bottleneck: str,
               num_codebooks: int, codebook_size: int, num_phase_iterations: int, rngs: nnx.Rngs,
               dtype=jnp.float32):
    """Args: the spec; STFT window; latent channels; trunk size; bottleneck and its books; phases.

    Raises:
      ValueError: an unknown bottleneck.
    """
    if bottleneck not in BOTTLENECKS:
      raise ValueError(f'codec.bottleneck must be one of {BOTTLENECKS}; got {bottleneck!r}.')
    self.spec, self.n_fft, self.bottleneck = spec, n_fft, bottleneck
    self.num_latent_channels, self.num_phase_iterations = num_latent_channels, num_phase_iterations
    features = spec.num_channels * spec.patch_frames * (n_fft // 2 + 1)
    make_block = lambda rngs: layers.ConvNeXtBlock(width, rngs=rngs, dtype=dtype)
    self.patch_in = layers.Linear(features, width, ('patch', 'embed'), rngs=rngs, dtype=dtype)
    self.encoder = layers.stack(make_block, num_encoder_layers, rngs)
    num_out = 2 * num_latent_channels if bottleneck == 'kl' else num_latent_channels
    self.to_latent = layers.Linear(width, num_out, ('embed', 'latent'), rngs=rngs, dtype=dtype)
    if bottleneck == 'rvq':
      self.quantizer = quantizer.ResidualQuantizer(
          num_codebooks, codebook_size, num_latent_channels, rngs=rngs)
    self.from_latent = layers.Linear(
        num_latent_channels, width, ('latent', 'embed'), rngs=rngs, dtype=dtype)
    self.decoder = layers.stack(make_block, num_decoder_layers, rngs)
    self.head = layers.Linear(width, features, ('embed', 'patch'), rngs=rngs, dtype=dtype, scale=0.3)
    self.latent_mean_C = LatentStatistic(jnp.zeros(num_latent_channels))
    self.latent_std_C = LatentStatistic(jnp.ones(num_latent_channels))

  def level(self, spec_BAJF: jax.Array) -> jax.Array:
    """Returns level_BAJF of a complex spectrogram (eq. 1)."""
    magnitude = jnp.sqrt(jnp.square(spec_BAJF.real) + jnp.square(spec_BAJF.imag))
    return jnp.log(magnitude * (4 / self.n_fft) + FLOOR)

  def spectrogram(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns the complex spectrogram BAJF that the codec works on."""
    return stft.forward(wave_BNA, self.n_fft, self.spec.hop_samples)

  def trunk(self, level_BAJF: jax.Array) -> jax.Array:
    """Returns what the bottleneck receives: mean and log std (kl) or latents (rvq), BTC."""
    B, A, J, F = level_BAJF.shape
    patch = self.spec.patch_frames
    patch_BTI = ((level_BAJF - LEVEL_MEAN) / LEVEL_STD).reshape(B, A, J // patch, patch, F)
    x_BTD = self.patch_in(patch_BTI.transpose(0, 2, 1, 3, 4).reshape(B, J // patch, -1))
    return self.to_latent(layers.layer_norm(layers.scan(self.encoder, x_BTD)))

  def posterior(self, level_BAJF: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and log standard deviation before normalisation (each BTC; kl bottleneck)."""
    mean_BTC, log_std_BTC = jnp.split(self.trunk(level_BAJF).astype(jnp.float32), 2, axis=-1)
    return mean_BTC, jnp.clip(log_std_BTC, *LOG_STD_RANGE)

  def encode(self, wave_BNA: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation of the normalised latents (each BTC; kl bottleneck)."""
    mean_BTC, log_std_BTC = self.posterior(self.level(self.spectrogram(wave_BNA)))
    scale = 1 / self.latent_std_C[...][None, None]
    mean_BTC = (mean_BTC - self.latent_mean_C[...][None, None]) * scale
    return mean_BTC, jnp.exp(log_std_BTC) * scale

  def encode_tokens(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns codes_BTK (rvq bottleneck)."""
    return self.quantizer.encode(self.trunk(self.level(self.spectrogram(wave_BNA))).astype(jnp.float32))

  def decode(self, latent_BTC: jax.Array, known_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of normalised latents.

    Args:
      latent_BTC: the latents.
      known_BNA: begin of the wave, where one was decoded already: the result continues its phases.
    """
    shapes.check(latent_BTC=latent_BTC)
    mean_C, std_C = self.latent_mean_C[...], self.latent_std_C[...]
    level_BAJF = self.synthesize(latent_BTC * std_C[None, None] + mean_C[None, None])
    return self.sound(level_BAJF, known_BNA)

  def decode_tokens(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns wave_BNA of codes (rvq bottleneck)."""
    return self.sound(self.synthesize(self.quantizer.decode(codes_BTK)))

  def synthesize(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns level_BAJF (eq. 1) of latents before normalisation."""
    x_BTD = layers.scan(self.decoder, self.from_latent(latent_BTC))
    x_BTI = self.head(layers.layer_norm(x_BTD)).astype(jnp.float32)
    B, T, _ = x_BTI.shape
    parts = x_BTI.reshape(B, T, self.spec.num_channels, self.spec.patch_frames, -1)
    level = parts.transpose(0, 2, 1, 3, 4).reshape(B, self.spec.num_channels, T * self.spec.patch_frames, -1)
    return jnp.minimum(level * LEVEL_STD + LEVEL_MEAN, MAX_LEVEL)

  def magnitude(self, level_BAJF: jax.Array) -> jax.Array:
    """Returns |X| of eq. 1; levels at or below the floor are silence."""
    return jax.nn.relu(jnp.exp(level_BAJF) - FLOOR) * (self.n_fft / 4)

  def sound(self, level_BAJF: jax.Array, known_BNA: jax.Array | None = None) -> jax.Array:
    """Returns wave_BNA of log-magnitudes, with consistent phases."""
    hop = self.spec.hop_samples
    known_BJF = None
    if known_BNA is not None:
      # The last frames of the known wave look past its end; their phases are not known.
      reach = -(-(self.n_fft - hop) // (2 * hop))
      spec_BAJF = self.spectrogram(known_BNA)[:, :, :-reach]
      known_BJF = phase.unit(jnp.mean(spec_BAJF, axis=1))
    return phase.reconstruct(
        self.magnitude(level_BAJF), self.n_fft, hop, self.num_phase_iterations, known_BJF)

  def sound_with_phases_of(self, level_BAJF: jax.Array, spec_BAJF: jax.Array) -> jax.Array:
    """Returns wave_BNA of log-magnitudes with the phases of another spectrogram; differentiable."""
    return stft.inverse(
        self.magnitude(level_BAJF) * phase.unit(spec_BAJF), self.n_fft, self.spec.hop_samples)
