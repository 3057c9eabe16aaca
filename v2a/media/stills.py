"""Still images and animations, read by Pillow.

The format is detected from the content (`v2a.media.magic`): PNG and APNG, JPEG, WebP, GIF, BMP, TIFF, AVIF,
and HEIC (by pillow-heif). Images in tiles, as phones write them, are assembled; EXIF orientation is applied;
colours are converted to sRGB (`v2a.media.srgb`). Of a file with several images that is not an animation (TIFF
pages, bursts), the first or primary image is used. An animation is played once, with the durations in the
file; frames of up to 10 ms last 100 ms, as in browsers.

AVIF or HEIC with an audio track, HEIC sequences and Motion JPEG are videos. Formats that Pillow cannot open
(JPEG XL, PPM, rare kinds of TIFF) are left to FFmpeg.
"""

from collections.abc import Generator
from collections.abc import Iterator
import contextlib
import dataclasses
import fractions
import functools
import os
import pathlib
import struct
import warnings
import zlib

import numpy as np
from PIL import AvifImagePlugin
from PIL import BmpImagePlugin
from PIL import GifImagePlugin
from PIL import Image
from PIL import ImageFile
from PIL import JpegImagePlugin
from PIL import PngImagePlugin
from PIL import TiffImagePlugin
from PIL import WebPImagePlugin
import pillow_heif

from v2a.media import errors
from v2a.media import magic
from v2a.media import srgb

# The largest sensors of phones have 200 million pixels; decoded they are 0.8 GB.
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns above it, and refuses twice as much.
# Pillow's warnings about odd metadata are not useful to users; errors are raised anyway.
warnings.filterwarnings('ignore', module=r'PIL\.(Image|\w+ImagePlugin)$')
# Largest size of a shown image: that of H.264 level 5.2, which players decode in hardware.
MAX_SIDE = 4096
MAX_MACROBLOCKS = 36864

# Used instead of Image.open, which would try more formats.
_CLASSES = {
  'png': PngImagePlugin.PngImageFile,
  'jpeg': JpegImagePlugin.JpegImageFile,
  'gif': GifImagePlugin.GifImageFile,
  'webp': WebPImagePlugin.WebPImageFile,
  'bmp': BmpImagePlugin.BmpImageFile,
  'tiff': TiffImagePlugin.TiffImageFile,
  'avif': AvifImagePlugin.AvifImageFile,
  'heif': pillow_heif.HeifImageFile,
}
# FFmpeg would read a single tile of these.
_NO_FFMPEG = ('avif', 'heif')
_ANIMATED = ('png', 'gif', 'webp', 'avif')
_ORIENTATION_TAG = 0x0112
# TIFF 6.0, section 8, and DNG 1.7: the first image of a raw camera file is a thumbnail.
_SUBFILE_TAG, _DNG_TAG = 254, 50706
# EXIF orientation -> (transposition, clockwise rotation in degrees, if mirrored that after a left-right
# mirror).
_ORIENTATIONS = {
  2: (Image.Transpose.FLIP_LEFT_RIGHT, 0),
  3: (Image.Transpose.ROTATE_180, 180),
  4: (Image.Transpose.FLIP_TOP_BOTTOM, 180),
  5: (Image.Transpose.TRANSPOSE, 90),
  6: (Image.Transpose.ROTATE_270, 90),
  7: (Image.Transpose.TRANSVERSE, 270),
  8: (Image.Transpose.ROTATE_90, 270),
}
_MAX_IGNORED_MS = 10
_DEFAULT_MS = 100
# Exceptions that Pillow and its libraries raise for damaged files.
_DECODE_ERRORS = (
  OSError,
  SyntaxError,
  ValueError,
  TypeError,
  LookupError,
  EOFError,
  RuntimeError,
  ArithmeticError,
  struct.error,
  zlib.error,
  Image.DecompressionBombError,
)


@dataclasses.dataclass(frozen=True)
class Info:
  """Properties of a still image or an animation.

  Attributes:
    format: 'png', 'jpeg', 'gif', 'webp', 'bmp', 'tiff', 'avif' or 'heif'.
    width, height: size in pixels as displayed, orientation applied.
    rotation_deg: clockwise rotation that viewers apply: 0, 90, 180 or 270.
    num_frames: 1 for a still image.
    duration_s: duration of one loop; 0 for a still image.
    is_transparent: whether any pixel is transparent.
  """

  format: str
  width: int
  height: int
  rotation_deg: int
  num_frames: int
  duration_s: fractions.Fraction
  is_transparent: bool


def image_format(path: str | os.PathLike) -> str | None:
  """Returns the format of a still image or animation (see Info); None for all other files, readable or not.

  Raises:
    MediaError: the image has more than MAX_PIXELS, or is AVIF or HEIC that Pillow cannot open.
  """
  opened = _open(pathlib.Path(path))
  if opened is None:
    return None
  with contextlib.closing(opened[1]):
    return opened[0]


def inspect(path: str | os.PathLike) -> Info:
  """Returns the properties of a file that `image_format` recognizes; the whole file is decoded.

  Raises:
    MediaError: the file is damaged, or larger than MAX_PIXELS.
  """
  path = pathlib.Path(path)
  status = path.stat()
  return _inspected(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _inspected(path: pathlib.Path, size_bytes: int, modified_ns: int) -> Info:
  """Returns the Info of a file; cached, because decoding animations is slow."""
  del size_bytes, modified_ns  # They are part of the cache key.
  num_frames, duration_s, first, is_transparent = 0, fractions.Fraction(0), None, False
  for name, image, length_s in _frames(path):
    if first is None:
      rotation_deg = _ORIENTATIONS.get(_orientation(image), (None, 0))[1]
      width, height = _full_size(image)
      width, height = (height, width) if rotation_deg in (90, 270) else (width, height)
      first = name, width, height, rotation_deg
    num_frames, duration_s = num_frames + 1, duration_s + length_s
    with _media_errors(path):
      is_transparent = is_transparent or srgb.is_transparent(image)
  assert first is not None  # _frames raises where there is no frame
  return Info(*first, num_frames, duration_s, is_transparent)


def frames(path: str | os.PathLike) -> Iterator[tuple[fractions.Fraction, fractions.Fraction, np.ndarray]]:
  """Yields (start in seconds, duration in seconds, frame_YX3 as uint8 sRGB) of every frame.

  Frames larger than `fitted_size` are downscaled to it. A still image has duration 0.

  Raises:
    MediaError: the file is damaged, or larger than MAX_PIXELS.
  """
  begin_s = fractions.Fraction(0)
  for _, image, length_s in _frames(pathlib.Path(path)):
    with _media_errors(path):
      shown = srgb.convert(image, fitted_size(*_full_size(image)))
    method = _ORIENTATIONS.get(_orientation(image), (None, 0))[0]
    yield begin_s, length_s, np.asarray(shown if method is None else shown.transpose(method))
    begin_s += length_s


def fitted_size(width: int, height: int) -> tuple[int, int]:
  """Returns the displayed size of an image: its own, or the largest of its aspect that players support."""
  longest = max(width, height)
  side = min(longest, MAX_SIDE)
  while True:
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    if -(-size[0] // 16) * -(-size[1] // 16) <= MAX_MACROBLOCKS:
      return size
    side -= 1


def too_large(path: str | os.PathLike, width: int = 0, height: int = 0) -> errors.MediaError:
  """Returns the error for an image of more than MAX_PIXELS, with its size if known.

  Args:
    path: the file.
    width, height: size in pixels; 0 where it is not known.
  """
  size = f' ({width} x {height})' if width else ''
  return errors.MediaError(
    f'{path}: has too many pixels{size}; wanted an image of at most {MAX_PIXELS // 10**6} million.'
  )


def resize(frame_YX3: np.ndarray, height: int, width: int) -> np.ndarray:
  """Returns a resized frame, by area averaging or (to enlarge) bilinearly.

  Args:
    frame_YX3: uint8 RGB.
    height, width: size of the result in pixels.
  """
  is_smaller = frame_YX3.shape[0] >= height and frame_YX3.shape[1] >= width
  method = Image.Resampling.BOX if is_smaller else Image.Resampling.BILINEAR
  return np.asarray(Image.fromarray(frame_YX3).resize((width, height), method))


def _frames(path: pathlib.Path) -> Iterator[tuple[str, Image.Image, fractions.Fraction]]:
  """Yields (format, image with one frame loaded, its duration in seconds)."""
  opened = _open(path)
  if opened is None:
    raise errors.MediaError(f'{path}: is not a still image.')
  name, image = opened
  with contextlib.closing(image):
    if image.width * image.height > MAX_PIXELS:
      raise too_large(path, *image.size)
    with _media_errors(path):
      is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
      if is_tiff and (image.tag_v2.get(_SUBFILE_TAG, 0) & 1 or _DNG_TAG in image.tag_v2):
        raise errors.MediaError(f'{path}: is a raw camera file; wanted an image converted from it.')
      if name == 'jpeg':
        _draft(image)
      # The default image of an APNG is for viewers without support for animations.
      first, last = (
        int(getattr(image, 'default_image', False)),
        getattr(image, 'n_frames', 1) if name in _ANIMATED else 1,
      )
      is_animated = last - first > 1
    end_ms, size = fractions.Fraction(0), None
    for index in range(first, last) if is_animated else (0,):
      with _media_errors(path):
        if index:
          image.seek(index)
        image.load()
        srgb.check(image)
      begin_ms, end_ms = end_ms, _end_ms(image, end_ms)
      size = size or image.size
      # Pillow enlarges the canvas of a GIF for frames that exceed it; browsers crop them.
      shown = image if image.size == size else image.crop((0, 0, *size))
      yield name, shown, _length_s(end_ms - begin_ms) if is_animated else fractions.Fraction(0)


def _length_s(length_ms: fractions.Fraction) -> fractions.Fraction:
  """Returns the displayed duration of a frame; (nearly) zero means the default of browsers."""
  return (length_ms if length_ms > _MAX_IGNORED_MS else fractions.Fraction(_DEFAULT_MS)) / 1000


def _end_ms(image: Image.Image, begin_ms: fractions.Fraction) -> fractions.Fraction:
  """Returns the end time of a frame in the file, from timestamps if present, as durations are rounded."""
  length_ms = fractions.Fraction(image.info.get('duration') or 0).limit_denominator(10**6)
  return image.info.get('timestamp', begin_ms) + length_ms


def _open(path: pathlib.Path) -> tuple[str, ImageFile.ImageFile] | None:
  """Returns the format and the opened image; None for other files, and for those left to FFmpeg."""
  try:
    if not path.is_file():
      return None
    with path.open('rb') as file:
      name = magic.image_format(file)
  except (OSError, ValueError):
    return None  # FFmpeg tries next, and reports the error.
  if name is None:
    return None
  try:
    return name, _CLASSES[name](path)
  except Image.DecompressionBombError as error:
    raise too_large(path) from error
  except _DECODE_ERRORS as error:
    if name in _NO_FFMPEG:
      raise _undecodable(path, error) from error
    return None


def _full_size(image: Image.Image) -> tuple[int, int]:
  """Returns width and height in the file, also if it is decoded at a smaller size."""
  return image.info.get('full_size', image.size)


def _draft(image: ImageFile.ImageFile) -> None:
  """Makes Pillow decode a JPEG at 1/2, 1/4 or 1/8 of its size where that suffices for its displayed size."""
  image.info['full_size'] = image.size
  image.draft(None, fitted_size(*image.size))


def _orientation(image: Image.Image) -> int:
  if image.format == 'HEIF':
    return 1  # libheif applies the rotation boxes, which take precedence over EXIF (ISO 23008-12, A.2.1).
  try:
    return image.getexif().get(_ORIENTATION_TAG, 1)
  except _DECODE_ERRORS:
    return 1  # As in viewers, unreadable metadata are ignored.


@contextlib.contextmanager
def _media_errors(path: str | os.PathLike) -> Generator[None]:
  """Converts exceptions of Pillow to MediaError."""
  try:
    yield
  except errors.MediaError:
    raise
  except _DECODE_ERRORS as error:
    raise _undecodable(path, error) from error


def _undecodable(path: str | os.PathLike, error: Exception) -> errors.MediaError:
  reason = ' '.join(str(error).split()) or type(error).__name__
  return errors.MediaError(f'{path}: the image cannot be decoded: {reason}.')
