"""Frames of a clip, window by window: read from a file at exact times, or taken from arrays."""

from collections.abc import Sequence
import math
import mmap
import pathlib

import numpy as np

from v2a import clip
from v2a.media import motion
from v2a.media import read

WindowFrames = tuple[np.ndarray, np.ndarray]  # semantic_frame_MYX3, sync_frame_LYX3


class FileFrames:
  """The frames of all windows of a part of a file, read in one pass; a frame that windows share, once.

  Attributes:
    has_video: True.
  """

  has_video = True

  def __init__(
    self, path: pathlib.Path, spec: clip.ClipSpec, starts: Sequence[int], start_s: float, duration_s: float
  ):
    """Reads the frames.

    Args:
      path: video or still image.
      spec: of a window.
      starts: first latent steps of the windows.
      start_s: begin of the part in the file.
      duration_s: length of the part.

    Raises:
      MediaError: the file cannot be read.
    """
    self._spec = spec
    tick_WL = np.stack([spec.sync_ticks(first) for first in starts])
    tick_F, index = np.unique(tick_WL, return_inverse=True)
    self._index_WL = index.reshape(tick_WL.shape)
    self._frame_FYX3 = _zeros((len(tick_F), spec.frame_size, spec.frame_size, 3))
    step = spec.ticks_hz // spec.sync_fps
    num_frames = max(1, round(duration_s * spec.sync_fps))
    # The part at the sync rate, without the repetition of its last frame to the end of a window.
    self._part_L = np.searchsorted(tick_F, np.arange(num_frames) * step, 'right') - 1
    end, num_read = num_frames * step, 0
    for chunk_FYX3 in read.iterate_frames_at(
      path, tick_F[tick_F < end], spec.ticks_hz, spec.frame_size, start_s
    ):
      self._frame_FYX3[num_read : num_read + len(chunk_FYX3)] = chunk_FYX3
      num_read += len(chunk_FYX3)
    self._frame_FYX3[num_read:] = self._frame_FYX3[num_read - 1]

  def window(self, index: int) -> WindowFrames:
    """Returns semantic and sync frames of a window."""
    sync_frame_LYX3 = self._frame_FYX3[self._index_WL[index]]
    return sync_frame_LYX3[self._spec.semantic_of_sync_M], sync_frame_LYX3

  def motion(self) -> np.ndarray:
    """Returns motion_L, the mean absolute change from frame to frame in 0..1, at the sync rate."""
    return (motion.curve(self._frame_FYX3, self._part_L) / 255).astype(np.float32)


class ArrayFrames:
  """The frames of the windows of a clip in memory. Between two frames the first stands for both."""

  has_video = True

  def __init__(
    self,
    semantic_frame_MYX3: np.ndarray,
    sync_frame_LYX3: np.ndarray,
    spec: clip.ClipSpec,
    starts: Sequence[int],
  ):
    """Takes the frames.

    Args:
      semantic_frame_MYX3, sync_frame_LYX3: of the whole clip, at the rates of the spec.
      spec: of a window.
      starts: first latent steps of the windows.
    """
    self._spec, self._starts = spec, starts
    self._frames = semantic_frame_MYX3, sync_frame_LYX3

  def window(self, index: int) -> WindowFrames:
    """Returns semantic and sync frames of a window; the last frame is repeated."""
    start_s, spec = self._spec.time_s(self._starts[index]), self._spec
    semantic_frame_NYX3, sync_frame_NYX3 = self._frames
    return (
      _from(semantic_frame_NYX3, math.floor(start_s * spec.semantic_fps), spec.num_semantic_frames),
      _from(sync_frame_NYX3, math.floor(start_s * spec.sync_fps), spec.num_sync_frames),
    )

  def motion(self) -> np.ndarray:
    """Returns motion_L, the mean absolute change from frame to frame in 0..1, at the sync rate."""
    return (motion.curve(self._frames[1]) / 255).astype(np.float32)


class NoFrames:
  """Stands for the frames of a clip without video: zeros, which the conditioner ignores."""

  has_video = False

  def __init__(self, spec: clip.ClipSpec):
    self._spec = spec

  def window(self, index: int) -> WindowFrames:
    """Returns zeros."""
    del index
    size = self._spec.frame_size, self._spec.frame_size, 3
    return (
      np.zeros((self._spec.num_semantic_frames, *size), np.uint8),
      np.zeros((self._spec.num_sync_frames, *size), np.uint8),
    )

  def motion(self) -> np.ndarray:
    """Returns an empty array."""
    return np.zeros(0, np.float32)


Frames = FileFrames | ArrayFrames | NoFrames


def _from(frame_NYX3: np.ndarray, first: int, num: int) -> np.ndarray:
  """Returns num frames from `first` on; the last one is repeated."""
  return frame_NYX3[np.minimum(np.arange(first, first + num), len(frame_NYX3) - 1)]


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
  """Returns zeros, uint8, in pages that go back to the system as soon as they are released."""
  return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)
