"""The waveform codec: strided convolutions from the waveform to latents and back, as in DAC.

waveform -> `convolutional.Encoder` -> bottleneck (kl | rvq) -> `convolutional.Decoder` -> waveform

Real phases and real stereo: nothing is reconstructed, and both channels are coded together. The networks are
local, so that pieces of a long sound, with the receptive field as context, equal the whole. Kumar et al.
2023, arXiv 2306.06546; with a kl bottleneck as in Evans et al. 2024, arXiv 2402.04825, sec. 3.1.
"""

from collections.abc import Sequence
import math

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import clip
from v2a.codecs import autoencoder
from v2a.codecs import convolutional


class WaveformAutoencoder(autoencoder.Autoencoder):
  """Codes waveforms by convolutions; see the module."""

  def __init__(
    self,
    spec: clip.ClipSpec,
    *,
    strides: Sequence[int],
    encoder_width: int,
    decoder_width: int,
    num_latent_channels: int,
    width: int,
    bottleneck: str,
    num_codebooks: int,
    codebook_size: int,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the codec.

    Args:
      spec: rates and lengths of a clip.
      strides: of the encoder, from the waveform on; their product is the samples of a latent step.
      encoder_width: channels after the first convolution; doubled by each stride.
      decoder_width: channels before the first transposed convolution; halved by each stride.
      num_latent_channels: C.
      width: channels between the networks and the bottleneck.
      bottleneck: one of `autoencoder.BOTTLENECKS`.
      num_codebooks, codebook_size: of the rvq bottleneck.
      rngs: for initial weights.
      dtype: of products.

    Raises:
      ValueError: an unknown bottleneck, or strides of another product.
    """
    super().__init__(spec, bottleneck=bottleneck, num_latent_channels=num_latent_channels)
    if math.prod(strides) != spec.latent_hop_samples:
      raise ValueError(
        f'codec.strides must have the product {spec.latent_hop_samples}, the samples of a latent step; got '
        f'{tuple(strides)}.'
      )
    self.encoder = convolutional.Encoder(
      spec.num_channels, encoder_width, strides, num_latent_channels=width, rngs=rngs, dtype=dtype
    )
    self._make_bottleneck(width, num_codebooks, codebook_size, rngs, dtype)
    reverse = tuple(reversed(strides))
    self.decoder = convolutional.Decoder(
      spec.num_channels, decoder_width, reverse, num_latent_channels=width, rngs=rngs, dtype=dtype
    )

  def trunk(self, wave_BNA: jax.Array) -> jax.Array:
    """See `Autoencoder`."""
    return self.to_latent(self.encoder(wave_BNA))

  def synthesize(self, latent_BTC: jax.Array, prefix_BNA: jax.Array | None = None) -> jax.Array:
    """See `Autoencoder`; the prefix is ignored: a waveform depends on the latents alone."""
    del prefix_BNA
    return self.decoder(self.from_latent(latent_BTC)).astype(jnp.float32)
