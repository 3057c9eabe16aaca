"""The OOD detector against the Mahalanobis distance, in and out of its training distribution."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from v2a.ood import detector


def sample(num, seed=0):
  """Returns features with another standard deviation in each direction."""
  rng = np.random.default_rng(seed)
  return rng.standard_normal((num, 8)) * np.array([5, 4, 3, 1, 1, 1, 1, 1]) + 7


def test_the_score_with_all_directions_but_one_is_the_mahalanobis_distance():
  feature_NF = sample(400)
  found = detector.fit(feature_NF, 7)
  centred_NF = feature_NF - feature_NF.mean(axis=0)
  inverse_FF = np.linalg.inv(np.cov(feature_NF, rowvar=False))
  wanted_N = np.sqrt(np.einsum('NF,FI,NI->N', centred_NF, inverse_FF, centred_NF) / 8)
  np.testing.assert_allclose(found.score(feature_NF), wanted_N, rtol=1e-6)


def test_the_mean_squared_score_is_one_in_distribution_and_outliers_score_higher():
  feature_NF = sample(600)
  found = detector.fit(feature_NF, 3)
  assert np.mean(found.score(feature_NF) ** 2) == pytest.approx(1, rel=0.01)
  assert np.mean(found.score(sample(600, 1)) ** 2) == pytest.approx(1, rel=0.1)
  far_NF = feature_NF + 10 * np.eye(8)[6]
  assert found.score(far_NF).min() > found.score(feature_NF).max()


def test_a_saved_detector_is_loaded_unchanged(tmp_path):
  found = dataclasses.replace(detector.fit(sample(100), 3), threshold=1.7, about={'num_clips': 100, 'x': [1]})
  detector.save(found, tmp_path / detector.FILE)
  again = detector.load(tmp_path / detector.FILE)
  assert (again.threshold, again.about) == (1.7, found.about)
  np.testing.assert_allclose(again.score(sample(9)), found.score(sample(9)), rtol=3e-3)
  assert [path.name for path in tmp_path.iterdir()] == [detector.FILE]


def test_invalid_input_is_refused(tmp_path):
  with pytest.raises(ValueError, match='needs at least 6 clips; got 5'):
    detector.fit(sample(5), 3)
  with pytest.raises(ValueError, match='has 8 features; got 7'):
    detector.fit(sample(50), 3).score(np.zeros((1, 7)))
  np.savez(tmp_path / 'x.npz', mean_F=np.zeros(3))
  with pytest.raises(ValueError, match='holds no OOD detector'):
    detector.load(tmp_path / 'x.npz')


def test_the_larger_distance_of_two_groups_counts():
  feature_NF = sample(400)
  found, first = detector.fit(feature_NF, 2, sizes=(3,)), detector.fit(feature_NF[:, :3], 2)
  last = detector.fit(feature_NF[:, 3:], 2)
  both = [first.score(feature_NF[:, :3]), last.score(feature_NF[:, 3:])]
  np.testing.assert_allclose(found.score(feature_NF), np.maximum(*both), rtol=1e-9)


def moving_disc(rng, num_frames=40):
  """Returns frames of a disc that moves over a smooth background."""
  y_Y, x_X = np.mgrid[:32], np.mgrid[:32]
  start, speed = rng.uniform(4, 12, 2), rng.uniform(0.1, 0.6, 2)
  shade = rng.uniform(0.5, 1.5)
  frames = []
  for k in range(num_frames):
    centre = start + speed * k
    distance_YX = np.hypot(y_Y[:, None] - centre[0], x_X[None] - centre[1])
    luma_YX = 90 + shade * x_X[None] + 100 * np.clip(4 - distance_YX, 0, 1)
    frames.append(np.repeat(luma_YX[..., None], 3, axis=2))
  return np.stack(frames).astype(np.uint8)


def appearance(videos):
  """Returns eq. 1 of videos."""
  frame_BLYX3 = np.stack(videos)
  semantic_BMD, sync_BLD = np.zeros((len(videos), 5, 4)), np.zeros((*frame_BLYX3.shape[:2], 4))
  feature_BF = np.asarray(detector.extract_features(semantic_BMD, sync_BLD, frame_BLYX3))
  assert feature_BF.shape == (len(videos), detector.NUM_APPEARANCE_FEATURES + 8)
  assert np.isfinite(feature_BF).all()
  return feature_BF[:, : detector.NUM_APPEARANCE_FEATURES]


@pytest.fixture(scope='module')
def clean():
  """Returns videos and their features."""
  rng = np.random.default_rng(0)
  videos = [moving_disc(rng) for _ in range(48)]
  return videos, appearance(videos)


@pytest.mark.parametrize(
  'degrade',
  [
    lambda frame_LYX3, rng: (frame_LYX3 * 0.8 + rng.uniform(0, 50, frame_LYX3.shape)).astype(np.uint8),
    lambda frame_LYX3, rng: ndimage.gaussian_filter(frame_LYX3, (0, 3, 3, 0)),
    lambda frame_LYX3, rng: frame_LYX3[np.arange(len(frame_LYX3)) // 4 * 4],
    lambda frame_LYX3, rng: np.repeat(frame_LYX3[:1], len(frame_LYX3), axis=0),
    lambda frame_LYX3, rng: frame_LYX3 // 4,
  ],
  ids=['noise', 'blur', 'halting', 'still', 'dark'],
)
def test_degraded_videos_score_higher(degrade, clean):
  (videos, clean_BF), rng = clean, np.random.default_rng(1)
  found = detector.fit(clean_BF[:40], detector.NUM_APPEARANCE_FEATURES - 1)
  degraded_BF = appearance([degrade(video, rng) for video in videos[40:]])
  assert found.score(degraded_BF).min() > found.score(clean_BF).max()


def test_appearance_does_not_depend_on_chroma():
  frame_LYX3 = moving_disc(np.random.default_rng(1))
  red_LYX3 = frame_LYX3.copy()
  red_LYX3[..., 0] = np.clip(frame_LYX3[..., 0].astype(int) + 20, 0, 255)
  red_LYX3[..., 2] = np.clip(frame_LYX3[..., 2].astype(int) - round(20 * 0.299 / 0.114), 0, 255)
  np.testing.assert_allclose(appearance([red_LYX3]), appearance([frame_LYX3]), atol=0.05)
