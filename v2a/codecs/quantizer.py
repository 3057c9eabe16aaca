"""Residual vector quantization: each book codes what the books before it left over.

  r_0 = z,   c_k = argmin_v || r_k - e_kv ||,   r_{k+1} = r_k - e_{k, c_k}              (1)
  loss = sum_k || sg(r_k) - e_k ||^2 + beta || r_k - sg(e_k) ||^2                       (2)

Zeghidour et al. 2021, arXiv 2107.03312, sec. III-C; gradients pass straight through.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import shapes

COMMITMENT = 0.25


class ResidualQuantizer(nnx.Module):
  """K codebooks of V entries over latents of C channels."""

  def __init__(self, num_codebooks: int, codebook_size: int, num_channels: int, *, rngs: nnx.Rngs):
    shape = (num_codebooks, codebook_size, num_channels)
    self.codebook_KVC = nnx.Param(
        0.5 * jax.random.normal(rngs.params(), shape), axes=(None, 'vocab', 'latent'))

  def encode(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns codes_BTK, int32 in [0, V)."""
    return self._residual(latent_BTC)[0]

  def decode(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns latents BTC, the sum of the named entries."""
    codebook_KVC = self.codebook_KVC[...]
    return sum(codebook_KVC[k][codes_BTK[..., k]] for k in range(codebook_KVC.shape[0]))

  def __call__(self, latent_BTC: jax.Array, num_used_B: jax.Array | None = None):
    """Quantizes with straight-through gradients.

    Args:
      latent_BTC: continuous latents.
      num_used_B: how many of the books each clip may use (quantizer dropout); all where None.

    Returns:
      Quantized latents BTC, codes BTK, the loss of eq. 2.
    """
    shapes.check(latent_BTC=latent_BTC, num_used_B=num_used_B)
    codes_BTK, quantized_BTC, loss = self._residual(latent_BTC, num_used_B)
    straight_BTC = latent_BTC + jax.lax.stop_gradient(quantized_BTC - latent_BTC)
    return straight_BTC, codes_BTK, loss

  def _residual(self, latent_BTC, num_used_B=None):
    codebook_KVC = self.codebook_KVC[...]
    residual_BTC = latent_BTC
    quantized_BTC = jnp.zeros_like(latent_BTC)
    loss, codes = 0.0, []
    for k in range(codebook_KVC.shape[0]):
      entry_VC = codebook_KVC[k]
      distance_BTV = (jnp.sum(jnp.square(entry_VC), axis=-1)[None, None]
                      - 2 * jnp.einsum('BTC,VC->BTV', residual_BTC, entry_VC))
      code_BT = jnp.argmin(distance_BTV, axis=-1)
      chosen_BTC = entry_VC[code_BT]
      if num_used_B is not None:
        chosen_BTC = jnp.where((k < num_used_B)[:, None, None], chosen_BTC, 0.0)
      codes.append(code_BT)
      stop = jax.lax.stop_gradient
      loss += jnp.mean(jnp.square(stop(residual_BTC) - chosen_BTC))
      loss += COMMITMENT * jnp.mean(jnp.square(residual_BTC - stop(chosen_BTC)))
      quantized_BTC = quantized_BTC + chosen_BTC
      residual_BTC = residual_BTC - stop(chosen_BTC)
    return jnp.stack(codes, axis=-1).astype(jnp.int32), quantized_BTC, loss
