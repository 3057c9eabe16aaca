"""Operations on frames, against closed forms."""

import numpy as np
import scipy.ndimage

from v2a import degradations


def test_color_is_removed_in_shares():
  frame_LYX3 = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
  grey_LYX = frame_LYX3 @ degradations.GREY_3
  np.testing.assert_array_equal(degradations.remove_color(frame_LYX3), np.stack([grey_LYX] * 3, axis=-1))
  half_LYX3 = degradations.remove_color(frame_LYX3, 0.25)
  np.testing.assert_allclose(half_LYX3, 0.75 * frame_LYX3 + 0.25 * grey_LYX[..., None], rtol=1e-6)
  np.testing.assert_array_equal(degradations.remove_color(frame_LYX3, 0.0), frame_LYX3)


def test_blur_is_a_gaussian_filter_of_height_and_width():
  frame_LYX3 = np.random.default_rng(0).random((3, 9, 9, 3), np.float32)
  expected_LYX3 = scipy.ndimage.gaussian_filter(frame_LYX3, (0, 1.5, 1.5, 0), mode='nearest')
  np.testing.assert_array_equal(degradations.blur(frame_LYX3, 1.5), expected_LYX3)
  planes = np.moveaxis(frame_LYX3, -1, 0)
  np.testing.assert_array_equal(
    degradations.blur(planes, 1.5, axes=(2, 3)), np.moveaxis(expected_LYX3, -1, 0)
  )


def test_shift_moves_each_frame_down_and_right():
  frame_LYX = np.zeros((2, 4, 4), np.float32)
  frame_LYX[:, 0, 0] = 1
  degradations.shift(frame_LYX, np.array([[0, 0], [1, -1]]))
  assert frame_LYX[0, 0, 0] == 1 and frame_LYX[1, 1, 3] == 1 and frame_LYX.sum() == 2


def test_vignette_darkens_sides_by_its_strength_and_corners_by_twice_that():
  gain_YX = degradations.vignette_gain(5, 0.25)
  assert (gain_YX[2, 2], gain_YX[2, 0], gain_YX[4, 2], gain_YX[0, 4]) == (1, 0.75, 0.75, 0.5)


def test_grain_is_taken_from_the_table():
  noise_LYX = degradations.grain(np.arange(100.0), [7, 90], 2, 3)
  assert noise_LYX.tolist() == [[[7, 8, 9], [10, 11, 12]], [[90, 91, 92], [93, 94, 95]]]


def test_lines_are_added_and_specks_are_set():
  frame_YX = np.full((180, 180), 0.5, np.float32)
  degradations.add_line(frame_YX, 10, 0.25)
  degradations.add_speck(frame_YX, 100, 50, 0.05)
  assert (frame_YX[:, 10:12] == 0.75).all() and (frame_YX[100:104, 50:54] == np.float32(0.05)).all()
  assert (frame_YX != 0.5).sum() == 180 * 2 + 4 * 4
