"""Codebook patterns, such as the delay pattern: which tokens are predicted in the same step.

Codebook k is delayed by delays[k] steps: pattern step s holds, of codebook k, the token of step
s - delays[k], or padding where the clip has no such step.

  parallel:  delays[k] = 0: all codebooks of a step are predicted at once, independently              (1)
  delay:     delays[k] = k: each codebook is conditioned on those before it, at K - 1 more steps      (2)

Copet et al. 2023, arXiv 2306.05284, sec. 2.2.
"""

import jax
import jax.numpy as jnp

from v2a import shapes

PATTERNS = {'parallel': lambda k: 0, 'delay': lambda k: k}


def codebook_delays(pattern: str, num_codebooks: int) -> tuple[int, ...]:
  """Returns the delay of each codebook in steps.

  Args:
    pattern: a key of PATTERNS.
    num_codebooks: K.

  Raises:
    ValueError: an unknown pattern.
  """
  if pattern not in PATTERNS:
    raise ValueError(f'pattern must be one of {sorted(PATTERNS)}; got {pattern!r}.')
  return tuple(PATTERNS[pattern](k) for k in range(num_codebooks))


def build(code_BTK: jax.Array, delays: tuple[int, ...], padding: int | bool) -> jax.Array:
  """Returns code_BSK in pattern steps, of which there are T + max(delays).

  Args:
    code_BTK: tokens, or values that belong to them, such as a mask.
    delays: see `codebook_delays`.
    padding: value where there is no token.
  """
  _check(code_BTK, delays)
  widths = ((0, 0), (0, max(delays)), (0, 0))
  padded_BSK = jnp.pad(code_BTK, widths, constant_values=padding)
  return jnp.stack([_shifted(padded_BSK[..., k], delay, padding) for k, delay in enumerate(delays)], axis=-1)


def revert(code_BSK: jax.Array, delays: tuple[int, ...]) -> jax.Array:
  """Returns code_BTK of pattern steps: the inverse of `build`.

  Args:
    code_BSK: tokens in pattern steps.
    delays: see `codebook_delays`.

  Raises:
    ValueError: there are no more steps than the largest delay, or not as many codebooks as delays.
  """
  _check(code_BSK, delays)
  num_steps = code_BSK.shape[1] - max(delays)
  if num_steps < 1:
    raise ValueError(
      f'a pattern with delays {delays} has more than {max(delays)} steps; got {code_BSK.shape[1]}.'
    )
  return jnp.stack([code_BSK[:, delay : delay + num_steps, k] for k, delay in enumerate(delays)], axis=-1)


def _shifted(code_BS: jax.Array, delay: int, padding) -> jax.Array:
  num_steps = code_BS.shape[1]
  return jnp.pad(code_BS, ((0, 0), (delay, 0)), constant_values=padding)[:, :num_steps]


def _check(code_BTK: jax.Array, delays: tuple[int, ...]) -> None:
  shapes.check(code_BTK=code_BTK)
  if code_BTK.shape[-1] != len(delays):
    raise ValueError(f'delays {delays} are of {len(delays)} codebooks; got {code_BTK.shape[-1]} codebooks.')
