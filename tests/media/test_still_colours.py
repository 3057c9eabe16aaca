"""Colours of still images: profiles, modes, transparency, and the tags of the written video."""

import fractions

import av
import numpy as np
from PIL import Image
import pytest

from tests.media import films
from tests.media import images
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import write


def test_colours_of_the_video_are_those_of_the_image(tmp_path):
  """Untagged BT.709 is shown as BT.601: (30, 200, 30) becomes (42, 228, 34)."""
  path = tmp_path / 'still.png'
  images.quarters(151, 201).save(path)
  out = images.muxed(path)
  with av.open(str(out)) as container:
    stream = container.streams.video[0]
    frame = next(container.decode(stream))
    # 1 is BT.709 in all three, and the limited range.
    tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    assert tags == (1, 1, 1, 1)
    frame_YX3 = frame.to_ndarray(format='rgb24')
  assert np.abs(images.corners(frame_YX3) - images.COLOURS).max() <= 3
  # Also in the container, for players that do not parse the stream (ISO 14496-12, 12.1.5).
  assert b'colrnclx\0\x01\0\x01\0\x01\0' in out.read_bytes()


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'webp', 'gif', 'avif', 'tiff'])
def test_transparent_pixels_are_white(tmp_path, mode):
  colour_YX4 = np.zeros((40, 60, 4), np.uint8)
  colour_YX4[..., :3] = 90
  colour_YX4[:, 30:, 3] = 255
  image = Image.fromarray(colour_YX4)
  path = tmp_path / (f'clear.{mode}' if mode.islower() else 'clear.png')
  if mode in ('LA', 'P'):
    image = image.convert(mode)
  image.save(path, **({'lossless': True} if mode == 'webp' else images.LOSSLESS if mode == 'avif' else {}))
  expected = np.array([[255] * 3, [90] * 3] * 2)
  assert np.abs(images.corners(images.shown(path)) - expected).max() <= 4
  assert np.abs(images.corners(read.frames(path, 1, 20, 0.0, 1.0)[0]) - expected).max() <= 4
  out = write.mux(path, films.clicks(0.4, 16000), 16000, tmp_path / 'out.mp4')
  assert out.not_copied == ('transparency of the image (replaced by white)',)


def test_an_opaque_alpha_channel_is_not_reported_as_a_loss(tmp_path):
  path = tmp_path / 'screenshot.png'
  images.quarters().convert('RGBA').save(path)
  assert not write.mux(path, films.clicks(0.4, 16000), 16000, tmp_path / 'out.mp4').not_copied


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tiff', '.avif', '.heic'])
def test_colour_profiles_are_applied(tmp_path, suffix):
  path = tmp_path / f'wide{suffix}'
  images.quarters().save(path, icc_profile=images.swapped_profile(), **images.KINDS[suffix][2])
  assert np.abs(images.corners(images.shown(path)) - images.COLOURS[[1, 0, 2, 3]]).max() <= 6


def test_a_broken_profile_is_ignored(tmp_path):
  path = tmp_path / 'still.png'
  images.quarters().save(path, icc_profile=b'no profile')
  assert np.abs(images.corners(images.shown(path)) - images.COLOURS).max() <= 1


def test_modes_other_than_rgb_are_converted(tmp_path):
  ramp_YX = np.linspace(0, 255, 60).astype(np.uint8)[None].repeat(40, axis=0)
  expected_X = ramp_YX[0].astype(int)
  for name, image in (
    ('grey.png', Image.fromarray(ramp_YX)),
    ('deep.png', Image.fromarray(ramp_YX.astype(np.uint16) * 257)),
    ('deep.tiff', Image.fromarray(ramp_YX.astype(np.uint16) * 257)),
    ('print.jpg', Image.fromarray(ramp_YX).convert('RGB').convert('CMYK')),
    ('print.tiff', Image.fromarray(ramp_YX).convert('RGB').convert('CMYK')),
    ('palette.bmp', Image.fromarray(ramp_YX).convert('P')),
  ):
    image.save(tmp_path / name)
    assert np.abs(images.shown(tmp_path / name)[20].astype(int) - expected_X[:, None]).max() <= 4, name
  Image.fromarray(ramp_YX > 127).save(tmp_path / 'fax.tiff')
  assert set(images.shown(tmp_path / 'fax.tiff').ravel()) == {0, 255}
  Image.fromarray(ramp_YX.astype(np.float32)).save(tmp_path / 'heights.tiff')
  with pytest.raises(errors.MediaError, match='heights.tiff: .* it holds 32-bit numbers'):
    probe.probe(tmp_path / 'heights.tiff')
  with pytest.raises(errors.MediaError, match='heights.tiff: .* it holds 32-bit numbers'):
    images.shown(tmp_path / 'heights.tiff')


def test_a_named_profile_in_side_data_does_not_crash(tmp_path):
  """PyAV frees the name of the profile twice if side data of a frame are read, which crashed the program."""
  path = tmp_path / 'video.mov'
  with av.open(str(path), 'w') as output:
    stream = output.add_mux_stream('png', rate=5, width=97, height=65)
    exif = Image.Exif()
    exif[0x0112] = 6
    images.quarters().save(tmp_path / 'still.png', icc_profile=images.swapped_profile(), exif=exif)
    for index in range(5):
      packet = av.Packet((tmp_path / 'still.png').read_bytes())
      packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, fractions.Fraction(1, 5)
      packet.is_keyframe = True
      output.mux(packet)
  assert not probe.probe(path).is_image
  for _ in range(3):
    assert read.frames(path, 5, 32).shape == (5, 32, 32, 3)
