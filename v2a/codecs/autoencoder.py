"""The codec: one STFT-domain trunk, two bottlenecks.

wave -> complex spectrogram -> patches of `patch_frames` frames -> ConvNeXt blocks at the latent
rate -> bottleneck (kl | rvq) -> ConvNeXt blocks -> magnitudes and phases -> inverse STFT -> wave.

Everything between the two transforms is matrix multiplication at the latent rate. The encoder sees
compressed spectra X |X|^(-0.7) (magnitude^0.3, phase kept), whose range suits a network; the head
predicts log-magnitude and phase, as Vocos does (Siuzdak 2023, arXiv 2306.00814, sec. 3.3).
"""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import clip
from v2a import shapes
from v2a.codecs import quantizer
from v2a.codecs import stft
from v2a.models import layers

BOTTLENECKS = ('kl', 'rvq')
COMPRESSION = 0.3
MAX_LOG_MAGNITUDE = 6.0
LOG_STD_RANGE = (-6.0, 2.0)


class LatentStatistic(nnx.Variable):
  """Stored mean or standard deviation of latents; data, not trained."""


class Autoencoder(nnx.Module):
  """Waves to normalised latents and back, at the rates of a ClipSpec."""

  def __init__(self, spec: clip.ClipSpec, *, n_fft: int, num_latent_channels: int, width: int,
               num_encoder_layers: int, num_decoder_layers: int, bottleneck: str,
               num_codebooks: int, codebook_size: int, rngs: nnx.Rngs, dtype=jnp.float32):
    """Args: the spec; STFT window; latent channels; trunk size; bottleneck and its books.

    Raises:
      ValueError: an unknown bottleneck.
    """
    if bottleneck not in BOTTLENECKS:
      raise ValueError(f'codec.bottleneck must be one of {BOTTLENECKS}; got {bottleneck!r}.')
    self.spec, self.n_fft, self.bottleneck = spec, n_fft, bottleneck
    self.num_latent_channels = num_latent_channels
    features = spec.num_channels * spec.patch_frames * (n_fft // 2 + 1) * 2
    make_block = lambda rngs: layers.ConvNeXtBlock(width, rngs=rngs, dtype=dtype)
    # Digital silence maps to the bias alone; at zero, the norms behind it would multiply gradients a thousandfold.
    self.patch_in = layers.Linear(
        features, width, ('patch', 'embed'), rngs=rngs, bias_scale=0.5, dtype=dtype)
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

  def trunk(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns what the bottleneck receives: mean and log std (kl) or latents (rvq), BTC."""
    spec_BAJF = stft.forward(wave_BNA, self.n_fft, self.spec.hop_samples)
    magnitude = jnp.sqrt(jnp.square(spec_BAJF.real) + jnp.square(spec_BAJF.imag) + 1e-8)
    gain = magnitude ** (COMPRESSION - 1)
    parts = jnp.stack([spec_BAJF.real * gain, spec_BAJF.imag * gain], axis=-1)
    B, A, J, F, _ = parts.shape
    patch = self.spec.patch_frames
    patch_BTI = parts.reshape(B, A, J // patch, patch, F * 2).transpose(0, 2, 1, 3, 4)
    x_BTD = self.patch_in(patch_BTI.reshape(B, J // patch, -1))
    return self.to_latent(layers.layer_norm(layers.scan(self.encoder, x_BTD)))

  def encode(self, wave_BNA: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation of the normalised latents (each BTC; kl bottleneck)."""
    mean_BTC, log_std_BTC = self.posterior(wave_BNA)
    scale = 1 / self.latent_std_C[...][None, None]
    mean_BTC = (mean_BTC - self.latent_mean_C[...][None, None]) * scale
    return mean_BTC, jnp.exp(log_std_BTC) * scale

  def posterior(self, wave_BNA: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and log standard deviation before normalisation (each BTC)."""
    mean_BTC, log_std_BTC = jnp.split(self.trunk(wave_BNA), 2, axis=-1)
    return mean_BTC, jnp.clip(log_std_BTC, *LOG_STD_RANGE)

  def decode(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns wave_BNA of normalised latents."""
    shapes.check(latent_BTC=latent_BTC)
    mean_C, std_C = self.latent_mean_C[...], self.latent_std_C[...]
    return self.synthesize(latent_BTC * std_C[None, None] + mean_C[None, None])

  def encode_tokens(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns codes_BTK (rvq bottleneck)."""
    return self.quantizer.encode(self.trunk(wave_BNA).astype(jnp.float32))

  def decode_tokens(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns wave_BNA of codes (rvq bottleneck)."""
    return self.synthesize(self.quantizer.decode(codes_BTK))

  def synthesize(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns wave_BNA of latents before normalisation."""
    x_BTD = layers.scan(self.decoder, self.from_latent(latent_BTC))
    x_BTI = self.head(layers.layer_norm(x_BTD)).astype(jnp.float32)
    B, T, _ = x_BTI.shape
    spec, patch = self.spec, self.spec.patch_frames
    parts = x_BTI.reshape(B, T, spec.num_channels, patch, -1, 2).transpose(0, 2, 1, 3, 4, 5)
    parts = parts.reshape(B, spec.num_channels, T * patch, -1, 2)
    magnitude = jnp.exp(jnp.minimum(parts[..., 0] * 5 - 4, MAX_LOG_MAGNITUDE))
    phase = parts[..., 1] * 5
    spec_BAJF = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
    return stft.inverse(spec_BAJF, self.n_fft, spec.hop_samples)
