"""Duplicates within and across splits, by fingerprints of frames and sound.

  found = duplicates.find(entries)       {id: Duplicate(of, distance, by)}

Of two clips that match, the one in the split of lower priority (test, validation, train, others) is rejected,
so that test clips cannot leak into training; within a split the one whose id sorts later. A clip is compared
with those that are not rejected themselves. Clips of one group (one source) are not compared: a group is in
one split, and windows of a still video would match.

Two clips match if either

  frames  the mean Hamming distance of their frame hashes, at the best shift in time at which half of the
          shorter one and at least three hashes overlap, is at most FRAME_DISTANCE, and the frames identify
          the clip: its own hashes differ by more than that. Where they do not (a static scene), frames match
          only if a clip has no sound to compare;
  sound   the share of equal MinHash values is at least SOUND_SIMILARITY.

Candidates come from bands (locality-sensitive hashing): pairs of 16-bit quarters of a frame hash, and
neighbouring MinHash values. Each band is sorted, and a clip is compared with the first MAX_COMPARED clips of
its bucket, so that time is O(n log n) whatever the content. Memory is the fingerprints, 0.8 kB a clip, and
one band: 100,000 clips of 10 s took 6 s of one core and at most 0.32 GB.

Measured on 36 real clips and six copies of each (H.264 at CRF 36 with AAC at 48 kbit/s; half the size; mono;
a level of 0.3; cut by 0.3 s; all of these at once), whose frames had at most 320 pixels: each of the 216
copies was found as that of its original, as were the 756 pairs of versions of a clip. Of the 31,122 pairs of
different clips, 20 matched, all of them versions of two films of one brook, one of which has no sound.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
from typing import Literal

import numpy as np

from data_pipelines.filters import fingerprints

PRIORITY = ('test', 'validation', 'train')
# Of 64 bits: re-encoded copies have up to 0.08, unrelated clips at least 0.35.
FRAME_DISTANCE = 0.11
# Re-encoded copies have at least 0.08, unrelated clips up to 0.006.
SOUND_SIMILARITY = 0.0625
MAX_COMPARED = 8
_MIN_OVERLAP_HASHES, _MIN_OVERLAP = 3, 0.5
_QUARTERS = tuple(itertools.combinations(range(4), 2))
# Pairs whose frames are compared at once.
_CHUNK_PAIRS = 1 << 16


@dataclasses.dataclass(frozen=True)
class Entry:
  """A clip to compare.

  Attributes:
    id: unique.
    split: of its item; None if it has none.
    group: what is never in two splits, such as the id of its source.
    fingerprint: of the clip.
  """

  id: str
  split: str | None
  group: str
  fingerprint: fingerprints.Fingerprint


@dataclasses.dataclass(frozen=True)
class Duplicate:
  """Why a clip is a duplicate.

  Attributes:
    of: id of the clip that remains.
    distance: of the frames, 0 to 1, or 1 minus the similarity of the sounds.
    by: what matched.
  """

  of: str
  distance: float
  by: Literal['frames', 'sound']


class _Table:
  """Fingerprints of all clips in flat arrays, in the order of their priority."""

  def __init__(self, entries: Iterable[Entry], priority: Sequence[str]):
    ids, ranks, groups, sizes, has_sound = [], [], [], [], []
    # One buffer each: a million arrays would take more memory than their values.
    hash_bytes, index_bytes, sound_bytes = bytearray(), bytearray(), bytearray()
    group_numbers: dict[str, int] = {}
    for entry in entries:
      fingerprint = entry.fingerprint
      ids.append(entry.id)
      ranks.append(priority.index(entry.split) if entry.split in priority else len(priority))
      groups.append(group_numbers.setdefault(entry.group, len(group_numbers)))
      sizes.append(len(fingerprint.frame_hash_M))
      has_sound.append(len(fingerprint.sound_hash_S) > 0)
      hash_bytes += fingerprint.frame_hash_M.astype(np.uint64).tobytes()
      index_bytes += fingerprint.frame_index_M.astype(np.int16).tobytes()
      sound_bytes += fingerprint.sound_hash_S.astype(np.uint32).tobytes()
    if len(set(ids)) != len(ids):
      raise ValueError('ids of clips must be unique.')
    order = sorted(range(len(ids)), key=lambda k: (ranks[k], ids[k]))
    order_N = np.array(order, np.int64)
    self.ids = [ids[k] for k in order]
    self.group_N = np.array(groups, np.int64)[order_N]
    size_N = np.array(sizes, np.int64)
    old_first_N, size_N = (np.cumsum(size_N) - size_N)[order_N], size_N[order_N]
    self.first_N = np.concatenate([[0], np.cumsum(size_N)])
    row_M = np.repeat(old_first_N - self.first_N[:-1], size_N) + np.arange(self.first_N[-1])
    self.hash_M = np.frombuffer(hash_bytes, np.uint64)[row_M]
    self.index_M = np.frombuffer(index_bytes, np.int16)[row_M]
    self.owner_M = np.repeat(np.arange(len(order), dtype=np.uint32), size_N)
    has_sound_N = np.array(has_sound, bool)
    old_sound_row_N = (np.cumsum(has_sound_N) - 1)[order_N]
    self.sound_owner_N = np.flatnonzero(has_sound_N[order_N]).astype(np.uint32)
    self.sound_row_N = np.full(len(order), -1, np.int64)
    self.sound_row_N[self.sound_owner_N] = np.arange(len(self.sound_owner_N))
    sound_NS = np.frombuffer(sound_bytes, np.uint32).reshape(-1, fingerprints.NUM_SOUND_HASHES)
    self.sound_NS = sound_NS[old_sound_row_N[self.sound_owner_N]]

  def bands(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (key, clip) of every entry of each band."""
    quarters = [(self.hash_M >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4)]
    for a, b in _QUARTERS:
      yield (quarters[a] << np.uint64(16)) | quarters[b], self.owner_M
    for k in range(self.sound_NS.shape[1]):
      other_N = self.sound_NS[:, (k + 1) % self.sound_NS.shape[1]].astype(np.uint64)
      yield (self.sound_NS[:, k].astype(np.uint64) << np.uint64(32)) | other_N, self.sound_owner_N

  def sound_similarity(self, a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
    """Returns the similarity of the sounds of pairs; NaN where a clip has none."""
    row_a_N, row_b_N = self.sound_row_N[a_N], self.sound_row_N[b_N]
    found_N = np.full(len(a_N), np.nan)
    has_both_N = (row_a_N >= 0) & (row_b_N >= 0)
    found_N[has_both_N] = (self.sound_NS[row_a_N[has_both_N]] == self.sound_NS[row_b_N[has_both_N]]).mean(
      axis=1
    )
    return found_N

  def frame_distance(self, a: int, b: int) -> tuple[float, bool]:
    """Returns the distance of the frames of two clips, and whether they identify them; see the module."""
    rows_a, rows_b = (slice(self.first_N[k], self.first_N[k + 1]) for k in (a, b))
    hash_a_M, hash_b_M = self.hash_M[rows_a], self.hash_M[rows_b]
    shortest = min(len(hash_a_M), len(hash_b_M))
    if shortest < _MIN_OVERLAP_HASHES:
      return 1.0, False
    distance_MM = np.bitwise_count(hash_a_M[:, None] ^ hash_b_M) / 64
    shift_MM = self.index_M[rows_b][None, :] - self.index_M[rows_a][:, None]
    shift_MM = shift_MM - shift_MM.min()
    count_N = np.bincount(shift_MM.ravel())
    sum_N = np.bincount(shift_MM.ravel(), distance_MM.ravel())
    is_enough_N = count_N >= max(_MIN_OVERLAP_HASHES, _MIN_OVERLAP * shortest)
    if not is_enough_N.any():
      return 1.0, False
    best = float((sum_N[is_enough_N] / count_N[is_enough_N]).min())
    own = [np.bitwise_count(hash_M[:, None] ^ hash_M).max() / 64 for hash_M in (hash_a_M, hash_b_M)]
    return best, bool(min(own) > FRAME_DISTANCE)


def find(entries: Iterable[Entry], priority: Sequence[str] = PRIORITY) -> dict[str, Duplicate]:
  """Returns the clips that are duplicates of others, by their ids.

  The result depends on the entries only, not on their order.

  Args:
    entries: all clips of all splits.
    priority: names of splits; a clip is rejected in favour of those in an earlier one.

  Raises:
    ValueError: two clips have the same id.
  """
  table = _Table(entries, priority)
  matches: dict[int, tuple[float, int, Literal['frames', 'sound']]] = {}
  found: dict[int, list[tuple[int, float, Literal['frames', 'sound']]]] = {}
  compared_N = np.zeros(0, np.uint64)
  for key_M, owner_M in table.bands():
    pair_N = np.setdiff1d(_candidates(key_M, owner_M), compared_N, assume_unique=True)
    a_N, b_N = (pair_N >> np.uint64(32)).astype(np.int64), (pair_N & np.uint64(0xFFFFFFFF)).astype(np.int64)
    is_other_N = table.group_N[a_N] != table.group_N[b_N]
    a_N, b_N, pair_N = a_N[is_other_N], b_N[is_other_N], pair_N[is_other_N]
    compared_N = np.union1d(compared_N, pair_N)
    for start in range(0, len(pair_N), _CHUNK_PAIRS):
      part = slice(start, start + _CHUNK_PAIRS)
      similarity_N = table.sound_similarity(a_N[part], b_N[part])
      for a, b, similarity in zip(a_N[part].tolist(), b_N[part].tolist(), similarity_N.tolist()):
        match = _match(table, a, b, similarity)
        if match is not None:
          found.setdefault(b, []).append((a, *match))
  for b in sorted(found):
    remaining = [(distance, a, by) for a, distance, by in found[b] if a not in matches]
    if remaining:
      matches[b] = min(remaining)
  return {table.ids[b]: Duplicate(table.ids[a], distance, by) for b, (distance, a, by) in matches.items()}


def _match(
  table: _Table, a: int, b: int, similarity: float
) -> tuple[float, Literal['frames', 'sound']] | None:
  """Returns distance and kind of the match of two clips; None if they do not match."""
  distance, is_identified = table.frame_distance(a, b)
  has_no_sound = np.isnan(similarity)
  if distance <= FRAME_DISTANCE and (is_identified or has_no_sound):
    return distance, 'frames'
  if not has_no_sound and similarity >= SOUND_SIMILARITY:
    return 1.0 - similarity, 'sound'
  return None


def _candidates(key_M: np.ndarray, owner_M: np.ndarray) -> np.ndarray:
  """Returns pairs of clips with a common key, a << 32 | b with a < b, distinct and ascending.

  A clip is paired with the first MAX_COMPARED clips of its bucket only.
  """
  order_M = np.lexsort((owner_M, key_M))
  key_M, owner_M = key_M[order_M], owner_M[order_M].astype(np.uint64)
  # A clip is once in a bucket, whatever the number of its hashes there.
  is_first_M = np.ones(len(key_M), bool)
  is_first_M[1:] = (key_M[1:] != key_M[:-1]) | (owner_M[1:] != owner_M[:-1])
  key_M, owner_M = key_M[is_first_M], owner_M[is_first_M]
  is_start_M = np.ones(len(key_M), bool)
  is_start_M[1:] = key_M[1:] != key_M[:-1]
  start_M = np.maximum.accumulate(np.where(is_start_M, np.arange(len(key_M)), 0))
  position_M = np.arange(len(key_M)) - start_M
  pairs = [np.zeros(0, np.uint64)]
  for rank in range(MAX_COMPARED):
    later = np.flatnonzero(position_M > rank)
    if not len(later):
      break
    pairs.append((owner_M[start_M[later] + rank] << np.uint64(32)) | owner_M[later])
  return np.unique(np.concatenate(pairs))
