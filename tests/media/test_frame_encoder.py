"""Written videos have the given frames, size and rate."""

import numpy as np
import pytest

from v2a.media import frame_encoder
from v2a.media import probe
from v2a.media import read


@pytest.mark.parametrize('fps', [12.5, 25, 30000 / 1001])
def test_video_has_the_frames(fps, tmp_path):
  path = tmp_path / 'video.mp4'
  value_L = np.arange(8, dtype=np.uint8) * 30
  frame_LYX3 = np.broadcast_to(value_L[:, None, None, None], (8, 64, 96, 3)).copy()
  frame_encoder.write(path, iter(frame_LYX3), fps, {'crf': '10'})
  found = probe.probe(path)
  assert (found.width, found.height, found.has_audio) == (96, 64, False)
  assert found.fps == pytest.approx(fps, rel=1e-9)
  assert found.duration_s == pytest.approx(8 / fps, abs=1e-3)
  decoded_LYX3 = read.frames(path, fps, 64, 0.0, 8 / fps)
  np.testing.assert_allclose(decoded_LYX3.mean(axis=(1, 2, 3)), value_L, atol=4)


def test_a_video_needs_frames(tmp_path):
  with pytest.raises(ValueError, match='at least one frame'):
    frame_encoder.write(tmp_path / 'video.mp4', [], 25, {})
