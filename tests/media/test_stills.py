"""Still images and animations are read as viewers show them, and become videos of the same colours."""

import fractions
import io
import pathlib
import struct
import zlib

import av
import numpy as np
from PIL import Image
from PIL import ImageCms
import pillow_heif
import pytest

from tests.media import films
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import stills
from v2a.media import write

pillow_heif.register_heif_opener()

SAMPLES = pathlib.Path(__file__).parents[3] / 'shared' / 'cases'
RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 200, 30), (30, 30, 200), (240, 240, 240)
# Suffix -> (container and codec of probe, options of Pillow).
LOSSLESS = {'quality': 100, 'subsampling': '4:4:4'}
KINDS = {
  '.png': ('png', 'png', {}),
  '.jpg': ('jpeg', 'mjpeg', {'quality': 95, 'subsampling': 0}),
  '.webp': ('webp', 'webp', {'lossless': True}),
  '.gif': ('gif', 'gif', {}),
  '.bmp': ('bmp', 'bmp', {}),
  '.tiff': ('tiff', 'tiff', {'compression': 'tiff_lzw'}),
  '.avif': ('avif', 'av1', LOSSLESS),
  '.heic': ('heif', 'hevc', {'quality': 95, 'chroma': 444}),
}
ANIMATIONS = {'.gif': {}, '.png': {}, '.webp': {'lossless': True}, '.avif': LOSSLESS}


def quarters(height: int = 65, width: int = 97) -> Image.Image:
  """Returns an image of four colours."""
  shown_YX3 = np.empty((height, width, 3), np.uint8)
  shown_YX3[: height // 2, : width // 2], shown_YX3[: height // 2, width // 2 :] = RED, GREEN
  shown_YX3[height // 2 :, : width // 2], shown_YX3[height // 2 :, width // 2 :] = BLUE, GREY
  return Image.fromarray(shown_YX3)


def corners(frame_YX3: np.ndarray) -> np.ndarray:
  """Returns the colours near the corners: top left, top right, bottom left, bottom right."""
  return frame_YX3[[4, 4, -5, -5], [4, -5, 4, -5]].astype(int)


def shown(path: pathlib.Path) -> np.ndarray:
  """Returns the first frame of a file in its original size."""
  return next(read.iterate_full_size_frames(path, 1, 1))


def muxed(path: pathlib.Path, *part) -> pathlib.Path:
  """Returns the video of a file with new audio of 2 s."""
  return write.mux(path, films.clicks(2.0, 16000), 16000, path.with_suffix('.out.mp4'), 'replace', *part).path


@pytest.mark.parametrize('suffix', KINDS)
def test_a_still_image_of_every_format(tmp_path, suffix):
  container, codec, options = KINDS[suffix]
  path = tmp_path / f'still{suffix}'
  quarters().save(path, **options)
  info = probe.probe(path)
  assert (info.container, info.video_codec, info.width, info.height) == (container, codec, 97, 65)
  assert info.is_image and not info.is_animation and info.duration_s == 0 and not info.has_audio
  expected = np.array([RED, GREEN, BLUE, GREY])
  assert np.abs(corners(shown(path)) - expected).max() <= 4
  frame_LYX3 = read.frames(path, 25, 32, 3.0, 0.4)
  assert frame_LYX3.shape == (10, 32, 32, 3) and np.abs(corners(frame_LYX3[9]) - expected).max() <= 4
  assert not read.wave(path, 16000, 1, 0.0, 0.5).any()
  with pytest.raises(errors.MediaError, match='still image; wanted duration_s'):
    read.frames(path, 25, 32)
  out = probe.probe(muxed(path))
  assert (out.video_codec, out.width, out.height) == ('h264', 98, 66)
  assert out.duration_s == pytest.approx(2.0, abs=0.01)


def test_colours_of_the_video_are_those_of_the_image(tmp_path):
  """Untagged BT.709 is shown as BT.601: (30, 200, 30) becomes (42, 228, 34)."""
  path = tmp_path / 'still.png'
  quarters(151, 201).save(path)
  out = muxed(path)
  with av.open(str(out)) as container:
    stream = container.streams.video[0]
    frame = next(container.decode(stream))
    # 1 is BT.709 in all three, and the limited range.
    tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    assert tags == (1, 1, 1, 1)
    frame_YX3 = frame.to_ndarray(format='rgb24')
  assert np.abs(corners(frame_YX3) - [RED, GREEN, BLUE, GREY]).max() <= 3
  # Also in the container, for players that do not parse the stream (ISO 14496-12, 12.1.5).
  assert b'colrnclx\0\x01\0\x01\0\x01\0' in out.read_bytes()


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (33, 17), (34, 18)])
def test_odd_sizes_keep_the_whole_image(tmp_path, size):
  path = tmp_path / 'odd.png'
  shown_YX3 = np.full((size[1], size[0], 3), 128, np.uint8)
  shown_YX3[:, -1] = shown_YX3[-1] = 235
  Image.fromarray(shown_YX3).save(path)
  got_YX3 = shown(muxed(path))
  assert got_YX3.shape[:2] == (-(-size[1] // 2) * 2, -(-size[0] // 2) * 2)
  expected_YX3 = np.pad(shown_YX3, ((0, size[1] % 2), (0, size[0] % 2), (0, 0)), mode='edge')
  assert np.abs(got_YX3.astype(int) - expected_YX3).max() <= 12


@pytest.mark.parametrize('name', ['series%d.png', '50%d.ppm', 'still.mp4', 'still', 'photo.heic'])
def test_the_format_is_detected_from_the_content(tmp_path, name):
  path, format_name = tmp_path / name, 'PPM' if name.endswith('ppm') else 'PNG'
  quarters().save(path, format_name)
  # Files that a file name pattern would match.
  for number in (0, 1):
    Image.new('RGB', (20, 10), 'black').save(tmp_path / name.replace('%d', str(number)), format_name)
  if '%' not in name:
    quarters().save(path, format_name)
  info = probe.probe(path)
  assert info.is_image and (info.width, info.height) == (97, 65)
  assert np.abs(corners(shown(path)) - [RED, GREEN, BLUE, GREY]).max() <= 1


def test_tiles_are_assembled(tmp_path):
  """Phones write HEIC in tiles."""
  path = tmp_path / 'grid.heic'
  quarters(200, 300).save(path, quality=95, tile_size=64)
  info = probe.probe(path)
  assert info.is_image and (info.width, info.height) == (300, 200)
  assert np.abs(corners(shown(path)) - [RED, GREEN, BLUE, GREY]).max() <= 6


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
    grey = corners(shown(path)).sum(axis=1)
    assert grey[0] < 60 and grey[3] > 500


@pytest.mark.parametrize('suffix', ANIMATIONS)
def test_an_animation_of_every_format(tmp_path, suffix):
  path = tmp_path / f'moving{suffix}'
  first, *others = (Image.fromarray(films.numbered_frame(index)) for index in range(12))
  lengths_ms = [100, 200, 40, 60] * 3
  first.save(path, save_all=True, append_images=others, duration=lengths_ms, loop=0, **ANIMATIONS[suffix])
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
    out = muxed(path, *segment)
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


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'webp', 'gif', 'avif', 'tiff'])
def test_transparent_pixels_are_white(tmp_path, mode):
  colour_YX4 = np.zeros((40, 60, 4), np.uint8)
  colour_YX4[..., :3] = 90
  colour_YX4[:, 30:, 3] = 255
  image = Image.fromarray(colour_YX4)
  path = tmp_path / (f'clear.{mode}' if mode.islower() else 'clear.png')
  if mode in ('LA', 'P'):
    image = image.convert(mode)
  image.save(path, **({'lossless': True} if mode == 'webp' else LOSSLESS if mode == 'avif' else {}))
  expected = np.array([[255] * 3, [90] * 3] * 2)
  assert np.abs(corners(shown(path)) - expected).max() <= 4
  assert np.abs(corners(read.frames(path, 1, 20, 0.0, 1.0)[0]) - expected).max() <= 4
  out = write.mux(path, films.clicks(0.4, 16000), 16000, tmp_path / 'out.mp4')
  assert out.not_copied == ('transparency of the image (replaced by white)',)


def test_an_opaque_alpha_channel_is_not_reported_as_a_loss(tmp_path):
  path = tmp_path / 'screenshot.png'
  quarters().convert('RGBA').save(path)
  assert not write.mux(path, films.clicks(0.4, 16000), 16000, tmp_path / 'out.mp4').not_copied


def _swapped_profile() -> bytes:
  """Returns an ICC profile of sRGB with red and green swapped."""
  data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
  red, green = data.index(b'rXYZ', 128), data.index(b'gXYZ', 128)
  data[red : red + 4], data[green : green + 4] = b'gXYZ', b'rXYZ'
  return bytes(data)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tiff', '.avif', '.heic'])
def test_colour_profiles_are_applied(tmp_path, suffix):
  path = tmp_path / f'wide{suffix}'
  quarters().save(path, icc_profile=_swapped_profile(), **KINDS[suffix][2])
  assert np.abs(corners(shown(path)) - [GREEN, RED, BLUE, GREY]).max() <= 6


def test_a_broken_profile_is_ignored(tmp_path):
  path = tmp_path / 'still.png'
  quarters().save(path, icc_profile=b'no profile')
  assert np.abs(corners(shown(path)) - [RED, GREEN, BLUE, GREY]).max() <= 1


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
    assert np.abs(shown(tmp_path / name)[20].astype(int) - expected_X[:, None]).max() <= 4, name
  Image.fromarray(ramp_YX > 127).save(tmp_path / 'fax.tiff')
  assert set(shown(tmp_path / 'fax.tiff').ravel()) == {0, 255}
  Image.fromarray(ramp_YX.astype(np.float32)).save(tmp_path / 'heights.tiff')
  with pytest.raises(errors.MediaError, match='heights.tiff: .* it holds 32-bit numbers'):
    probe.probe(tmp_path / 'heights.tiff')
  with pytest.raises(errors.MediaError, match='heights.tiff: .* it holds 32-bit numbers'):
    shown(tmp_path / 'heights.tiff')


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
  quarters(64, 96).save(path, exif=exif.tobytes(), **KINDS[suffix][2])
  info = probe.probe(path)
  assert (info.width, info.height) == ((64, 96) if mark > 4 else (96, 64))
  shown_YX3 = shown(path)
  assert shown_YX3.shape[:2] == (info.height, info.width)
  expected = [{'R': RED, 'G': GREEN, 'B': BLUE, 'Y': GREY}[letter] for letter in order]
  assert np.abs(corners(shown_YX3) - expected).max() <= 6


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
  quarters(1100, 10000).save(path)
  info = probe.probe(path)
  assert (info.width, info.height) == (10000, 1100)
  shown_YX3 = shown(path)
  assert shown_YX3.shape == (451, 4096, 3)
  # Complete and undistorted: the borders of the quarters stay in the middle.
  for pixel, colour in (((224, 2046), RED), ((224, 2049), GREEN), ((227, 2046), BLUE), ((227, 2049), GREY)):
    assert np.abs(shown_YX3[pixel].astype(int) - colour).max() <= 40, pixel
  assert np.abs(corners(shown_YX3) - [RED, GREEN, BLUE, GREY]).max() <= 4
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


@pytest.mark.parametrize('suffix', KINDS)
def test_a_damaged_image_is_refused(tmp_path, suffix):
  path = tmp_path / f'cut{suffix}'
  rng = np.random.default_rng(0)
  Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)).save(path, **KINDS[suffix][2])
  path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
  for reader in (probe.probe, shown, muxed):
    with pytest.raises(errors.MediaError, match=f'cut{suffix}: ') as caught:
      reader(path)
    assert '\n' not in str(caught.value)
  assert [child.name for child in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize('suffix', ANIMATIONS)
def test_a_damaged_animation_is_refused(tmp_path, suffix):
  path = tmp_path / f'cut{suffix}'
  rng = np.random.default_rng(0)
  first, *others = (Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)) for _ in range(5))
  first.save(path, save_all=True, append_images=others, duration=100, **ANIMATIONS[suffix])
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
    indexed, 'MPO', save_all=True, append_images=[quarters(64, 96)]
  )
  assert probe.probe(indexed).is_image and films.frame_number(shown(indexed)) == 5


def test_a_motion_photo_is_an_image(tmp_path):
  """Phones append a video to the photo."""
  path, video = tmp_path / 'photo.jpg', films.make(tmp_path / 'video', 'mp4')
  quarters().save(path, **KINDS['.jpg'][2])
  path.write_bytes(path.read_bytes() + video.read_bytes())
  assert probe.probe(path).is_image
  assert np.abs(corners(shown(path)) - [RED, GREEN, BLUE, GREY]).max() <= 4


def test_a_sequence_with_audio_is_a_video(tmp_path):
  path = films.make(tmp_path / 'video', 'mp4-av1', wave_NA=films.clicks(2.0, 48000))
  path.write_bytes(path.read_bytes().replace(b'ftypisom', b'ftypavis', 1))
  assert stills.image_format(path) is None
  info = probe.probe(path)
  assert info.has_audio and not info.is_animation and info.duration_s == pytest.approx(2.0)


def test_a_sequence_is_read_from_its_track_and_not_from_its_cover(tmp_path):
  path = tmp_path / 'moving.heics'
  first, *others = (Image.fromarray(films.numbered_frame(index)) for index in range(10))
  first.save(path, 'AVIF', save_all=True, append_images=others, duration=100, **LOSSLESS)
  # Pillow does not support sequences of HEIC, whose brand this is.
  path.write_bytes(path.read_bytes().replace(b'ftypavis', b'ftyphevc', 1))
  info = probe.probe(path)
  assert not info.is_image and info.duration_s == pytest.approx(1.0)
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(path, 10, 32)] == list(range(10))


@pytest.mark.parametrize('suffix', ['.avif', '.heic'])
def test_tiles_are_not_left_to_ffmpeg(tmp_path, suffix):
  """FFmpeg would read a single tile of a file that Pillow cannot open."""
  path = tmp_path / f'grid{suffix}'
  quarters(128, 128).save(path, **KINDS[suffix][2])
  path.write_bytes(path.read_bytes().replace(b'pitm', b'pitx', 1))
  with pytest.raises(errors.MediaError, match=f'grid{suffix}: the image cannot be decoded: '):
    probe.probe(path)


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
  assert probe.probe(muxed(path)).duration_s == pytest.approx(0.3, abs=0.01)


def test_a_raw_camera_file_is_refused(tmp_path):
  """Its first image is a thumbnail."""
  quarters().save(tmp_path / 'photo.dng', 'TIFF', tiffinfo={254: 1})
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


def test_a_named_profile_in_side_data_does_not_crash(tmp_path):
  """PyAV frees the name of the profile twice if side data of a frame are read, which crashed the program."""
  path = tmp_path / 'video.mov'
  with av.open(str(path), 'w') as output:
    stream = output.add_mux_stream('png', rate=5, width=97, height=65)
    exif = Image.Exif()
    exif[0x0112] = 6
    quarters().save(tmp_path / 'still.png', icc_profile=_swapped_profile(), exif=exif)
    for index in range(5):
      packet = av.Packet((tmp_path / 'still.png').read_bytes())
      packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, fractions.Fraction(1, 5)
      packet.is_keyframe = True
      output.mux(packet)
  assert not probe.probe(path).is_image
  for _ in range(3):
    assert read.frames(path, 5, 32).shape == (5, 32, 32, 3)
