"""Losses over tokens of all codebooks.

  L = -mean log p(code)  over the valid tokens of a clip, then over clips                            (1)

`cross_entropy` is eq. 1 of predictions by teacher forcing; `masked_cross_entropy` masks tokens and takes the
mean over those only (Chang et al. 2022, arXiv 2202.04200, eq. 1, with a mean for the sum).
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
  """Returns eq. 1, and as metrics the mean of each clip in each codebook (NaN without valid tokens).

  Args:
    logit_BTKV: predictions.
    code_BTK: the true tokens; anything where they are not valid.
    is_valid_BTK: which tokens are valid, for instance not padding; None for all.
    weight_B: of the clips, see `masks.clip_weights`; None for 1.
  """
  shapes.check(logit_BTKV=logit_BTKV, code_BTK=code_BTK, is_valid_BTK=is_valid_BTK, weight_B=weight_B)
  if is_valid_BTK is None:
    is_valid_BTK = jnp.ones(code_BTK.shape, bool)
  # where before the logarithm: invalid positions may hold NaN, and their gradient would be NaN, too.
  logit_BTKV = jnp.where(is_valid_BTK[..., None], logit_BTKV.astype(jnp.float32), 0.0)
  index_BTK1 = jnp.where(is_valid_BTK, code_BTK, 0)[..., None]
  log_p_BTKV = jax.nn.log_softmax(logit_BTKV, axis=-1)
  nats_BTK = jnp.where(is_valid_BTK, -jnp.take_along_axis(log_p_BTKV, index_BTK1, axis=-1)[..., 0], 0.0)
  num_BK = jnp.sum(is_valid_BTK, axis=1)
  nats_BK = jnp.where(num_BK > 0, jnp.sum(nats_BTK, axis=1) / jnp.maximum(num_BK, 1), jnp.nan)
  value_B = jnp.sum(nats_BTK, (1, 2)) / jnp.maximum(jnp.sum(num_BK, 1), 1)
  metrics = {f'loss_codebook{k}': nats_BK[:, k] for k in range(nats_BK.shape[1])}
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
    is_masked_BTK: which are masked, see `masking.sample_mask`.
    mask_token: replaces them.
    weight_B: see `cross_entropy`.
  """
  shapes.check(code_BTK=code_BTK, is_masked_BTK=is_masked_BTK)
  logit_BTKV = predict_fn(jnp.where(is_masked_BTK, mask_token, code_BTK))
  return cross_entropy(logit_BTKV, code_BTK, is_masked_BTK, weight_B)
