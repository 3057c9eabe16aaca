"""Animations and image sequences: their frames, durations and canvas, and what counts as a video."""

import fractions
import io
import struct

import numpy as np
from PIL import Image
import pytest

from tests.media import films
from tests.media import images
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import stills


@pytest.mark.parametrize('suffix', images.ANIMATIONS)
def test_an_animation_of_every_format(tmp_path, suffix):
  path = tmp_path / f'moving{suffix}'
  first, *others = (Image.fromarray(films.numbered_frame(index)) for index in range(12))
  lengths_ms = [100, 200, 40, 60] * 3
  first.save(
    path, save_all=True, append_images=others, duration=lengths_ms, loop=0, **images.ANIMATIONS[suffix]
  )
  info = probe.probe(path)
  assert info.is_animation and not info.is_image and info.duration_s == 1.2 and info.fps == 10
  expected = np.repeat(np.arange(12), np.array(lengths_ms) // 20)
  found = [films.frame_number(frame_YX3) for frame_YX3 in read.frames(path, 50, 64)]
  assert found == list(expected)
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.iterate_full_size_frames(path, 50, 60)] == list(
    expected
  )
  assert not read.wave(path, 16000, 1).any()
  # A longer duration ends with the animation; segments are exact.
  for segment, start, end in (((0.0, 9.0), 0, 60), ((0.3, 0.5), 15, 40)):
    out = images.muxed(path, *segment)
    assert probe.probe(out).duration_s == pytest.approx((end - start) / 50, abs=0.01)
    frame_LYX3 = read.frames(out, 50, 64, 0.0, (end - start) / 50)
    assert [films.frame_number(frame_YX3) for frame_YX3 in frame_LYX3] == list(expected[start:end])
  with pytest.raises(errors.MediaError, match=r'lasts 1.200 s; wanted a start before that'):
    read.frames(path, 25, 16, 1.5, 1.0)


def test_frames_without_a_duration_last_as_in_browsers(tmp_path):
  path = tmp_path / 'fast.gif'
  first, *others = (Image.fromarray(films.numbered_frame(index)) for index in range(4))
  first.save(path, save_all=True, append_images=others, duration=[0, 10, 20, 30])
  lengths_s = [length_s for _, length_s, _ in stills.frames(path)]
  assert lengths_s == [
    fractions.Fraction(1, 10),
    fractions.Fraction(1, 10),
    fractions.Fraction(1, 50),
    fractions.Fraction(3, 100),
  ]


def test_the_default_image_of_an_animation_is_not_shown(tmp_path):
  path = tmp_path / 'moving.png'
  frames = [Image.fromarray(films.numbered_frame(index)) for index in range(3)]
  Image.fromarray(films.numbered_frame(99)).save(
    path, save_all=True, append_images=frames, duration=100, default_image=True
  )
  assert [films.frame_number(shown_YX3) for _, _, shown_YX3 in stills.frames(path)] == [0, 1, 2]


@pytest.mark.parametrize('suffix', images.ANIMATIONS)
def test_a_damaged_animation_is_refused(tmp_path, suffix):
  path = tmp_path / f'cut{suffix}'
  rng = np.random.default_rng(0)
  first, *others = (Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)) for _ in range(5))
  first.save(path, save_all=True, append_images=others, duration=100, **images.ANIMATIONS[suffix])
  path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
  with pytest.raises(errors.MediaError, match=f'cut{suffix}: '):
    probe.probe(path)


def test_motion_jpeg_is_a_video_and_an_indexed_one_an_image(tmp_path):
  motion_jpeg, indexed = tmp_path / 'motion.mjpeg', tmp_path / 'indexed.jpg'
  parts = []
  for index in range(25):
    buffer = io.BytesIO()
    Image.fromarray(films.numbered_frame(index)).save(buffer, 'JPEG', quality=90)
    parts.append(buffer.getvalue())
  motion_jpeg.write_bytes(b''.join(parts))
  info = probe.probe(motion_jpeg)
  assert not info.is_image and info.duration_s == 1.0
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(motion_jpeg, 25, 32)] == list(range(25))
  Image.fromarray(films.numbered_frame(5)).save(
    indexed, 'MPO', save_all=True, append_images=[images.quarters(64, 96)]
  )
  assert probe.probe(indexed).is_image and films.frame_number(images.shown(indexed)) == 5


def test_a_sequence_with_audio_is_a_video(tmp_path):
  path = films.make(tmp_path / 'video', 'mp4-av1', wave_NA=films.clicks(2.0, 48000))
  path.write_bytes(path.read_bytes().replace(b'ftypisom', b'ftypavis', 1))
  assert stills.image_format(path) is None
  info = probe.probe(path)
  assert info.has_audio and not info.is_animation and info.duration_s == pytest.approx(2.0)


def test_a_sequence_is_read_from_its_track_and_not_from_its_cover(tmp_path):
  path = tmp_path / 'moving.heics'
  first, *others = (Image.fromarray(films.numbered_frame(index)) for index in range(10))
  first.save(path, 'AVIF', save_all=True, append_images=others, duration=100, **images.LOSSLESS)
  # Pillow does not support sequences of HEIC, whose brand this is.
  path.write_bytes(path.read_bytes().replace(b'ftypavis', b'ftyphevc', 1))
  info = probe.probe(path)
  assert not info.is_image and info.duration_s == pytest.approx(1.0)
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(path, 10, 32)] == list(range(10))


def _gif_frame(left: int, top: int, width: int, height: int) -> bytes:
  """Returns a frame of 100 ms in the second colour, each pixel after a clear code (GIF89a, appendix F)."""
  codes = [code for _ in range(width * height) for code in (4, 1)] + [5]
  bits = np.array([code >> bit & 1 for code in codes for bit in range(3)], np.uint8)
  data = np.packbits(bits, bitorder='little').tobytes()
  blocks = b''.join(
    bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)
  )
  head = b'\x21\xf9\x04\x04\x0a\0\0\0\x2c' + struct.pack('<HHHHB', left, top, width, height, 0)
  return head + b'\x02' + blocks + b'\0'


def test_frames_of_an_animation_are_cropped_to_its_canvas(tmp_path):
  path = tmp_path / 'beyond.gif'
  canvas = b'GIF89a' + struct.pack('<HHBBB', 16, 12, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
  frames = _gif_frame(0, 0, 16, 12), _gif_frame(8, 6, 30, 20), _gif_frame(0, 0, 4, 4)
  path.write_bytes(canvas + b''.join(frames) + b';')
  assert [shown_YX3.shape for _, _, shown_YX3 in stills.frames(path)] == [(12, 16, 3)] * 3
  assert probe.probe(images.muxed(path)).duration_s == pytest.approx(0.3, abs=0.01)
