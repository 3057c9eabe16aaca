"""Factorized residual vector quantization: the quantizer of DAC.

  p_k = W_k r_k + b_k, a projection to few dimensions                                        (1)
  c_k = argmax_v <p_k / ||p_k||, e_kv / ||e_kv||>                                            (2)
  q_k = U_k e_{k, c_k} + a_k,   r_{k+1} = r_k - q_k,   r_0 = z                               (3)

Entries are compared on the unit sphere, and used as they are. Unlike those of `codecs.quantizer` they are
trained by gradients: the commitment loss pulls projections to entries, the codebook loss entries to
projections, and the straight-through estimator passes the gradient of q_k to p_k.

Kumar et al. 2023, arXiv 2306.06546, sec. 3.2; Yu et al. 2021, arXiv 2110.04627, sec. 3.2.
"""

from typing import Any

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.codecs import convolution_layers


@struct.dataclass
class Quantized:
  """The result of quantization.

  Attributes:
    latent_BTC: sum of q_k (eq. 3).
    codes_BTK: c_k (eq. 2), int32.
    projection_BTKF: p_k (eq. 1).
    commitment_loss, codebook_loss: mean squared distance of p_k and its entry, summed over the codebooks;
      equal in value, and with gradients to p_k and to the entries.
  """

  latent_BTC: jax.Array
  codes_BTK: jax.Array
  projection_BTKF: jax.Array
  commitment_loss: jax.Array
  codebook_loss: jax.Array


class Codebook(nnx.Module):
  """One codebook with its projections."""

  def __init__(
    self, size: int, width: int, num_channels: int, *, use_weight_norm: bool = True, rngs: nnx.Rngs
  ):
    """Makes the codebook.

    Args:
      size: V, the number of entries.
      width: F, the dimension of entries.
      num_channels: C of latents.
      use_weight_norm: whether kernels of the projections are normalized.
      rngs: for initial weights.
    """
    options: dict[str, Any] = {'use_weight_norm': use_weight_norm, 'rngs': rngs}
    self.project_in = convolution_layers.Conv(num_channels, width, 1, ('latent', None), **options)
    self.project_out = convolution_layers.Conv(width, num_channels, 1, (None, 'latent'), **options)
    self.entry_VF = nnx.Param(jax.random.normal(rngs.params(), (size, width)), axes=('vocab', None))

  def nearest(self, projection_BTF: jax.Array) -> jax.Array:
    """Returns code_BT (eq. 2)."""
    similarity_BTV = jnp.einsum('BTF,VF->BTV', _normalized(projection_BTF), _normalized(self.entry_VF[...]))
    return jnp.argmax(similarity_BTV, axis=-1).astype(jnp.int32)


class FactorizedQuantizer(nnx.Module):
  """K codebooks with projections of their own."""

  def __init__(
    self,
    num_codebooks: int,
    codebook_size: int,
    codebook_width: int,
    num_channels: int,
    *,
    use_weight_norm: bool = True,
    rngs: nnx.Rngs,
  ):
    """Makes random codebooks.

    Args:
      num_codebooks: K.
      codebook_size: V, entries of each codebook.
      codebook_width: F, their dimension.
      num_channels: C of latents.
      use_weight_norm: whether kernels of the projections are normalized.
      rngs: for initial weights.
    """
    codebooks = [
      Codebook(codebook_size, codebook_width, num_channels, use_weight_norm=use_weight_norm, rngs=rngs)
      for _ in range(num_codebooks)
    ]
    self.codebooks = nnx.List(codebooks)

  def __call__(self, latent_BTC: jax.Array, num_codebooks_B: jax.Array | None = None) -> Quantized:
    """Returns quantized latents, with straight-through gradients; float32.

    Args:
      latent_BTC: continuous latents.
      num_codebooks_B: how many codebooks the latents of each clip use (quantizer dropout); None for all.
        Codes and projections of the others are returned, but count neither in the latents nor in the losses.
    """
    shapes.check(latent_BTC=latent_BTC, num_codebooks_B=num_codebooks_B)
    stop = jax.lax.stop_gradient
    residual_BTC = latent_BTC.astype(jnp.float32)
    sum_BTC = jnp.zeros_like(residual_BTC)
    codes, projections, losses = [], [], [jnp.zeros(()), jnp.zeros(())]
    for k, codebook in enumerate(self.codebooks):
      projection_BTF = codebook.project_in(residual_BTC)
      code_BT = codebook.nearest(projection_BTF)
      entry_BTF = codebook.entry_VF[...][code_BT]
      quantized_BTC = codebook.project_out(projection_BTF + stop(entry_BTF - projection_BTF))
      used_B = jnp.ones(len(latent_BTC)) if num_codebooks_B is None else (k < num_codebooks_B).astype(float)
      for i, (x_BTF, y_BTF) in enumerate(
        [(projection_BTF, stop(entry_BTF)), (entry_BTF, stop(projection_BTF))]
      ):
        losses[i] += jnp.mean(used_B * jnp.mean(jnp.square(x_BTF - y_BTF), axis=(1, 2)))
      sum_BTC += used_B[:, None, None] * quantized_BTC
      residual_BTC = residual_BTC - quantized_BTC
      codes.append(code_BT)
      projections.append(projection_BTF)
    return Quantized(sum_BTC, jnp.stack(codes, -1), jnp.stack(projections, 2), *losses)

  def encode(self, latent_BTC: jax.Array, num_codebooks: int | None = None) -> jax.Array:
    """Returns codes_BTK, int32 in [0, V).

    Args:
      latent_BTC: continuous latents.
      num_codebooks: how many, from the first; None for all.
    """
    return self(latent_BTC).codes_BTK[..., :num_codebooks]

  def decode(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns latents BTC of the codes of the first K codebooks (eq. 3)."""
    shapes.check(codes_BTK=codes_BTK)
    parts = [
      codebook.project_out(codebook.entry_VF[...][codes_BTK[..., k]])
      for k, codebook in zip(range(codes_BTK.shape[-1]), self.codebooks)
    ]
    return sum(parts[1:], start=parts[0])


def _normalized(x: jax.Array) -> jax.Array:
  """Returns x over its norm along the last axis."""
  return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
