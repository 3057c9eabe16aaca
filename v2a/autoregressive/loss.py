"""Losses over tokens of all codebooks.

  L = -mean log p(code)  over the tokens of a clip that count, then over clips                       (1)

`cross_entropy` is eq. 1 for the next step (teacher forcing); `masked` masks tokens and counts those
alone (Chang et al. 2022, arXiv 2202.04200, eq. 1, with a mean for the sum).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.autoregressive import masking


def cross_entropy(logit_BTKV: jax.Array, code_BTK: jax.Array,
                  counted_BTK: jax.Array | None = None) -> tuple[jax.Array, dict]:
  """Returns eq. 1 and its value for each book.

  Args:
    logit_BTKV: predictions.
    code_BTK: the true tokens; anything where they do not count.
    counted_BTK: which count: not padding, for one. All where None.
  """
  shapes.check(logit_BTKV=logit_BTKV, code_BTK=code_BTK, counted_BTK=counted_BTK)
  if counted_BTK is None:
    counted_BTK = jnp.ones(code_BTK.shape, bool)
  # where before the logarithm: what does not count may hold NaN, and its gradient would be NaN too.
  logit_BTKV = jnp.where(counted_BTK[..., None], logit_BTKV.astype(jnp.float32), 0.0)
  index_BTK1 = jnp.where(counted_BTK, code_BTK, 0)[..., None]
  log_p_BTKV = jax.nn.log_softmax(logit_BTKV, axis=-1)
  nats_BTK = jnp.where(counted_BTK, -jnp.take_along_axis(log_p_BTKV, index_BTK1, axis=-1)[..., 0], 0.0)
  mean = lambda axes: jnp.sum(nats_BTK, axes) / jnp.maximum(jnp.sum(counted_BTK, axes), 1)
  book_K = mean((0, 1))
  return jnp.mean(mean((1, 2))), {f'loss_book{k}': book_K[k] for k in range(book_K.shape[0])}


def masked(predict_fn: Callable, code_BTK: jax.Array, key: jax.Array, *, mask_token: int,
           counted_BTK: jax.Array | None = None) -> tuple[jax.Array, dict]:
  """Returns eq. 1 of masked tokens: of each clip gamma(r) of its tokens, at least one, r uniform.

  Args:
    predict_fn: code_BTK -> logit_BTKV.
    code_BTK: the true tokens.
    key: of what is masked.
    mask_token: what stands in their place.
    counted_BTK: which may be masked; all where None.
  """
  shapes.check(code_BTK=code_BTK, counted_BTK=counted_BTK)
  if counted_BTK is None:
    counted_BTK = jnp.ones(code_BTK.shape, bool)
  share_key, place_key = jax.random.split(key)
  share_B = masking.share(jax.random.uniform(share_key, code_BTK.shape[:1]))
  num_counted_B = jnp.sum(counted_BTK, axis=(1, 2))
  num_masked_B = jnp.minimum(jnp.maximum(jnp.ceil(share_B * num_counted_B), 1), num_counted_B)
  score_BTK = jnp.where(counted_BTK, jax.random.uniform(place_key, code_BTK.shape), jnp.inf)
  is_masked_BTK = masking.lowest(score_BTK, num_masked_B)
  logit_BTKV = predict_fn(jnp.where(is_masked_BTK, mask_token, code_BTK))
  return cross_entropy(logit_BTKV, code_BTK, is_masked_BTK)
