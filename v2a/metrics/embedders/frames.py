"""The pictures of a clip, from memory or from its video, and how published networks scale them.

Published protocols take pictures as FFmpeg's filter `fps` does, see v2a.media.read.iterate_full_size_frames,
at the size that they were filmed in.
"""

from collections.abc import Iterator
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import Protocol

import numpy as np
import PIL.Image

from v2a.media import read


class FrameSource(Protocol):
  """Pictures in time.

  Attributes:
    length_s: how long they last.
  """

  duration_s: float

  def frames_at_fps(self, fps: float, num_frames: int) -> Iterator[np.ndarray]:
    """Yields picture_YX3, uint8 RGB: num_frames of them, as FFmpeg's filter `fps` takes them."""

  def digest(self) -> str:
    """Returns a hash of what is seen."""


@dataclasses.dataclass(frozen=True)
class Frames:
  """Pictures in memory.

  Attributes:
    frame_LYX3: uint8 RGB.
    fps: their rate: picture l is on screen from l / fps.
  """

  frame_LYX3: np.ndarray
  fps: float

  def __post_init__(self):
    if self.frame_LYX3.ndim != 4 or self.frame_LYX3.shape[3] != 3 or self.frame_LYX3.dtype != np.uint8:
      raise ValueError(
        f'pictures must be uint8 of shape (pictures, rows, columns, 3); '
        f'got {self.frame_LYX3.dtype} of {self.frame_LYX3.shape}.'
      )
    if not self.fps or self.fps <= 0:
      raise ValueError(f'pictures need their rate; got fps={self.fps}.')

  @property
  def duration_s(self) -> float:
    """See Pictures."""
    return len(self.frame_LYX3) / self.fps

  def frames_at_fps(self, fps: float, num_frames: int) -> Iterator[np.ndarray]:
    """See Pictures."""
    index_L = np.ceil((np.arange(num_frames) + 0.5) * self.fps / fps - 1e-6).astype(int) - 1
    return iter(self.frame_LYX3[np.minimum(index_L, len(self.frame_LYX3) - 1)])

  def digest(self) -> str:
    """See Pictures."""
    about = json.dumps([self.frame_LYX3.shape, self.fps]).encode()
    return hashlib.sha256(about + np.ascontiguousarray(self.frame_LYX3).tobytes()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Video:
  """The first seconds of a video, decoded whenever they are asked for: in memory they would fill it.

  Attributes:
    path: the file.
    length_s: how many seconds count.
  """

  path: pathlib.Path
  duration_s: float

  def frames_at_fps(self, fps: float, num_frames: int) -> Iterator[np.ndarray]:
    """See Pictures."""
    return read.iterate_full_size_frames(self.path, fps, num_frames)

  def digest(self) -> str:
    """See Pictures; of the whole file."""
    known = self.path.stat()
    about = f'{_file_hash(self.path, known.st_size, known.st_mtime_ns)} {self.duration_s}'
    return hashlib.sha256(about.encode()).hexdigest()


@functools.lru_cache(maxsize=4096)
def _file_hash(path: os.PathLike, size: int, changed_ns: int) -> str:
  del size, changed_ns  # of the file that was hashed: another under its name has others
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def resize_short_side(picture_YX3: np.ndarray, size: int) -> PIL.Image.Image:
  """Returns a picture whose shorter side is `size`, bicubic, smoothed where it shrinks."""
  height, width = picture_YX3.shape[:2]
  sides = (size, size * height // width) if width <= height else (size * width // height, size)
  return PIL.Image.fromarray(picture_YX3).resize(sides, PIL.Image.BICUBIC)


def resize_square(picture_YX3: np.ndarray, size: int) -> np.ndarray:
  """Returns a picture of `size` by `size`, uint8, bilinear between four pixels as OpenCV scales by default.

  Nothing is smoothed where a picture shrinks, which Pillow's resize would do.
  """
  picture_YX3 = picture_YX3.astype(np.float32)
  for axis in (0, 1):
    num = picture_YX3.shape[axis]
    place_N = np.clip((np.arange(size) + 0.5) * num / size - 0.5, 0, num - 1)
    below_N = np.floor(place_N).astype(int)
    shape = [1, 1, 1]
    shape[axis] = size
    share = (place_N - below_N).reshape(shape).astype(np.float32)
    above = np.take(picture_YX3, np.minimum(below_N + 1, num - 1), axis)
    picture_YX3 = np.take(picture_YX3, below_N, axis) * (1 - share) + above * share
  return np.floor(picture_YX3 + 0.5).astype(np.uint8)
