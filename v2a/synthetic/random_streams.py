"""Random numbers of one clip: independent named streams, so that one choice never affects another."""

from collections.abc import Sequence
from typing import Any
import zlib

import numpy as np


class RandomStreams:
  """Named random generators that depend only on (seed, index, name).

  Attributes:
    seed: seed of the set of clips, >= 0.
    index: number of the clip in the set, >= 0.
  """

  def __init__(self, seed: int, index: int):
    if seed < 0 or index < 0:
      raise ValueError(f'seed and index must be at least 0; got seed={seed}, index={index}.')
    self.seed = int(seed)
    self.index = int(index)

  def rng(self, name: str) -> np.random.Generator:
    """Returns a fresh generator of the stream `name`; the same name gives the same stream from its start."""
    return np.random.default_rng([self.seed, self.index, zlib.crc32(name.encode())])


def pick(rng: np.random.Generator, choices: Sequence, weights: Sequence[float] | None = None) -> Any:
  """Samples one element of a sequence without converting it to an array, with optional weights."""
  if weights is None:
    return choices[int(rng.integers(len(choices)))]
  edges = np.cumsum(weights)
  return choices[int(np.searchsorted(edges, rng.random() * edges[-1], side='right'))]


class RandomCurve:
  """A smooth curve through random values at random times."""

  def __init__(
    self, rng: np.random.Generator, low: float, high: float, spacing_s: tuple[float, float], until_s: float
  ):
    """Samples the knots of the curve.

    Args:
      rng: source of times and values.
      low, high: range of the values, which are uniform in it.
      spacing_s: least and largest time between two knots, in seconds.
      until_s: the knots begin at or before 0 and end after this time, in seconds.
    """
    time_s, times, values = -float(rng.random()) * spacing_s[0], [], []
    while True:
      times.append(time_s)
      values.append(rng.uniform(low, high))
      if time_s > until_s:
        break
      time_s += rng.uniform(*spacing_s)
    self.time_S = np.array(times)
    self.value_S = np.array(values)

  def __call__(self, time: np.ndarray) -> np.ndarray:
    """Returns the values at times in seconds, with smoothstep interpolation between the knots."""
    knot = np.clip(np.searchsorted(self.time_S, time, side='right') - 1, 0, len(self.time_S) - 2)
    start, end = self.time_S[knot], self.time_S[knot + 1]
    fraction = np.clip((time - start) / (end - start), 0, 1)
    fraction = fraction * fraction * (3 - 2 * fraction)
    return self.value_S[knot] + (self.value_S[knot + 1] - self.value_S[knot]) * fraction
