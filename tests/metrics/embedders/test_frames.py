"""Frames in memory: which ones are selected at a frame rate."""

import numpy as np
import pytest

from v2a.metrics.embedders import frames


def selected(frame_LYX3, fps: float, num: int) -> list[int]:
  """Returns the values of the first pixels of `num` frames at 25 frames per second."""
  return [int(frame_YX3[0, 0, 0]) for frame_YX3 in frames.Frames(frame_LYX3, fps).frames_at_fps(25, num)]


def test_last_frame_is_repeated():
  frame_LYX3 = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
  assert selected(frame_LYX3, 10.0, 9) == [0, 0, 0, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(
  ('fps', 'expected'),
  [(30, [0, 1, 2, 4, 5, 6]), (25, [0, 1, 2, 3, 4, 5]), (50, [0, 2, 4, 6, 8, 10]), (12.5, [0, 0, 1, 1, 2, 2])],
)
def test_selected_frames_are_those_of_ffmpeg(fps, expected):
  frame_LYX3 = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
  assert selected(frame_LYX3, fps, 6) == expected
  assert selected(frame_LYX3[:2], fps, 6)[-1] == 1


@pytest.mark.parametrize(
  ('frame_LYX3', 'fps', 'message'),
  [
    (np.zeros((1, 2, 2, 3)), 25.0, 'uint8 .*; got float64'),
    (np.zeros((1, 2, 2, 3), np.uint8), None, 'frame rate; got fps=None'),
  ],
)
def test_frames_of_a_wrong_type_or_without_a_rate_are_refused(frame_LYX3, fps, message):
  with pytest.raises(ValueError, match=message):
    frames.Frames(frame_LYX3, fps)
