"""Verification of a finished copy: all packets present, with their timestamps, and decodable as before.

A muxer may drop what it does not understand and still report success, so the file is read back.
"""

from collections.abc import Iterable
import dataclasses
import fractions
import pathlib

import av

from v2a.media import errors
from v2a.media import source
from v2a.media import timestamps

# Packets decoded per group of pictures (GOP), at most; some files have a single GOP of many minutes.
_MAX_GOP_PACKETS = 24
# Matroska rounds to milliseconds.
_SLACK_S = fractions.Fraction(11, 10000)


class MismatchError(Exception):
  """A finished file does not contain what was passed to the muxer."""


@dataclasses.dataclass
class PacketLog:
  """Record of what was passed to a muxer.

  Attributes:
    times_s: presentation times of the video packets.
    counts: number of packets of each audio stream, by its index in the output.
    groups: (index of its first packet, packets) of the first and of the last GOP, of long ones only the
      start.
  """

  times_s: list[fractions.Fraction] = dataclasses.field(default_factory=list)
  counts: dict[int, int] = dataclasses.field(default_factory=dict)
  groups: list[tuple[int, list[av.Packet]]] = dataclasses.field(default_factory=list)

  def add_video_packet(self, packet: av.Packet) -> None:
    """Records a video packet."""
    if packet.is_keyframe or not self.groups:
      self.groups = [*self.groups[:1], (len(self.times_s), [])]
    self.times_s.append(timestamps.pts(packet) * packet.time_base)
    if len(self.groups[-1][1]) < _MAX_GOP_PACKETS:
      self.groups[-1][1].append(packet)

  def add(self, packet: av.Packet) -> None:
    """Records a packet of another stream."""
    if packet.stream.type == 'audio':
      self.counts[packet.stream.index] = self.counts.get(packet.stream.index, 0) + 1


def check(path: pathlib.Path, log: PacketLog, original: source.Source | None) -> None:
  """Raises MismatchError if a file does not contain what was passed to the muxer.

  Args:
    path: the finished file.
    log: what was passed to the muxer.
    original: the source of the copied packets, freshly opened, to compare decoded frames with; None if the
      video was re-encoded.
  """
  try:
    opened = source.Source(path, use_edit_lists=False)
  except errors.MediaError as error:
    raise _mismatch('it cannot be opened') from error
  with opened:
    if opened.video_stream is None:
      raise _mismatch('its video has no known codec')
    times_s, counts, groups = _read(opened, log)
    _check_times(times_s, log.times_s)
    for index, wanted in log.counts.items():
      if counts.get(index, 0) != wanted:
        raise _mismatch(f'{counts.get(index, 0)} packets in track {index}, {wanted} were written')
    if original is not None:
      for (_, original_packets), written in zip(log.groups, groups):
        _check_frames(_decoded(opened, written), _decoded(original, original_packets))


def _read(
  opened: source.Source, log: PacketLog
) -> tuple[list[fractions.Fraction | None], dict[int, int], list[list[av.Packet]]]:
  """Returns presentation times of the video, packet counts of the other streams, and the GOPs of `log`."""
  times_s: list[fractions.Fraction | None] = []
  counts: dict[int, int] = {}
  groups: list[list[av.Packet]] = [[] for _ in log.groups]
  index = opened.require_video_stream().index
  for packet in opened.packets(None):
    if not packet.size:
      continue
    if packet.stream.index != index:
      counts[packet.stream.index] = counts.get(packet.stream.index, 0) + 1
      continue
    for (first, original_packets), group in zip(log.groups, groups):
      if first <= len(times_s) < first + len(original_packets):
        group.append(packet)
    times_s.append(opened.time_s(packet))
  return times_s, counts, groups


def _check_times(found: list[fractions.Fraction | None], wanted: list[fractions.Fraction]) -> None:
  if len(found) != len(wanted):
    raise _mismatch(f'{len(found)} packets in the video, {len(wanted)} were written')
  first_s = next(iter(found), None)
  for index, (found_s, wanted_s) in enumerate(zip(found, wanted)):
    if found_s is None or first_s is None or abs((found_s - first_s) - (wanted_s - wanted[0])) > _SLACK_S:
      raise _mismatch(
        f'packet {index} of the video is at {_seconds(found_s, first_s)}, was written at '
        f'{_seconds(wanted_s, wanted[0])}'
      )


def _seconds(time_s: fractions.Fraction | None, start_s: fractions.Fraction | None) -> str:
  return 'no time' if time_s is None or start_s is None else f'{float(time_s - start_s):.4f} s'


@dataclasses.dataclass(frozen=True)
class _Frames:
  """Number of decoded frames, and (width, height, pixel format) of the first."""

  num: int
  form: tuple[int, int, str] | None

  def __str__(self) -> str:
    return 'none' if self.form is None else '{} of {}x{} {}'.format(self.num, *self.form)


def _check_frames(found: _Frames, wanted: _Frames) -> None:
  # Frames that an edit list of the source hides are decoded here, too.
  if found.num < wanted.num or (wanted.form is not None and found.form != wanted.form):
    raise _mismatch(f'frames decode as {found}, those of the source as {wanted}')


def _decoded(opened: source.Source, packets: Iterable[av.Packet]) -> _Frames:
  """Returns the number and format of the frames decoded from packets with a file's decoder."""
  num, form, context = 0, None, opened.require_video_stream().codec_context
  for packet in [*packets, None]:
    try:
      frames = context.decode(packet)
    except av.error.FFmpegError:
      continue
    if form is None and frames:
      form = (frames[0].width, frames[0].height, frames[0].format.name)
    num += len(frames)
  context.flush_buffers()
  return _Frames(num, form)


def _mismatch(reason: str) -> MismatchError:
  return MismatchError(f'what was written does not read back: {reason}')
