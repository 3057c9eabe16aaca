"""Frames of evaluation examples."""

import numpy as np

from v2a import clip as clip_lib
from v2a.data import examples

SPEC = clip_lib.ClipSpec(frame_size=16)


def test_resampled_frames_are_those_on_screen():
  frame_LYX3 = np.arange(100)[:, None, None, None].repeat(3, axis=3).astype(np.uint8)
  semantic_frame_MYX3, sync_frame_LYX3 = examples.resample_frames(frame_LYX3, 25, SPEC)
  assert semantic_frame_MYX3.shape[0] == 32
  np.testing.assert_array_equal(semantic_frame_MYX3[:, 0, 0, 0], np.arange(32) * 25 // 8)
  np.testing.assert_array_equal(sync_frame_LYX3[:, 0, 0, 0], np.arange(100))
