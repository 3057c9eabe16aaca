"""A map from texts to numbers in 24 to 48 bytes a text, for millions of ids.

Texts are stored as 64-bit hashes (BLAKE2b), by open addressing. Two of 1 M texts have the same hash with a
probability of 3e-8, and then count as the same text.
"""

import array
import hashlib

_NUM_SLOTS = 1024


class HashIndex:
  """A map from texts to numbers from 0 on."""

  def __init__(self):
    self._num = 0
    self._hashes = array.array('Q', bytes(8 * _NUM_SLOTS))  # 0 is an empty slot
    self._values = array.array('I', bytes(4 * _NUM_SLOTS))

  def get(self, text: str) -> int:
    """Returns the number of a text; -1 if it has none."""
    slot = self._slot(_hash(text))
    return self._values[slot] if self._hashes[slot] else -1

  def set(self, text: str, value: int) -> None:
    """Stores the number of a text.

    Args:
      text: any text.
      value: from 0 to 2^32 - 1.
    """
    if 2 * self._num >= len(self._hashes):
      self._grow()
    key = _hash(text)
    slot = self._slot(key)
    self._num += not self._hashes[slot]
    self._hashes[slot], self._values[slot] = key, value

  def _slot(self, key: int) -> int:
    """Returns the slot of a hash, or the empty one where it would be."""
    hashes, mask = self._hashes, len(self._hashes) - 1
    slot = key & mask
    while hashes[slot] and hashes[slot] != key:
      slot = (slot + 1) & mask
    return slot

  def _grow(self) -> None:
    hashes, values = self._hashes, self._values
    self._hashes = array.array('Q', bytes(16 * len(hashes)))
    self._values = array.array('I', bytes(8 * len(hashes)))
    for key, value in zip(hashes, values):
      if key:
        slot = self._slot(key)
        self._hashes[slot], self._values[slot] = key, value


def _hash(text: str) -> int:
  """Returns a hash from 1 to 2^64 - 1."""
  digest = hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).digest()
  return int.from_bytes(digest, 'little') or 1
