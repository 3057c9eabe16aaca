"""Corrupt records: a few are replaced by other records, so that they do not end a long training."""

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

  A corrupt record is replaced by another, which depends only on its index and on which records are corrupt:
  all processes that read the same storage get the same.
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
      max_corrupt_record_share: share of its records that may be corrupt, 0..1.
      report: takes a line for each of the first ten, and then for every hundredth.
    """
    self._source, self._report = source, report
    self.spec, self.hash, self.folders = source.spec, source.hash, source.folders
    self.max_corrupt = math.floor(max_corrupt_record_share * len(source))
    self._corrupt: set[int] = set()
    self._lock = threading.Lock()

  @property
  def num_corrupt(self) -> int:
    """Number of different records found corrupt so far."""
    return len(self._corrupt)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict:
    """Returns a record, or its replacement.

    Raises:
      shards.CorruptRecordError: too many are corrupt.
    """
    return self._get(index, self._source.__getitem__)

  def read(self, index: int, key: records.Key, clip_s: float | None = None) -> dict:
    """Returns a record, or its replacement, see `records.RecordSource.read`.

    Args:
      index: of the record.
      key: seed, step and position in the batch.
      clip_s: length of media records; None for that of `spec`.

    Raises:
      shards.CorruptRecordError: too many are corrupt.
    """
    return self._get(index, lambda candidate: self._source.read(candidate, key, clip_s))

  def _get(self, index: int, get: Callable[[int], dict]) -> dict:
    for candidate in itertools.chain([index], _replacements(index, len(self))):
      if candidate in self._corrupt:
        continue
      try:
        return get(candidate)
      except shards.CorruptRecordError as error:
        self._count(candidate, error)
    raise AssertionError('unreachable: the replacements do not end')

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


def _replacements(index: int, num_records: int) -> Iterator[int]:
  """Yields indices of replacements, in a random order that differs between the records of one shard."""
  rng = np.random.default_rng((index, 0xC0B7))
  while True:
    yield int(rng.integers(num_records))
