"""Residual vector quantization as in EnCodec: nearest entries, with the moving averages of its training.

Codes are those of eq. 1 of `codecs.quantizer`. Entries are stored beside the averages that they come from:
e_kv = sum_kv / max(size_kv, epsilon), where size_kv is the average number of vectors assigned to an entry,
and sum_kv that of their sum. Encoding and decoding read the entries alone.

Defossez et al. 2022, arXiv 2210.13438, sec. 3.2.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import shapes


class CodebookAverage(nnx.Variable):
  """Entries and the averages of which they are made; not changed by gradients."""


class Codebook(nnx.Module):
  """Entries of one codebook, and their averages."""

  def __init__(self, size: int, num_channels: int, *, rngs: nnx.Rngs):
    entry_VC = jax.random.normal(rngs.params(), (size, num_channels))
    self.entry_VC = CodebookAverage(entry_VC, axes=('vocab', 'latent'))
    self.sum_VC = CodebookAverage(entry_VC, axes=('vocab', 'latent'))
    self.size_V = CodebookAverage(jnp.ones(size), axes=('vocab',))
    # 1 once k-means has initialized the entries; published files have it.
    self.is_initialized_1 = CodebookAverage(jnp.ones(1), axes=(None,))

  def nearest(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns code_BT of the nearest entries."""
    entry_VC = self.entry_VC[...]
    product_BTV = jnp.einsum('BTC,VC->BTV', latent_BTC, entry_VC)
    distance_BTV = jnp.sum(jnp.square(entry_VC), axis=-1)[None, None] - 2 * product_BTV
    return jnp.argmin(distance_BTV, axis=-1).astype(jnp.int32)


class EuclideanQuantizer(nnx.Module):
  """K codebooks of V entries over latents of C channels."""

  def __init__(self, num_codebooks: int, codebook_size: int, num_channels: int, *, rngs: nnx.Rngs):
    """Makes random codebooks.

    Args:
      num_codebooks: K.
      codebook_size: V, the entries of each codebook.
      num_channels: C, the channels of the latents.
      rngs: for the initial entries.
    """
    self.codebooks = nnx.List(
      [Codebook(codebook_size, num_channels, rngs=rngs) for _ in range(num_codebooks)]
    )

  def encode(self, latent_BTC: jax.Array, num_codebooks: int | None = None) -> jax.Array:
    """Returns codes_BTK, int32 in [0, V).

    Args:
      latent_BTC: continuous latents.
      num_codebooks: how many, from the first; None for all.
    """
    shapes.check(latent_BTC=latent_BTC)
    residual_BTC, codes = latent_BTC.astype(jnp.float32), []
    for codebook in [*self.codebooks][:num_codebooks]:
      codes.append(codebook.nearest(residual_BTC))
      residual_BTC = residual_BTC - codebook.entry_VC[...][codes[-1]]
    return jnp.stack(codes, axis=-1)

  def decode(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns latents BTC, the sum of the entries of the codes of the first K codebooks."""
    shapes.check(codes_BTK=codes_BTK)
    parts = [
      codebook.entry_VC[...][codes_BTK[..., k]]
      for k, codebook in zip(range(codes_BTK.shape[-1]), self.codebooks)
    ]
    return sum(parts[1:], start=parts[0])
