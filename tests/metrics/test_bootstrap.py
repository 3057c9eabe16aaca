"""Intervals and paired tests: against closed forms, and with effects put in."""

import numpy as np
import pytest

from v2a.metrics import bootstrap
from v2a.metrics import set_distances


def mean(scores):
  """Returns the mean."""
  return sum(scores) / len(scores)


def sample(scores, base=None):
  """Returns a sample of means of the rows."""
  return bootstrap.ObservedScores(mean, np.atleast_2d(scores).tolist(), base)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
  value_N = np.random.default_rng(0).normal(3.0, 2.0, 400)
  low, high = bootstrap.interval(sample(value_N), num_resamples=2000)
  half = 1.96 * value_N.std() / np.sqrt(400)
  assert low == pytest.approx(value_N.mean() - half, abs=0.02)
  assert high == pytest.approx(value_N.mean() + half, abs=0.02)


def test_seeds_widen_the_interval_where_they_differ():
  rng = np.random.default_rng(1)
  clip_N = rng.normal(0.0, 0.1, 200)
  calm = sample(np.stack([clip_N] * 8))
  noise_SN = rng.normal(0.0, 1.0, (8, 200))
  noisy = sample(clip_N + noise_SN)
  widths = [np.ptp(bootstrap.interval(chosen)) for chosen in (calm, noisy)]
  assert widths[0] < 0.05
  # Each clip has noise of its own under each seed, so that its mean over seeds is what varies.
  assert widths[1] == pytest.approx(2 * 1.97 * (clip_N + noise_SN.mean(axis=0)).std() / np.sqrt(200), rel=0.1)


@pytest.mark.parametrize(('clip_std', 'seed_std'), [(1.0, 0.2), (0.3, 1.0)])
def test_intervals_hold_the_mean_19_times_in_20_whether_clips_or_seeds_differ(clip_std, seed_std):
  rng, held = np.random.default_rng(5), []
  for _ in range(160):
    score_SN = clip_std * rng.normal(size=12) + seed_std * rng.normal(size=(3, 12))
    low, high = bootstrap.interval(sample(score_SN), num_resamples=200)
    held.append(low < 0.0 < high)
  # Seeds as crossed with clips, or resampled within them, hold it 0.99 times.
  assert 0.90 < np.mean(held) < 0.985


def test_intervals_of_few_clips_are_as_wide_as_students():
  rng = np.random.default_rng(6)
  widths, held = [], []
  for _ in range(150):
    value_N = rng.normal(size=6)
    low, high = bootstrap.interval(sample(value_N), num_resamples=200)
    widths.append((high - low) / (2 * value_N.std(ddof=1) / np.sqrt(6)))
    held.append(low < 0.0 < high)
  # Plain percentiles: 0.87 of the intervals hold the mean, and the half width is 1.96 sqrt(5 / 6) = 1.79.
  assert np.mean(held) > 0.90 and np.mean(widths) > 2.1


def test_the_interval_of_a_bounded_value_keeps_its_bounds():
  low, high = bootstrap.interval(sample([1.0, 1.0, 1.0, 0.9, 1.0]))
  assert 0.9 <= low < high <= 1.0


def frechet(scores):
  """Returns the Frechet distance of pairs of rows."""
  true, generated = (np.stack(side) for side in zip(*scores))
  return set_distances.frechet(true, generated)


def test_the_interval_of_a_set_distance_has_the_spread_of_new_sets():
  rng = np.random.default_rng(7)

  def pairs():
    true_NF = rng.normal(size=(64, 24))
    return list(zip(true_NF, 0.5 + 0.8 * true_NF + 0.9 * rng.normal(size=true_NF.shape)))

  spread = np.std([frechet(pairs()) for _ in range(100)])
  half_widths = []
  for _ in range(8):
    observed = bootstrap.ObservedScores(frechet, [pairs()], is_set_statistic=True)
    low, high = bootstrap.interval(observed, num_resamples=100)
    assert low < observed.value() < high
    half_widths.append((high - low) / 2)
  # With replacement it is twice the spread.
  assert 0.8 < np.mean(half_widths) / (1.96 * spread) < 1.45


def test_a_clip_without_a_score_is_left_out():
  chosen = bootstrap.ObservedScores(mean, [[1.0, None, 3.0], [None, None, 5.0]])
  assert chosen.clips == [0, 2]
  assert chosen.value() == pytest.approx((2.0 + 5.0) / 2)
  assert bootstrap.ObservedScores(mean, [[None, None]]).value() is None
  assert bootstrap.interval(bootstrap.ObservedScores(mean, [[1.0, None]])) is None


def test_a_ratio_is_of_the_same_clips_and_seed():
  base = bootstrap.ObservedScores(mean, [[2.0, 4.0], [1.0, 1.0]])
  chosen = bootstrap.ObservedScores(mean, [[1.0, 2.0], [1.0, 1.0]], base)
  assert chosen.value() == pytest.approx((0.5 + 1.0) / 2)
  assert chosen.value([1]) == pytest.approx((0.5 + 1.0) / 2)
  # Every clip is half of its base, so that no draw of clips changes the ratio; unpaired ones would.
  half = sample(np.arange(1.0, 31.0) / 2, sample(np.arange(1.0, 31.0)))
  assert bootstrap.interval(half) == pytest.approx([0.5, 0.5])
  assert bootstrap.ObservedScores(mean, [[1.0]], sample([0.0])).value() is None


def test_pairing_finds_what_clips_hide():
  rng = np.random.default_rng(2)
  clip_N = rng.normal(0.0, 5.0, 60)
  mine, other = sample(clip_N + 0.3 + rng.normal(0, 0.2, 60)), sample(clip_N)
  found = bootstrap.paired_difference(mine, other)
  assert found.value == pytest.approx(0.3, abs=0.1) and found.p < 0.002 and found.num_clips == 60
  assert found.interval[0] > 0.2
  # The same numbers, but not of the same clips.
  mixed = bootstrap.paired_difference(sample(rng.permutation(mine.scores[0])), other)
  assert mixed.p > 0.2 and mixed.interval[0] < 0 < mixed.interval[1]
  back = bootstrap.paired_difference(other, mine)
  assert back.value == pytest.approx(-found.value) and back.p == pytest.approx(found.p, abs=1e-3)


def test_equal_models_are_not_told_apart():
  value_N = np.random.default_rng(3).random(50)
  assert bootstrap.paired_difference(sample(value_N), sample(value_N)).p == 1.0
  few = np.arange(bootstrap.MIN_TEST_CLIPS - 1.0)
  assert bootstrap.paired_difference(sample(few), sample(few + 1)) is None
  with pytest.raises(ValueError, match='the same clips; got 50 and 9'):
    bootstrap.paired_difference(sample(value_N), sample(few))


def test_as_many_false_alarms_as_promised():
  rng, num = np.random.default_rng(4), bootstrap.MIN_TEST_CLIPS
  pairs = rng.normal(size=(400, 2, num))
  alarms = [bootstrap.paired_difference(sample(mine), sample(other), 200).p < 0.05 for mine, other in pairs]
  # Three deviations of 400 draws around 0.05.
  assert 0.02 < np.mean(alarms) < 0.083


def test_holm():
  corrected = bootstrap.holm({'a': 0.01, 'b': 0.04, 'c': 0.03, 'd': 0.005})
  assert corrected == pytest.approx({'a': 0.03, 'b': 0.06, 'c': 0.06, 'd': 0.02})
  assert bootstrap.holm({'a': 0.9, 'b': 0.8}) == {'a': 1.0, 'b': 1.0}
  assert bootstrap.holm({}) == {}
