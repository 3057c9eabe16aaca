"""Intervals of metrics, and paired tests of two systems, by resampling clips.

A metric has one score for each clip and seed, and a function that combines the scores of all clips into a
value; over seeds those values are averaged. Seeds are nested in clips: the noise of two clips under one seed
is independent. Clips are therefore resampled with the scores of all their seeds, which accounts for both; to
resample seeds, too, would count their variance twice. Both systems of a test get the same clips, since a clip
may be difficult for both.

  interval   quantiles a and 1 - a of the resampled values, a = N(-sqrt(n / (n - 1)) t), t of Student's
             distribution with n - 1 degrees of freedom at 0.975: percentiles of n clips are too narrow    (1)
  s          = sd(resampled differences) sqrt(n / (n - 1))                                                 (2)
  p          = 2 P(T_(n-1) > |d| / s); the interval of the difference d is d -+ t s                        (3)
  holm       p_(k) times the number of tests that are left, never falling; of several tests                (4)

Statistics of sets such as Frechet distances (`is_set_statistic`) are not resampled with replacement, since
repeated clips make a set look farther away than it is. Instead, m = n // 2 of the n clips are drawn without
replacement (half-sampling): the spread of their values, times sqrt(m / (n - m)), is that of the value. Their
intervals are centred at the value.

(1-3) Hesterberg 2015, "What teachers should know about the bootstrap", arXiv 1411.5279, sections 4.4, 5.1 and
5.3 (expanded percentiles); (4) Holm 1979; half-sampling: Politis, Romano and Wolf 1999, "Subsampling".
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
# With fewer clips the test is not reliable.
MIN_TEST_CLIPS = 10


@dataclasses.dataclass(frozen=True)
class ObservedScores:
  """The scores of one metric of one system.

  Attributes:
    combine: scores of clips to the value; None where they allow none.
    scores: a row a seed, a column a clip; None where a clip allows no score.
    denominator: the metric by which this one is divided, on the same clips and seeds; None for none.
    is_set_statistic: whether the value is a statistic of the set of clips, not of each, see the module.
  """

  combine: Callable[[Sequence], float | None]
  scores: Sequence[Sequence]
  denominator: 'ObservedScores | None' = None
  is_set_statistic: bool = False

  @functools.cached_property
  def clips(self) -> list[int]:
    """The clips that have a score under some seed."""
    return [k for k in range(len(self.scores[0])) if any(row[k] is not None for row in self.scores)]

  def value(self, clips: Sequence[int] | None = None) -> float | None:
    """Returns the value over clips, averaged over seeds; None where the scores allow none.

    Args:
      clips: their indices; None is all that have a score.
    """
    clips = self.clips if clips is None else clips
    values = [self._of_seed(clips, seed) for seed in range(len(self.scores))]
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None

  def _of_seed(self, clips: Sequence[int], seed: int) -> float | None:
    row = self.scores[seed]
    known = [row[k] for k in clips if row[k] is not None]
    value = self.combine(known) if known else None
    if value is None or self.denominator is None:
      return value
    whole = self.denominator._of_seed(clips, seed)
    return value / whole if whole else None


def _resample(clips: Sequence[int], is_set_statistic: bool, rng: np.random.Generator) -> np.ndarray:
  if is_set_statistic:
    return rng.choice(clips, len(clips) // 2, replace=False)
  return rng.choice(clips, len(clips))


def _spread_factor(num_clips: int, is_set_statistic: bool) -> float:
  """Returns by what the deviation of resampled values is multiplied."""
  half = num_clips // 2
  return float(np.sqrt(half / (num_clips - half) if is_set_statistic else num_clips / (num_clips - 1)))


def interval(observed: ObservedScores, num_resamples: int = NUM_RESAMPLES) -> list[float] | None:
  """Returns the 95 % interval of a value over clips and seeds; None where fewer than two clips have a score.

  Args:
    observed: the scores.
    num_resamples: how often clips are resampled.
  """
  clips, value = observed.clips, observed.value()
  num_clips = len(clips)
  if num_clips < (4 if observed.is_set_statistic else 2) or value is None:
    return None
  rng = np.random.default_rng(0)
  values = [observed.value(_resample(clips, observed.is_set_statistic, rng)) for _ in range(num_resamples)]
  known = np.array([each for each in values if each is not None])
  if not len(known):
    return None
  if observed.is_set_statistic:
    edges = np.quantile(known - known.mean(), (0.025, 0.975)) * _spread_factor(num_clips, True)
    return [float(value + edge) for edge in edges]
  tail = special.ndtr(-_spread_factor(num_clips, False) * special.stdtrit(num_clips - 1, 0.975))
  return [float(edge) for edge in np.quantile(known, (tail, 1.0 - tail))]


@dataclasses.dataclass(frozen=True)
class Difference:
  """The difference of two systems in one metric, on the same clips.

  Attributes:
    value: the difference over the clips that both have a score for.
    interval: its 95 % interval.
    p: probability of a difference at least as far from 0 if there were none (3); for one test alone.
    num_clips: the clips that both have a score for.
  """

  value: float
  interval: list[float]
  p: float
  num_clips: int


def paired_difference(
  mine: ObservedScores, other: ObservedScores, num_resamples: int = NUM_TEST_RESAMPLES
) -> Difference | None:
  """Returns the paired difference of one metric of two systems; None where too few clips have both scores.

  Args:
    mine: the scores of one system.
    other: the same metric on the same clips, in the same order; the seeds may differ.
    num_resamples: how often clips are resampled.

  Raises:
    ValueError: the numbers of clips differ.
  """
  if len(mine.scores[0]) != len(other.scores[0]):
    raise ValueError(
      f'a paired test needs the same clips; got {len(mine.scores[0])} and {len(other.scores[0])}.'
    )
  clips = sorted(set(mine.clips) & set(other.clips))
  num_clips = len(clips)
  if num_clips < MIN_TEST_CLIPS:
    return None
  rng = np.random.default_rng(0)

  def difference(chosen: Sequence[int]) -> float | None:
    a, b = mine.value(chosen), other.value(chosen)
    return None if a is None or b is None else a - b

  value = difference(clips)
  differences = [difference(_resample(clips, mine.is_set_statistic, rng)) for _ in range(num_resamples)]
  known = np.array([each for each in differences if each is not None])
  if value is None or not len(known):
    return None
  spread = float(known.std()) * _spread_factor(num_clips, mine.is_set_statistic)
  half = spread * float(special.stdtrit(num_clips - 1, 0.975))
  # Equal scores have no spread; then a difference of 0 has p = 1, any other p = 0.
  distance = abs(value) / spread if spread else (np.inf if value else 0.0)
  p = 2.0 * float(special.stdtr(num_clips - 1, -distance))
  return Difference(value, [value - half, value + half], p, num_clips)


def holm(p_by_name: Mapping[str, float]) -> dict[str, float]:
  """Returns each p corrected for the number of tests (4)."""
  corrected, least = {}, 0.0
  for rank, name in enumerate(sorted(p_by_name, key=p_by_name.get)):
    least = max(least, min(1.0, (len(p_by_name) - rank) * p_by_name[name]))
    corrected[name] = least
  return {name: corrected[name] for name in p_by_name}
