"""Copies of the video alone: exactly the segment, the same bytes twice, in whatever container holds it."""

import pathlib

import av
import pytest

from tests.media import copies
from tests.media import films
from v2a.media import audio_file
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import write


def numbers(path: pathlib.Path, start_s: float, num_frames: int) -> list[int]:
  """Returns the numbers that are painted on the frames from a time on."""
  frames = read.iterate_frames(path, 25, 32, start_s, num_frames / 25)
  return [films.frame_number(frame_YX3) for chunk_LYX3 in frames for frame_YX3 in chunk_LYX3]


@pytest.mark.parametrize(
  ('name', 'codec', 'pix_fmt', 'suffix'),
  [('a.mp4', 'libx264', 'yuv420p', '.mp4'), ('a.avi', 'utvideo', 'gbrp', '.mkv')],
)
@pytest.mark.parametrize(('start_s', 'num_frames'), [(0.0, 100), (1.2, 37)])
def test_the_copy_shows_the_segment(tmp_path, name, codec, pix_fmt, suffix, start_s, num_frames):
  path = copies.encode(tmp_path / name, codec, pix_fmt, 100)
  found = write.copy_video(path, tmp_path / 'copy', start_s, num_frames / 25)
  assert found.path == tmp_path / f'copy{suffix}'
  first = round(start_s * 25)
  assert numbers(found.path, found.start_s, num_frames) == list(range(first, first + num_frames))
  if suffix == '.mp4':
    assert found.start_s == 0 and probe.probe(found.path).duration_s == pytest.approx(
      num_frames / 25, abs=1e-3
    )


def test_only_the_video_is_copied(tmp_path):
  path = copies.tracks(tmp_path / 'a.mkv', title='A title')
  found = write.copy_video(path, tmp_path / 'copy')
  with av.open(str(found.path)) as written:
    assert [stream.type for stream in written.streams] == ['video']
    assert 'A title' not in str(written.metadata)


@pytest.mark.parametrize(
  ('name', 'codec', 'pix_fmt'), [('a.mp4', 'libx264', 'yuv420p'), ('a.avi', 'utvideo', 'gbrp')]
)
def test_equal_videos_give_equal_bytes(tmp_path, name, codec, pix_fmt):
  """Matroska files have random identifiers by default."""
  path = copies.encode(tmp_path / name, codec, pix_fmt)
  first, second = (write.copy_video(path, tmp_path / copy).path.read_bytes() for copy in ('b', 'c'))
  assert first == second


def test_a_sound_file_has_no_video(tmp_path):
  audio_file.flac(tmp_path / 'a.flac', films.clicks(1.0, 16000), 16000)
  with pytest.raises(errors.MediaError, match='no video stream'):
    write.copy_video(tmp_path / 'a.flac', tmp_path / 'copy')
  assert [path.name for path in tmp_path.iterdir()] == ['a.flac']
