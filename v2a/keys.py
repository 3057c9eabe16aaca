"""PRNG keys by name.

`jax.random.fold_in(key, i)` equals `jax.random.split(key)[i]`: a key that is split and folded gives one key
twice. Keys derived here depend on a name, and never equal one that is split off or folded with a count.
"""

import hashlib

import jax


def derive(key: jax.Array, name: str) -> jax.Array:
  """Returns the key that a name has under another key.

  Args:
    key: PRNG key.
    name: what the key is for, such as 'noise'; unique among those derived from `key`.
  """
  number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], 'big')
  # Steps, indices and the places of a split are all below.
  return jax.random.fold_in(key, number | 1 << 31)
