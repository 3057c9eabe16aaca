"""Residual vector quantization: each codebook quantizes the residual of those before it.

  r_0 = z,   c_k = argmin_v || r_k - e_kv ||,   r_{k+1} = r_k - e_{k, c_k}              (1)
  loss = beta sum_k || r_k - sg(e_{k, c_k}) ||^2, the commitment loss                   (2)

Gradients use the straight-through estimator, and none reaches the codebooks: an entry is the exponential
moving average of the residuals assigned to it,

  P'_v = g P_v + (1 - g) p_v,      e'_v = (g P_v e_v + (1 - g) m_v) / P'_v              (3)

where p_v is the fraction of the residuals of a batch assigned to v, and m_v is their sum over the number of
all residuals. Both are means over valid steps (`v2a.masks`), so that parts of a batch, on several devices or
in microbatches, give the same as the batch. Dead-code reset: an entry with P_v < 0.2 / V is reset to a point
near the entry with the largest summed error, whose P is divided among the two; both halves must reach the
threshold, or the reset would kill a second entry. (A random residual, the usual choice, is often silence,
which an entry codes without error already.) Codebooks are initialized by k-means over a set of latents:
iterations of eq. 3 with g = 0, and the same reset of empty clusters.

Zeghidour et al. 2021, arXiv 2107.03312, sec. III-C; van den Oord et al. 2017, arXiv 1711.00937, app. A.1.
"""

import functools

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp

from v2a import shapes

COMMITMENT_WEIGHT = 0.25
EMA_DECAY = 0.99
DEAD_CODE_THRESHOLD = 0.2
NUM_KMEANS_ITERATIONS = 20
# Standard deviation of the distance of a reset entry from its parent: relative to the spread of the codebook,
# and at least.
RESET_NOISE_SCALE, MIN_RESET_NOISE = 0.1, 1e-3


class Codebook(nnx.Variable):
  """Entries or their usage; changed by `update_ema`, not by gradients."""


@struct.dataclass
class CodebookStatistics:
  """Statistics of the residuals of a batch in one codebook, or in all of them with a leading axis K.

  Attributes:
    share_V: p of eq. 3.
    sum_VC: m of eq. 3.
    error_V: squared distance of the assigned residuals to their entry, summed over them and divided by the
      number of all residuals.
  """

  share_V: jax.Array
  sum_VC: jax.Array
  error_V: jax.Array


class ResidualQuantizer(nnx.Module):
  """K codebooks of V entries over latents of C channels."""

  def __init__(self, num_codebooks: int, codebook_size: int, num_channels: int, *, rngs: nnx.Rngs):
    """Makes random codebooks.

    Args:
      num_codebooks: K.
      codebook_size: V, the entries of each codebook.
      num_channels: C, the channels of the latents.
      rngs: for the initial entries, which `init_kmeans` replaces.
    """
    shape = (num_codebooks, codebook_size, num_channels)
    self.codebook_KVC = Codebook(
      0.5 * jax.random.normal(rngs.params(), shape), axes=(None, 'vocab', 'latent')
    )
    self.share_KV = Codebook(jnp.full(shape[:2], 1 / codebook_size), axes=(None, 'vocab'))

  def encode(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns codes_BTK, int32 in [0, V)."""
    return self(latent_BTC)[1]

  def decode(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns latents BTC, the sum of the entries of the codes."""
    codebook_KVC = self.codebook_KVC[...]
    entries = [codebook_KVC[k][codes_BTK[..., k]] for k in range(codebook_KVC.shape[0])]
    return sum(entries, start=jnp.zeros(()))

  def __call__(
    self, latent_BTC: jax.Array, num_codebooks_B: jax.Array | None = None, weight_BT: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array, CodebookStatistics]:
    """Quantizes with straight-through gradients; float32.

    Args:
      latent_BTC: continuous latents.
      num_codebooks_B: how many codebooks the latents of each clip use (quantizer dropout); None for all.
        Codes of the others are returned, and count in the loss and in the statistics.
      weight_BT: of steps in the loss and in the statistics, with a mean of 1 over the whole batch; None for
        1.

    Returns:
      Quantized latents BTC, codes BTK, the loss of eq. 2, and CodebookStatistics with an axis K.
    """
    shapes.check(latent_BTC=latent_BTC, num_codebooks_B=num_codebooks_B, weight_BT=weight_BT)
    weight_BT = jnp.ones(latent_BTC.shape[:2]) if weight_BT is None else weight_BT
    stop = jax.lax.stop_gradient
    latent_BTC = residual_BTC = latent_BTC.astype(jnp.float32)
    quantized_BTC = jnp.zeros_like(latent_BTC)
    loss, codes, statistics = jnp.zeros(()), [], []
    for k, entry_VC in enumerate(self.codebook_KVC[...]):
      code_BT = _nearest(residual_BTC, entry_VC)
      nearest_BTC = entry_VC[code_BT]
      codes.append(code_BT)
      statistics.append(_statistics(stop(residual_BTC), code_BT, entry_VC, weight_BT))
      error_BT = jnp.mean(jnp.square(residual_BTC - nearest_BTC), axis=-1)
      loss += COMMITMENT_WEIGHT * jnp.mean(weight_BT * error_BT)
      is_used_B = jnp.full(latent_BTC.shape[:1], True) if num_codebooks_B is None else k < num_codebooks_B
      quantized_BTC += jnp.where(is_used_B[:, None, None], nearest_BTC, 0.0)
      residual_BTC = residual_BTC - nearest_BTC
    straight_BTC = latent_BTC + stop(quantized_BTC - latent_BTC)
    return straight_BTC, jnp.stack(codes, axis=-1), loss, jax.tree.map(lambda *x: jnp.stack(x), *statistics)

  def update_ema(self, statistics: CodebookStatistics, key: jax.Array) -> dict[str, jax.Array]:
    """Updates the codebooks (eq. 3), and resets dead entries.

    Args:
      statistics: of a batch, with an axis K.
      key: PRNG key for resets.

    Returns:
      Metrics of each codebook: the fraction of entries that are not dead, and the perplexity.
    """
    update = jax.vmap(_ema_update, in_axes=(0, 0, 0, None))
    # A batch without valid steps leaves the codebooks as they are.
    decay = jnp.where(jnp.any(statistics.share_V > 0), EMA_DECAY, 1.0)
    codebook_KVC, share_KV = update(self.codebook_KVC[...], self.share_KV[...], statistics, decay)
    metrics = _usage(share_KV)
    keys = jax.random.split(key, len(share_KV))
    codebook_KVC, share_KV = jax.vmap(_reset_dead)(codebook_KVC, share_KV, statistics.error_V, keys)
    self.codebook_KVC.set_value(codebook_KVC)
    self.share_KV.set_value(share_KV)
    return metrics

  def init_kmeans(self, latent_SC: jax.Array, key: jax.Array) -> None:
    """Initializes each codebook by k-means over the residuals of those before it.

    Args:
      latent_SC: a set of latents.
      key: PRNG key.
    """
    num_codebooks, codebook_size = self.share_KV[...].shape
    residual_SC, codebooks = latent_SC.astype(jnp.float32), []
    for codebook_key in jax.random.split(key, num_codebooks):
      *codebook, residual_SC = _kmeans(residual_SC, codebook_size, codebook_key)
      codebooks.append(codebook)
    codebook_KVC, share_KV = map(jnp.stack, zip(*codebooks))
    self.codebook_KVC.set_value(codebook_KVC)
    self.share_KV.set_value(share_KV)


def _nearest(residual_BTC: jax.Array, entry_VC: jax.Array) -> jax.Array:
  """Returns code_BT of the nearest entries."""
  distance_BTV = jnp.sum(jnp.square(entry_VC), axis=-1)[None, None] - 2 * jnp.einsum(
    'BTC,VC->BTV', residual_BTC, entry_VC
  )
  return jnp.argmin(distance_BTV, axis=-1).astype(jnp.int32)


def _statistics(
  residual_BTC: jax.Array, code_BT: jax.Array, entry_VC: jax.Array, weight_BT: jax.Array
) -> CodebookStatistics:
  """Returns the statistics of one codebook, without the axis K."""
  # Products with one-hot rows, not scatter-add, whose order of summation is not fixed on some devices.
  assigned_BTV = jax.nn.one_hot(code_BT, len(entry_VC)) * (weight_BT / code_BT.size)[..., None]
  error_BT = jnp.sum(jnp.square(residual_BTC - entry_VC[code_BT]), axis=-1)
  return CodebookStatistics(
    jnp.sum(assigned_BTV, axis=(0, 1)),
    jnp.einsum('BTV,BTC->VC', assigned_BTV, residual_BTC),
    jnp.einsum('BTV,BT->V', assigned_BTV, error_BT),
  )


def _ema_update(
  entry_VC: jax.Array, share_V: jax.Array, statistics: CodebookStatistics, decay: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
  """Returns entries and shares after eq. 3; an entry without share is not changed."""
  new_V = decay * share_V + (1 - decay) * statistics.share_V
  total_VC = decay * share_V[:, None] * entry_VC + (1 - decay) * statistics.sum_VC
  return jnp.where(new_V[:, None] > 0, total_VC / jnp.maximum(new_V, 1e-12)[:, None], entry_VC), new_V


def _reset_dead(
  entry_VC: jax.Array, share_V: jax.Array, error_V: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns entries and shares, with each dead entry reset near a different entry of the largest errors.

  Where entries that can be divided are fewer than dead ones, the others stay dead.
  """
  size = len(share_V)
  can_divide_V = share_V >= 2 * DEAD_CODE_THRESHOLD / size
  rank_V = jnp.cumsum(share_V < DEAD_CODE_THRESHOLD / size) - 1
  is_reset_V = (share_V < DEAD_CODE_THRESHOLD / size) & (rank_V < jnp.sum(can_divide_V))
  parent_V = jnp.argsort(-jnp.where(can_divide_V, error_V, -1.0))[jnp.maximum(rank_V, 0)]
  distance_C = RESET_NOISE_SCALE * jnp.std(entry_VC, axis=0) + MIN_RESET_NOISE
  reset_VC = entry_VC[parent_V] + distance_C[None] * jax.random.normal(key, entry_VC.shape)
  # Entries that are not reset have an index beyond the end, which is dropped.
  share_V = share_V.at[jnp.where(is_reset_V, parent_V, size)].multiply(0.5, mode='drop')
  return (
    jnp.where(is_reset_V[:, None], reset_VC, entry_VC),
    jnp.where(is_reset_V, share_V[parent_V], share_V),
  )


def _usage(share_KV: jax.Array) -> dict[str, jax.Array]:
  """Returns the fraction of entries that are not dead, and the perplexity, as metrics of each codebook."""
  usage_K = jnp.mean(share_KV >= DEAD_CODE_THRESHOLD / share_KV.shape[1], axis=1)
  p_KV = share_KV / jnp.sum(share_KV, axis=1, keepdims=True)
  perplexity_K = jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p_KV, p_KV), axis=1))
  return {
    f'{name}_codebook{k}': x_K[k]
    for name, x_K in (('usage', usage_K), ('perplexity', perplexity_K))
    for k in range(len(x_K))
  }


@functools.partial(jax.jit, static_argnums=1)
def _kmeans(residual_SC: jax.Array, codebook_size: int, key: jax.Array) -> tuple[jax.Array, ...]:
  """Returns entries and shares of a codebook by k-means, and the residuals after it."""
  residual_BTC = residual_SC[None]
  first_key, *iteration_keys = jax.random.split(key, 1 + NUM_KMEANS_ITERATIONS)
  is_short = len(residual_SC) < codebook_size
  first_V = jax.random.choice(first_key, len(residual_SC), (codebook_size,), replace=is_short)

  def iterate(codebook, key):
    entry_VC, share_V = codebook
    code_BT = _nearest(residual_BTC, entry_VC)
    statistics = _statistics(residual_BTC, code_BT, entry_VC, jnp.ones((1, len(residual_SC))))
    entry_VC, share_V = _ema_update(entry_VC, share_V, statistics, 0.0)
    return _reset_dead(entry_VC, share_V, statistics.error_V, key), None

  start = residual_SC[first_V], jnp.full(codebook_size, 1 / codebook_size)
  (entry_VC, share_V), _ = jax.lax.scan(iterate, start, jnp.stack(iteration_keys))
  return entry_VC, share_V, residual_SC - entry_VC[_nearest(residual_BTC, entry_VC)[0]]
