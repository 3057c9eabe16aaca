"""The gauge against the Mahalanobis distance itself, on what it was fitted to and beyond it."""

import dataclasses

import numpy as np
import pytest

from v2a import gauge


def sample(num, seed=0):
  """Returns features with a spread of their own in every direction."""
  rng = np.random.default_rng(seed)
  return rng.standard_normal((num, 8)) * np.array([5, 4, 3, 1, 1, 1, 1, 1]) + 7


def test_all_directions_but_one_are_mahalanobis():
  feature_NF = sample(400)
  found = gauge.fit(feature_NF, 7)
  apart_NF = feature_NF - feature_NF.mean(axis=0)
  inverse_FF = np.linalg.inv(np.cov(feature_NF, rowvar=False))
  wanted_N = np.sqrt(np.einsum('NF,FI,NI->N', apart_NF, inverse_FF, apart_NF) / 8)
  np.testing.assert_allclose(found.distance(feature_NF), wanted_N, rtol=1e-6)


def test_what_it_was_fitted_to_lies_at_one_and_what_is_far_lies_far():
  feature_NF = sample(600)
  found = gauge.fit(feature_NF, 3)
  assert np.mean(found.distance(feature_NF) ** 2) == pytest.approx(1, rel=0.01)
  assert np.mean(found.distance(sample(600, 1)) ** 2) == pytest.approx(1, rel=0.1)
  far_NF = feature_NF + 10 * np.eye(8)[6]
  assert found.distance(far_NF).min() > found.distance(feature_NF).max()


def test_it_is_kept_in_a_small_file(tmp_path):
  found = dataclasses.replace(gauge.fit(sample(100), 3), threshold=1.7, about={'num_clips': 100, 'x': [1]})
  gauge.save(found, tmp_path / gauge.FILE)
  again = gauge.load(tmp_path / gauge.FILE)
  assert (again.threshold, again.about) == (1.7, found.about)
  np.testing.assert_allclose(again.distance(sample(9)), found.distance(sample(9)), rtol=3e-3)
  assert [path.name for path in tmp_path.iterdir()] == [gauge.FILE]


def test_faults_are_told(tmp_path):
  with pytest.raises(ValueError, match='needs at least 6 clips; got 5'):
    gauge.fit(sample(5), 3)
  with pytest.raises(ValueError, match='knows 8 features; got 7'):
    gauge.fit(sample(50), 3).distance(np.zeros((1, 7)))
  np.savez(tmp_path / 'x.npz', mean_F=np.zeros(3))
  with pytest.raises(ValueError, match='holds no gauge'):
    gauge.load(tmp_path / 'x.npz')


def test_the_larger_distance_of_two_groups_counts():
  feature_NF = sample(400)
  found, first = gauge.fit(feature_NF, 2, sizes=(3,)), gauge.fit(feature_NF[:, :3], 2)
  last = gauge.fit(feature_NF[:, 3:], 2)
  both = [first.distance(feature_NF[:, :3]), last.distance(feature_NF[:, 3:])]
  np.testing.assert_allclose(found.distance(feature_NF), np.maximum(*both), rtol=1e-9)


def test_motion_that_halts_is_seen_in_the_first_group():
  s_BLD = np.cumsum(np.random.default_rng(0).standard_normal((64, 50, 4)), axis=1)
  held_BLD = s_BLD[:, np.arange(50) // 5 * 5]
  whole_BF, halting_BF = (np.asarray(gauge.pool(s_BLD[:, ::3], x_BLD)) for x_BLD in (s_BLD, held_BLD))
  assert whole_BF.shape == (64, gauge.NUM_OF_MOTION + 8)
  found = gauge.fit(whole_BF, 4, sizes=(gauge.NUM_OF_MOTION,))
  assert found.distance(halting_BF).min() > found.distance(whole_BF).max()
  assert np.isfinite(np.asarray(gauge.pool(np.zeros((1, 5, 4)), np.zeros((1, 9, 4))))).all()
