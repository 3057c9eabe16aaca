"""The phase codec: an STFT codec whose decoder predicts magnitudes and phases of both channels.

waveform -> log-magnitudes of left, right, mid and side -> ConvNeXt blocks at the frame rate -> patches of
`patch_frames` frames -> bottleneck (kl | rvq) -> frames -> ConvNeXt blocks -> log-magnitudes and unit phasors
of mid and side -> inverse STFT -> waveform.

  X = exp(m) (a + i b) / sqrt(a^2 + b^2)                                                           (1)

with m, a, b outputs of the head for each bin and view (Siuzdak 2023, "Vocos", arXiv 2306.00814, sec. 3.2;
there the angle itself is predicted, which is not continuous at +-pi). Phases are not coded: the decoder
invents them, and losses of the waveform, of its mid and side, and discriminators make the frames agree. Mid
and side, (L + R) / 2 and (L - R) / 2, have phases of their own, so that wide stereo is possible and a mono
sound is one with a silent side.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import clip
from v2a.codecs import autoencoder
from v2a.codecs import log_magnitude
from v2a.codecs import stft
from v2a.models import layers
from v2a.models import stack


class PhaseAutoencoder(autoencoder.Autoencoder):
  """Codes log-magnitudes of the channels; decodes magnitudes and phases. See the module."""

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
      rngs: for initial weights.
      dtype: of products.

    Raises:
      ValueError: an unknown bottleneck.
    """
    super().__init__(spec, bottleneck=bottleneck, num_latent_channels=num_latent_channels)
    self.n_fft, self.num_bins = n_fft, n_fft // 2 + 1
    num_views = 4 if spec.num_channels == 2 else 1
    patch = spec.patch_frames * width
    linear = lambda *args, **kwargs: layers.Linear(*args, **kwargs, rngs=rngs, dtype=dtype)
    make_block = lambda rngs: layers.ConvNeXtBlock(width, rngs=rngs, dtype=dtype)
    self.frame_in = linear(num_views * self.num_bins, width, ('patch', 'embed'))
    self.encoder = stack.make(make_block, num_encoder_layers, rngs)
    self.patch_in = linear(patch, width, ('patch', 'embed'))
    self._make_bottleneck(width, num_codebooks, codebook_size, rngs, dtype)
    self.patch_out = linear(width, patch, ('embed', 'patch'))
    self.decoder = stack.make(make_block, num_decoder_layers, rngs)
    self.head = linear(width, 3 * spec.num_channels * self.num_bins, ('embed', 'patch'), scale=0.3)

  def trunk(self, wave_BNA: jax.Array) -> jax.Array:
    """See `Autoencoder`."""
    level_BAJF = log_magnitude.from_waveform(wave_BNA, self.n_fft, self.spec.hop_samples)
    level_BJAF = ((level_BAJF - log_magnitude.MEAN) / log_magnitude.STD).swapaxes(1, 2)
    B, J, A, F = level_BJAF.shape
    x_BJD = stack.scan(self.encoder, self.frame_in(level_BJAF.reshape(B, J, A * F)))
    x_BTD = self.patch_in(layers.layer_norm(x_BJD).reshape(B, J // self.spec.patch_frames, -1))
    return self.to_latent(layers.layer_norm(x_BTD))

  def spectrogram(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns the spectrogram of mid and side, or of mono (eq. 1), as spec_BAJF, of latents as they are."""
    x_BTI = self.patch_out(self.from_latent(latent_BTC))
    B, T, _ = x_BTI.shape
    x_BJD = stack.scan(self.decoder, x_BTI.reshape(B, T * self.spec.patch_frames, -1))
    x_BJI = self.head(layers.layer_norm(x_BJD)).astype(jnp.float32)
    x_BJAXF = x_BJI.reshape(B, x_BJI.shape[1], self.spec.num_channels, 3, self.num_bins)
    level_BAJF, a_BAJF, b_BAJF = (x_BJAXF[..., k, :].swapaxes(1, 2) for k in range(3))
    level_BAJF = jnp.minimum(level_BAJF * log_magnitude.STD + log_magnitude.MEAN, log_magnitude.MAX)
    scale_BAJF = jnp.exp(level_BAJF) * (self.n_fft / 4) * jax.lax.rsqrt(a_BAJF**2 + b_BAJF**2 + 1e-12)
    return jax.lax.complex(a_BAJF * scale_BAJF, b_BAJF * scale_BAJF)

  def synthesize(self, latent_BTC: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """See `Autoencoder`; the prefix is ignored: phases depend on the latents alone."""
    del prefix_BNA
    wave_BNA = stft.inverse(self.spectrogram(latent_BTC), self.n_fft, self.spec.hop_samples)
    if self.spec.num_channels == 1:
      return wave_BNA
    mid_BN1, side_BN1 = wave_BNA[..., :1], wave_BNA[..., 1:]
    return jnp.concatenate([mid_BN1 + side_BN1, mid_BN1 - side_BN1], axis=-1)
