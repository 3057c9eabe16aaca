"""Bootstrap confidence intervals of metrics, and paired tests of two systems, by resampling clips.

A metric has one score for each clip and seed, and a function that combines the scores of all clips into a
value; over seeds those values are averaged. Seeds are nested in clips: the noise of two clips under one seed
is independent. Clips are therefore resampled with the scores of all their seeds, which accounts for both; to
resample seeds, too, would count their variance twice. Both systems of a test get the same clips, since a clip
may be difficult for both.

  interval   quantiles a and 1 - a of the resampled values, a = N(-sqrt(n / (n - 1)) t), t of Student's
             distribution with n - 1 degrees of freedom at 0.975: percentiles of n clips are too narrow    (1)
  s          = sd(resampled differences) sqrt(n / (n - 1))                                                 (2)
  p          = 2 P(T_(n-1) > |d| / s); the interval of the difference d is d -+ t s                        (3)
  holm       p_(k) times the number of remaining tests, made monotone                                      (4)

Statistics of sets such as Frechet distances (`is_set_statistic`) are not resampled with replacement, since
repeated clips increase the distance between sets. Instead, m = n // 2 of the n clips are sampled without
replacement (half-sampling): the standard deviation of their values, times sqrt(m / (n - m)), is that of the
value. Their intervals are centred at the value.

(1-3) Hesterberg 2015, "What teachers should know about the bootstrap", arXiv 1411.5279, sections 4.4, 5.1 and
5.3 (expanded percentiles); (4) Holm 1979, the Holm-Bonferroni correction; half-sampling: Politis, Romano and
Wolf 1999, "Subsampling".
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
from typing import TypeVar

import numpy as np
from scipy import special

Name = TypeVar('Name')
NUM_RESAMPLES = 500
NUM_TEST_RESAMPLES = 1000
# Paired tests on fewer clips are not reliable.
MIN_TEST_CLIPS = 10


@dataclasses.dataclass(frozen=True)
class ObservedScores:
  """The scores of one metric of one system.

  Attributes:
    combine: scores of clips to the value; None where it is not defined.
    scores: a row per seed, a column per clip; None where a clip has no score.
    denominator: the metric by which this one is divided, on the same clips and seeds; None for no ratio.
    is_set_statistic: whether the value is a statistic of the set of clips, see the module docstring.
  """

  combine: Callable[[Sequence], float | None]
  scores: Sequence[Sequence]
  denominator: 'ObservedScores | None' = None
  is_set_statistic: bool = False

  @functools.cached_property
  def clips(self) -> list[int]:
    """Indices of the clips that have a score under some seed."""
    return [k for k in range(len(self.scores[0])) if any(row[k] is not None for row in self.scores)]

  def value(self, clips: Sequence[int] | None = None) -> float | None:
    """Returns the value over clips, averaged over seeds; None where it is not defined.

    Args:
      clips: their indices; None for all that have a score.
    """
    clips = self.clips if clips is None else clips
    values = [self._of_seed(clips, seed) for seed in range(len(self.scores))]
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None

  def _of_seed(self, clips: Sequence[int], seed: int) -> float | None:
    row = self.scores[seed]
    valid = [row[k] for k in clips if row[k] is not None]
    value = self.combine(valid) if valid else None
    if value is None or self.denominator is None:
      return value
    divisor = self.denominator._of_seed(clips, seed)
    return value / divisor if divisor else None


def _resample(clips: Sequence[int], is_set_statistic: bool, rng: np.random.Generator) -> list[int]:
  if is_set_statistic:
    return rng.choice(clips, len(clips) // 2, replace=False).tolist()
  return rng.choice(clips, len(clips)).tolist()


def _deviation_factor(num_clips: int, is_set_statistic: bool) -> float:
  """Returns the factor from the standard deviation of resampled values to that of the value."""
  half = num_clips // 2
  return float(np.sqrt(half / (num_clips - half) if is_set_statistic else num_clips / (num_clips - 1)))


def interval(observed: ObservedScores, num_resamples: int = NUM_RESAMPLES) -> list[float] | None:
  """Returns the 95 % interval of a value over clips and seeds; None where fewer than two clips have a score.

  Args:
    observed: the scores.
    num_resamples: number of bootstrap resamples.
  """
  clips, value = observed.clips, observed.value()
  num_clips = len(clips)
  if num_clips < (4 if observed.is_set_statistic else 2) or value is None:
    return None
  rng = np.random.default_rng(0)
  values = [observed.value(_resample(clips, observed.is_set_statistic, rng)) for _ in range(num_resamples)]
  valid = np.array([each for each in values if each is not None])
  if not len(valid):
    return None
  if observed.is_set_statistic:
    edges = np.quantile(valid - valid.mean(), (0.025, 0.975)) * _deviation_factor(num_clips, True)
    return [float(value + edge) for edge in edges]
  tail = special.ndtr(-_deviation_factor(num_clips, False) * special.stdtrit(num_clips - 1, 0.975))
  return [float(edge) for edge in np.quantile(valid, (tail, 1.0 - tail))]


@dataclasses.dataclass(frozen=True)
class Difference:
  """The difference of two systems in one metric, on the same clips.

  Attributes:
    value: the difference over the clips for which both have a score.
    interval: its 95 % interval.
    p: two-sided p-value of eq. 3, not corrected for the number of tests.
    num_clips: number of clips for which both have a score.
  """

  value: float
  interval: list[float]
  p: float
  num_clips: int


def paired_difference(
  system: ObservedScores, reference: ObservedScores, num_resamples: int = NUM_TEST_RESAMPLES
) -> Difference | None:
  """Returns the paired difference of one metric of two systems; None where too few clips have both scores.

  Args:
    system: the scores of one system.
    reference: those of the other on the same clips, in the same order; the seeds may differ.
    num_resamples: number of bootstrap resamples.

  Raises:
    ValueError: the numbers of clips differ.
  """
  if len(system.scores[0]) != len(reference.scores[0]):
    raise ValueError(
      f'a paired test needs the same clips; got {len(system.scores[0])} and {len(reference.scores[0])}.'
    )
  clips = sorted(set(system.clips) & set(reference.clips))
  num_clips = len(clips)
  if num_clips < MIN_TEST_CLIPS:
    return None
  rng = np.random.default_rng(0)

  def difference(resampled: Sequence[int]) -> float | None:
    a, b = system.value(resampled), reference.value(resampled)
    return None if a is None or b is None else a - b

  value = difference(clips)
  differences = [difference(_resample(clips, system.is_set_statistic, rng)) for _ in range(num_resamples)]
  valid = np.array([each for each in differences if each is not None])
  if value is None or not len(valid):
    return None
  standard_error = float(valid.std()) * _deviation_factor(num_clips, system.is_set_statistic)
  half_width = standard_error * float(special.stdtrit(num_clips - 1, 0.975))
  # Without variance, a difference of 0 has p = 1, any other p = 0.
  t = abs(value) / standard_error if standard_error else (np.inf if value else 0.0)
  p = 2.0 * float(special.stdtr(num_clips - 1, -t))
  return Difference(value, [value - half_width, value + half_width], p, num_clips)


def holm(p_by_name: Mapping[Name, float]) -> dict[Name, float]:
  """Returns p-values after the Holm-Bonferroni correction for the number of tests, eq. 4."""
  corrected, running_max = {}, 0.0
  for rank, name in enumerate(sorted(p_by_name, key=lambda name: p_by_name[name])):
    running_max = max(running_max, min(1.0, (len(p_by_name) - rank) * p_by_name[name]))
    corrected[name] = running_max
  return {name: corrected[name] for name in p_by_name}
