"""Intervals and paired tests: closed forms, coverage, and known effects."""

import numpy as np
import pytest

from v2a.metrics import bootstrap
from v2a.metrics import set_distances


def mean(scores):
  """Returns the mean."""
  return sum(scores) / len(scores)


def observe(scores, base=None):
  """Returns observed scores whose value is their mean."""
  return bootstrap.ObservedScores(mean, np.atleast_2d(scores).tolist(), base)


def test_interval_of_a_mean_is_that_of_the_central_limit_theorem():
  value_N = np.random.default_rng(0).normal(3.0, 2.0, 400)
  low, high = bootstrap.interval(observe(value_N), num_resamples=2000)
  half = 1.96 * value_N.std() / np.sqrt(400)
  assert low == pytest.approx(value_N.mean() - half, abs=0.02)
  assert high == pytest.approx(value_N.mean() + half, abs=0.02)


def test_seeds_widen_the_interval_where_they_differ():
  rng = np.random.default_rng(1)
  clip_N = rng.normal(0.0, 0.1, 200)
  without_noise = observe(np.stack([clip_N] * 8))
  noise_SN = rng.normal(0.0, 1.0, (8, 200))
  noisy = observe(clip_N + noise_SN)
  widths = [np.ptp(bootstrap.interval(chosen)) for chosen in (without_noise, noisy)]
  assert widths[0] < 0.05
  # The noise of each clip and seed is independent, so the variance is that of the mean over seeds.
  assert widths[1] == pytest.approx(2 * 1.97 * (clip_N + noise_SN.mean(axis=0)).std() / np.sqrt(200), rel=0.1)


@pytest.mark.parametrize(('clip_std', 'seed_std'), [(1.0, 0.2), (0.3, 1.0)])
def test_intervals_over_clips_and_seeds_have_95_percent_coverage(clip_std, seed_std):
  rng, is_covered = np.random.default_rng(5), []
  for _ in range(160):
    score_SN = clip_std * rng.normal(size=12) + seed_std * rng.normal(size=(3, 12))
    low, high = bootstrap.interval(observe(score_SN), num_resamples=200)
    is_covered.append(low < 0.0 < high)
  # With seeds crossed with clips, or resampled within them, the coverage is 0.99.
  assert 0.90 < np.mean(is_covered) < 0.985


def test_intervals_of_few_clips_are_as_wide_as_those_of_students_t():
  rng = np.random.default_rng(6)
  widths, is_covered = [], []
  for _ in range(150):
    value_N = rng.normal(size=6)
    low, high = bootstrap.interval(observe(value_N), num_resamples=200)
    widths.append((high - low) / (2 * value_N.std(ddof=1) / np.sqrt(6)))
    is_covered.append(low < 0.0 < high)
  # Plain percentiles have a coverage of 0.87 and a half width of 1.96 sqrt(5 / 6) = 1.79.
  assert np.mean(is_covered) > 0.90 and np.mean(widths) > 2.1


def test_spread_of_few_clips_has_no_bias():
  rng = np.random.default_rng(8)
  ratios, half_widths = [], []
  for _ in range(20):
    value_N = rng.normal(size=10)
    error = value_N.std(ddof=1) / np.sqrt(10)
    found = bootstrap.paired_difference(observe(value_N), observe(np.zeros(10)), num_resamples=500)
    ratios.append((found.interval[1] - found.value) / error)
    low, high = bootstrap.interval(observe(value_N), num_resamples=2000)
    half_widths.append((high - low) / 2 / error)
  # Student's t with 9 degrees of freedom; without the factor sqrt(10 / 9) of the deviation, 2.15.
  assert np.mean(ratios) == pytest.approx(2.262, abs=0.05)
  # Percentiles of the same number of deviations; without the factor they are 2.10.
  assert np.mean(half_widths) == pytest.approx(2.25, abs=0.1)


def test_interval_of_a_bounded_value_is_within_its_bounds():
  low, high = bootstrap.interval(observe([1.0, 1.0, 1.0, 0.9, 1.0]))
  assert 0.9 <= low < high <= 1.0


def frechet(scores):
  """Returns the Frechet distance of pairs of rows."""
  true, generated = (np.stack(side) for side in zip(*scores))
  return set_distances.frechet(true, generated)


def test_interval_of_a_set_distance_has_the_deviation_of_independent_sets():
  rng = np.random.default_rng(7)

  def pairs():
    true_NF = rng.normal(size=(64, 24))
    return list(zip(true_NF, 0.5 + 0.8 * true_NF + 0.9 * rng.normal(size=true_NF.shape)))

  deviation = np.std([frechet(pairs()) for _ in range(100)])
  half_widths = []
  for _ in range(8):
    observed = bootstrap.ObservedScores(frechet, [pairs()], is_set_statistic=True)
    low, high = bootstrap.interval(observed, num_resamples=100)
    assert low < observed.value() < high
    half_widths.append((high - low) / 2)
  # Resampling with replacement gives twice the deviation.
  assert 0.8 < np.mean(half_widths) / (1.96 * deviation) < 1.45


def test_clips_without_a_score_are_excluded():
  observed = bootstrap.ObservedScores(mean, [[1.0, None, 3.0], [None, None, 5.0]])
  assert observed.clips == [0, 2]
  assert observed.value() == pytest.approx((2.0 + 5.0) / 2)
  assert bootstrap.ObservedScores(mean, [[None, None]]).value() is None
  assert bootstrap.interval(bootstrap.ObservedScores(mean, [[1.0, None]])) is None


def test_ratio_is_of_the_same_clips_and_seed():
  base = bootstrap.ObservedScores(mean, [[2.0, 4.0], [1.0, 1.0]])
  observed = bootstrap.ObservedScores(mean, [[1.0, 2.0], [1.0, 1.0]], base)
  assert observed.value() == pytest.approx((0.5 + 1.0) / 2)
  assert observed.value([1]) == pytest.approx((0.5 + 1.0) / 2)
  # Every clip is half of its base, so that the ratio is the same for any resample, if paired.
  half = observe(np.arange(1.0, 31.0) / 2, observe(np.arange(1.0, 31.0)))
  assert bootstrap.interval(half) == pytest.approx([0.5, 0.5])
  assert bootstrap.ObservedScores(mean, [[1.0]], observe([0.0])).value() is None


def test_paired_test_removes_the_variance_of_clips():
  rng = np.random.default_rng(2)
  clip_N = rng.normal(0.0, 5.0, 60)
  system, reference = observe(clip_N + 0.3 + rng.normal(0, 0.2, 60)), observe(clip_N)
  found = bootstrap.paired_difference(system, reference)
  assert found.value == pytest.approx(0.3, abs=0.1) and found.p < 0.002 and found.num_clips == 60
  assert found.interval[0] > 0.2
  # The same scores, not paired.
  unpaired = bootstrap.paired_difference(observe(rng.permutation(system.scores[0])), reference)
  assert unpaired.p > 0.2 and unpaired.interval[0] < 0 < unpaired.interval[1]
  reverse = bootstrap.paired_difference(reference, system)
  assert reverse.value == pytest.approx(-found.value) and reverse.p == pytest.approx(found.p, abs=1e-3)


def test_equal_systems_have_no_significant_difference():
  value_N = np.random.default_rng(3).random(50)
  assert bootstrap.paired_difference(observe(value_N), observe(value_N)).p == 1.0
  few = np.arange(bootstrap.MIN_TEST_CLIPS - 1.0)
  assert bootstrap.paired_difference(observe(few), observe(few + 1)) is None
  with pytest.raises(ValueError, match='the same clips; got 50 and 9'):
    bootstrap.paired_difference(observe(value_N), observe(few))


def test_false_positive_rate():
  rng, num = np.random.default_rng(4), bootstrap.MIN_TEST_CLIPS
  pairs = rng.normal(size=(400, 2, num))
  is_positive = [bootstrap.paired_difference(observe(a_N), observe(b_N), 200).p < 0.05 for a_N, b_N in pairs]
  # Three standard deviations of 400 trials around 0.05.
  assert 0.02 < np.mean(is_positive) < 0.083


def test_holm():
  corrected = bootstrap.holm({'a': 0.01, 'b': 0.04, 'c': 0.03, 'd': 0.005})
  assert corrected == pytest.approx({'a': 0.03, 'b': 0.06, 'c': 0.06, 'd': 0.02})
  assert bootstrap.holm({'a': 0.9, 'b': 0.8}) == {'a': 1.0, 'b': 1.0}
  assert bootstrap.holm({}) == {}
