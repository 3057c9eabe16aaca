"""Frames and waves of a media file by presentation time, in bounded memory.

Clock: see `v2a.media.source`. The frame at time t is the one on screen at t: the last one whose
presentation time is at most t; the last frame of a video stays on screen, the first is there early.
Sample k of a wave is what is heard at k / sample_rate_hz; where a file has no sound there are zeros.
"""

from collections.abc import Callable
from collections.abc import Iterator
import fractions
import math
import os
import pathlib

import av
import numpy as np

from v2a.media import audio_reader
from v2a.media import errors
from v2a.media import orientation
from v2a.media import probe
from v2a.media import source
from v2a.media import stills

_CHUNK_FRAMES = 64
# Nearer starts are reached sooner by decoding than by seeking.
_SEEK_FROM_S = 2.0
# (begin of a frame, begin of the part, by how much the container may have moved the former), in the
# container's seconds -> how many of the wanted frames are shown before that frame.
_Due = Callable[[fractions.Fraction, fractions.Fraction, fractions.Fraction], float]


def frames(
  path: str | os.PathLike, fps: float, size: int, start_s: float = 0.0, duration_s: float | None = None
) -> np.ndarray:
  """Returns frame_LYX3, uint8 RGB: frame k is on screen at start_s + k / fps.

  Args:
    path: a video or a picture.
    fps: frames a second wanted, > 0.
    size: rows and columns in pixels; the picture is squashed to a square by area averaging.
    start_s: seconds, >= 0.
    duration_s: seconds; None is to the end of the picture. The result has round(duration_s * fps) frames.

  Raises:
    MediaError: the file cannot be read, has no picture, or ends before start_s.
    ValueError: a number is out of range.
  """
  duration_s = _length_s(path, fps, size, start_s, duration_s)
  frame_LYX3 = np.empty((round(duration_s * fps), size, size, 3), np.uint8)
  done = 0
  for chunk_LYX3 in iterate_frames(path, fps, size, start_s, duration_s):
    frame_LYX3[done : done + len(chunk_LYX3)] = chunk_LYX3
    done += len(chunk_LYX3)
  return frame_LYX3


def iterate_frames(
  path: str | os.PathLike,
  fps: float,
  size: int,
  start_s: float = 0.0,
  duration_s: float | None = None,
  chunk_frames: int = _CHUNK_FRAMES,
) -> Iterator[np.ndarray]:
  """Returns an iterator over what `frames` returns, in pieces of chunk_frames (the last may be shorter)."""
  if chunk_frames < 1:
    raise ValueError(f'chunk_frames must be at least 1; got {chunk_frames}.')
  duration_s = _length_s(path, fps, size, start_s, duration_s)
  return _chunks(pathlib.Path(path), _on_grid(fps), size, start_s, round(duration_s * fps), chunk_frames)


def iterate_frames_at(
  path: str | os.PathLike,
  tick_L: np.ndarray,
  ticks_hz: int,
  size: int,
  start_s: float = 0.0,
  chunk_frames: int = _CHUNK_FRAMES,
) -> Iterator[np.ndarray]:
  """Returns an iterator over frame_LYX3, uint8 RGB, in pieces as `iterate_frames`: frames at any times.

  Args:
    path: a video or a picture.
    tick_L: frame l is the one on screen at start_s + tick_L[l] / ticks_hz; whole numbers that never fall.
    ticks_hz: ticks a second.
    size: see `frames`.
    start_s: seconds, >= 0.
    chunk_frames: frames of a piece; the last may be shorter.

  Raises:
    MediaError: the file cannot be read, has no picture, or ends before start_s.
    ValueError: a number is out of range.
  """
  if chunk_frames < 1:
    raise ValueError(f'chunk_frames must be at least 1; got {chunk_frames}.')
  if not len(tick_L) or tick_L[0] < 0 or np.any(np.diff(tick_L) < 0):
    raise ValueError('frames must be wanted at times of at least 0 that never fall.')
  _length_s(path, ticks_hz, size, start_s, 1.0)
  return _chunks(pathlib.Path(path), _at_ticks(tick_L, ticks_hz), size, start_s, len(tick_L), chunk_frames)


def _on_grid(fps: float) -> _Due:
  """Returns how many of the frames at k / fps are shown before a frame begins."""
  rate = fractions.Fraction(fps).limit_denominator(10**6)
  return lambda begin_s, first_s, late_s: (begin_s - late_s - first_s) * rate


def _on_rounded_grid(fps: float) -> _Due:
  """Returns the same of frames as `iterate_full_size_frames` takes them."""
  rate = fractions.Fraction(fps).limit_denominator(10**6)
  place = lambda time_s: math.floor(time_s * rate + fractions.Fraction(1, 2))
  return lambda begin_s, first_s, late_s: place(begin_s) - place(first_s)


def _at_ticks(tick_L: np.ndarray, ticks_hz: int) -> _Due:
  """Returns the same of frames as `iterate_frames_at` takes them."""
  return lambda begin_s, first_s, late_s: int(
    np.searchsorted(tick_L, math.ceil((begin_s - late_s - first_s) * ticks_hz))
  )


def iterate_full_size_frames(path: str | os.PathLike, fps: float, num_frames: int) -> Iterator[np.ndarray]:
  """Yields picture_YX3, uint8 RGB at its own size, num_frames of them, as FFmpeg's filter `fps` takes them.

  Unlike those of `frames`, picture l need not be on screen at l / fps: it is the last one whose time, counted
  in pictures of the result and with halves rounded up, is l or less. The last one stays.

  Args:
    path: a video or a picture.
    fps: pictures a second wanted, > 0.
    num_frames: pictures wanted.

  Raises:
    MediaError: the file cannot be read, or has no picture.
  """
  picture_YX3, previous, turn = None, None, orientation.UPRIGHT
  for frame in _shown(pathlib.Path(path), _on_rounded_grid(fps), 0.0, num_frames):
    if frame is not previous and isinstance(frame, np.ndarray):
      picture_YX3, previous = frame, frame
    elif frame is not previous:
      if previous is None:
        turn = orientation.from_frame(frame)
      picture_YX3, previous = turn.apply(frame.to_ndarray(format='rgb24')), frame
    yield picture_YX3


def wave(
  path: str | os.PathLike,
  sample_rate_hz: int,
  num_channels: int,
  start_s: float = 0.0,
  duration_s: float | None = None,
) -> np.ndarray:
  """Returns wave_NA, float32, on the picture's clock; zeros where there is no sound.

  Args:
    path: a video or a sound file.
    sample_rate_hz: samples a second wanted.
    num_channels: 1 or 2; mixed as `v2a.media.channels` defines.
    start_s: seconds, >= 0.
    duration_s: seconds; None is to the end of the picture (of the sound where there is no picture).

  Raises:
    MediaError: the file cannot be read.
    ValueError: a number is out of range.
  """
  if duration_s is None:
    duration_s = _rest_s(probe.probe(path), start_s)
  wave_NA = np.empty((round(duration_s * sample_rate_hz), num_channels), np.float32)
  done = 0
  for chunk_NA in audio_reader.iterate_blocks(path, sample_rate_hz, num_channels, start_s, duration_s):
    wave_NA[done : done + len(chunk_NA)] = chunk_NA
    done += len(chunk_NA)
  return wave_NA


def _rest_s(info: probe.Probe, start_s: float) -> float:
  if info.is_image:
    raise errors.MediaError(f'{info.path}: is a still image; wanted duration_s with it.')
  if start_s >= info.duration_s:
    raise errors.starts_too_late(info.path, info.duration_s, start_s)
  return info.duration_s - start_s


def _length_s(
  path: str | os.PathLike, fps: float, size: int, start_s: float, duration_s: float | None
) -> float:
  """Checks the numbers and returns the duration, measured where None was given."""
  if not 0 < fps < math.inf:
    raise ValueError(f'fps must be positive; got {fps}.')
  if size < 1:
    raise ValueError(f'size must be at least 1 pixel; got {size}.')
  if not 0 <= start_s < math.inf:
    raise ValueError(f'start_s must be at least 0 s; got {start_s}.')
  if duration_s is None:
    return _rest_s(probe.probe(path), start_s)
  if not 0 < duration_s < math.inf:
    raise ValueError(f'duration_s must be positive; got {duration_s}.')
  return duration_s


def _chunks(
  path: pathlib.Path, due: _Due, size: int, start_s: float, num_frames: int, chunk_frames: int
) -> Iterator[np.ndarray]:
  chunk_LYX3, filled = None, 0
  shown = _shown(path, due, start_s, num_frames)
  reformatter = av.video.reformatter.VideoReformatter()
  square_YX3, previous, turn = None, None, orientation.UPRIGHT
  for index, frame in enumerate(shown):
    if chunk_LYX3 is None:
      chunk_LYX3 = np.empty((min(chunk_frames, num_frames - index), size, size, 3), np.uint8)
    if frame is not previous and isinstance(frame, np.ndarray):
      square_YX3, previous = stills.resize_square(frame, size), frame
    elif frame is not previous:
      if previous is None:
        turn = orientation.from_frame(frame)
      square_YX3, previous = turn.apply(_square(reformatter, frame, size)), frame
    chunk_LYX3[filled] = square_YX3
    filled += 1
    if filled == len(chunk_LYX3):
      yield chunk_LYX3
      chunk_LYX3, filled = None, 0


def _square(
  reformatter: av.video.reformatter.VideoReformatter, frame: av.VideoFrame, size: int
) -> np.ndarray:
  small = reformatter.reformat(frame, size, size, 'rgb24', interpolation='AREA', threads=1)
  return small.to_ndarray()


def _shown(
  path: pathlib.Path, due: _Due, start_s: float, num_frames: int
) -> Iterator[av.VideoFrame | np.ndarray]:
  """Yields num_frames frames, each on screen at its time.

  Those of still images and animations are picture_YX3, upright.
  """
  start = fractions.Fraction(start_s).limit_denominator(10**6)
  if stills.image_format(path) is not None:
    timed = ((begin_s, begin_s + length_s, shown_YX3) for begin_s, length_s, shown_YX3 in stills.frames(path))
    yield from _held(path, timed, fractions.Fraction(0), start, due, num_frames)
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
    yield from _held(path, timed, zero_s, first_s, due, num_frames, source.rounding_s(stream))


def _held(
  path: pathlib.Path,
  timed: Iterator,
  zero_s: fractions.Fraction,
  first_s: fractions.Fraction,
  due: _Due,
  num_frames: int,
  late_s: fractions.Fraction = fractions.Fraction(0),
) -> Iterator[av.VideoFrame | np.ndarray]:
  """Yields what is on screen at the wanted times, num_frames times; the last frame stays.

  Args:
    path: for messages.
    timed: (begin, end, frame) in the container's seconds; a still image ends where it begins.
    zero_s: where t=0 lies on the container's clock.
    first_s: begin in the container's seconds.
    due: see _Due.
    num_frames: wanted.
    late_s: by how much the container may have moved a begin.
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
