"""Sampling of tokens: autoregressively (`sample`), or by masked decoding (`decode_masked`).

  logit = sum_g w_g logit_g   over the branches of guidance (v2a.guidance eq. 1)                      (1)
  code  = argmax_v (logit_v / temperature + n_v),  n Gumbel noise, v among the top-k and top-p tokens (2)

Tokens of the prefix (the end of the previous window, the padding of a pattern) are not sampled; later tokens
are conditioned on them.

The noise of each row comes from its own key, at step i from fold_in(key, i), so that a row does not depend on
the others of its batch.

`decode_masked` is Chang et al. 2022, arXiv 2202.04200, sec. 3.2: of N unknown tokens the floor(gamma(i / n)
N) of lowest confidence are masked again after iteration i of n; confidence is log p plus Gumbel noise, whose
temperature falls linearly to 0.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from v2a import guidance
from v2a import shapes
from v2a.autoregressive import masking


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a token is sampled from logits.

  Attributes:
    temperature: of eq. 2; below 1 favours likely tokens.
    top_k: samples from this many of the likeliest tokens; 0 for all, 1 is greedy.
    top_p: samples from the fewest likeliest tokens that reach this cumulative probability; 1 for all.
  """

  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0

  def __post_init__(self):
    # Logits divided by a lower temperature would overflow float32.
    if not 0.001 <= self.temperature <= 100:
      raise ValueError(f'temperature must lie in 0.001..100; got {self.temperature}.')
    if not 0 <= self.top_k < 2**31:
      raise ValueError(f'top_k must lie in 0..2147483647, 0 for all; got {self.top_k}.')
    if not 1e-6 <= self.top_p <= 1:
      raise ValueError(f'top_p must lie in 0.000001..1; got {self.top_p}.')


def filter_logits(logit_BSV: jax.Array, settings: Settings) -> jax.Array:
  """Returns logits divided by the temperature, and -inf for tokens outside top-k and then top-p."""
  shapes.check(logit_BSV=logit_BSV)
  logit_BSV = logit_BSV.astype(jnp.float32) / settings.temperature
  if not settings.top_k and settings.top_p == 1:
    return logit_BSV
  # By rank, not by a threshold: with equal logits, a threshold would pass more than k tokens.
  order_BSV = jnp.argsort(-logit_BSV, axis=-1)
  sorted_BSV = jnp.take_along_axis(logit_BSV, order_BSV, axis=-1)
  if settings.top_k:
    is_top_V = jnp.arange(logit_BSV.shape[-1]) < settings.top_k
    sorted_BSV = jnp.where(is_top_V[None, None], sorted_BSV, -jnp.inf)
  if settings.top_p < 1:
    p_BSV = jax.nn.softmax(sorted_BSV, axis=-1)
    p_before_BSV = jnp.cumsum(p_BSV, axis=-1) - p_BSV
    sorted_BSV = jnp.where(p_before_BSV < settings.top_p, sorted_BSV, -jnp.inf)
  return jnp.take_along_axis(sorted_BSV, jnp.argsort(order_BSV, axis=-1), axis=-1)


def sample_from_logits(key_B: jax.Array, logit_BSV: jax.Array, settings: Settings) -> jax.Array:
  """Returns code_BS of eq. 2.

  Args:
    key_B: one PRNG key per row.
    logit_BSV: logits.
    settings: see `Settings`.
  """
  return jax.vmap(jax.random.categorical)(key_B, filter_logits(logit_BSV, settings)).astype(jnp.int32)


def sample(
  step_fn: Callable,
  cache: Any,
  key_B: jax.Array,
  prefix_BTK: jax.Array,
  prefix_mask_BTK: jax.Array,
  *,
  padding_token: int,
  weights_G: Sequence[float] | jax.Array = (1.0,),
  settings: Settings = Settings(),
) -> jax.Array:
  """Returns code_BTK, sampled step by step in one scan.

  Args:
    step_fn: (code_BK, cache, index) -> logit_BKV, cache; of G * B rows, branch by branch. The code is that
      of the step before, all padding at index 0.
    cache: of G * B rows and no step yet, with room for T steps.
    key_B: one PRNG key per row.
    prefix_BTK: tokens of the prefix; anything outside its mask.
    prefix_mask_BTK: which tokens belong to the prefix.
    padding_token: of the step before the first.
    weights_G: weight of each branch (eq. 1).
    settings: of eq. 2.
  """
  shapes.check(key_B=key_B, prefix_BTK=prefix_BTK, prefix_mask_BTK=prefix_mask_BTK)
  num_branches = len(weights_G)

  def step(carry, inputs):
    code_BK, cache = carry
    index, prefix_BK, prefix_mask_BK = inputs
    logit_BKV, cache = step_fn(guidance.tile(code_BK, num_branches), cache, index)
    logit_BKV = guidance.combine(logit_BKV, weights_G)
    sampled_BK = sample_from_logits(_fold_in(key_B, index), logit_BKV, settings)
    code_BK = jnp.where(prefix_mask_BK, prefix_BK, sampled_BK)
    return (code_BK, cache), code_BK

  prefix_BTK = prefix_BTK.astype(jnp.int32)
  start = jnp.full_like(prefix_BTK[:, 0], padding_token), cache
  inputs = (
    jnp.arange(prefix_BTK.shape[1]),
    jnp.moveaxis(prefix_BTK, 1, 0),
    jnp.moveaxis(prefix_mask_BTK, 1, 0),
  )
  return jnp.moveaxis(jax.lax.scan(step, start, inputs)[1], 0, 1)


def decode_masked(
  predict_fn: Callable,
  key_B: jax.Array,
  prefix_BTK: jax.Array,
  prefix_mask_BTK: jax.Array,
  *,
  mask_token: int,
  num_iterations: int,
  choice_temperature: float = 4.5,
  weights_G: Sequence[float] | jax.Array = (1.0,),
  settings: Settings = Settings(),
) -> jax.Array:
  """Returns code_BTK by masked decoding: all tokens are sampled at once, then those of low confidence again.

  Args:
    predict_fn: code_BTK -> logit_BTKV, of G * B rows, branch by branch.
    key_B: one PRNG key per row.
    prefix_BTK: tokens of the prefix; anything outside its mask.
    prefix_mask_BTK: which tokens belong to the prefix.
    mask_token: stands for tokens to be sampled.
    num_iterations: evaluations of predict_fn.
    choice_temperature: temperature of the Gumbel noise on confidence, at the start.
    weights_G: weight of each branch (eq. 1).
    settings: of eq. 2.

  Raises:
    ValueError: num_iterations below 1 or negative choice_temperature.
  """
  shapes.check(key_B=key_B, prefix_BTK=prefix_BTK, prefix_mask_BTK=prefix_mask_BTK)
  if num_iterations < 1 or choice_temperature < 0:
    raise ValueError(
      f'num_iterations must be at least 1 and choice_temperature at least 0; got {num_iterations} and '
      f'{choice_temperature}.'
    )
  num_unknown_B = jnp.sum(~prefix_mask_BTK, axis=(1, 2))
  guided_fn = guidance.guided(predict_fn, weights_G)

  def iterate(code_BTK, index):
    progress = (index + 1) / num_iterations
    token_key_B, noise_key_B = jnp.moveaxis(jax.vmap(jax.random.split)(_fold_in(key_B, index)), 1, 0)
    logit_BTKV = guided_fn(code_BTK)
    code_BTK, log_p_BTK = _fill_masked(token_key_B, logit_BTKV, code_BTK, mask_token, settings)
    gumbel_BTK = jax.vmap(lambda key: jax.random.gumbel(key, code_BTK.shape[1:]))(noise_key_B)
    confidence_BTK = log_p_BTK + choice_temperature * (1 - progress) * gumbel_BTK
    # The cosine of 60 degrees is a little below one half in float32.
    num_masked_B = jnp.floor(masking.mask_schedule(progress) * num_unknown_B + 1e-3)
    is_masked_BTK = masking.lowest_k_mask(confidence_BTK, num_masked_B)
    return jnp.where(is_masked_BTK, mask_token, code_BTK), None

  start_BTK = jnp.where(prefix_mask_BTK, prefix_BTK, mask_token).astype(jnp.int32)
  return jax.lax.scan(iterate, start_BTK, jnp.arange(num_iterations))[0]


def _fill_masked(key_B, logit_BTKV, code_BTK, mask_token, settings) -> tuple[jax.Array, jax.Array]:
  """Returns the codes with sampled tokens in place of masked ones, and their log p; inf elsewhere."""
  is_masked_BTK = code_BTK == mask_token
  num_rows, num_entries = len(code_BTK), logit_BTKV.shape[-1]
  sampled_BS = sample_from_logits(key_B, logit_BTKV.reshape(num_rows, -1, num_entries), settings)
  code_BTK = jnp.where(is_masked_BTK, sampled_BS.reshape(code_BTK.shape), code_BTK)
  # Under the distribution of the network, before temperature, top-k and top-p.
  log_p_BTKV = jax.nn.log_softmax(logit_BTKV.astype(jnp.float32))
  log_p_BTK = jnp.take_along_axis(log_p_BTKV, code_BTK[..., None], axis=-1)[..., 0]
  return code_BTK, jnp.where(is_masked_BTK, log_p_BTK, jnp.inf)


def _fold_in(key_B: jax.Array, index: jax.Array) -> jax.Array:
  return jax.vmap(lambda key: jax.random.fold_in(key, index))(key_B)
