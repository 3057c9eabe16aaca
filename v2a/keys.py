"""PRNG keys by name.

`jax.random.fold_in(key, i)` equals `jax.random.split(key)[i]`: a key that is both split and folded gives the
same key twice. Keys derived here depend on a name, and never equal one from a split or from folding in a
count.
"""

import hashlib

import jax


def derive(key: jax.Array, name: str) -> jax.Array:
  """Returns the key of a name, derived from another key.

  Args:
    key: PRNG key.
    name: what the key is for, such as 'noise'; unique among the names derived from `key`.
  """
  number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], 'big')
  # Training steps, sample indices and positions in a split are all smaller.
  return jax.random.fold_in(key, number | 1 << 31)
