"""Small videos without audio that every browser plays: H.264, square pixels, the times of the source.

A clip of a report is encoded once; `v2a.media.write.mux` then copies its packets beside each soundtrack.
Frames keep their presentation times to 1/90000 s, so that synchrony can be judged from the result.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import fractions
import os
import pathlib

import av
import av.video.reformatter
import numpy as np

from v2a import shapes
from v2a.media import errors
from v2a.media import orientation
from v2a.media import source

# Largest height and width of frames that are read from a file.
MAX_HEIGHT, MAX_WIDTH = 360, 640
# Arrays of fewer rows are enlarged by a whole number: players smooth what they enlarge.
MIN_HEIGHT = 192
# Seconds from the start of the clip, and frame_YX3.
TimedFrame = tuple[fractions.Fraction, np.ndarray]
_TICK_S = fractions.Fraction(1, 90000)
# Without B-frames decoding times are presentation times.
_OPTIONS = {'bf': '0', 'crf': '20', 'preset': 'veryfast', 'threads': '1'}


def read_frames(path: str | os.PathLike, duration_s: fractions.Fraction) -> Iterator[TimedFrame]:
  """Yields the frames of the first seconds of a video as they are displayed, with even sides.

  Args:
    path: the video.
    duration_s: seconds from its first shown frame.

  Raises:
    MediaError: the file cannot be read, or has no video.
  """
  path = pathlib.Path(path)
  zero_s = source.clock_origin_s(path)
  reformatter = av.video.reformatter.VideoReformatter()
  with source.Source(path) as opened:
    stream = opened.require_video_stream()
    opened.select_stream(stream)
    size: tuple[int, int] | None = None
    orient = orientation.UPRIGHT
    for begin_s, frame in opened.decoded(stream):
      if not isinstance(frame, av.VideoFrame) or begin_s < zero_s:
        continue
      if begin_s - zero_s >= duration_s:
        return
      if size is None:
        orient = orientation.from_frame(frame)
        size = _fitted_size(frame, stream.sample_aspect_ratio, orient.is_sideways)
      small = reformatter.reformat(frame, *size, format='rgb24', interpolation='AREA', threads=1)
      yield begin_s - zero_s, orient.apply(small.to_ndarray())
  if size is None:
    raise errors.MediaError(f'{path}: no frame can be decoded.')


def _fitted_size(
  frame: av.VideoFrame, pixel_aspect: fractions.Fraction | None, is_sideways: bool
) -> tuple[int, int]:
  """Returns the width and height of a coded frame with square pixels within the maximum when displayed."""
  width, height = frame.width * (pixel_aspect or 1), frame.height
  max_width, max_height = (MAX_HEIGHT, MAX_WIDTH) if is_sideways else (MAX_WIDTH, MAX_HEIGHT)
  scale = min(1, max_width / width, max_height / height)
  return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def array_frames(frame_LYX3: np.ndarray, fps: float | fractions.Fraction) -> Iterator[TimedFrame]:
  """Yields frames of an array, those of fewer than MIN_HEIGHT rows enlarged, with even sides.

  Args:
    frame_LYX3: uint8 RGB; frame k is on screen from k / fps.
    fps: frames per second.
  """
  shapes.check(frame_LYX3=frame_LYX3)
  rate = fractions.Fraction(fps).limit_denominator(10**6)
  factor = -(-MIN_HEIGHT // frame_LYX3.shape[1])
  factor += factor % 2 and any(side % 2 for side in frame_LYX3.shape[1:3])
  for k, frame_YX3 in enumerate(frame_LYX3):
    yield k / rate, frame_YX3.repeat(factor, axis=0).repeat(factor, axis=1)


def write(path: str | os.PathLike, frames: Iterable[TimedFrame], duration_s: fractions.Fraction) -> None:
  """Writes an MP4 file of frames, each shown until the next one, the last one until the end.

  Args:
    path: the file.
    frames: uint8 RGB of one even size, in the order of their times; the first is at 0.
    duration_s: length of the video.

  Raises:
    ValueError: there are no frames.
  """
  with av.open(os.fspath(path), 'w', format='mp4') as container:
    waiting = None
    for packet in _encoded(container, frames):
      if waiting is not None:
        waiting.duration = _ticks(packet) - _ticks(waiting)
        container.mux(waiting)
      waiting = packet
    if waiting is None:
      raise ValueError(f'{path}: a video needs at least one frame; got none.')
    waiting.duration = max(1, round(duration_s / _TICK_S) - _ticks(waiting))
    container.mux(waiting)


def _encoded(container: av.container.OutputContainer, frames: Iterable[TimedFrame]) -> Iterator[av.Packet]:
  stream = None
  for time_s, frame_YX3 in frames:
    if stream is None:
      height, width = frame_YX3.shape[:2]
      stream = container.add_stream(
        'libx264', width=width, height=height, pix_fmt='yuv420p', time_base=_TICK_S, options=_OPTIONS
      )
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_YX3), format='rgb24')
    frame.pts, frame.time_base = round(time_s / _TICK_S), _TICK_S
    yield from stream.encode(frame)
  if stream is not None:
    yield from stream.encode(None)


def _ticks(packet: av.Packet) -> int:
  """Returns the presentation time of an encoded packet in _TICK_S."""
  assert packet.pts is not None and packet.time_base is not None
  return round(packet.pts * packet.time_base / _TICK_S)
