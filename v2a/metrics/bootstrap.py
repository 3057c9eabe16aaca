"""How sure a figure is, and whether two models differ in it: by drawing clips and seeds anew.

A figure has one score a clip and seed, and a function that makes one number of the scores of all clips; over
seeds those numbers are averaged. Clips are drawn with replacement, the same ones for every seed and, where
two models are compared, for both, since what is hard about a clip is hard for each of them. Seeds are drawn
with replacement too, for each model by itself, since noise of one number means nothing in another model.

  interval   the 2.5 and 97.5 percentiles of the figure over draws
  s          = sd(draws) sqrt(n / (n - 1)), of a difference d over n clips: draws of few clips spread too
             little, and would find differences where there are none                                (1)
  p          = 2 P(T_(n-1) > |d| / s), T of Student's distribution; the interval of d is d -+ t_(n-1) s  (2)
  holm       p_(k) times the number of tests that are left, never falling; of several tests         (3)

A share of draws beyond 0 would do for p as well, but thousands of draws are needed before many tests in one
table can find anything. (1, 2) Hesterberg 2015, "What teachers should know about the bootstrap", arXiv
1411.5279, sections 4.4 and 5.1; (3) Holm 1979.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools

import numpy as np
from scipy import special

NUM_RESAMPLES = 500
NUM_TEST_RESAMPLES = 1000
# Below this a bootstrap of differences says 'significant' far too easily.
MIN_TEST_CLIPS = 10


@dataclasses.dataclass(frozen=True)
class ObservedScores:
  """What one figure measured of one model.

  Attributes:
    combine: scores of clips to the figure; None where they allow none.
    scores: a row a seed, a column a clip; None where a clip allows no score.
    base: the figure that this one is divided by, on the same clips; None for none.
  """

  combine: Callable[[Sequence], float | None]
  scores: Sequence[Sequence]
  denominator: 'ObservedScores | None' = None

  @functools.cached_property
  def clips(self) -> list[int]:
    """The clips that have a score under some seed."""
    return [k for k in range(len(self.scores[0])) if any(row[k] is not None for row in self.scores)]

  def value(self, clips: Sequence[int] | None = None, seeds: Sequence[int] | None = None) -> float | None:
    """Returns the figure over clips, those with a score by default, averaged over seeds; None for none."""
    clips = self.clips if clips is None else clips
    seeds = range(len(self.scores)) if seeds is None else seeds
    values = [self._of_seed(clips, seed) for seed in seeds]
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None

  def _of_seed(self, clips: Sequence[int], seed: int) -> float | None:
    row = self.scores[seed]
    kept = [row[k] for k in clips if row[k] is not None]
    value = self.combine(kept) if kept else None
    if value is None or self.denominator is None:
      return value
    whole = self.denominator._of_seed(clips, seed)
    return value / whole if whole else None

  def resample_seeds(self, rng: np.random.Generator) -> Sequence[int]:
    """Returns as many seeds as there are, drawn anew."""
    num_seeds = len(self.scores)
    return (0,) if num_seeds == 1 else rng.integers(num_seeds, size=num_seeds)


def interval(sample: ObservedScores, num_draws: int = NUM_RESAMPLES) -> list[float] | None:
  """Returns the 95 % interval of a figure over clips and seeds; None where fewer than two clips count."""
  kept = sample.clips
  if len(kept) < 2 or sample.value() is None:
    return None
  rng = np.random.default_rng(0)
  draws = [sample.value(rng.choice(kept, len(kept)), sample.resample_seeds(rng)) for _ in range(num_draws)]
  draws = [draw for draw in draws if draw is not None]
  return [float(edge) for edge in np.quantile(draws, (0.025, 0.975))] if draws else None


@dataclasses.dataclass(frozen=True)
class Difference:
  """How far one model's figure lies above another's, on the same clips.

  Attributes:
    value: the difference over the clips that both have a score for.
    interval: its 95 % interval.
    p: chance of a difference at least as far from 0 were there none (2); for one test alone.
    num_clips: the clips that both have a score for.
  """

  value: float
  interval: list[float]
  p: float
  num_clips: int


def paired_difference(
  mine: ObservedScores, other: ObservedScores, num_draws: int = NUM_TEST_RESAMPLES
) -> Difference | None:
  """Returns the paired difference of one figure of two models; None where too few clips have both.

  Args:
    mine, other: the same figure on the same clips, in the same order; their seeds may differ.
    num_draws: of clips.

  Raises:
    ValueError: the numbers of clips differ.
  """
  if len(mine.scores[0]) != len(other.scores[0]):
    raise ValueError(
      f'a paired test needs the same clips; got {len(mine.scores[0])} and {len(other.scores[0])}.'
    )
  kept = sorted(set(mine.clips) & set(other.clips))
  if len(kept) < MIN_TEST_CLIPS:
    return None
  rng = np.random.default_rng(0)

  def apart(clips: Sequence[int], *seeds: Sequence[int] | None) -> float | None:
    a, b = mine.value(clips, seeds[0]), other.value(clips, seeds[1])
    return None if a is None or b is None else a - b

  value = apart(kept, None, None)
  draws = [
    apart(rng.choice(kept, len(kept)), mine.resample_seeds(rng), other.resample_seeds(rng))
    for _ in range(num_draws)
  ]
  draws = np.array([draw for draw in draws if draw is not None])
  if value is None or not len(draws):
    return None
  num_clips = len(kept)
  spread = float(draws.std() * np.sqrt(num_clips / (num_clips - 1)))
  half = spread * float(special.stdtrit(num_clips - 1, 0.975))
  # Equal scores give no spread, and then 0 lies 0 away; another constant difference lies infinitely far.
  away = abs(value) / spread if spread else (np.inf if value else 0.0)
  p = 2.0 * float(special.stdtr(num_clips - 1, -away))
  return Difference(value, [value - half, value + half], p, num_clips)


def holm(p_by_name: Mapping[str, float]) -> dict[str, float]:
  """Returns each p with the others of its family accounted for (3)."""
  corrected, least = {}, 0.0
  for rank, name in enumerate(sorted(p_by_name, key=p_by_name.get)):
    least = max(least, min(1.0, (len(p_by_name) - rank) * p_by_name[name]))
    corrected[name] = least
  return {name: corrected[name] for name in p_by_name}
