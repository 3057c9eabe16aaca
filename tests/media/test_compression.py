"""H.264 round trip in memory: same frames in the same order, with errors that grow with the factor."""

import numpy as np
import pytest

from v2a.media import compression
from v2a.synthetic import clips


def test_errors_grow_with_the_factor_and_frames_keep_their_order():
  frame_LYX3 = clips.render(
    5, 0, scenes=('bounce',), corruption='clean', clip_s=2.0, frame_size=32
  ).frame_LYX3
  errors = []
  for crf in (1, 24, 36, 51):
    out_LYX3 = compression.h264_round_trip(frame_LYX3, 25, crf)
    assert out_LYX3.shape == frame_LYX3.shape and out_LYX3.dtype == np.uint8
    errors.append(np.abs(out_LYX3.astype(float) - frame_LYX3).mean())
  assert errors[0] < 3 and errors == sorted(errors) and errors[-1] > 2 * errors[0]
  ramp_LYX3 = np.broadcast_to(np.arange(0, 250, 10, dtype=np.uint8)[:, None, None, None], (25, 16, 16, 3))
  level_L = compression.h264_round_trip(ramp_LYX3, 25, 20).mean(axis=(1, 2, 3))
  np.testing.assert_allclose(level_L, np.arange(0, 250, 10), atol=6)


def test_the_result_is_deterministic():
  frame_LYX3 = np.cumsum(np.random.default_rng(0).normal(0, 4, (50, 18, 18, 3)), axis=0) + 128
  frame_LYX3 = frame_LYX3.clip(0, 255).astype(np.uint8)
  assert len({compression.h264_round_trip(frame_LYX3, 25, 30).tobytes() for _ in range(50)}) == 1


@pytest.mark.parametrize(('shape', 'crf', 'message'), [
  ((3, 16, 16, 3), 52, 'crf must lie in 0..51; got 52'),
  ((3, 15, 16, 3), 20, 'of even size; got uint8 of'),
  ((0, 16, 16, 3), 20, 'of even size'),
])  # fmt: skip
def test_frames_that_cannot_be_encoded_are_refused(shape, crf, message):
  with pytest.raises(ValueError, match=message):
    compression.h264_round_trip(np.zeros(shape, np.uint8), 25, crf)
