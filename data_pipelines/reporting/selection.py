"""A bounded selection of a stream: the items with the smallest keys, whatever their order."""

import bisect
from collections.abc import Iterator
import hashlib
from typing import Generic
from typing import TypeVar

Item = TypeVar('Item')


def random_key(name: str) -> float:
  """Returns a hash of a name in [0, 1): the smallest ones of a stream are a random sample of it."""
  digest = hashlib.sha256(f'report {name}'.encode('utf-8', 'surrogateescape')).digest()
  return int.from_bytes(digest[:6], 'big') / 2**48


class Smallest(Generic[Item]):
  """Keeps the items with the smallest keys; items of one key are ordered by name.

  Attributes:
    size: number of items that are stored at most.
    num_added: items that were seen.
  """

  def __init__(self, size: int):
    self.size, self.num_added = size, 0
    self._found: list[tuple[float, str, int, Item]] = []

  def add(self, key: float, name: str, item: Item) -> None:
    """Adds an item with its key and its name."""
    self.num_added += 1
    if len(self._found) == self.size and (not self.size or key > self._found[-1][0]):
      return
    bisect.insort(self._found, (key, name, self.num_added, item))
    del self._found[self.size :]

  def __len__(self) -> int:
    return len(self._found)

  def __iter__(self) -> Iterator[Item]:
    return (item for _, _, _, item in self._found)
