"""Timestamps that must be known are returned as numbers, and missed ones named."""

import fractions
import types

import av
import pytest

from v2a.media import errors
from v2a.media import timestamps


def test_timestamps_of_a_packet_are_returned_and_missing_ones_raise():
  packet = av.Packet(b'data')
  packet.time_base = fractions.Fraction(1, 90)
  for name, read in (('presentation', timestamps.pts), ('decoding', timestamps.dts)):
    with pytest.raises(errors.MediaError, match=f'a packet of stream 0 must have a {name} time; got none'):
      read(packet)
  packet.pts, packet.dts, packet.duration = 7, 0, 9
  assert (timestamps.pts(packet), timestamps.dts(packet)) == (7, 0)
  assert timestamps.duration_s(packet) == fractions.Fraction(1, 10)
  packet.duration = None
  assert timestamps.duration_s(packet) == 0


def test_a_stream_without_time_base_names_the_file():
  container = types.SimpleNamespace(name='file:/videos/a.mp4')
  stream = types.SimpleNamespace(container=container, index=1, time_base=None)
  with pytest.raises(errors.MediaError, match='^/videos/a.mp4: stream 1 has no time base'):
    timestamps.time_base(stream)
  stream.time_base = fractions.Fraction(1, 90)
  assert timestamps.time_base(stream) == fractions.Fraction(1, 90)
