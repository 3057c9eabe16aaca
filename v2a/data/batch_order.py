"""Which records make the batch of a step: a pure function of (manifests, seed, step).

Without buckets and weights, row j of step s is record order(s * batch_size + j), where `order` is a new
permutation of all records in each epoch.

With weights, rows are taken from the folders in fixed proportions, each folder in an order of its own. Small
folders are repeated sooner than large ones.

With buckets, the clips of a batch have about one length, so that little is padding. Batches of longer clips
have fewer rows. The bucket of a step follows a permutation in which each bucket has its share of steps.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import functools
import itertools

import grain
import numpy as np

# Clips that are longer than a bucket by this share are cut to it, rather than padded to the next one.
MAX_CUT_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Bucket:
  """Records that share batches.

  Attributes:
    batch_size: rows of a batch.
    clip_s: length to which clips are padded or cut; None for that of the records.
    indices: of the records, an array for each folder.
  """

  batch_size: int
  clip_s: float | None
  indices: tuple[np.ndarray, ...]


class Order:
  """The records of each step; see the module.

  Attributes:
    buckets: of the records.
    seed: of all permutations.
  """

  def __init__(self, buckets: Sequence[Bucket], seed: int, weights: Sequence[float] = ()):
    """Describes the order; no permutation is stored.

    Args:
      buckets: at least one, each with records.
      seed: of all permutations.
      weights: share of rows from each folder, in any unit; () for the share of its records.
    """
    self.buckets, self.seed = tuple(buckets), seed
    self._weights = np.array(weights, float)
    self._datasets = [self._dataset(number) for number in range(len(buckets))]
    self._num_steps = self._steps_of_epoch()
    self._ends = list(itertools.accumulate(self._num_steps))
    self._steps = self._shuffled(self._ends[-1], ())

  def _shuffled(self, count: int, key: Sequence[int]) -> grain.MapDataset:
    """Returns a new permutation of 0..count-1 in each epoch, without end."""
    seed = int(np.random.SeedSequence((self.seed, *key)).generate_state(1)[0]) if key else self.seed
    return grain.MapDataset.range(count).seed(seed).shuffle().repeat()

  def _dataset(self, number: int) -> grain.MapDataset:
    """Returns the records of all rows of a bucket, in order."""
    bucket, key = self.buckets[number], (number,) if len(self.buckets) > 1 else ()
    if not len(self._weights):
      index_N = np.concatenate(bucket.indices)
      return self._shuffled(len(index_N), key).map(functools.partial(_at, index_N))
    folders = [folder for folder, index_N in enumerate(bucket.indices) if len(index_N)]
    datasets = [
      self._shuffled(len(bucket.indices[folder]), (number, folder)).map(
        functools.partial(_at, bucket.indices[folder])
      )
      for folder in folders
    ]
    return grain.MapDataset.mix(datasets, [float(self._shares(bucket)[folder]) for folder in folders])

  def _shares(self, bucket: Bucket) -> np.ndarray:
    """Returns the share of all rows that are of a bucket, for each folder."""
    sizes = np.sum([[len(index_N) for index_N in each.indices] for each in self.buckets], axis=0)
    weights = self._weights if len(self._weights) else sizes
    return weights / weights.sum() * [len(index_N) for index_N in bucket.indices] / np.maximum(sizes, 1)

  def _steps_of_epoch(self) -> list[int]:
    """Returns the number of steps of each bucket in an epoch."""
    num_records = sum(len(index_N) for bucket in self.buckets for index_N in bucket.indices)
    shares = [self._shares(bucket).sum() for bucket in self.buckets]
    return [
      max(1, round(share * num_records / bucket.batch_size)) for share, bucket in zip(shares, self.buckets)
    ]

  def _locate(self, step: int) -> tuple[int, int]:
    """Returns the bucket of a step, and how many batches of the bucket came before."""
    if len(self.buckets) == 1:
      return 0, step
    position = _value(self._steps, step)
    number = int(np.searchsorted(self._ends, position, side='right'))
    count = self._num_steps[number]
    return number, step // self._ends[-1] * count + position - (self._ends[number] - count)

  def bucket(self, step: int) -> Bucket:
    """Returns the bucket of a step."""
    return self.buckets[self._locate(step)[0]]

  def records(self, step: int, rows: Iterable[int]) -> list[int]:
    """Returns the indices of the records of rows of the batch of a step."""
    number, before = self._locate(step)
    first = before * self.buckets[number].batch_size
    return [_value(self._datasets[number], first + row) for row in rows]


def _at(index_N: np.ndarray, position: int) -> int:
  return int(index_N[position])


def _value(dataset: grain.MapDataset, position: int) -> int:
  found = dataset[position]
  assert found is not None  # nothing is filtered out
  return int(found)


def single(sizes: Sequence[int], batch_size: int, seed: int, weights: Sequence[float] = ()) -> Order:
  """Returns an order without buckets.

  Args:
    sizes: number of records of each folder.
    batch_size: rows of a batch.
    seed, weights: see `Order`.
  """
  ends = [0, *itertools.accumulate(sizes)]
  indices = tuple(np.arange(first, last) for first, last in itertools.pairwise(ends))
  return Order([Bucket(batch_size, None, indices)], seed, weights)


def by_length(
  durations_s: Sequence[np.ndarray],
  lengths_s: Sequence[float],
  batch_sizes: Sequence[int],
  seed: int,
  weights: Sequence[float] = (),
) -> Order:
  """Returns an order with a bucket for each length that clips have.

  A clip is in the shortest bucket that holds it, but for a twentieth of its length; one that is longer than
  all is in the longest, where a segment of it is read.

  Args:
    durations_s: of the records of each folder.
    lengths_s: of the buckets, ascending.
    batch_sizes: of the buckets.
    seed, weights: see `Order`.
  """
  ends = [0, *itertools.accumulate(len(duration_N) for duration_N in durations_s)]
  numbers = [
    np.minimum(np.searchsorted(lengths_s, duration_N / (1 + MAX_CUT_SHARE)), len(lengths_s) - 1)
    for duration_N in durations_s
  ]
  buckets = []
  for number, (length_s, batch_size) in enumerate(zip(lengths_s, batch_sizes, strict=True)):
    indices = tuple(first + np.flatnonzero(number_N == number) for first, number_N in zip(ends, numbers))
    if sum(map(len, indices)):
      buckets.append(Bucket(batch_size, length_s, indices))
  return Order(buckets, seed, weights)
