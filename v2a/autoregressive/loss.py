"""Losses over tokens of all codebooks.

  L = -mean log p(code)  over the tokens of a clip that count, then over clips                       (1)

`cross_entropy` is eq. 1 for the next step (teacher forcing); `masked_cross_entropy` masks tokens and
counts those alone (Chang et al. 2022, arXiv 2202.04200, eq. 1, with a mean for the sum).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from v2a import masks
from v2a import shapes


def cross_entropy(
  logit_BTKV: jax.Array,
  code_BTK: jax.Array,
  is_valid_BTK: jax.Array | None = None,
  weight_B: jax.Array | None = None,
) -> tuple[jax.Array, dict]:
  """Returns eq. 1, and for each book the mean of each clip (NaN where none of its tokens count).

  Args:
    logit_BTKV: predictions.
    code_BTK: the true tokens; anything where they do not count.
    is_valid_BTK: which count: not padding, for one. All where None.
    weight_B: of the clips, see `masks.clip_weights`; 1 where None.
  """
  shapes.check(logit_BTKV=logit_BTKV, code_BTK=code_BTK, is_valid_BTK=is_valid_BTK, weight_B=weight_B)
  if is_valid_BTK is None:
    is_valid_BTK = jnp.ones(code_BTK.shape, bool)
  # where before the logarithm: what does not count may hold NaN, and its gradient would be NaN too.
  logit_BTKV = jnp.where(is_valid_BTK[..., None], logit_BTKV.astype(jnp.float32), 0.0)
  index_BTK1 = jnp.where(is_valid_BTK, code_BTK, 0)[..., None]
  log_p_BTKV = jax.nn.log_softmax(logit_BTKV, axis=-1)
  nats_BTK = jnp.where(is_valid_BTK, -jnp.take_along_axis(log_p_BTKV, index_BTK1, axis=-1)[..., 0], 0.0)
  num_BK = jnp.sum(is_valid_BTK, axis=1)
  book_BK = jnp.where(num_BK > 0, jnp.sum(nats_BTK, axis=1) / jnp.maximum(num_BK, 1), jnp.nan)
  value_B = jnp.sum(nats_BTK, (1, 2)) / jnp.maximum(jnp.sum(num_BK, 1), 1)
  metrics = {f'loss_book{k}': book_BK[:, k] for k in range(book_BK.shape[1])}
  return masks.batch_mean(value_B, weight_B), metrics


def masked_cross_entropy(
  predict_fn: Callable,
  code_BTK: jax.Array,
  is_masked_BTK: jax.Array,
  *,
  mask_token: int,
  weight_B: jax.Array | None = None,
) -> tuple[jax.Array, dict]:
  """Returns `cross_entropy` of masked tokens.

  Args:
    predict_fn: code_BTK -> logit_BTKV.
    code_BTK: the true tokens.
    is_masked_BTK: which are hidden, see `masking.sample_mask`.
    mask_token: what stands in their place.
    weight_B: see `cross_entropy`.
  """
  shapes.check(code_BTK=code_BTK, is_masked_BTK=is_masked_BTK)
  logit_BTKV = predict_fn(jnp.where(is_masked_BTK, mask_token, code_BTK))
  return cross_entropy(logit_BTKV, code_BTK, is_masked_BTK, weight_B)
