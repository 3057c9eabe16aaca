"""Correction of timestamp discontinuities.

Transport and program streams carry the clock of their encoder. The clock jumps where such streams are
concatenated, where a recorder restarts, and every 26.5 h (33 bits at 90 kHz). As in FFmpeg when it copies
streams of formats that allow this (AVFMT_TS_DISCONT; its option dts_delta_threshold is 10 s), jumps are
removed: the packets after a jump continue where the packets before it end.

Between two jumps all streams share one clock and thus one offset; this is called a section:

  corrected time = timestamp + offset of the section                                                   (1)

The first stream that jumps starts a new section, and the others join it when their packets reach the jump.
The offset is the smallest with which no stream goes back in time, so that audio and video stay in sync after
it.
"""

import collections
import dataclasses
import itertools

import av

# Timestamps ahead of all others by more than this are a jump, as in FFmpeg.
DISCONTINUITY_S = 10.0
# Decoding times that go back by more than this are a jump, as in FFmpeg.
_BACK_S = 0.1
# A packet within this distance of the end of its predecessor continues it.
_SLACK_S = 0.05
# After packets with wrong timestamps a stream returns to its previous section if that fits this closely.
_RETURN_S = 1.0
# Number of packets used to tell wrong timestamps from jumps; bounded, so that damaged files take linear time.
_NUM_RECENT = 8
# The MPEG clock wraps around after 2^33 ticks. FFmpeg unwraps it once, from its first value on.
_WRAP_S = 2**33 / 90000


@dataclasses.dataclass(eq=False)
class _Section:
  """Packets between two jumps.

  Attributes:
    offset_s: offset of eq. 1.
    first_s: the first timestamp.
    is_exact: whether the offset is known exactly (the clock wrapped around).
    last_s: the last timestamp of each stream, by its index.
  """

  offset_s: float
  first_s: float = 0.0
  is_exact: bool = False
  last_s: dict[int, float] = dataclasses.field(default_factory=dict)

  def accepts(self, index: int, time_s: float) -> bool:
    """Returns whether a timestamp of a stream can belong to this section."""
    earliest_s = self.last_s[index] - _BACK_S if index in self.last_s else self.first_s - DISCONTINUITY_S
    return earliest_s <= time_s <= self.latest_s + DISCONTINUITY_S

  @property
  def latest_s(self) -> float:
    """The latest timestamp of all streams."""
    return max(self.last_s.values())


class _Track:
  """State of one stream during the scan.

  Attributes:
    section: the section of the last packet with a timestamp.
    next_s: end of the last packet, as a timestamp of that section.
    num_packets: number of packets so far.
    changes: (number of the first packet, section) of every section that the stream entered.
    left: the previous section, and the number of the packet at which the stream left it.
    recent: (number, timestamp) of the last packets in the section.
  """

  def __init__(self):
    self.section: _Section | None = None
    self.next_s, self.num_packets = 0.0, 0
    self.changes: list[tuple[int, _Section]] = []
    self.left: tuple[_Section | None, int] = (None, 0)
    self.recent: collections.deque[tuple[int, float]] = collections.deque(maxlen=_NUM_RECENT)

  @property
  def end_s(self) -> float:
    """Corrected end time of the last packet."""
    return self.next_s + (0.0 if self.section is None else self.section.offset_s)

  def enter(self, section: _Section) -> None:
    """Enters a section with the next packet."""
    if section is not self.section:
      self.left = (self.section, self.num_packets)
      self.section = section
      self.changes.append((self.num_packets, section))
      self.recent.clear()

  def move_back(self, time_s: float, length_s: float) -> bool:
    """Returns whether `time_s` shows that recent packets wrongly jumped ahead, and moves them back if so."""
    current = self.section
    if current is None:
      return False
    for (_, before_s), (number, after_s) in itertools.pairwise(self.recent):
      if before_s <= time_s < after_s and after_s - before_s > 2 * length_s + _SLACK_S:
        self.changes.append((number, _Section(current.offset_s + before_s + length_s - after_s)))
        self.changes.append((self.num_packets, current))
        self.recent.clear()
        return True
    return False


class DiscontinuityScan:
  """Finds the discontinuities of a file from all its packets, in file order."""

  def __init__(self, has_wraps: bool):
    """Args: has_wraps: whether timestamps have 33 bits."""
    self._wraps_s = (_WRAP_S, -_WRAP_S) if has_wraps else ()
    self._sections: collections.deque[_Section] = collections.deque(maxlen=_NUM_RECENT)
    self._tracks: dict[int, _Track] = {}
    self._has_outliers = False

  def add(self, packet: av.Packet, usual_s: float) -> None:
    """Adds the next packet; usual_s: duration of a packet that states none."""
    index, unit_s = packet.stream_index, float(packet.time_base)
    track = self._tracks.setdefault(index, _Track())
    # Presentation times alone are out of order, except those of audio.
    is_ordered = packet.dts is None and packet.stream.type == 'audio'
    ticks = packet.pts if is_ordered else packet.dts
    length_s = packet.duration * unit_s if packet.duration else usual_s
    if ticks is None:
      track.next_s += length_s
    else:
      time_s = ticks * unit_s
      is_leading = packet.stream.type in ('video', 'audio')
      section = self._section_of(track, index, time_s, length_s, is_leading)
      track.enter(section)
      section.last_s[index] = time_s
      track.recent.append((track.num_packets, time_s))
      track.next_s = time_s + length_s
    if packet.pts is not None and packet.dts is not None:
      self._has_outliers |= abs(packet.pts - packet.dts) * unit_s > DISCONTINUITY_S
    track.num_packets += 1

  def _section_of(
    self, track: _Track, index: int, time_s: float, length_s: float, is_leading: bool
  ) -> _Section:
    """Returns the section of a timestamp; a new one if it jumps and its stream is audio or video."""
    current = track.section
    if current is None:
      return self._first_of(index, time_s)
    is_near = current.accepts(index, time_s)
    gap_s = time_s - track.next_s
    if is_near and gap_s <= length_s + _SLACK_S:
      return current
    joined = self._joined(track, index, time_s, is_leading)
    if joined is not None:
      return joined
    best_s = min(abs(gap_s), _RETURN_S) if is_near else _RETURN_S
    for section in self._candidates(track, index):
      if section.accepts(index, time_s) and abs(time_s + section.offset_s - track.end_s) < best_s:
        return section
    if is_near or not is_leading or track.move_back(time_s, length_s):
      return current
    for wrap_s in self._wraps_s:
      if current.accepts(index, time_s + wrap_s):
        return self._add_section(_Section(current.offset_s + wrap_s, time_s, is_exact=True))
    return self._add_section(_Section(track.end_s - time_s, time_s))

  def _first_of(self, index: int, time_s: float) -> _Section:
    """Returns the section of a stream's first timestamp."""
    for section in reversed(self._sections):
      if section.accepts(index, time_s):
        return section
    newest = self._sections[-1] if self._sections else None
    return self._add_section(_Section(newest.latest_s + newest.offset_s - time_s if newest else 0.0, time_s))

  def _joined(self, track: _Track, index: int, time_s: float, is_leading: bool) -> _Section | None:
    """Returns a section that another stream has started and is in, if the timestamp can belong to it."""
    alive = {id(other.section) for other in self._tracks.values()}
    for section in reversed(self._sections):
      if id(section) in alive and index not in section.last_s and section.accepts(index, time_s):
        if is_leading and not section.is_exact:
          section.offset_s = max(section.offset_s, track.end_s - time_s)
        return section
    return None

  def _candidates(self, track: _Track, index: int) -> list[_Section]:
    """Returns the sections to which a stream may return: those of other streams, and the one just left."""
    found = [
      other.section
      for other in self._tracks.values()
      if other.section not in (None, track.section) and index in other.section.last_s
    ]
    left, number = track.left
    if left is not None and track.num_packets - number <= _NUM_RECENT:
      found.append(left)
    return found

  def _add_section(self, section: _Section) -> _Section:
    self._sections.append(section)
    return section

  def timeline(self) -> 'Timeline | None':
    """Returns the corrections; None if there is nothing to correct."""
    is_continuous = not any(
      section.offset_s for track in self._tracks.values() for _, section in track.changes
    )
    if is_continuous and not self._has_outliers:
      return None
    return Timeline(
      {
        index: tuple((number, section.offset_s) for number, section in track.changes)
        for index, track in self._tracks.items()
      }
    )


@dataclasses.dataclass(frozen=True)
class Timeline:
  """Corrections by stream index: (number of the first packet, offset of eq. 1 in seconds) per section."""

  changes: dict[int, tuple[tuple[int, float], ...]]


class Correction:
  """Applies a timeline to the packets of a file, which must come once each, from the first packet on."""

  def __init__(self, timeline: Timeline):
    self._changes = {index: list(reversed(changes)) for index, changes in timeline.changes.items()}
    self._num_packets = dict.fromkeys(timeline.changes, 0)
    self._offset_s = dict.fromkeys(timeline.changes, 0.0)
    self._last_dts: dict[int, int] = {}

  def apply(self, packet: av.Packet) -> None:
    """Corrects the timestamps of the next packet of its stream."""
    index = packet.stream_index
    changes = self._changes.get(index, [])
    while changes and changes[-1][0] <= self._num_packets[index]:
      self._offset_s[index] = changes.pop()[1]
    self._num_packets[index] = self._num_packets.get(index, 0) + 1
    offset = round(self._offset_s.get(index, 0.0) / packet.time_base)
    pts, dts = packet.pts, packet.dts
    if pts is not None and dts is not None:
      wrap = round(_WRAP_S / packet.time_base)
      pts -= round((pts - dts) / wrap) * wrap  # one of both may be before the wrap-around
      if abs(pts - dts) * packet.time_base > DISCONTINUITY_S:
        pts = None
    if dts is not None:
      dts += offset
      late = max(0, self._last_dts.get(index, dts) - dts)
      self._last_dts[index] = dts = dts + late
      packet.dts = dts
    if pts is not None:
      pts += offset
      pts = pts if dts is None else max(pts, dts)
    packet.pts = pts
