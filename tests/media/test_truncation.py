"""A wrong duration in the header of a complete file is accepted; a truncated file is refused."""

import fractions
import pathlib
import struct

import av
import pytest

from tests.media import films
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import truncation
from v2a.media import write

DURATION_S = 4.0


def _video(folder: pathlib.Path, suffix: str) -> pathlib.Path:
  """Returns a video of 4 s, 25 frames per second, with audio."""
  path = folder / f'video{suffix}'
  video, audio = ('wmv2', 'wmav2') if suffix == '.wmv' else ('libx264', 'aac')
  with av.open(str(path), 'w') as output:
    video_stream = output.add_stream(video, rate=25, width=96, height=64, pix_fmt='yuv420p', bit_rate=400000)
    audio_stream = output.add_stream(audio, rate=44100, layout='stereo', bit_rate=128000)
    for index in range(round(DURATION_S * 25)):
      frame = av.VideoFrame.from_ndarray(films.numbered_frame(index), 'rgb24')
      frame.pts, frame.time_base = index, fractions.Fraction(1, 25)
      output.mux(video_stream.encode(frame))
    output.mux(video_stream.encode(None))
    wave_NA, size = films.clicks(DURATION_S, 44100), audio_stream.codec_context.frame_size
    for start in range(0, len(wave_NA) - size, size):
      block = av.AudioFrame.from_ndarray(wave_NA[start : start + size].T.copy(), 'fltp', 'stereo')
      block.sample_rate, block.pts, block.time_base = 44100, start, fractions.Fraction(1, 44100)
      output.mux(audio_stream.encode(block))
    output.mux(audio_stream.encode(None))
  return path


# Suffix -> (bytes before the duration, gap, its layout): the first occurrence of each is changed.
LENGTHS = {
  '.flv': [(b'duration\0', 0, '>d')],
  '.mkv': [(b'\x44\x89\x88', 0, '>d')],
  '.wmv': [(bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365'), 48, '<Q')],
  '.avi': [(b'vidsMJPG', 24, '<I'), (b'vidsH264', 24, '<I'), (b'vidsFMP4', 24, '<I')],
  '.mp4': [(b'mvhd', 16, '>I'), (b'mdhd', 16, '>I'), (b'tkhd', 20, '>I')],
}


def _scale_duration(path: pathlib.Path, factor: int) -> None:
  data = bytearray(path.read_bytes())
  num_changed = 0
  for before, gap, layout in LENGTHS[path.suffix]:
    at = data.find(before)
    if at >= 0:
      at += len(before) + gap
      struct.pack_into(layout, data, at, struct.unpack_from(layout, data, at)[0] * factor)
      num_changed += 1
  assert num_changed
  path.write_bytes(data)


@pytest.mark.parametrize('suffix', LENGTHS)
def test_a_wrong_duration_in_the_header_is_accepted(tmp_path, suffix):
  path = _video(tmp_path, suffix)
  _scale_duration(path, 10)
  info = probe.probe(path)
  assert info.duration_s == pytest.approx(DURATION_S, abs=0.1)
  numbers = [films.frame_number(frame_YX3) for frame_YX3 in read.frames(path, 25, 32)]
  assert numbers[:100] == list(range(100))
  out = write.mux(path, films.clicks(DURATION_S, 16000), 16000, tmp_path / 'out' / 'out.mp4').path
  assert probe.probe(out).duration_s == pytest.approx(DURATION_S, abs=0.1)


@pytest.mark.parametrize('fraction', [0.7, 0.5])
@pytest.mark.parametrize('suffix', LENGTHS)
def test_a_truncated_file_is_refused(tmp_path, suffix, fraction):
  path = _video(tmp_path, suffix)
  with path.open('r+b') as file:
    file.truncate(int(path.stat().st_size * fraction))
  with pytest.raises(errors.MediaError, match=f'video{suffix}: is (cut short|an MP4 file without its index)'):
    probe.probe(path)


def test_an_flv_file_truncated_between_two_tags_is_refused(tmp_path):
  """Its end is that of a complete file, but its header states the number of bytes."""
  path = _video(tmp_path, '.flv')
  data = path.read_bytes()
  # 9 bytes of header; a tag is 11 bytes, its data, and its length again (FLV specification, annex E).
  at = 9 + 4
  while at < len(data) // 2:
    at += 11 + int.from_bytes(data[at + 1 : at + 4], 'big') + 4
  path.write_bytes(data[:at])
  with pytest.raises(errors.MediaError, match='video.flv: is cut short'):
    probe.probe(path)
  assert truncation.is_truncated(path, 'flv')


def test_a_file_of_unknown_size_is_accepted(tmp_path):
  """A streamed Matroska file has a Segment of unknown size, so it cannot be known to be truncated."""
  path = _video(tmp_path, '.mkv')
  data = path.read_bytes()
  at = data.index(b'\x18\x53\x80\x67') + 4
  assert not truncation.is_truncated(path, 'matroska,webm')
  path.write_bytes(data[:at] + b'\x01' + b'\xff' * 7 + data[at + 8 :])
  assert not truncation.is_truncated(path, 'matroska,webm')
  assert truncation.is_truncated(path, 'mpegts') is None
  assert probe.probe(path).duration_s == pytest.approx(DURATION_S, abs=0.1)
