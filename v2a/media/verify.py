"""Reads a finished copy back: are all packets there, at their times, and does the picture decode as before?

A muxer may drop what it does not understand and still report success, so that only reading tells.
"""

from collections.abc import Iterable
import dataclasses
import fractions
import pathlib

import av

from v2a.media import errors
from v2a.media import source

# Of a group of pictures that is decoded, at most; some files have one group of many minutes.
_MAX_GROUP = 24
# Matroska rounds to milliseconds.
_SLACK_S = fractions.Fraction(11, 10000)


class MismatchError(Exception):
  """A finished file does not hold what was given to the muxer."""


@dataclasses.dataclass
class PacketLog:
  """What was given to a muxer.

  Attributes:
    times_s: presentation times of the picture's packets.
    counts: packets of each other stream that must be found again, by its index in the output.
    groups: (index of its first packet, packets) of the first and of the last group of pictures; of long ones
      the beginning.
  """

  times_s: list[fractions.Fraction] = dataclasses.field(default_factory=list)
  counts: dict[int, int] = dataclasses.field(default_factory=dict)
  groups: list[tuple[int, list[av.Packet]]] = dataclasses.field(default_factory=list)

  def add_video_packet(self, packet: av.Packet) -> None:
    """Notes a packet of the picture."""
    if packet.is_keyframe or not self.groups:
      self.groups = [*self.groups[:1], (len(self.times_s), [])]
    self.times_s.append(packet.pts * packet.time_base)
    if len(self.groups[-1][1]) < _MAX_GROUP:
      self.groups[-1][1].append(packet)

  def add(self, packet: av.Packet) -> None:
    """Notes a packet of another stream."""
    if packet.stream.type == 'audio':
      self.counts[packet.stream.index] = self.counts.get(packet.stream.index, 0) + 1


def check(path: pathlib.Path, log: PacketLog, original: source.Source | None) -> None:
  """Raises MismatchError where a file does not hold what was given to the muxer.

  Args:
    path: the finished file.
    log: what was given.
    original: the source of copied packets, opened anew, whose decoder tells what they show; None where the
      picture was encoded here.
  """
  try:
    opened = source.Source(path, use_edit_lists=False)
  except errors.MediaError as error:
    raise _fault('it cannot be opened') from error
  with opened:
    if opened.video_stream is None:
      raise _fault('its picture has no known codec')
    times_s, counts, groups = _read(opened, log)
    _check_times(times_s, log.times_s)
    for index, wanted in log.counts.items():
      if counts.get(index, 0) != wanted:
        raise _fault(f'{counts.get(index, 0)} packets in track {index}, {wanted} were written')
    if original is not None:
      for (_, given), written in zip(log.groups, groups):
        _check_pictures(_decoded(opened, written), _decoded(original, given))


def _read(
  opened: source.Source, log: PacketLog
) -> tuple[list[fractions.Fraction | None], dict[int, int], list[list[av.Packet]]]:
  """Returns presentation times of the picture, packets of each other stream, and the groups of `log`."""
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
    for (first, given), group in zip(log.groups, groups):
      if first <= len(times_s) < first + len(given):
        group.append(packet)
    times_s.append(opened.time_s(packet))
  return times_s, counts, groups


def _check_times(found: list[fractions.Fraction | None], wanted: list[fractions.Fraction]) -> None:
  if len(found) != len(wanted):
    raise _fault(f'{len(found)} packets in the picture, {len(wanted)} were written')
  for index, (found_s, wanted_s) in enumerate(zip(found, wanted)):
    if found_s is None or abs((found_s - found[0]) - (wanted_s - wanted[0])) > _SLACK_S:
      raise _fault(
        f'packet {index} of the picture is at {_seconds(found_s, found[0])}, was written at '
        f'{_seconds(wanted_s, wanted[0])}'
      )


def _seconds(time_s: fractions.Fraction | None, begin_s: fractions.Fraction | None) -> str:
  return 'no time' if time_s is None or begin_s is None else f'{float(time_s - begin_s):.4f} s'


@dataclasses.dataclass(frozen=True)
class _Frames:
  """How many frames packets decode to, and (width, height, pixel format) of the first of them."""

  num: int
  kind: tuple[int, int, str] | None

  def __str__(self) -> str:
    return 'none' if self.kind is None else '{} of {}x{} {}'.format(self.num, *self.kind)


def _check_pictures(found: _Frames, wanted: _Frames) -> None:
  # What an edit list of the source hides is decoded here, too.
  if found.num < wanted.num or (wanted.kind is not None and found.kind != wanted.kind):
    raise _fault(f'frames decode as {found}, those of the source as {wanted}')


def _decoded(opened: source.Source, packets: Iterable[av.Packet]) -> _Frames:
  """Returns what packets decode to with a file's decoder."""
  num, kind, context = 0, None, opened.require_video_stream().codec_context
  for packet in [*packets, None]:
    try:
      frames = context.decode(packet)
    except av.error.FFmpegError:
      continue
    if kind is None and frames:
      kind = (frames[0].width, frames[0].height, frames[0].format.name)
    num += len(frames)
  context.flush_buffers()
  return _Frames(num, kind)


def _fault(what: str) -> MismatchError:
  return MismatchError(f'what was written does not read back: {what}')
