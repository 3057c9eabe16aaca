"""Masked means: over valid steps of a clip, and over clips with valid steps.

The loss of a clip is a mean over its valid steps: those that are no padding, of clips that have audio. The
loss of a batch is the mean over the clips that have valid steps,

  L = mean_b w_b L_b,      w_b = c_b / mean_b(c_b),      c_b = 1 where clip b has valid steps, else 0    (1)

Weights are computed for a whole batch, before it is split into microbatches and over devices: then the mean
over equal parts of the mean of each is eq. 1. A batch without valid steps has a loss and a gradient of 0.
"""

import jax
import jax.numpy as jnp

from v2a import shapes


def clip_weights(is_valid_BT: jax.Array) -> jax.Array:
  """Returns weight_B of eq. 1 for a whole batch.

  Args:
    is_valid_BT: which steps are valid.
  """
  shapes.check(is_valid_BT=is_valid_BT)
  has_valid_B = jnp.any(is_valid_BT, axis=1).astype(jnp.float32)
  return has_valid_B / jnp.maximum(jnp.mean(has_valid_B), 1 / has_valid_B.size)


def clip_mean(x: jax.Array, is_valid_BT: jax.Array | None = None) -> jax.Array:
  """Returns the mean of each clip (B) over its valid steps and all other axes; 0 without valid steps.

  Args:
    x: values with the axes B, T and any others. Those of invalid steps may be NaN.
    is_valid_BT: which steps are valid; None for all.
  """
  if is_valid_BT is None:
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))
  error_BT = jnp.mean(x, axis=tuple(range(2, x.ndim)))
  shapes.check(error_BT=error_BT, is_valid_BT=is_valid_BT)
  # where, not a product: NaN in padding must not leak into the sum.
  total_B = jnp.sum(jnp.where(is_valid_BT, error_BT, 0.0), axis=1)
  return total_B / jnp.maximum(jnp.sum(is_valid_BT, axis=1), 1)


def step_weights(is_valid_BT: jax.Array, weight_B: jax.Array) -> jax.Array:
  """Returns weight_BT, with which a weighted mean over all steps of a batch is eq. 1.

  Args:
    is_valid_BT: which steps are valid.
    weight_B: see `clip_weights`.
  """
  shapes.check(is_valid_BT=is_valid_BT, weight_B=weight_B)
  valid_fraction_B = jnp.mean(is_valid_BT.astype(jnp.float32), axis=1)
  return is_valid_BT * (weight_B / jnp.maximum(valid_fraction_B, 1 / is_valid_BT.shape[1]))[:, None]


def batch_mean(value_B: jax.Array, weight_B: jax.Array | None = None) -> jax.Array:
  """Returns the mean over the clips of a batch, or of a part of it: eq. 1.

  Args:
    value_B: of each clip; must be finite even where its weight is 0.
    weight_B: see `clip_weights`; None for 1.
  """
  return jnp.mean(value_B if weight_B is None else weight_B * value_B)
