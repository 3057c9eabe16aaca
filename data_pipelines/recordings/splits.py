"""Splits of sounds: those that are related, by one key or through others, are in one split.

Sounds that share a key (an instrument, a kit, an author, an original) are neighbours; connected components of
neighbours are groups, and a group is in a split by the hash of its first key.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import hashlib

# Chosen so that the sounds of the packages are split about by the shares: a kit is in one split as a whole.
_SALT = '2022 '
SHARES = {'train': 0.9, 'validation': 0.05, 'test': 0.05}


def groups(related: Sequence[Iterable[str]]) -> list[str]:
  """Returns the group of each sound, named by the least of all keys in it.

  Args:
    related: keys of each sound, at least one.
  """
  parent: dict[str, str] = {}

  def root(key: str) -> str:
    while parent.setdefault(key, key) != key:
      parent[key] = parent[parent[key]]
      key = parent[key]
    return key

  for keys in related:
    roots = sorted({root(key) for key in keys})
    for other in roots[1:]:
      parent[other] = roots[0]  # the least key stays the root
  return [root(min(keys)) for keys in map(tuple, related)]


def split_of(group: str) -> str:
  """Returns the split of a group."""
  position = int.from_bytes(hashlib.sha256(f'{_SALT}{group}'.encode()).digest()[:8], 'big') / 2**64
  for name, share in SHARES.items():
    position -= share
    if position < 0:
      return name
  return next(iter(SHARES))
