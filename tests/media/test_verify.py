"""A finished copy is read back and compared with what was passed to the muxer."""

import fractions
import pathlib

import pytest

from tests.media import films
from v2a.media import probe
from v2a.media import remux
from v2a.media import source
from v2a.media import verify
from v2a.media import write

RATE_HZ = 16000


@pytest.fixture
def copied(tmp_path) -> tuple[pathlib.Path, verify.PacketLog]:
  """A finished copy, and the log of packets passed to the muxer."""
  path = films.make(tmp_path / 'film', 'mp4')
  out = write.mux(path, films.clicks(2.0, RATE_HZ), RATE_HZ, tmp_path / 'out.mp4').path
  log = verify.PacketLog()
  segment = remux.find_segment(probe.probe(path), 0.0, None)
  opened = segment.open()
  for _, packet in remux.packets(segment, opened.video_stream, opened):
    log.add_video_packet(packet)
  return out, log


def test_a_good_copy_passes(copied, tmp_path):
  path, log = copied
  with source.Source(tmp_path / 'film.mp4') as original:
    verify.check(path, log, original)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda log: log.times_s.append(log.times_s[-1]), '50 packets in the video, 51 were written'),
    (
      lambda log: log.times_s.__setitem__(7, log.times_s[7] + fractions.Fraction(1, 50)),
      'packet 7 of the video is at',
    ),
    (lambda log: log.counts.update({1: 999}), r'packets in track 1, 999 were written'),
  ],
)
def test_a_bad_copy_is_refused(copied, change, message):
  path, log = copied
  change(log)
  with pytest.raises(verify.MismatchError, match=message):
    verify.check(path, log, None)
