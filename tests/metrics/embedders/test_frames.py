"""Scaling of pictures against torch's, and which pictures are taken."""

import numpy as np
import pytest

from v2a.metrics.embedders import frames


def test_stretched_as_torch_interpolates():
  # Of torch 2.13.0 `interpolate(..., mode='bilinear', align_corners=False)`, pictures 0 and 1 of nine.
  frame_LYX3 = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
  small_YX3, large_YX3 = frames.resize_square(frame_LYX3[0], 13), frames.resize_square(frame_LYX3[1], 224)
  np.testing.assert_array_equal(small_YX3[3, 4], [91, 101, 28])
  np.testing.assert_array_equal(large_YX3[100, 37], [118, 179, 135])
  assert small_YX3.shape == (13, 13, 3) and large_YX3.shape == (224, 224, 3)


def taken(frame_LYX3, fps: float, num: int) -> list[int]:
  return [int(picture_YX3[0, 0, 0]) for picture_YX3 in frames.Frames(frame_LYX3, fps).frames_at_fps(25, num)]


def test_the_last_picture_stays():
  frame_LYX3 = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
  assert taken(frame_LYX3, 10.0, 9) == [0, 0, 0, 1, 1, 2, 2, 2, 2]


def test_the_shorter_side_counts():
  picture_YX3 = np.zeros((30, 50, 3), np.uint8)
  assert frames.resize_short_side(picture_YX3, 21).size == (35, 21)
  assert frames.resize_short_side(picture_YX3.swapaxes(0, 1), 21).size == (21, 35)


def test_the_shorter_side_as_torch_interpolates():
  # Of torch 2.13.0 `interpolate(..., mode='bicubic', antialias=True)` on uint8, as torchvision's Resize.
  picture_YX3 = np.random.default_rng(3).integers(0, 256, (2, 48, 70, 3), dtype=np.uint8)[0]
  found_YX3 = np.asarray(frames.resize_short_side(picture_YX3, 224)).astype(int)
  assert found_YX3.shape == (224, 326, 3)
  known = [[121, 167, 49], [141, 99, 190], [165, 154, 163]]
  np.testing.assert_allclose(found_YX3[100, [0, 17, 200]], known, atol=1)


@pytest.mark.parametrize(
  ('fps', 'wanted'),
  [(30, [0, 1, 2, 4, 5, 6]), (25, [0, 1, 2, 3, 4, 5]), (50, [0, 2, 4, 6, 8, 10]), (12.5, [0, 0, 1, 1, 2, 2])],
)
def test_pictures_are_those_of_ffmpeg(fps, wanted):
  frame_LYX3 = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
  assert taken(frame_LYX3, fps, 6) == wanted
  assert taken(frame_LYX3[:2], fps, 6)[-1] == 1
