"""Cuts an item into segments: whole, in fixed windows, or at scene cuts.

  cutting = cut.Cutting('scenes', min_s=2.0, max_s=30.0)
  found = cutting.segments(start_s, end_s, scenes)

What no segment covers is returned with the reason, so that nothing is dropped silently.

Scenes are found by PySceneDetect's AdaptiveDetector on the small frames at FRAMES_PER_S, in constant memory:
the mean absolute difference of hue, saturation and value of consecutive frames, relative to that of their
neighbours. On 41 real clips it finds the six hard cuts, and one false one in a fade from black; it misses a
dissolve and a slide to the next image. ContentDetector, without the comparison to neighbours, has 55 false
cuts in a single clip of running dogs, and HistogramDetector 73 in all. A scene begins with the first frame
that shows it and ends with its last one, so that no clip contains a frame of its neighbour; the time between
both, 1 / FRAMES_PER_S, belongs to none. The package `scenedetect-headless` (extra `data`) comes with OpenCV
without its GUI.
"""

from collections.abc import Iterable
import dataclasses
import importlib
import importlib.util
import math
from typing import Literal

import numpy as np

from data_pipelines import decode
from data_pipelines import decoded

Mode = Literal['whole', 'windows', 'scenes']
MODES: tuple[Mode, ...] = ('whole', 'windows', 'scenes')
INSTALL_COMMAND = "pip install 'v2a[data]'"
_SLACK_S = 1e-3  # containers round durations


@dataclasses.dataclass(frozen=True)
class Omitted:
  """A part of an item that no segment covers.

  Attributes:
    start_s, end_s: the part.
    reason: why.
  """

  start_s: float
  end_s: float
  reason: str


@dataclasses.dataclass(frozen=True)
class Cut:
  """The segments of an item.

  Attributes:
    segments: in ascending order.
    omitted: what they do not cover.
  """

  segments: tuple[decode.Segment, ...]
  omitted: tuple[Omitted, ...]


@dataclasses.dataclass(frozen=True)
class Cutting:
  """How items are cut.

  Attributes:
    mode: 'whole': an item is one segment; 'windows': consecutive windows of max_s, the last one shorter;
      'scenes': one segment a scene, scenes above max_s in equal parts.
    min_s, max_s: shortest and longest segment in seconds; what is outside is omitted.
  """

  mode: Mode = 'windows'
  min_s: float = 2.0
  max_s: float = 30.0

  def __post_init__(self):
    if self.mode not in MODES:
      raise ValueError(f'mode of cutting must be one of {", ".join(MODES)}; got {self.mode!r}.')
    if not 0 < self.min_s <= self.max_s < math.inf:
      raise ValueError(f'cutting needs 0 < min_s <= max_s; got min_s={self.min_s}, max_s={self.max_s}.')

  def segments(self, start_s: float, end_s: float, scenes: Iterable[decode.Segment] | None = None) -> Cut:
    """Returns the segments of an item.

    Args:
      start_s, end_s: the item in its file.
      scenes: those of `find_scenes`, for the mode 'scenes'.

    Raises:
      ValueError: the mode is 'scenes', and there are none.
    """
    if self.mode == 'whole':
      parts = [(start_s, end_s)]
    elif self.mode == 'windows':
      num_windows = max(1, math.ceil((end_s - start_s - _SLACK_S) / self.max_s))
      edges = [*(start_s + index * self.max_s for index in range(num_windows)), end_s]
      parts = list(zip(edges[:-1], edges[1:]))
    elif scenes is None:
      raise ValueError("cutting by 'scenes' needs the scenes of the item.")
    else:
      parts = [part for scene in scenes for part in self._equal_parts(*scene)]
    selected, omitted = [], []
    for part_start_s, part_end_s in parts:
      length_s = part_end_s - part_start_s
      if length_s < self.min_s - _SLACK_S:
        reason = f'lasts {length_s:.2f} s; wanted at least {self.min_s:g} s'
      elif length_s > self.max_s + _SLACK_S:
        reason = f'lasts {length_s:.2f} s; wanted at most {self.max_s:g} s'
      else:
        selected.append((part_start_s, part_end_s))
        continue
      omitted.append(Omitted(part_start_s, part_end_s, reason))
    return Cut(tuple(selected), tuple(omitted))

  def _equal_parts(self, start_s: float, end_s: float) -> list[decode.Segment]:
    num_parts = max(1, math.ceil((end_s - start_s - _SLACK_S) / self.max_s))
    edges = [start_s + index * (end_s - start_s) / num_parts for index in range(num_parts)] + [end_s]
    return list(zip(edges[:-1], edges[1:]))


def find_scenes(media: decode.MediaFile, start_s: float, end_s: float) -> list[decode.Segment]:
  """Returns the scenes of a segment of a file, at least one; a file without video is one scene.

  Raises:
    MediaError: the file cannot be decoded.
    ValueError: PySceneDetect is not installed.
  """
  if not media.info.has_video:
    return [(start_s, end_s)]
  cuts = cut_indices(decode.small_frames(media, start_s, end_s))
  begins_s = [start_s, *(start_s + index / decoded.FRAMES_PER_S for index in cuts)]
  ends_s = [*(start_s + (index - 1) / decoded.FRAMES_PER_S for index in cuts), end_s]
  return list(zip(begins_s, ends_s))


def is_installed() -> bool:
  """Returns whether PySceneDetect is installed."""
  return importlib.util.find_spec('scenedetect') is not None


def cut_indices(frames: Iterable[np.ndarray]) -> list[int]:
  """Returns the indices of the frames that begin a new scene, ascending, by PySceneDetect.

  Args:
    frames: frame_YX3 at FRAMES_PER_S, uint8 RGB.

  Raises:
    ValueError: PySceneDetect is not installed.
  """
  if not is_installed():
    raise ValueError(f'finding scenes needs scenedetect-headless: {INSTALL_COMMAND}.')
  scenedetect = importlib.import_module('scenedetect')
  detector = scenedetect.AdaptiveDetector(min_scene_len=1)
  found = []
  for index, frame_YX3 in enumerate(frames):
    timecode = scenedetect.FrameTimecode(index, fps=decoded.FRAMES_PER_S)
    bgr_YX3 = np.ascontiguousarray(frame_YX3[..., ::-1])
    found += [cut.frame_num for cut in detector.process_frame(timecode, bgr_YX3)]
  return sorted(set(found) - {0})
