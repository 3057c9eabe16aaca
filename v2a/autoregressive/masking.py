"""Token masks: of masked training and decoding, and token dropout in causal training.

  gamma(r) = cos(pi r / 2): the fraction of masked tokens at progress r                             (1)

Chang et al. 2022, arXiv 2202.04200, sec. 3.3. `sample_dropped_steps` is the word dropout of Bowman et al.
2016, arXiv 1511.06349, sec. 3.1, with a rate per clip.
"""

import jax
import jax.numpy as jnp


def mask_schedule(progress: jax.Array) -> jax.Array:
  """Returns gamma (eq. 1) of progress in [0, 1]: 1 at the start, 0 at the end."""
  # The cosine of float32's pi / 2 is not quite 0.
  return jnp.where(progress >= 1, 0.0, jnp.cos(jnp.pi / 2 * progress))


def sample_mask(key: jax.Array, is_valid_BTK: jax.Array) -> jax.Array:
  """Returns a training mask BTK: of each clip a fraction gamma(r) of its tokens, at least one, r uniform.

  Args:
    key: PRNG key.
    is_valid_BTK: which tokens may be masked.
  """
  fraction_key, position_key = jax.random.split(key)
  fraction_B = mask_schedule(jax.random.uniform(fraction_key, is_valid_BTK.shape[:1]))
  num_valid_B = jnp.sum(is_valid_BTK, axis=(1, 2))
  num_masked_B = jnp.minimum(jnp.maximum(jnp.ceil(fraction_B * num_valid_B), 1), num_valid_B)
  score_BTK = jnp.where(is_valid_BTK, jax.random.uniform(position_key, is_valid_BTK.shape), jnp.inf)
  return lowest_k_mask(score_BTK, num_masked_B)


def sample_dropped_steps(
  key: jax.Array, num_clips: int, num_steps: int, clip_probability: float
) -> jax.Array:
  """Returns token dropout (BS) of causal training: which steps are replaced in the input.

  The tokens just before a step determine most of it, so that a decoder that always sees them hardly learns to
  use its conditions.

  Args:
    key: PRNG key.
    num_clips: B.
    num_steps: S.
    clip_probability: that a clip has dropout at all; its rate is then uniform in [0, 1].
  """
  clip_key, rate_key, step_key = jax.random.split(key, 3)
  rate_B1 = jax.random.uniform(rate_key, (num_clips, 1))
  rate_B1 = jnp.where(jax.random.bernoulli(clip_key, clip_probability, (num_clips, 1)), rate_B1, 0.0)
  return jax.random.uniform(step_key, (num_clips, num_steps)) < rate_B1


def lowest_k_mask(score_BTK: jax.Array, num_B: jax.Array) -> jax.Array:
  """Returns a mask (BTK) of the `num_B` lowest scores of every row; of equal scores the first."""
  score_BS = score_BTK.reshape(score_BTK.shape[0], -1)
  rank_BS = jnp.argsort(jnp.argsort(score_BS, axis=-1), axis=-1)
  return (rank_BS < num_B[:, None]).reshape(score_BTK.shape)
