"""Still images and animations as H.264 video: they have no packets that a container with sound carries."""

from collections.abc import Iterator
import fractions

import av
import numpy as np

from v2a.media import errors
from v2a.media import orientation
from v2a.media import picture
from v2a.media import probe
from v2a.media import source

# Pictures without sound of their own by nature; no container with sound carries them to players.
_CODECS = ('gif', 'apng', 'webp')
STILL_FPS = 5
_STILL_S = fractions.Fraction(1, STILL_FPS)
TICK_S = fractions.Fraction(1, 90000)


def is_needed(info: probe.Probe) -> bool:
  """Returns whether a picture must be encoded anew because its own packets go with no sound."""
  return info.is_image or info.video_codec in _CODECS


def part(info: probe.Probe, start_s: float, duration_s: float | None) -> picture.Part:
  """Returns the part that is shown from start_s for duration_s (None: to the end of an animation).

  Raises:
    MediaError: an animation ends before start_s, or a still image has no duration.
    ValueError: a number is out of range.
  """
  if not info.is_image:
    start, duration, _ = picture.extent(info, start_s, duration_s)
    return picture.Part(info, source.zero_s(info.path), start, duration, 0, 0)
  picture.check_extent(start_s, duration_s)
  if duration_s is None:
    raise errors.MediaError(f'{info.path}: is a still image; wanted duration_s with it.')
  duration = fractions.Fraction(duration_s).limit_denominator(10**6)
  return picture.Part(info, source.zero_s(info.path), fractions.Fraction(0), duration, 0, 0)


def add_stream(output: av.container.OutputContainer, info: probe.Probe) -> av.VideoCodecContext:
  """Adds the stream to an output whose header is not yet written; returns its encoder."""
  # H.264 with halved colour wants even sizes.
  stream = output.add_stream('libx264', rate=STILL_FPS, width=max(2, info.width // 2 * 2),
                             height=max(2, info.height // 2 * 2), pix_fmt='yuv420p', time_base=TICK_S,
                             options={'bf': '0', 'crf': '18', 'tune': 'stillimage', 'preset': 'veryfast'})
  return stream.codec_context


def packets(wanted: picture.Part,
            codec: av.VideoCodecContext) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Yields (decoding time in seconds from the begin of the part, packet)."""
  for packet in _encoded(wanted, codec):
    time_s = packet.dts * packet.time_base
    packet.duration = round(min(_STILL_S, wanted.duration_s - time_s) / packet.time_base)
    yield time_s, packet


def _encoded(wanted: picture.Part, codec: av.VideoCodecContext) -> Iterator[av.Packet]:
  for time_s, frame in _changes(wanted):
    shown_YX3 = orientation.of(frame).apply(frame.to_ndarray(format='rgb24'))
    drawn = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown_YX3), 'rgb24')
    drawn = drawn.reformat(codec.width, codec.height, codec.pix_fmt, dst_colorspace='ITU709',
                           interpolation='AREA')
    drawn.time_base = TICK_S
    drawn.pts = round(time_s / TICK_S)
    yield from codec.encode(drawn)
  yield from codec.encode(None)


def _changes(wanted: picture.Part) -> Iterator[tuple[fractions.Fraction, av.VideoFrame]]:
  """Yields (time from the begin of the part, frame); the last one repeatedly, so that players can seek."""
  time_s, current = fractions.Fraction(0), None
  with source.Source(wanted.info.path) as opened:
    stream = opened.want_picture()
    opened.only(stream)
    for frame_s, frame in opened.decoded(stream):
      frame_s -= wanted.zero_s + wanted.start_s
      if frame_s >= wanted.duration_s:
        break
      if frame_s > time_s and current is not None:
        yield time_s, current
      time_s, current = max(fractions.Fraction(0), frame_s), frame
    while time_s < wanted.duration_s:
      yield time_s, current
      time_s += _STILL_S
