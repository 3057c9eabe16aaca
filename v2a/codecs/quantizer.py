"""Residual vector quantization: each book codes what the books before it left over.

  r_0 = z,   c_k = argmin_v || r_k - e_kv ||,   r_{k+1} = r_k - e_{k, c_k}              (1)
  loss = beta sum_k || r_k - sg(e_{k, c_k}) ||^2                                        (2)

Gradients pass straight through, and none reaches the books: an entry is the moving average of what chose it,

  P'_v = g P_v + (1 - g) p_v,      e'_v = (g P_v e_v + (1 - g) m_v) / P'_v              (3)

p_v is the share of a batch's residuals that chose v, m_v their sum over the number of all. Both are means
over the steps that count (`v2a.masks`), so that parts of a batch, on many devices or one after the other,
make what the batch makes. An entry with P_v < 0.2 / V is dead: it moves beside the entry with the largest
summed error, and they halve its P. (A random residual, the usual choice, is often silence, which one entry
holds without error already.) Books start from rounds of eq. 3 with g = 0 over a set of latents: k-means,
with the same cure for empty clusters.

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
# How far a dead entry stays from the one it moves beside: relative to the spread of the book, and at least.
RESET_NOISE_SCALE, MIN_RESET_NOISE = 0.1, 1e-3


class Codebook(nnx.Variable):
  """Entries or their use; changed by `update_ema`, never by gradients."""


@struct.dataclass
class CodebookStatistics:
  """What a batch did with one book, or, with an axis K in front, with all of them; means over its residuals.

  Attributes:
    share_V: p of eq. 3.
    sum_VC: m of eq. 3.
    error_V: squared distance to the entry, where it was chosen, else 0.
  """

  share_V: jax.Array
  sum_VC: jax.Array
  error_V: jax.Array


class ResidualQuantizer(nnx.Module):
  """K codebooks of V entries over latents of C channels."""

  def __init__(self, num_codebooks: int, codebook_size: int, num_channels: int, *, rngs: nnx.Rngs):
    shape = (num_codebooks, codebook_size, num_channels)
    self.codebook_KVC = Codebook(
      0.5 * jax.random.normal(rngs.params(), shape), axes=(None, 'vocab', 'latent')
    )
    self.share_KV = Codebook(jnp.full(shape[:2], 1 / codebook_size), axes=(None, 'vocab'))

  def encode(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns codes_BTK, int32 in [0, V)."""
    return self(latent_BTC)[1]

  def decode(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns latents BTC, the sum of the named entries."""
    codebook_KVC = self.codebook_KVC[...]
    entries = [codebook_KVC[k][codes_BTK[..., k]] for k in range(codebook_KVC.shape[0])]
    return sum(entries, start=jnp.zeros(()))

  def __call__(
    self, latent_BTC: jax.Array, num_codebooks_B: jax.Array | None = None, weight_BT: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array, CodebookStatistics]:
    """Quantizes with straight-through gradients; float32.

    Args:
      latent_BTC: continuous latents.
      num_codebooks_B: how many of the books each clip may use (quantizer dropout); all where None. What the
        others would choose is returned, and counts in the loss and in what was seen.
      weight_BT: of steps in the loss and in what was seen, with a mean of 1 over the whole batch; 1 where
        None.

    Returns:
      Quantized latents BTC, codes BTK, the loss of eq. 2, CodebookStatistics.
    """
    shapes.check(latent_BTC=latent_BTC, num_codebooks_B=num_codebooks_B, weight_BT=weight_BT)
    weight_BT = jnp.ones(latent_BTC.shape[:2]) if weight_BT is None else weight_BT
    stop = jax.lax.stop_gradient
    latent_BTC = residual_BTC = latent_BTC.astype(jnp.float32)
    quantized_BTC = jnp.zeros_like(latent_BTC)
    loss, codes, seen = 0.0, [], []
    for k, entry_VC in enumerate(self.codebook_KVC[...]):
      code_BT = _nearest(residual_BTC, entry_VC)
      chosen_BTC = entry_VC[code_BT]
      codes.append(code_BT)
      seen.append(_seen(stop(residual_BTC), code_BT, entry_VC, weight_BT))
      error_BT = jnp.mean(jnp.square(residual_BTC - chosen_BTC), axis=-1)
      loss += COMMITMENT_WEIGHT * jnp.mean(weight_BT * error_BT)
      is_used_B = jnp.full(latent_BTC.shape[:1], True) if num_codebooks_B is None else k < num_codebooks_B
      quantized_BTC += jnp.where(is_used_B[:, None, None], chosen_BTC, 0.0)
      residual_BTC = residual_BTC - chosen_BTC
    straight_BTC = latent_BTC + stop(quantized_BTC - latent_BTC)
    return straight_BTC, jnp.stack(codes, axis=-1), loss, jax.tree.map(lambda *x: jnp.stack(x), *seen)

  def update_ema(self, statistics: CodebookStatistics, key: jax.Array) -> dict[str, jax.Array]:
    """Moves the books (eq. 3). Returns, by book, the share of entries that are alive, and the perplexity."""
    move = jax.vmap(_moved, in_axes=(0, 0, 0, None))
    # A batch in which no step counts leaves the books as they are.
    decay = jnp.where(jnp.any(statistics.share_V > 0), EMA_DECAY, 1.0)
    codebook_KVC, share_KV = move(self.codebook_KVC[...], self.share_KV[...], statistics, decay)
    metrics = _usage(share_KV)
    keys = jax.random.split(key, len(share_KV))
    codebook_KVC, share_KV = jax.vmap(_revived)(codebook_KVC, share_KV, statistics.error_V, keys)
    self.codebook_KVC.set_value(codebook_KVC)
    self.share_KV.set_value(share_KV)
    return metrics

  def init_kmeans(self, latent_SC: jax.Array, key: jax.Array) -> None:
    """Starts the books from k-means over latents, the later ones over what the earlier leave."""
    num_codebooks, codebook_size = self.share_KV[...].shape
    residual_SC, books = latent_SC.astype(jnp.float32), []
    for book_key in jax.random.split(key, num_codebooks):
      *book, residual_SC = _clustered(residual_SC, codebook_size, book_key)
      books.append(book)
    codebook_KVC, share_KV = map(jnp.stack, zip(*books))
    self.codebook_KVC.set_value(codebook_KVC)
    self.share_KV.set_value(share_KV)


def _nearest(residual_BTC: jax.Array, entry_VC: jax.Array) -> jax.Array:
  """Returns code_BT of the nearest entries."""
  distance_BTV = jnp.sum(jnp.square(entry_VC), axis=-1)[None, None] - 2 * jnp.einsum(
    'BTC,VC->BTV', residual_BTC, entry_VC
  )
  return jnp.argmin(distance_BTV, axis=-1).astype(jnp.int32)


def _seen(
  residual_BTC: jax.Array, code_BT: jax.Array, entry_VC: jax.Array, weight_BT: jax.Array
) -> CodebookStatistics:
  """Returns what happened to one book, without the axis K."""
  # Products with one-hot rows, not scattered additions: those have no fixed order on some devices.
  chosen_BTV = jax.nn.one_hot(code_BT, len(entry_VC)) * (weight_BT / code_BT.size)[..., None]
  error_BT = jnp.sum(jnp.square(residual_BTC - entry_VC[code_BT]), axis=-1)
  return CodebookStatistics(
    jnp.sum(chosen_BTV, axis=(0, 1)),
    jnp.einsum('BTV,BTC->VC', chosen_BTV, residual_BTC),
    jnp.einsum('BTV,BT->V', chosen_BTV, error_BT),
  )


def _moved(
  entry_VC: jax.Array, share_V: jax.Array, seen: CodebookStatistics, decay: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
  """Returns entries and shares of eq. 3; an entry that nothing chose stays where it is."""
  new_V = decay * share_V + (1 - decay) * seen.share_V
  total_VC = decay * share_V[:, None] * entry_VC + (1 - decay) * seen.sum_VC
  return jnp.where(new_V[:, None] > 0, total_VC / jnp.maximum(new_V, 1e-12)[:, None], entry_VC), new_V


def _revived(
  entry_VC: jax.Array, share_V: jax.Array, error_V: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns entries and shares, each dead entry beside one of the largest errors, no two beside the same."""
  size = len(share_V)
  is_dead_V = share_V < DEAD_CODE_THRESHOLD / size
  parent_V = jnp.argsort(-error_V)[jnp.maximum(jnp.cumsum(is_dead_V) - 1, 0)]
  away_C = RESET_NOISE_SCALE * jnp.std(entry_VC, axis=0) + MIN_RESET_NOISE
  beside_VC = entry_VC[parent_V] + away_C[None] * jax.random.normal(key, entry_VC.shape)
  # Places beyond the end are dropped: those of entries that are alive.
  share_V = share_V.at[jnp.where(is_dead_V, parent_V, size)].multiply(0.5, mode='drop')
  return (
    jnp.where(is_dead_V[:, None], beside_VC, entry_VC),
    jnp.where(is_dead_V, share_V[parent_V], share_V),
  )


def _usage(share_KV: jax.Array) -> dict[str, jax.Array]:
  """Returns `use_book0`: the share of entries that are alive, and `perplexity_book0`, and so on."""
  use_K = jnp.mean(share_KV >= DEAD_CODE_THRESHOLD / share_KV.shape[1], axis=1)
  p_KV = share_KV / jnp.sum(share_KV, axis=1, keepdims=True)
  perplexity_K = jnp.exp(-jnp.sum(jax.scipy.special.xlogy(p_KV, p_KV), axis=1))
  return {
    f'{name}_book{k}': x_K[k]
    for name, x_K in (('use', use_K), ('perplexity', perplexity_K))
    for k in range(len(x_K))
  }


@functools.partial(jax.jit, static_argnums=1)
def _clustered(residual_SC: jax.Array, codebook_size: int, key: jax.Array) -> tuple[jax.Array, ...]:
  """Returns entries and shares of a book by k-means, and what it leaves of the residuals."""
  residual_BTC = residual_SC[None]
  first_key, *round_keys = jax.random.split(key, 1 + NUM_KMEANS_ITERATIONS)
  is_short = len(residual_SC) < codebook_size
  first_V = jax.random.choice(first_key, len(residual_SC), (codebook_size,), replace=is_short)

  def one_round(book, key):
    seen = _seen(residual_BTC, _nearest(residual_BTC, book[0]), book[0], jnp.ones((1, len(residual_SC))))
    return _revived(*_moved(*book, seen, 0.0), seen.error_V, key), None

  start = residual_SC[first_V], jnp.full(codebook_size, 1 / codebook_size)
  (entry_VC, share_V), _ = jax.lax.scan(one_round, start, jnp.stack(round_keys))
  return entry_VC, share_V, residual_SC - entry_VC[_nearest(residual_BTC, entry_VC)[0]]
