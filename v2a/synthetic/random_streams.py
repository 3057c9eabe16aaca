"""Random draws of one clip: independent named streams, so that one choice never disturbs another."""

import zlib

import numpy as np


class RandomStreams:
  """Named random generators that depend on (seed, index, name) alone.

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
    """Returns a fresh generator of the stream `name`; the same name starts the same stream again."""
    return np.random.default_rng([self.seed, self.index, zlib.crc32(name.encode())])


def pick(rng: np.random.Generator, choices, weights=None):
  """Returns one member of a sequence, without turning it into an array."""
  if weights is None:
    return choices[int(rng.integers(len(choices)))]
  edges = np.cumsum(weights)
  return choices[int(np.searchsorted(edges, rng.random() * edges[-1], side='right'))]


class RandomCurve:
  """A smooth curve through random values at random times; it goes on for as long as it is asked for."""

  def __init__(self, rng, low: float, high: float, spacing_s: tuple[float, float], until_s: float):
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
    """Returns the values at times in seconds, eased between the knots."""
    knot = np.clip(np.searchsorted(self.time_S, time, side='right') - 1, 0, len(self.time_S) - 2)
    start, end = self.time_S[knot], self.time_S[knot + 1]
    part = np.clip((time - start) / (end - start), 0, 1)
    part = part * part * (3 - 2 * part)
    return self.value_S[knot] + (self.value_S[knot + 1] - self.value_S[knot]) * part
