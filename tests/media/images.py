"""Test images of four colours, and how they are read and shown."""

import pathlib

import numpy as np
from PIL import Image
from PIL import ImageCms
import pillow_heif

from tests.media import films
from v2a.media import read
from v2a.media import write

pillow_heif.register_heif_opener()
RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 200, 30), (30, 30, 200), (240, 240, 240)
# Those of `quarters`, as `corners` returns them.
COLOURS = np.array([RED, GREEN, BLUE, GREY])
LOSSLESS = {'quality': 100, 'subsampling': '4:4:4'}
# Suffix -> (container and codec of probe, options of Pillow).
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


def swapped_profile() -> bytes:
  """Returns an ICC profile of sRGB with red and green swapped."""
  data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
  red, green = data.index(b'rXYZ', 128), data.index(b'gXYZ', 128)
  data[red : red + 4], data[green : green + 4] = b'gXYZ', b'rXYZ'
  return bytes(data)
