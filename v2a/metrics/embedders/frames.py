"""Video frames of a clip at any frame rate, from memory or decoded from a file.

Frames are selected as FFmpeg's filter `fps` selects them, see v2a.media.read.iterate_full_size_frames, at
their full size.
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

from v2a.media import probe
from v2a.media import read


class FrameSource(Protocol):
  """A source of video frames."""

  @property
  def duration_s(self) -> float:
    """Duration of the video."""
    ...

  @property
  def fps(self) -> float:
    """Its own frame rate."""
    ...

  def frames_at_fps(self, fps: float, num_frames: int) -> Iterator[np.ndarray]:
    """Yields num_frames frame_YX3, uint8 RGB, at a frame rate, as FFmpeg's filter `fps` selects them."""
    ...

  def digest(self) -> str:
    """Returns a hash of the video."""
    ...


@dataclasses.dataclass(frozen=True)
class Frames:
  """Frames in memory.

  Attributes:
    frame_LYX3: uint8 RGB.
    fps: frame rate: frame l is shown from l / fps seconds.
  """

  frame_LYX3: np.ndarray
  fps: float

  def __post_init__(self):
    if self.frame_LYX3.ndim != 4 or self.frame_LYX3.shape[3] != 3 or self.frame_LYX3.dtype != np.uint8:
      raise ValueError(
        f'frames must be uint8 of shape (frames, rows, columns, 3); '
        f'got {self.frame_LYX3.dtype} of {self.frame_LYX3.shape}.'
      )
    if not self.fps or self.fps <= 0:
      raise ValueError(f'frames need a positive frame rate; got fps={self.fps}.')

  @property
  def duration_s(self) -> float:
    """See FrameSource."""
    return len(self.frame_LYX3) / self.fps

  def frames_at_fps(self, fps: float, num_frames: int) -> Iterator[np.ndarray]:
    """See FrameSource."""
    index_L = np.ceil((np.arange(num_frames) + 0.5) * self.fps / fps - 1e-6).astype(int) - 1
    return iter(self.frame_LYX3[np.minimum(index_L, len(self.frame_LYX3) - 1)])

  def digest(self) -> str:
    """See FrameSource."""
    header = json.dumps([self.frame_LYX3.shape, self.fps]).encode()
    return hashlib.sha256(header + np.ascontiguousarray(self.frame_LYX3).tobytes()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Video:
  """The first seconds of a video file, decoded on each call, since frames of full size would fill the memory.

  Attributes:
    path: the file.
    duration_s: how many seconds are used.
  """

  path: pathlib.Path
  duration_s: float

  @functools.cached_property
  def fps(self) -> float:
    """See FrameSource."""
    return probe.probe(self.path).fps

  def frames_at_fps(self, fps: float, num_frames: int) -> Iterator[np.ndarray]:
    """See FrameSource."""
    return read.iterate_full_size_frames(self.path, fps, num_frames)

  def digest(self) -> str:
    """See FrameSource; of the whole file."""
    stat = self.path.stat()
    header = f'{_file_hash(self.path, stat.st_size, stat.st_mtime_ns)} {self.duration_s}'
    return hashlib.sha256(header.encode()).hexdigest()


@functools.lru_cache(maxsize=4096)
def _file_hash(path: os.PathLike, size: int, changed_ns: int) -> str:
  del size, changed_ns  # keys of the cache: a file that replaces another differs in them
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
