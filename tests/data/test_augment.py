"""Each kind of augmentation by itself, and random augmentations."""

import dataclasses

import numpy as np
import pytest

from v2a.data import augment

LENGTH, SIZE, FPS = 50, 16, 25


def _film(seed=0):
  return np.random.default_rng(seed).integers(40, 200, (LENGTH, SIZE, SIZE, 3), np.uint8)


def _augmented(film_LYX3, seed=0, **kinds):
  return augment.apply(
    dataclasses.replace(augment.IDENTITY, **kinds), film_LYX3, FPS, np.random.default_rng(seed)
  )


def test_the_identity_changes_nothing():
  np.testing.assert_array_equal(_augmented(_film()), _film())


def test_grey_has_no_color_and_the_same_brightness():
  grey_LYX3 = _augmented(_film(), is_grey=True)
  assert not np.ptp(grey_LYX3, axis=-1).any()
  bright_LYX = _film() @ np.array([0.3, 0.59, 0.11])
  np.testing.assert_allclose(grey_LYX3[..., 0], bright_LYX, atol=1)


@pytest.mark.parametrize('source_fps', [12.0, 16.7, 24.0])
def test_repeated_frames_have_the_source_rate_and_are_close_in_time(source_fps):
  film_LYX3 = np.repeat(np.arange(LENGTH, dtype=np.uint8), SIZE * SIZE * 3).reshape(LENGTH, SIZE, SIZE, 3)
  for seed in range(5):
    index_L = _augmented(film_LYX3, seed, source_fps=source_fps)[:, 0, 0, 0].astype(int)
    late_L = np.arange(LENGTH) - index_L
    assert (np.diff(index_L) >= 0).all()
    assert late_L.min() >= -1 and late_L.max() <= FPS / source_fps + 0.5
    assert abs(len(set(index_L)) - LENGTH * source_fps / FPS) <= 2


def test_flicker_and_grain_have_the_given_strength():
  grey_LYX3 = np.full((2000, SIZE, SIZE, 3), 128, np.uint8)
  level_L = _augmented(grey_LYX3, flicker=0.1).mean((1, 2, 3)) / 128
  assert level_L.std() == pytest.approx(0.1, rel=0.1) and level_L.mean() == pytest.approx(1, abs=0.01)
  assert _augmented(grey_LYX3, grain=0.05).std() / 255 == pytest.approx(0.05, rel=0.05)


def test_shaking_shifts_frames_by_at_most_the_given_share():
  film_LYX3 = np.repeat(_film()[:1], LENGTH, axis=0)
  shaken_LYX3 = _augmented(film_LYX3, shake=0.1)
  reach = range(-2, 3)
  moved = [np.roll(film_LYX3[0], (y, x), (0, 1)).tobytes() for y in reach for x in reach]
  assert all(frame.tobytes() in moved for frame in shaken_LYX3)
  assert len({frame.tobytes() for frame in shaken_LYX3}) > 4


def test_scratches_are_lines_in_the_given_share_of_frames():
  line_LX = (_augmented(np.full((2000, SIZE, SIZE, 3), 100, np.uint8), scratches=0.25) > 140).all(axis=(1, 3))
  assert line_LX.any(axis=1).mean() == pytest.approx(1 - 0.75**2, abs=0.05)


def test_exposure_scales_brightness_and_a_negative_inverts_it():
  film_LYX3 = _film()
  np.testing.assert_allclose(_augmented(film_LYX3, exposure=0.5), film_LYX3 / 2, atol=0.51)
  np.testing.assert_array_equal(_augmented(film_LYX3, is_negative=True), 255 - film_LYX3)


def test_blur_is_a_gaussian_within_each_frame():
  point_LYX3 = np.zeros((3, SIZE, SIZE, 3), np.uint8)
  point_LYX3[1, 8, 8] = 255
  spread_YX = _augmented(point_LYX3, blur=1 / SIZE)[..., 0] / 255
  assert not spread_YX[[0, 2]].any()
  np.testing.assert_allclose(spread_YX[1].sum(), 1, atol=0.05)
  np.testing.assert_allclose(spread_YX[1, 8, 9] / spread_YX[1, 8, 8], np.exp(-0.5), atol=0.05)


def test_a_vignette_darkens_sides_by_its_share_and_corners_by_twice_that():
  seen_YX = _augmented(np.full((1, SIZE, SIZE, 3), 200, np.uint8), vignette=0.3)[0, ..., 0] / 200
  assert seen_YX[0, 0] == pytest.approx(0.4, abs=0.01)
  assert seen_YX[0, SIZE // 2] == pytest.approx(0.7, abs=0.01)
  assert seen_YX[SIZE // 2, SIZE // 2] == pytest.approx(1, abs=0.01)


def test_compression_leaves_blocks_and_more_of_it_less_detail():
  film_LYX3 = _film()[:4]
  errors = []
  for compression in (0.1, 0.5, 0.98):
    seen_LYX3 = _augmented(film_LYX3, compression=compression).astype(float)
    errors.append(np.abs(seen_LYX3 - film_LYX3).mean())
    assert np.abs(seen_LYX3.mean((1, 2)) - film_LYX3.mean((1, 2))).max() < 12
  assert 0 < errors[0] < errors[1] < errors[2]
  # Of the strongest compression, blocks of 8 pixels keep their mean only.
  assert seen_LYX3[:, :8, :8].std(axis=(1, 2)).max() < 0.5 * film_LYX3[:, :8, :8].std(axis=(1, 2)).min()


def test_a_crop_enlarges_the_same_part_of_all_frames():
  ramp_X = np.linspace(0, 240, SIZE).astype(np.uint8)
  film_LYX3 = np.tile(ramp_X[None, None, :, None], (3, SIZE, 1, 3))
  seen_LYX3 = _augmented(film_LYX3, crop=0.25, crop_x=1.0)
  np.testing.assert_allclose(seen_LYX3[:, :, 0, 0], np.interp(3.875, range(SIZE), ramp_X), atol=3)
  np.testing.assert_allclose(seen_LYX3[:, :, -1, 0], 240, atol=3)
  np.testing.assert_allclose(_augmented(film_LYX3, crop=0.25, crop_x=0.0)[:, :, 0, 0], 0, atol=3)
  assert not np.ptp(seen_LYX3, axis=(0, 1)).any()


def test_random_augmentations_are_sometimes_none_and_never_hide_the_frames():
  rng = np.random.default_rng(0)
  sampled = [augment.random_augmentation(rng) for _ in range(400)]
  for field in dataclasses.fields(augment.Augmentation):
    same = np.mean([getattr(each, field.name) == getattr(augment.IDENTITY, field.name) for each in sampled])
    least, most = (0.9, 0.98) if field.name == 'is_negative' else (0.3, 0.7)
    assert least < same < most, field.name
  film_LYX3 = np.repeat(_film()[..., :1], 3, axis=-1)
  for augmentation in sampled[:60]:
    augmentation = dataclasses.replace(
      augmentation, shake=0.0, source_fps=0.0, blur=0.0, crop=0.0, compression=0.0
    )
    seen_LYX3 = augment.apply(augmentation, film_LYX3, FPS, rng)
    seen, sign = (
      np.corrcoef(seen_LYX3.ravel(), film_LYX3.ravel())[0, 1],
      -1 if augmentation.is_negative else 1,
    )
    assert sign * seen > 0.5, augmentation
