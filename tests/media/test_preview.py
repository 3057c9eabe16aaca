"""Previews show the frames of the source at their times, and play in browsers."""

import fractions

import av
import numpy as np
import pytest

from tests.media import films
from v2a.media import preview
from v2a.media import probe

F = fractions.Fraction


def written(path) -> list[tuple[F, np.ndarray]]:
  """Returns time and frame of each frame of a file."""
  with av.open(str(path)) as container:
    return [
      (frame.pts * frame.time_base, frame.to_ndarray(format='rgb24')) for frame in container.decode(video=0)
    ]


def source(path, times, size=(64, 96), **options):
  """Writes numbered frames at given times."""
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('mpeg4', time_base=F(1, 1000), rate=1000)
    stream.height, stream.width = size
    stream.codec_context.sample_aspect_ratio = options.get('pixel_aspect', F(1))
    for number, time_s in enumerate(times):
      frame = av.VideoFrame.from_ndarray(films.numbered_frame(number, *size), format='rgb24')
      frame.pts, frame.time_base = round(time_s * 1000), F(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def test_frames_of_a_variable_rate_keep_their_times(tmp_path):
  times = [0.0, 0.04, 0.2, 0.21, 0.5, 0.9, 1.3]
  source(tmp_path / 'source.mkv', times)
  preview.write(tmp_path / 'x.mp4', preview.read_frames(tmp_path / 'source.mkv', F(1)), F(1))
  found = written(tmp_path / 'x.mp4')
  assert [films.frame_number(frame_YX3) for _, frame_YX3 in found] == list(range(6))
  np.testing.assert_allclose([float(time_s) for time_s, _ in found], times[:6], atol=1e-4)
  info = probe.probe(tmp_path / 'x.mp4')
  assert info.video_codec == 'h264' and info.duration_s == pytest.approx(1.0, abs=1e-4)
  assert not info.has_audio


@pytest.mark.parametrize(
  ('size', 'pixel_aspect', 'wanted'),
  [
    ((64, 96), F(1), (64, 96)),
    ((720, 1280), F(1), (360, 640)),
    ((360, 200), F(1), (360, 200)),
    ((240, 180), F(4, 3), (240, 240)),
  ],
)
def test_frames_have_square_pixels_and_a_bounded_size(size, pixel_aspect, wanted, tmp_path):
  source(tmp_path / 'source.mkv', [0.0], size, pixel_aspect=pixel_aspect)
  ((_, frame_YX3),) = preview.read_frames(tmp_path / 'source.mkv', F(1))
  assert frame_YX3.shape == (*wanted, 3)


def test_small_arrays_are_enlarged_without_smoothing(tmp_path):
  frame_LYX3 = np.zeros((10, 33, 32, 3), np.uint8)
  frame_LYX3[5:, :, 16:] = 255
  frames = list(preview.array_frames(frame_LYX3, 10.0))
  assert [time_s for time_s, _ in frames] == [F(k, 10) for k in range(10)]
  assert frames[0][1].shape == (33 * 6, 32 * 6, 3) and set(np.unique(frames[9][1])) == {0, 255}
  preview.write(tmp_path / 'x.mp4', frames, F(1))
  is_white = [frame_YX3[:, 150:].mean() > 128 for _, frame_YX3 in written(tmp_path / 'x.mp4')]
  assert is_white == [False] * 5 + [True] * 5


def test_no_frames_are_refused(tmp_path):
  with pytest.raises(ValueError, match='at least one frame'):
    preview.write(tmp_path / 'x.mp4', [], F(1))
