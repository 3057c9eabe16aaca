"""Timestamps of packets and time bases of streams, where they must be known.

PyAV 18.1 types all of them as optional, since FFmpeg may not know them. But an opened stream always has a
time base, and packets from an encoder always have timestamps. The functions here return them without `None`,
and raise an error where a damaged file lacks one after all.
"""

import fractions

import av
import av.stream

from v2a.media import errors


def time_base(stream: av.stream.Stream) -> fractions.Fraction:
  """Returns the time base of a stream: seconds per tick.

  Raises:
    MediaError: it has none.
  """
  if stream.time_base is None:
    path = stream.container.name.removeprefix('file:')
    raise errors.MediaError(f'{path}: stream {stream.index} has no time base; the file is damaged.')
  return stream.time_base


def pts(packet: av.Packet) -> int:
  """Returns the presentation time of a packet in ticks of its time base.

  Raises:
    MediaError: it has none.
  """
  if packet.pts is None:
    raise errors.MediaError(
      f'a packet of stream {packet.stream_index} must have a presentation time; got none.'
    )
  return packet.pts


def dts(packet: av.Packet) -> int:
  """Returns the decoding time of a packet in ticks of its time base.

  Raises:
    MediaError: it has none.
  """
  if packet.dts is None:
    raise errors.MediaError(f'a packet of stream {packet.stream_index} must have a decoding time; got none.')
  return packet.dts


def duration_s(packet: av.Packet) -> fractions.Fraction:
  """Returns the duration of a packet in seconds, 0 if it is unknown."""
  return (packet.duration or 0) * packet.time_base
