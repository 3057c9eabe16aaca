"""Re-encoding of still images and animations as H.264, since their packets cannot be muxed with audio.

Images larger than players support are downscaled (`stills.fitted_size`: 4096 pixels and H.264 level 5.2). An
odd side is padded by repeating its last row or column, because chroma is stored at half resolution. RGB is
converted to BT.709 of limited range, and bit stream and container are tagged accordingly, so that players
show the same colours.
"""

from collections.abc import Iterator
import fractions

import av
from av.video import reformatter
import numpy as np
from PIL import Image

from v2a.media import errors
from v2a.media import orientation
from v2a.media import probe
from v2a.media import remux
from v2a.media import source
from v2a.media import stills
from v2a.media import timestamps

STILL_FPS = 5
_STILL_S = fractions.Fraction(1, STILL_FPS)
TICK_S = fractions.Fraction(1, 90000)
_FORMAT = 'yuv420p'


def is_needed(info: probe.Probe) -> bool:
  """Returns whether the input must be re-encoded because its packets cannot be muxed with audio."""
  return info.is_image or info.is_animation


def find_segment(info: probe.Probe, start_s: float, duration_s: float | None) -> remux.Segment:
  """Returns the segment to encode.

  Args:
    info: of the file.
    start_s: start of the segment in seconds, >= 0; has no effect on a still image.
    duration_s: seconds, > 0, cut at the end of an animation; None means to its end.

  Raises:
    MediaError: an animation ends before start_s, or a still image has no duration.
    ValueError: a number is out of range.
  """
  zero_s = (
    fractions.Fraction(0) if stills.image_format(info.path) is not None else source.clock_origin_s(info.path)
  )
  if not info.is_image:
    start, duration, _ = remux.extent(info, start_s, duration_s)
    return remux.Segment(info, zero_s, start, duration)
  remux.check_extent(start_s, duration_s)
  if duration_s is None:
    raise errors.MediaError(f'{info.path}: is a still image; segment duration_s with it.')
  return remux.Segment(
    info, zero_s, fractions.Fraction(0), fractions.Fraction(duration_s).limit_denominator(10**6)
  )


def not_copied(info: probe.Probe) -> tuple[str, ...]:
  """Returns descriptions of what the re-encoded video loses."""
  width, height = stills.fitted_size(info.width, info.height)
  lost = []
  if (width, height) != (info.width, info.height):
    lost.append(f'the full size of the image ({info.width} x {info.height}, shown at {width} x {height})')
  if stills.image_format(info.path) is not None and stills.inspect(info.path).is_transparent:
    lost.append('transparency of the image (replaced by white)')
  return tuple(lost)


def add_stream(output: av.container.OutputContainer, info: probe.Probe) -> av.VideoCodecContext:
  """Adds the video stream to an output whose header is not yet written; returns its encoder."""
  width, height = (-(-side // 2) * 2 for side in stills.fitted_size(info.width, info.height))
  stream = output.add_stream(
    'libx264',
    rate=STILL_FPS,
    width=width,
    height=height,
    pix_fmt=_FORMAT,
    time_base=TICK_S,
    options={'bf': '0', 'crf': '18', 'tune': 'stillimage', 'preset': 'veryfast'},
  )
  codec = stream.codec_context
  codec.colorspace = reformatter.Colorspace.ITU709
  codec.color_primaries = reformatter.ColorPrimaries.BT709
  codec.color_trc = reformatter.ColorTrc.BT709
  codec.color_range = reformatter.ColorRange.MPEG
  return codec


def packets(
  segment: remux.Segment, codec: av.VideoCodecContext
) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Yields (decoding time in seconds from the start of the segment, packet)."""
  for packet in _encoded(segment, codec):
    time_s = timestamps.dts(packet) * packet.time_base
    packet.duration = round(min(_STILL_S, segment.duration_s - time_s) / packet.time_base)
    yield time_s, packet


def _encoded(segment: remux.Segment, codec: av.VideoCodecContext) -> Iterator[av.Packet]:
  previous_YX3 = frame = None
  for time_s, image_YX3 in _changes(segment):
    if frame is None or image_YX3 is not previous_YX3:
      frame, previous_YX3 = _converted(image_YX3, codec), image_YX3
    frame.pts = round(time_s / TICK_S)
    yield from codec.encode(frame)
  yield from codec.encode(None)


def _converted(image_YX3: np.ndarray, codec: av.VideoCodecContext) -> av.VideoFrame:
  """Returns the image in the size and pixel format of the encoder."""
  fitted = stills.fitted_size(image_YX3.shape[1], image_YX3.shape[0])
  if fitted != (image_YX3.shape[1], image_YX3.shape[0]):
    image_YX3 = np.asarray(Image.fromarray(image_YX3).resize(fitted, Image.Resampling.LANCZOS))
  padding = ((0, codec.height - image_YX3.shape[0]), (0, codec.width - image_YX3.shape[1]), (0, 0))
  frame = av.VideoFrame.from_ndarray(np.pad(image_YX3, padding, mode='edge'), 'rgb24')
  frame = frame.reformat(format=_FORMAT, dst_colorspace='ITU709', dst_color_range='MPEG')
  frame.time_base = TICK_S
  return frame


def _changes(segment: remux.Segment) -> Iterator[tuple[fractions.Fraction, np.ndarray]]:
  """Yields (time from the start of the segment, image_YX3), repeated every _STILL_S to allow seeking."""
  time_s, current_YX3 = fractions.Fraction(0), None
  for begin_s, image_YX3 in _images(segment):
    if begin_s >= segment.duration_s:
      break
    if begin_s > time_s and current_YX3 is not None:
      yield time_s, current_YX3
    time_s, current_YX3 = max(fractions.Fraction(0), begin_s), image_YX3
  if current_YX3 is None:
    raise errors.MediaError(f'{segment.info.path}: no frame can be decoded.')
  while time_s < segment.duration_s:
    yield time_s, current_YX3
    time_s += _STILL_S


def _images(segment: remux.Segment) -> Iterator[tuple[fractions.Fraction, np.ndarray]]:
  """Yields (time from the start of the segment, image_YX3)."""
  first_s = segment.clock_origin_s + segment.start_s
  if stills.image_format(segment.info.path) is not None:
    for begin_s, _, image_YX3 in stills.frames(segment.info.path):
      yield begin_s - first_s, image_YX3
    return
  with source.Source(segment.info.path) as opened:
    stream = opened.require_video_stream()
    opened.select_stream(stream)
    for begin_s, frame in opened.decoded(stream):
      if not isinstance(frame, av.VideoFrame):
        continue
      yield begin_s - first_s, orientation.from_frame(frame).apply(frame.to_ndarray(format='rgb24'))
