"""The motion curve by hand, and against its definition over all frames at once."""

import numpy as np
import pytest

from v2a.media import motion


def test_motion_by_hand():
  frame_LYX3 = np.zeros((4, 2, 2, 3), np.uint8)
  frame_LYX3[1:, 0, 0] = 200
  frame_LYX3[3] = 50
  np.testing.assert_allclose(motion.curve(frame_LYX3), [0.0, 50.0, 0.0, (3 * 50 + 150) / 4])
  np.testing.assert_array_equal(motion.curve(frame_LYX3[:1]), [0.0])


def test_motion_is_the_mean_difference():
  frame_LYX3 = np.zeros((5, 4, 4, 3), np.uint8)
  frame_LYX3[2:] = 255
  frame_LYX3[4, :2] = 0
  np.testing.assert_allclose(motion.curve(frame_LYX3) / 255, [0.0, 0.0, 1.0, 0.0, 0.5])


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_frame_by_frame_equals_all_at_once(dtype):
  frame_LYX3 = np.random.default_rng(0).integers(0, 256, (9, 16, 24, 3)).astype(dtype)
  wide_LYX3 = frame_LYX3.astype(np.int16)
  expected_L = np.abs(np.diff(wide_LYX3, axis=0, prepend=wide_LYX3[:1])).mean(axis=(1, 2, 3))
  np.testing.assert_array_equal(motion.curve(frame_LYX3), expected_L)


def test_arrays_that_are_not_frames_are_refused():
  with pytest.raises(ValueError, match='needs at least one frame'):
    motion.curve(np.zeros((0, 4, 4, 3), np.uint8))
  with pytest.raises(ValueError, match='literal 3'):
    motion.curve(np.zeros((2, 4, 4, 1), np.uint8))
