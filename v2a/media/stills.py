"""Still images and animations, read by Pillow: which files are, and their pictures as shown.

By content (`v2a.media.magic`): PNG and APNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, and HEIC (by pillow-heif).
Pictures of tiles, as phones write them, come whole; EXIF orientation is applied; colours are sRGB
(`v2a.media.srgb`). Of a file with several pictures that are no animation (TIFF pages, bursts) it is the first
or primary one. An animation is shown once, with the durations of its file; frames of up to 10 ms last 100 ms,
as in browsers.

No still: AVIF or HEIC with a sound track, HEIC sequences and series of JPEG are videos; what Pillow cannot
open (JPEG XL, PPM, rare kinds of TIFF) is left to FFmpeg.
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
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns beyond it, and refuses twice as much.
# Its warnings of odd metadata would stand between the lines of the program; faults are raised.
warnings.filterwarnings('ignore', module=r'PIL\.(Image|\w+ImagePlugin)$')
# Pictures are shown at most this large: the frames of H.264 level 5.2, which players decode in hardware.
MAX_SIDE = 4096
MAX_MACROBLOCKS = 36864

# Rather than Image.open, which would try more formats.
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
# FFmpeg would take one tile for the picture.
_NO_FFMPEG = ('avif', 'heif')
_ANIMATED = ('png', 'gif', 'webp', 'avif')
_ORIENTATION_TAG = 0x0112
# TIFF 6.0, section 8, and DNG 1.7: the first picture of a camera's raw file is a thumbnail.
_SUBFILE_TAG, _DNG_TAG = 254, 50706
# EXIF orientation -> (how to turn, clockwise degrees; if mirrored, those that follow a left-right mirror).
_TURNS = {
  2: (Image.Transpose.FLIP_LEFT_RIGHT, 0),
  3: (Image.Transpose.ROTATE_180, 180),
  4: (Image.Transpose.FLIP_TOP_BOTTOM, 180),
  5: (Image.Transpose.TRANSPOSE, 90),
  6: (Image.Transpose.ROTATE_270, 90),
  7: (Image.Transpose.TRANSVERSE, 270),
  8: (Image.Transpose.ROTATE_90, 270),
}
_SHORTEST_MS = 10
_USUAL_MS = 100
# What Pillow and the libraries below it raise where a file is damaged.
_FAULTS = (
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
  """What a still image or an animation is.

  Attributes:
    format: 'png', 'jpeg', 'gif', 'webp', 'bmp', 'tiff', 'avif' or 'heif'.
    width, height: pixels of the file as shown, orientation applied.
    rotation_deg: clockwise turn that viewers apply: 0, 90, 180 or 270.
    num_frames: 1 for a still image.
    duration_s: of one loop; 0 for a still image.
    is_transparent: whether anything of it is.
  """

  format: str
  width: int
  height: int
  rotation_deg: int
  num_frames: int
  duration_s: fractions.Fraction
  is_transparent: bool


def image_format(path: str | os.PathLike) -> str | None:
  """Returns the kind of a still image or animation (see Info); None for all other files, readable or not.

  Raises:
    MediaError: it has more than MAX_PIXELS, or is AVIF or HEIC that Pillow cannot open.
  """
  opened = _open(pathlib.Path(path))
  if opened is None:
    return None
  with contextlib.closing(opened[1]):
    return opened[0]


def inspect(path: str | os.PathLike) -> Info:
  """Returns what a file of which `image_format` knows the kind is; all of it is decoded.

  Raises:
    MediaError: it is damaged, or larger than MAX_PIXELS.
  """
  path = pathlib.Path(path)
  status = path.stat()
  return _inspected(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _inspected(path: pathlib.Path, size_bytes: int, modified_ns: int) -> Info:
  """Returns the Info of a file; animations take long to decode and are asked for again."""
  del size_bytes, modified_ns  # of the cache's key
  num_frames, duration_s, info, is_transparent = 0, fractions.Fraction(0), None, False
  for kind, image, length_s in _frames(path):
    if info is None:
      turn = _TURNS.get(_orientation(image), (None, 0))[1]
      width, height = _full_size(image)
      info = (kind, *((height, width) if turn in (90, 270) else (width, height)), turn)
    num_frames, duration_s = num_frames + 1, duration_s + length_s
    with _reported(path):
      is_transparent = is_transparent or srgb.is_transparent(image)
  return Info(*info, num_frames, duration_s, is_transparent)


def frames(path: str | os.PathLike) -> Iterator[tuple[fractions.Fraction, fractions.Fraction, np.ndarray]]:
  """Yields (begin in seconds, length in seconds, picture_YX3 as uint8 sRGB) of every frame.

  A picture beyond `fitted_size` is shrunk to it. A still image has length 0.

  Raises:
    MediaError: the file is damaged, or larger than MAX_PIXELS.
  """
  begin_s = fractions.Fraction(0)
  for _, image, length_s in _frames(pathlib.Path(path)):
    with _reported(path):
      shown = srgb.convert(image, fitted_size(*_full_size(image)))
    method = _TURNS.get(_orientation(image), (None, 0))[0]
    yield begin_s, length_s, np.asarray(shown if method is None else shown.transpose(method))
    begin_s += length_s


def fitted_size(width: int, height: int) -> tuple[int, int]:
  """Returns the size at which a picture is shown: its own, or the largest of its aspect that players take."""
  longest = max(width, height)
  side = min(longest, MAX_SIDE)
  while True:
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    if -(-size[0] // 16) * -(-size[1] // 16) <= MAX_MACROBLOCKS:
      return size
    side -= 1


def too_large(path: str | os.PathLike, width: int = 0, height: int = 0) -> errors.MediaError:
  """Returns the error of a picture beyond MAX_PIXELS; its size is said where it is known."""
  size = f' ({width} x {height})' if width else ''
  return errors.MediaError(
    f'{path}: has too many pixels{size}; wanted a picture of at most {MAX_PIXELS // 10**6} million.'
  )


def resize_square(picture_YX3: np.ndarray, size: int) -> np.ndarray:
  """Returns a picture squashed to size times size pixels: means over areas, or bilinear where it grows."""
  is_shrunk = min(picture_YX3.shape[:2]) >= size
  method = Image.Resampling.BOX if is_shrunk else Image.Resampling.BILINEAR
  return np.asarray(Image.fromarray(picture_YX3).resize((size, size), method))


def _frames(path: pathlib.Path) -> Iterator[tuple[str, Image.Image, fractions.Fraction]]:
  """Yields (kind, image with one frame loaded, its length in seconds)."""
  opened = _open(path)
  if opened is None:
    raise errors.MediaError(f'{path}: is no still image.')
  kind, image = opened
  with contextlib.closing(image):
    if image.width * image.height > MAX_PIXELS:
      raise too_large(path, *image.size)
    with _reported(path):
      if kind == 'tiff' and (image.tag_v2.get(_SUBFILE_TAG, 0) & 1 or _DNG_TAG in image.tag_v2):
        raise errors.MediaError(f"{path}: is a camera's raw file; wanted a picture made from it.")
      if kind == 'jpeg':
        _draft(image)
      # The default image of an APNG is for viewers that know no animations.
      first, last = int(getattr(image, 'default_image', False)), image.n_frames if kind in _ANIMATED else 1
      is_animated = last - first > 1
    end_ms, size = fractions.Fraction(0), None
    for index in range(first, last) if is_animated else (0,):
      with _reported(path):
        if index:
          image.seek(index)
        image.load()
        srgb.check(image)
      begin_ms, end_ms = end_ms, _end_ms(image, end_ms)
      size = size or image.size
      # Pillow enlarges the canvas of a GIF for frames that lie beyond it; browsers cut them off.
      shown = image if image.size == size else image.crop((0, 0, *size))
      yield kind, shown, _length_s(end_ms - begin_ms) if is_animated else fractions.Fraction(0)


def _length_s(length_ms: fractions.Fraction) -> fractions.Fraction:
  """Returns how long a frame is shown; no time, or nearly none, means as fast as is usual."""
  return (length_ms if length_ms > _SHORTEST_MS else fractions.Fraction(_USUAL_MS)) / 1000


def _end_ms(image: Image.Image, begin_ms: fractions.Fraction) -> fractions.Fraction:
  """Returns when a frame ends by its file; time stamps, where it has any, add up no rounded lengths."""
  length_ms = fractions.Fraction(image.info.get('duration') or 0).limit_denominator(10**6)
  return image.info.get('timestamp', begin_ms) + length_ms


def _open(path: pathlib.Path) -> tuple[str, ImageFile.ImageFile] | None:
  """Returns format and opened image; None for another file, or one left to FFmpeg. See `image_format`."""
  try:
    if not path.is_file():
      return None
    with path.open('rb') as file:
      kind = magic.image_format(file)
  except (OSError, ValueError):
    return None  # FFmpeg tries next, and says what is wrong.
  if kind is None:
    return None
  try:
    return kind, _CLASSES[kind](path)
  except Image.DecompressionBombError as error:
    raise too_large(path) from error
  except _FAULTS as error:
    if kind in _NO_FFMPEG:
      raise _undecodable(path, error) from error
    return None


def _full_size(image: Image.Image) -> tuple[int, int]:
  """Returns columns and rows of the file, however small it is decoded."""
  return image.info.get('full_size', image.size)


def _draft(image: ImageFile.ImageFile) -> None:
  """Lets a JPEG be decoded at a half, a quarter or an eighth of its size, still as large as it is shown."""
  image.info['full_size'] = image.size
  image.draft(None, fitted_size(*image.size))


def _orientation(image: Image.Image) -> int:
  if image.format == 'HEIF':
    return 1  # libheif turns the picture by its own boxes, which rank above EXIF (ISO 23008-12, A.2.1).
  try:
    return image.getexif().get(_ORIENTATION_TAG, 1)
  except _FAULTS:
    return 1  # As viewers do: notes that cannot be read turn nothing.


@contextlib.contextmanager
def _reported(path: str | os.PathLike) -> Generator[None]:
  """Makes what Pillow raises the fault of the file."""
  try:
    yield
  except errors.MediaError:
    raise
  except _FAULTS as error:
    raise _undecodable(path, error) from error


def _undecodable(path: str | os.PathLike, error: Exception) -> errors.MediaError:
  reason = ' '.join(str(error).split()) or type(error).__name__
  return errors.MediaError(f'{path}: the picture cannot be decoded: {reason}.')
