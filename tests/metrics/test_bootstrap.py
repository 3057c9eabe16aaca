"""Intervals and paired tests: against closed forms, and with effects put in."""

import numpy as np
import pytest

from v2a.metrics import bootstrap


def mean(scores):
  """Returns the mean."""
  return sum(scores) / len(scores)


def sample(scores, base=None):
  """Returns a sample of means of the rows."""
  return bootstrap.ObservedScores(mean, np.atleast_2d(scores).tolist(), base)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
  value_N = np.random.default_rng(0).normal(3.0, 2.0, 400)
  low, high = bootstrap.interval(sample(value_N), num_draws=2000)
  half = 1.96 * value_N.std() / np.sqrt(400)
  assert low == pytest.approx(value_N.mean() - half, abs=0.02)
  assert high == pytest.approx(value_N.mean() + half, abs=0.02)


def test_seeds_widen_the_interval_where_they_differ():
  clip_N = np.random.default_rng(1).normal(0.0, 0.1, 200)
  calm = sample(np.stack([clip_N] * 8))
  noisy = sample(np.stack([clip_N + shift for shift in np.linspace(-1, 1, 8)]))
  assert calm.value() == pytest.approx(clip_N.mean()) == noisy.value()
  widths = [np.ptp(bootstrap.interval(chosen)) for chosen in (calm, noisy)]
  assert widths[0] < 0.05
  # Eight seeds from -1 to 1 spread by 0.65; their mean by 0.65 / sqrt(8).
  assert widths[1] == pytest.approx(2 * 1.96 * np.linspace(-1, 1, 8).std() / np.sqrt(8), rel=0.15)


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
  assert chosen.value([1], [0]) == pytest.approx(0.5)
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
