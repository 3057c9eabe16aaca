"""Frames and waveforms of a media file by presentation time, in bounded memory.

Clock: see `v2a.media.source`. The frame at time t is the one on screen at t: the last one whose presentation
time is at most t. The last frame of a video is held after its end, and the first one is used before its
start. Sample k of a waveform belongs to time k / sample_rate_hz; without audio, samples are zero.
"""

from collections.abc import Callable
from collections.abc import Iterator
import fractions
import math
import os
import pathlib

import av
import av.video.reformatter
import numpy as np

from v2a.media import audio_reader
from v2a.media import crop as crop_lib
from v2a.media import errors
from v2a.media import orientation
from v2a.media import probe
from v2a.media import source
from v2a.media import stills

_CHUNK_FRAMES = 64
# Below this start time, decoding from the beginning is faster than seeking.
_SEEK_FROM_S = 2.0
# (start of a frame, start of the segment, rounding error of the container), in seconds on the container's
# clock -> number of requested frames before that frame.
_Due = Callable[[fractions.Fraction, fractions.Fraction, fractions.Fraction], float | fractions.Fraction]


def frames(
  path: str | os.PathLike, fps: float, size: int, start_s: float = 0.0, duration_s: float | None = None
) -> np.ndarray:
  """Returns frame_LYX3, uint8 RGB: frame k is on screen at start_s + k / fps.

  Args:
    path: a video or an image.
    fps: frames per second of the result, > 0.
    size: height and width in pixels; frames are resized to a square by area averaging, whatever their aspect.
    start_s: seconds, >= 0.
    duration_s: seconds; None means to the end of the video. The result has round(duration_s * fps) frames.

  Raises:
    MediaError: the file cannot be read, has no video, or ends before start_s.
    ValueError: a number is out of range.
  """
  duration_s = _length_s(path, fps, size, start_s, duration_s)
  frame_LYX3 = np.empty((round(duration_s * fps), size, size, 3), np.uint8)
  num_done = 0
  for chunk_LYX3 in iterate_frames(path, fps, size, start_s, duration_s):
    frame_LYX3[num_done : num_done + len(chunk_LYX3)] = chunk_LYX3
    num_done += len(chunk_LYX3)
  return frame_LYX3


def iterate_frames(
  path: str | os.PathLike,
  fps: float,
  size: int,
  start_s: float = 0.0,
  duration_s: float | None = None,
  chunk_frames: int = _CHUNK_FRAMES,
) -> Iterator[np.ndarray]:
  """Returns an iterator over the result of `frames` in chunks.

  Args:
    path: a video or an image.
    fps: frames per second of the result, > 0.
    size: height and width in pixels; see `frames`.
    start_s: seconds, >= 0.
    duration_s: seconds; None means to the end of the video.
    chunk_frames: frames per chunk, >= 1; the last may be shorter.

  Raises:
    ValueError: chunk_frames is below 1, or `frames` would raise it.
  """
  if chunk_frames < 1:
    raise ValueError(f'chunk_frames must be at least 1; got {chunk_frames}.')
  duration_s = _length_s(path, fps, size, start_s, duration_s)
  return _chunks(pathlib.Path(path), _on_grid(fps), size, start_s, round(duration_s * fps), chunk_frames)


def iterate_frames_at(
  path: str | os.PathLike,
  tick_L: np.ndarray,
  ticks_hz: int,
  size: int | tuple[int, int],
  start_s: float = 0.0,
  chunk_frames: int = _CHUNK_FRAMES,
  crop: crop_lib.CropBox | None = None,
) -> Iterator[np.ndarray]:
  """Returns an iterator over chunks of frame_LYX3, uint8 RGB: the frames at arbitrary times.

  Args:
    path: a video or an image.
    tick_L: frame l is the one on screen at start_s + tick_L[l] / ticks_hz; integers in ascending order.
    ticks_hz: ticks per second.
    size: see `frames`; or height and width in pixels, such as those of `fitted_size`.
    start_s: seconds, >= 0.
    chunk_frames: frames per chunk; the last may be shorter.
    crop: what is resized of each frame; None for all.

  Raises:
    MediaError: the file cannot be read, has no video, or ends before start_s.
    ValueError: a number is out of range.
  """
  if chunk_frames < 1:
    raise ValueError(f'chunk_frames must be at least 1; got {chunk_frames}.')
  if not len(tick_L) or tick_L[0] < 0 or np.any(np.diff(tick_L) < 0):
    raise ValueError('tick_L must not be empty, negative or descending.')
  _length_s(path, ticks_hz, size, start_s, 1.0)
  due = _at_ticks(tick_L, ticks_hz)
  return _chunks(pathlib.Path(path), due, size, start_s, len(tick_L), chunk_frames, crop)


def _on_grid(fps: float) -> _Due:
  """Counts frames at times k / fps."""
  rate = fractions.Fraction(fps).limit_denominator(10**6)
  return lambda begin_s, first_s, late_s: (begin_s - late_s - first_s) * rate


def _on_rounded_grid(fps: float) -> _Due:
  """Counts frames as `iterate_full_size_frames` selects them."""
  rate = fractions.Fraction(fps).limit_denominator(10**6)
  index = lambda time_s: math.floor(time_s * rate + fractions.Fraction(1, 2))
  return lambda begin_s, first_s, late_s: index(begin_s) - index(first_s)


def _at_ticks(tick_L: np.ndarray, ticks_hz: int) -> _Due:
  """Counts frames as `iterate_frames_at` selects them."""
  return lambda begin_s, first_s, late_s: int(
    np.searchsorted(tick_L, math.ceil((begin_s - late_s - first_s) * ticks_hz))
  )


def iterate_full_size_frames(path: str | os.PathLike, fps: float, num_frames: int) -> Iterator[np.ndarray]:
  """Yields num_frames frames frame_YX3 (uint8 RGB, original size) as FFmpeg's filter `fps` selects them.

  Unlike in `frames`, frame l need not be on screen at l / fps: it is the last frame with round(time * fps) <=
  l, halves rounded up. The last frame is repeated.

  Args:
    path: a video or an image.
    fps: frames per second of the result, > 0.
    num_frames: number of frames to yield.

  Raises:
    MediaError: the file cannot be read, or has no video.
  """
  frame_YX3, previous, orient = np.empty((0, 0, 3), np.uint8), None, orientation.UPRIGHT
  for frame in _shown(pathlib.Path(path), _on_rounded_grid(fps), 0.0, num_frames):
    if frame is not previous:
      if isinstance(frame, np.ndarray):
        frame_YX3 = frame
      else:
        orient = orientation.from_frame(frame) if previous is None else orient
        frame_YX3 = orient.apply(frame.to_ndarray(format='rgb24'))
      previous = frame
    yield frame_YX3


def wave(
  path: str | os.PathLike,
  sample_rate_hz: int,
  num_channels: int,
  start_s: float = 0.0,
  duration_s: float | None = None,
) -> np.ndarray:
  """Returns wave_NA, float32, on the clock of the video; zeros where there is no audio.

  Args:
    path: a video or audio file.
    sample_rate_hz: samples per second of the result.
    num_channels: 1 or 2; mixed as in `v2a.media.channels`.
    start_s: seconds, >= 0.
    duration_s: seconds; None means to the end of the video (of the audio if there is no video).

  Raises:
    MediaError: the file cannot be read.
    ValueError: a number is out of range.
  """
  if duration_s is None:
    duration_s = _rest_s(probe.probe(path), start_s)
  wave_NA = np.empty((round(duration_s * sample_rate_hz), num_channels), np.float32)
  num_done = 0
  for chunk_NA in audio_reader.iterate_blocks(path, sample_rate_hz, num_channels, start_s, duration_s):
    wave_NA[num_done : num_done + len(chunk_NA)] = chunk_NA
    num_done += len(chunk_NA)
  return wave_NA


def _rest_s(info: probe.Probe, start_s: float) -> float:
  if info.is_image:
    raise errors.MediaError(f'{info.path}: is a still image; wanted duration_s with it.')
  if start_s >= info.duration_s:
    raise errors.starts_too_late(info.path, info.duration_s, start_s)
  return info.duration_s - start_s


def _length_s(
  path: str | os.PathLike,
  fps: float,
  size: int | tuple[int, int],
  start_s: float,
  duration_s: float | None,
) -> float:
  """Checks the arguments and returns the duration, that of the file if duration_s is None."""
  if not 0 < fps < math.inf:
    raise ValueError(f'fps must be positive; got {fps}.')
  if min(_height_and_width(size)) < 1:
    raise ValueError(f'size must be at least 1 pixel; got {size}.')
  if not 0 <= start_s < math.inf:
    raise ValueError(f'start_s must be at least 0 s; got {start_s}.')
  if duration_s is None:
    return _rest_s(probe.probe(path), start_s)
  if not 0 < duration_s < math.inf:
    raise ValueError(f'duration_s must be positive; got {duration_s}.')
  return duration_s


def fitted_size(path: str | os.PathLike, side: int, is_short: bool = False) -> tuple[int, int]:
  """Returns the height and width of a video with square pixels at its aspect ratio.

  Args:
    path: a video or an image.
    side: pixels of the longer side, which is never enlarged.
    is_short: whether `side` is the shorter side instead, which may be enlarged.

  Raises:
    MediaError: the file cannot be read, or has no video.
  """
  if stills.image_format(path) is not None:
    info = stills.inspect(path)
    width, height = fractions.Fraction(info.width), fractions.Fraction(info.height)
  else:
    with source.Source(path) as opened:
      stream = opened.require_video_stream()
      opened.select_stream(stream)
      _, frame = opened.first_frame(stream)
      assert isinstance(frame, av.VideoFrame)
      width = frame.width * fractions.Fraction(stream.sample_aspect_ratio or 1)
      height = fractions.Fraction(frame.height)
      if orientation.from_frame(frame).is_sideways:
        width, height = height, width
  scale = side / min(width, height) if is_short else min(fractions.Fraction(1), side / max(width, height))
  return max(1, round(height * scale)), max(1, round(width * scale))


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
  return (size, size) if isinstance(size, int) else size


def _chunks(
  path: pathlib.Path,
  due: _Due,
  size: int | tuple[int, int],
  start_s: float,
  num_frames: int,
  chunk_frames: int,
  crop: crop_lib.CropBox | None = None,
) -> Iterator[np.ndarray]:
  chunk_LYX3, filled = None, 0
  height, width = _height_and_width(size)
  shown = _shown(path, due, start_s, num_frames)
  reformatter, full_size = av.video.reformatter.VideoReformatter(), av.video.reformatter.VideoReformatter()
  resized_YX3, previous, orient = None, None, orientation.UPRIGHT
  for index, frame in enumerate(shown):
    if chunk_LYX3 is None:
      chunk_LYX3 = np.empty((min(chunk_frames, num_frames - index), height, width, 3), np.uint8)
    if frame is not previous:
      if isinstance(frame, np.ndarray):
        resized_YX3 = stills.resize(crop.apply(frame) if crop else frame, height, width)
      else:
        orient = orientation.from_frame(frame) if previous is None else orient
        if crop is None:
          coded_size = (width, height) if orient.is_sideways else (height, width)
          resized_YX3 = orient.apply(_resized(reformatter, frame, *coded_size))
        else:
          whole_YX3 = orient.apply(_resized(full_size, frame, frame.height, frame.width))
          part_YX3 = np.ascontiguousarray(crop.apply(whole_YX3))
          part = av.VideoFrame.from_ndarray(part_YX3, 'rgb24')
          resized_YX3 = _resized(reformatter, part, height, width)
      previous = frame
    chunk_LYX3[filled] = resized_YX3
    filled += 1
    if filled == len(chunk_LYX3):
      yield chunk_LYX3
      chunk_LYX3, filled = None, 0


def _resized(
  reformatter: av.video.reformatter.VideoReformatter, frame: av.VideoFrame, height: int, width: int
) -> np.ndarray:
  small = reformatter.reformat(frame, width, height, 'rgb24', interpolation='AREA', threads=1)
  return small.to_ndarray()


def _shown(
  path: pathlib.Path, due: _Due, start_s: float, num_frames: int
) -> Iterator[av.VideoFrame | np.ndarray]:
  """Yields num_frames frames, each the one on screen at its time.

  Frames of still images and animations are upright arrays frame_YX3.
  """
  start = fractions.Fraction(start_s).limit_denominator(10**6)
  if stills.image_format(path) is not None:
    timed = ((begin_s, begin_s + length_s, frame_YX3) for begin_s, length_s, frame_YX3 in stills.frames(path))
    yield from _sampled(path, timed, fractions.Fraction(0), start, due, num_frames)
    return
  zero_s = source.clock_origin_s(path)
  with source.Source(path) as opened:
    stream = opened.require_video_stream()
    opened.select_stream(stream)
    stream.thread_type = 'AUTO'
    first_s = zero_s + start
    decoded = opened.decoded_from(stream, first_s) if start_s > _SEEK_FROM_S else opened.decoded(stream)
    timed = (
      (time_s, time_s if opened.is_still else time_s + source.frame_duration_s(frame, stream), frame)
      for time_s, frame in decoded
    )
    yield from _sampled(path, timed, zero_s, first_s, due, num_frames, source.rounding_s(stream))


def _sampled(
  path: pathlib.Path,
  timed: Iterator,
  zero_s: fractions.Fraction,
  first_s: fractions.Fraction,
  due: _Due,
  num_frames: int,
  late_s: fractions.Fraction = fractions.Fraction(0),
) -> Iterator[av.VideoFrame | np.ndarray]:
  """Yields the frames on screen at the requested times, num_frames in total; the last one is repeated.

  Args:
    path: the file, for error messages.
    timed: (start, end, frame), seconds on the container's clock; the end of a still image is its start.
    zero_s: time of t=0 on the container's clock.
    first_s: start of the segment on the container's clock.
    due: see _Due.
    num_frames: number of frames to yield.
    late_s: rounding error of start times in the container.
  """
  index, current, last = 0, None, (zero_s, zero_s)
  for begin_s, end_s, frame in timed:
    num_due = due(begin_s, first_s, late_s)
    while current is not None and index < min(num_frames, num_due):
      yield current
      index += 1
    if index == num_frames:
      return
    current, last = frame, (begin_s, end_s)
  if current is None:
    raise errors.MediaError(f'{path}: no frame can be decoded.')
  if index == 0 and last[0] < last[1] <= first_s and first_s > zero_s:
    raise errors.starts_too_late(path, float(last[1] - zero_s), float(first_s - zero_s))
  for _ in range(num_frames - index):
    yield current
