"""Filters of the frames: still, slideshow, black, bars, scene cuts.

They read the small frames at 8 Hz. Luma is that of BT.601, 0 to 255.
"""

import dataclasses

import numpy as np

from data_pipelines import cut
from data_pipelines import decoded
from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import memo
from v2a.media import crop

_LUMA_3 = np.array([0.299, 0.587, 0.114], np.float32)
# A frame differs from the last one if this share of its blocks of 8 x 8 pixels changes by this many levels:
# keyframes of a still video change less.
_BLOCK, _CHANGED_LEVEL, _CHANGED_SHARE = 8, 6.0, 0.002
# As in FFmpeg's blackdetect: 98 % of the pixels below 10 % of the range of 16 to 235.
_BLACK_LEVEL, _BLACK_SHARE = 32.0, 0.98
# The level of FFmpeg's cropdetect; at most this share of a row or column of a bar is brighter.
_BAR_LEVEL, _BAR_SHARE = 24.0, 0.05
# A bar that is narrower than this share of the side is an artefact of scaling.
_MIN_BAR = 0.015


@memo.of_last_clip
def _lumas(clip: decoded.DecodedClip) -> np.ndarray:
  return clip.frame_MYX3.astype(np.float32) @ _LUMA_3


@memo.of_last_clip
def _is_changed(clip: decoded.DecodedClip) -> np.ndarray:
  """Returns for each frame but the first whether it differs from the last one."""
  luma_MYX = _lumas(clip)
  height, width = (max(1, side // _BLOCK) for side in luma_MYX.shape[1:])
  rows, columns = (side // count for side, count in zip(luma_MYX.shape[1:], (height, width)))
  luma_MYX = luma_MYX[:, : height * rows, : width * columns]
  block_MYX = luma_MYX.reshape(len(luma_MYX), height, rows, width, columns).mean(axis=(2, 4))
  return (np.abs(np.diff(block_MYX, axis=0)) > _CHANGED_LEVEL).mean(axis=(1, 2)) > _CHANGED_SHARE


def still_share(clip: decoded.DecodedClip) -> float | str:
  """Returns the share of frames that equal the last one; 1 for a still image."""
  if len(clip.frame_MYX3) < 2:
    return 'the video has a single frame at 8 Hz'
  return float(1 - _is_changed(clip).mean())


def slideshow_share(clip: decoded.DecodedClip) -> float | str:
  """Returns the share of changes between still frames: all of them in a slideshow without transitions."""
  is_changed_M = _is_changed(clip)
  if not is_changed_M.any():
    return 'the video is still'
  near_M = np.convolve(is_changed_M, [1, 1, 0, 1, 1])[2 : 2 + len(is_changed_M)]
  return float((near_M[is_changed_M] == 0).mean())


def black_share(clip: decoded.DecodedClip) -> float:
  """Returns the share of black frames."""
  return float(_is_black(_lumas(clip)).mean())


def _is_black(luma_MYX: np.ndarray) -> np.ndarray:
  return (luma_MYX < _BLACK_LEVEL).mean(axis=(1, 2)) >= _BLACK_SHARE


def crop_box(clip: decoded.DecodedClip) -> crop.CropBox | None:
  """Returns the box without black bars at the edges of all frames; None where all frames are black.

  A bar is dark in every frame that is not black. Bars with a blurred copy of the video are not found.
  """
  luma_MYX = _lumas(clip)
  luma_MYX = luma_MYX[~_is_black(luma_MYX)]
  if not len(luma_MYX):
    return None
  edges = []
  for axis in (2, 1):
    is_content = ((luma_MYX > _BAR_LEVEL).mean(axis=axis) > _BAR_SHARE).any(axis=0)
    found, size = np.flatnonzero(is_content), len(is_content)
    low, high = (found[0] / size, (found[-1] + 1) / size) if len(found) else (0.0, 1.0)
    edges += [low if low >= _MIN_BAR else 0.0, high if 1 - high >= _MIN_BAR else 1.0]
  return crop.CropBox(*map(float, edges))


def letterbox(clip: decoded.DecodedClip) -> filter_lib.Measurement:
  """Returns the share of the area that is black bars, and the edges of the crop box as details."""
  box = crop_box(clip)
  if box is None:
    return filter_lib.Measurement(None, 'all frames are black')
  return filter_lib.Measurement(box.bar_share, details=tuple(dataclasses.asdict(box).items()))


def stored_box(measured: filter_lib.Measurement | None, frame_MYX3: np.ndarray) -> crop.CropBox | None:
  """Returns the crop box that is stored with a clip; None without bars, or where none were looked for.

  It is smaller than that of `letterbox` by a pixel of the small frames, in which content and bar are mixed.

  Args:
    measured: of `letterbox`.
    frame_MYX3: the small frames that were measured.
  """
  if measured is None or not measured.value:
    return None
  height, width = frame_MYX3.shape[1:3]
  try:
    return crop.CropBox(**dict(measured.details)).inset(1 / height, 1 / width)
  except ValueError:  # nothing remains of a line of light
    return None


def scene_cuts(clip: decoded.DecodedClip) -> float:
  """Returns the number of scene cuts in 10 s; see data_pipelines.cut."""
  return 10 * len(cut.cut_indices(clip.frame_MYX3)) / clip.duration_s


def make_filters() -> tuple[filter_lib.Filter, ...]:
  """Returns the filters; scene cuts are unavailable without PySceneDetect."""
  missing = '' if cut.is_installed() else f'package scenedetect-headless missing ({cut.INSTALL_COMMAND})'
  entries: tuple[tuple[str, str, str, filter_lib.MeasureFn, str], ...] = (
    ('still_share', '', 'share of frames (8 Hz) that equal the last one', still_share, ''),
    ('slideshow_share', '', 'share of changes between still frames', slideshow_share, ''),
    ('black_share', '', 'share of black frames', black_share, ''),
    ('letterbox', '', 'share of the area that is black bars, with the crop box', letterbox, ''),
    ('scene_cuts', 'per 10 s', 'hard cuts by PySceneDetect', scene_cuts, missing),
  )
  return tuple(
    filter_lib.FunctionFilter(name, unit, description, function, needs_video=True, unavailable_reason=reason)
    for name, unit, description, function, reason in entries
  )
