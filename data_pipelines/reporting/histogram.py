"""Histograms of streams: exact counts in bounded memory, without knowing the range beforehand.

The first values set the range; where a later one is outside, the range is doubled and pairs of bins are
merged. So a histogram has at most NUM_BINS bins of one width, whatever the number of values and their order.
"""

import dataclasses

import numpy as np

NUM_BINS = 512
_NUM_PENDING = 4096


@dataclasses.dataclass(frozen=True)
class Bins:
  """A histogram to be plotted.

  Attributes:
    edges: N + 1 ascending edges of bins.
    counts: 2 x N; of rejected and of accepted values.
  """

  edges: np.ndarray
  counts: np.ndarray


class Histogram:
  """Counts of a number, of accepted and of rejected clips.

  Attributes:
    num_values: that were added.
    min, max: of the values; not finite without any.
  """

  def __init__(self):
    self.num_values = 0
    self.min, self.max, self._sum = float('inf'), float('-inf'), 0.0
    self._pending: list[tuple[float, bool]] = []
    self._counts = np.zeros((2, NUM_BINS), np.int64)
    self._low = self._width = 0.0  # no width until the first values are counted

  @property
  def mean(self) -> float:
    """Mean of the values; not a number without any."""
    return self._sum / self.num_values if self.num_values else float('nan')

  def add(self, value: float, is_accepted: bool) -> None:
    """Counts a finite value."""
    self.num_values += 1
    self.min, self.max, self._sum = min(self.min, value), max(self.max, value), self._sum + value
    self._pending.append((value, is_accepted))
    if len(self._pending) >= _NUM_PENDING:
      self._flush()

  def _flush(self) -> None:
    if not self._pending:
      return
    if not self._width:
      # Wide enough for the resolution of float64 where all values are equal.
      smallest = max(abs(self.min), abs(self.max), 1e-6) * 1e-9
      self._low, self._width = self.min, max((self.max - self.min) / (NUM_BINS / 2), smallest)
    while self.min < self._low:
      self._merge(is_below=True)
    while self.max >= self._low + NUM_BINS * self._width:
      self._merge(is_below=False)
    values, accepted = (np.asarray(column) for column in zip(*self._pending))
    bins = np.clip(((values - self._low) / self._width).astype(int), 0, NUM_BINS - 1)
    np.add.at(self._counts, (accepted.astype(int), bins), 1)
    self._pending.clear()

  def _merge(self, is_below: bool) -> None:
    """Doubles the range, to numbers below or above it."""
    merged = self._counts.reshape(2, NUM_BINS // 2, 2).sum(axis=2)
    empty = np.zeros_like(merged)
    self._counts = np.concatenate([empty, merged] if is_below else [merged, empty], axis=1)
    if is_below:
      self._low -= NUM_BINS * self._width
    self._width *= 2

  def bins(self, low: float, high: float, num_bins: int) -> Bins:
    """Returns about as many bins as wanted over a range; each is a whole number of counted ones.

    Args:
      low, high: the range, which is extended to all values.
      num_bins: wanted.
    """
    self._flush()
    low, high = min(low, self.min), max(high, self.max)
    if not self.num_values or not high > low or self.max == self.min:
      # A single bar around the value, within the range.
      width = (high - low) / num_bins or max(1.0, abs(low) / 100)
      center = self.min if self.num_values else low
      return Bins(np.array([center - width / 2, center + width / 2]), self._counts.sum(axis=1, keepdims=True))
    first, last = (int(np.floor((edge - self._low) / self._width)) for edge in (self.min, self.max))
    last = min(last, NUM_BINS - 1)
    group = max(1, round((high - low) / self._width / num_bins))
    num_groups = (last - first) // group + 1
    counts = np.zeros((2, num_groups * group), np.int64)
    found = self._counts[:, first : last + 1]
    counts[:, : found.shape[1]] = found
    edges = self._low + self._width * (first + group * np.arange(num_groups + 1))
    return Bins(edges, counts.reshape(2, num_groups, group).sum(axis=2))

  def median(self) -> float:
    """Returns the median to the width of a bin; not a number without values."""
    self._flush()
    if not self.num_values:
      return float('nan')
    index = int(np.searchsorted(np.cumsum(self._counts.sum(axis=0)), (self.num_values + 1) // 2))
    return float(np.clip(self._low + self._width * (index + 0.5), self.min, self.max))
