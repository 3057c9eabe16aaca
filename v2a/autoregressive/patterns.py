"""Codebook patterns: which tokens are told at once.

Book k is told delays[k] steps late: pattern step s holds, of book k, the token of step s - delays[k], or
padding where the clip has no such step.

  parallel:  delays[k] = 0: the books of a step are told at once, each blind to the others            (1)
  delay:     delays[k] = k: each book of a step knows the books before it, for K - 1 steps more       (2)

Copet et al. 2023, arXiv 2306.05284, sec. 2.2.
"""

import jax
import jax.numpy as jnp
import numpy.typing as npt

from v2a import shapes

PATTERNS = {'parallel': lambda k: 0, 'delay': lambda k: k}


def codebook_delays(pattern: str, num_codebooks: int) -> tuple[int, ...]:
  """Returns by how many steps each book is late.

  Raises:
    ValueError: an unknown pattern.
  """
  if pattern not in PATTERNS:
    raise ValueError(f'pattern must be one of {sorted(PATTERNS)}; got {pattern!r}.')
  return tuple(PATTERNS[pattern](k) for k in range(num_codebooks))


def build(code_BTK: jax.Array, delays: tuple[int, ...], padding: npt.ArrayLike) -> jax.Array:
  """Returns code_BSK of the pattern's steps, T + max(late) of them.

  Args:
    code_BTK: tokens; or what goes with them, such as which are known.
    delays: see `codebook_delays`.
    padding: what stands where there is no token.
  """
  _check(code_BTK, delays)
  rows = ((0, 0), (0, max(delays)))
  padded_BSK = jnp.pad(code_BTK, (*rows, (0, 0)), constant_values=padding)
  return jnp.stack([_shifted(padded_BSK[..., k], delay, padding) for k, delay in enumerate(delays)], axis=-1)


def revert(code_BSK: jax.Array, delays: tuple[int, ...]) -> jax.Array:
  """Returns code_BTK of the steps of a pattern: the inverse of `build`.

  Raises:
    ValueError: there are too few steps for these delays.
  """
  _check(code_BSK, delays)
  num_steps = code_BSK.shape[1] - max(delays)
  if num_steps < 1:
    raise ValueError(
      f'a pattern of delays {delays} has more than {max(delays)} steps; got {code_BSK.shape[1]}.'
    )
  return jnp.stack([code_BSK[:, delay : delay + num_steps, k] for k, delay in enumerate(delays)], axis=-1)


def _shifted(code_BS: jax.Array, delay: int, padding) -> jax.Array:
  num_steps = code_BS.shape[1]
  return jnp.pad(code_BS, ((0, 0), (delay, 0)), constant_values=padding)[:, :num_steps]


def _check(code_BTK: jax.Array, late: tuple[int, ...]) -> None:
  shapes.check(code_BTK=code_BTK)
  if code_BTK.shape[-1] != len(late):
    raise ValueError(f'delays {late} are of {len(late)} books; got {code_BTK.shape[-1]} books.')
