"""Corrupt records: a few are left out and others stand in for them, so that a long training survives them."""

from collections.abc import Callable
from collections.abc import Iterator
import itertools
import math
import threading

import numpy as np

from v2a.data import records
from v2a.data import shards

_NUM_REPORTED, _REPORT_EVERY = 10, 100


class FaultTolerantSource:
  """A source of which a few records may be corrupt.

  In place of a corrupt record stands another, which depends on its index and on which records are corrupt
  alone: all processes that read the same storage get the same.
  """

  def __init__(
    self,
    source: records.RecordSource,
    max_corrupt_record_share: float,
    report: Callable[[str], None] | None = None,
  ):
    """Wraps a source of records.

    Args:
      source: of records.
      max_corrupt_record_share: of its records, how many may be corrupt.
      report: is given a line for each of the first, and then for every hundredth.
    """
    self._source, self._report = source, report
    self.spec, self.hash, self.folders = source.spec, source.hash, source.folders
    self.max_corrupt = math.floor(max_corrupt_record_share * len(source))
    self._corrupt: set[int] = set()
    self._lock = threading.Lock()

  @property
  def num_corrupt(self) -> int:
    """How many different records were found corrupt so far."""
    return len(self._corrupt)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict:
    """Returns a record, or the one in its place.

    Raises:
      shards.CorruptRecordError: too many are corrupt.
    """
    for candidate in itertools.chain([index], _substitutes(index, len(self))):
      if candidate in self._corrupt:
        continue
      try:
        return self._source[candidate]
      except shards.CorruptRecordError as error:
        self._count(candidate, error)
    raise AssertionError('unreachable: there are endless substitutes')

  def _count(self, index: int, error: shards.CorruptRecordError) -> None:
    with self._lock:
      if index in self._corrupt:
        return
      self._corrupt.add(index)
      count = len(self._corrupt)
    if count > self.max_corrupt:
      raise shards.CorruptRecordError(
        f'{error}. That is corrupt record {count} of {len(self)}; wanted at most '
        f'{self.max_corrupt} (config.data.max_corrupt_record_share).'
      ) from error
    if self._report and (count <= _NUM_REPORTED or count % _REPORT_EVERY == 0):
      self._report(f'{error}. Another takes its place; {count} of at most {self.max_corrupt} so far.')


def _substitutes(index: int, num_records: int) -> Iterator[int]:
  """Yields records that may stand in place of one, in an order of its own; those of one shard differ."""
  rng = np.random.default_rng((index, 0xC0B7))
  while True:
    yield int(rng.integers(num_records))
