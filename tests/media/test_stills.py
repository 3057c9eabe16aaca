"""Still images of every format are read as viewers show them, in size and orientation; bad ones raise."""

import pathlib
import struct
import zlib

import av
import numpy as np
from PIL import Image
import pytest

from tests.media import films
from tests.media import images
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import stills
from v2a.media import write

SAMPLES = pathlib.Path(__file__).parents[3] / 'shared' / 'cases'


@pytest.mark.parametrize('suffix', images.KINDS)
def test_a_still_image_of_every_format(tmp_path, suffix):
  container, codec, options = images.KINDS[suffix]
  path = tmp_path / f'still{suffix}'
  images.quarters().save(path, **options)
  info = probe.probe(path)
  assert (info.container, info.video_codec, info.width, info.height) == (container, codec, 97, 65)
  assert info.is_image and not info.is_animation and info.duration_s == 0 and not info.has_audio
  expected = images.COLOURS
  assert np.abs(images.corners(images.shown(path)) - expected).max() <= 4
  frame_LYX3 = read.frames(path, 25, 32, 3.0, 0.4)
  assert frame_LYX3.shape == (10, 32, 32, 3) and np.abs(images.corners(frame_LYX3[9]) - expected).max() <= 4
  assert not read.wave(path, 16000, 1, 0.0, 0.5).any()
  with pytest.raises(errors.MediaError, match='still image; wanted duration_s'):
    read.frames(path, 25, 32)
  out = probe.probe(images.muxed(path))
  assert (out.video_codec, out.width, out.height) == ('h264', 98, 66)
  assert out.duration_s == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (33, 17), (34, 18)])
def test_odd_sizes_keep_the_whole_image(tmp_path, size):
  path = tmp_path / 'odd.png'
  shown_YX3 = np.full((size[1], size[0], 3), 128, np.uint8)
  shown_YX3[:, -1] = shown_YX3[-1] = 235
  Image.fromarray(shown_YX3).save(path)
  got_YX3 = images.shown(images.muxed(path))
  assert got_YX3.shape[:2] == (-(-size[1] // 2) * 2, -(-size[0] // 2) * 2)
  expected_YX3 = np.pad(shown_YX3, ((0, size[1] % 2), (0, size[0] % 2), (0, 0)), mode='edge')
  assert np.abs(got_YX3.astype(int) - expected_YX3).max() <= 12


@pytest.mark.parametrize('name', ['series%d.png', '50%d.ppm', 'still.mp4', 'still', 'photo.heic'])
def test_the_format_is_detected_from_the_content(tmp_path, name):
  path, format_name = tmp_path / name, 'PPM' if name.endswith('ppm') else 'PNG'
  images.quarters().save(path, format_name)
  # Files that a file name pattern would match.
  for number in (0, 1):
    Image.new('RGB', (20, 10), 'black').save(tmp_path / name.replace('%d', str(number)), format_name)
  if '%' not in name:
    images.quarters().save(path, format_name)
  info = probe.probe(path)
  assert info.is_image and (info.width, info.height) == (97, 65)
  assert np.abs(images.corners(images.shown(path)) - images.COLOURS).max() <= 1


def test_tiles_are_assembled(tmp_path):
  """Phones write HEIC in tiles."""
  path = tmp_path / 'grid.heic'
  images.quarters(200, 300).save(path, quality=95, tile_size=64)
  info = probe.probe(path)
  assert info.is_image and (info.width, info.height) == (300, 200)
  assert np.abs(images.corners(images.shown(path)) - images.COLOURS).max() <= 6


@pytest.mark.parametrize('name', ['grid.avif', 'photo.heic', 'still.avif', 'anim.avif', 'anim.webp'])
def test_images_of_other_encoders(name):
  path = SAMPLES / name
  if not path.is_file():
    pytest.skip(f'{path} is not here')
  info = probe.probe(path)
  size, is_image, length_s = {
    'grid.avif': ((1024, 1024), True, 0.0),
    'photo.heic': ((2048, 1536), True, 0.0),
    'still.avif': ((201, 151), True, 0.0),
    'anim.avif': ((120, 90), False, 1.2),
    'anim.webp': ((120, 90), False, 1.2),
  }[name]
  assert ((info.width, info.height), info.is_image, info.duration_s) == (size, is_image, length_s)
  if is_image and name != 'still.avif':
    # A ramp over the whole image, from dark at the top left to bright at the bottom right.
    grey = images.corners(images.shown(path)).sum(axis=1)
    assert grey[0] < 60 and grey[3] > 500


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tiff', '.avif', '.heic'])
@pytest.mark.parametrize(
  ('mark', 'order'),
  [(1, 'RGBY'), (2, 'GRYB'), (3, 'YBGR'), (4, 'BYRG'), (5, 'RBGY'), (6, 'BRYG'), (7, 'YGBR'), (8, 'GYRB')],
)
def test_every_orientation_in_every_format(tmp_path, suffix, mark, order):
  """Corners top left, top right, bottom left, bottom right as shown, by EXIF (JEITA CP-3451, 4.6.4)."""
  path = tmp_path / f'turned{suffix}'
  exif = Image.Exif()
  exif[0x0112] = mark
  images.quarters(64, 96).save(path, exif=exif.tobytes(), **images.KINDS[suffix][2])
  info = probe.probe(path)
  assert (info.width, info.height) == ((64, 96) if mark > 4 else (96, 64))
  shown_YX3 = images.shown(path)
  assert shown_YX3.shape[:2] == (info.height, info.width)
  expected = [
    {'R': images.RED, 'G': images.GREEN, 'B': images.BLUE, 'Y': images.GREY}[letter] for letter in order
  ]
  assert np.abs(images.corners(shown_YX3) - expected).max() <= 6


def test_fitted_size_is_the_largest_that_players_support():
  assert stills.fitted_size(97, 65) == (97, 65)
  assert stills.fitted_size(4096, 2304) == (4096, 2304)
  assert stills.fitted_size(20000, 9000) == (4096, 1843)
  assert stills.fitted_size(9000, 20000) == (1843, 4096)
  width, height = stills.fitted_size(12000, 9000)
  assert -(-width // 16) * -(-height // 16) <= 36864 and width / height == pytest.approx(4 / 3, abs=1e-3)
  assert stills.fitted_size(60000, 1) == (4096, 1)


@pytest.mark.parametrize('name', ['large.jpg', 'large.png'])
def test_a_large_image_is_downscaled(tmp_path, name):
  path = tmp_path / name
  images.quarters(1100, 10000).save(path)
  info = probe.probe(path)
  assert (info.width, info.height) == (10000, 1100)
  shown_YX3 = images.shown(path)
  assert shown_YX3.shape == (451, 4096, 3)
  # Complete and undistorted: the borders of the quarters stay in the middle.
  for pixel, colour in (
    ((224, 2046), images.RED),
    ((224, 2049), images.GREEN),
    ((227, 2046), images.BLUE),
    ((227, 2049), images.GREY),
  ):
    assert np.abs(shown_YX3[pixel].astype(int) - colour).max() <= 40, pixel
  assert np.abs(images.corners(shown_YX3) - images.COLOURS).max() <= 4
  out = write.mux(path, films.clicks(0.4, 16000), 16000, tmp_path / 'out.mp4')
  assert out.not_copied == ('the full size of the image (10000 x 1100, shown at 4096 x 451)',)
  with av.open(str(out.path)) as container:
    assert (container.streams.video[0].width, container.streams.video[0].height) == (4096, 452)


def _chunk(kind: bytes, data: bytes) -> bytes:
  return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def test_too_many_pixels_are_refused_in_one_line(tmp_path):
  head = struct.pack('>IIBBBBB', 30000, 20000, 1, 0, 0, 0, 0)
  for name, data in {
    'bomb.png': b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', head) + _chunk(b'IDAT', b'') + _chunk(b'IEND', b''),
    'bomb.ppm': b'P6 30000 20000 255\n' + bytes(100),
    'bomb.webp': b'RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0' + b'\xfe\x3f\0' * 2 + bytes(30),
  }.items():
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(errors.MediaError, match=f'{name}: ') as caught:
      probe.probe(path)
    assert '\n' not in str(caught.value)
    if name != 'bomb.ppm':
      assert 'has too many pixels' in str(caught.value) and '200 million' in str(caught.value)


@pytest.mark.parametrize('suffix', images.KINDS)
def test_a_damaged_image_is_refused(tmp_path, suffix):
  path = tmp_path / f'cut{suffix}'
  rng = np.random.default_rng(0)
  Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)).save(path, **images.KINDS[suffix][2])
  path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
  for reader in (probe.probe, images.shown, images.muxed):
    with pytest.raises(errors.MediaError, match=f'cut{suffix}: ') as caught:
      reader(path)
    assert '\n' not in str(caught.value)
  assert [child.name for child in tmp_path.iterdir()] == [path.name]


def test_a_motion_photo_is_an_image(tmp_path):
  """Phones append a video to the photo."""
  path, video = tmp_path / 'photo.jpg', films.make(tmp_path / 'video', 'mp4')
  images.quarters().save(path, **images.KINDS['.jpg'][2])
  path.write_bytes(path.read_bytes() + video.read_bytes())
  assert probe.probe(path).is_image
  assert np.abs(images.corners(images.shown(path)) - images.COLOURS).max() <= 4


@pytest.mark.parametrize('suffix', ['.avif', '.heic'])
def test_tiles_are_not_left_to_ffmpeg(tmp_path, suffix):
  """FFmpeg would read a single tile of a file that Pillow cannot open."""
  path = tmp_path / f'grid{suffix}'
  images.quarters(128, 128).save(path, **images.KINDS[suffix][2])
  path.write_bytes(path.read_bytes().replace(b'pitm', b'pitx', 1))
  with pytest.raises(errors.MediaError, match=f'grid{suffix}: the image cannot be decoded: '):
    probe.probe(path)


def test_a_raw_camera_file_is_refused(tmp_path):
  """Its first image is a thumbnail."""
  images.quarters().save(tmp_path / 'photo.dng', 'TIFF', tiffinfo={254: 1})
  with pytest.raises(errors.MediaError, match='photo.dng: is a raw camera file; wanted an image'):
    probe.probe(tmp_path / 'photo.dng')


def test_jpeg_xl_is_refused_by_its_name(tmp_path):
  path = tmp_path / 'still.jxl'
  path.write_bytes(
    bytes.fromhex(
      'ff0a41060012880200d4005de5120000152aa38c1bbc9cebf9f24387c5b48deb0c6db56d6149a2c838364927704812abc0c605188601'
      '02307389610f8ca69204'
    )
  )
  with pytest.raises(errors.MediaError, match='still.jxl: is JPEG XL, for which there is no decoder'):
    probe.probe(path)
