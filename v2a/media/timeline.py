"""One timeline from timestamps that jump.

Transport and program streams carry the clock of whoever made them. Where such streams are joined, where a
recorder starts again, and every 26.5 h (33 bits at 90 kHz), the clock jumps. As FFmpeg does when it copies
streams of formats that allow this (AVFMT_TS_DISCONT; its option dts_delta_threshold is 10 s), a jump is taken
out: what follows it goes on where the packets before it end.

Between two jumps lies a piece, in which all streams share one clock and so one offset:

  time on the timeline = timestamp + offset of the piece                                               (1)

The first stream that jumps begins a new piece, and the others join it when their packets reach the jump. The
offset is the least that lets no stream go back in time, so that picture and sound stay in step behind it.
"""

import collections
import dataclasses
import itertools

import av

# Timestamps further ahead of the whole file than this are a jump, as in FFmpeg.
DISCONTINUITY_S = 10.0
# Decoding times that go back by more than this are a jump, as in FFmpeg.
_BACK_S = 0.1
# A packet this near to the end of the one before it goes on there.
_SLACK_S = 0.05
# After packets with wrong timestamps a stream returns to its earlier piece where that fits this well.
_RETURN_S = 1.0
# Wrong timestamps are distinguished from jumps by so many packets, so that garbage takes no quadratic time.
_NUM_RECENT = 8
# MPEG's clock begins again after 2^33 ticks. FFmpeg unwraps it once, from its first value on.
_WRAP_S = 2**33 / 90000


@dataclasses.dataclass(eq=False)
class _Piece:
  """Packets between two jumps.

  Attributes:
    offset_s: of eq. 1.
    first_s: the first timestamp.
    is_exact: whether the offset is known (the clock wrapped around), not chosen.
    last_s: the last timestamp of each stream, by its index.
  """

  offset_s: float
  first_s: float = 0.0
  is_exact: bool = False
  last_s: dict[int, float] = dataclasses.field(default_factory=dict)

  def takes(self, index: int, time_s: float) -> bool:
    """Whether a timestamp of a stream can belong to this piece."""
    least_s = self.last_s[index] - _BACK_S if index in self.last_s else self.first_s - DISCONTINUITY_S
    return least_s <= time_s <= self.latest_s + DISCONTINUITY_S

  @property
  def latest_s(self) -> float:
    """The latest timestamp of all streams."""
    return max(self.last_s.values())


class _Track:
  """A stream while it is scanned.

  Attributes:
    piece: that of the last packet with a timestamp.
    next_s: where the last packet ends, a timestamp of that piece.
    num_packets: how many came.
    changes: from which packet on which piece counts.
    left: the piece before, and the number of the packet at which it was left.
    recent: (number, timestamp) of the last packets of the piece.
  """

  def __init__(self):
    self.piece: _Piece | None = None
    self.next_s, self.num_packets = 0.0, 0
    self.changes: list[tuple[int, _Piece]] = []
    self.left: tuple[_Piece | None, int] = (None, 0)
    self.recent: collections.deque[tuple[int, float]] = collections.deque(maxlen=_NUM_RECENT)

  @property
  def end_s(self) -> float:
    """Where the last packet ends on the timeline."""
    return self.next_s + self.piece.offset_s

  def enter(self, piece: _Piece) -> None:
    """Lets a piece begin with the next packet."""
    if piece is not self.piece:
      self.left = (self.piece, self.num_packets)
      self.piece = piece
      self.changes.append((self.num_packets, piece))
      self.recent.clear()

  def take_back(self, time_s: float, length_s: float) -> bool:
    """Whether the last packets leapt ahead and a timestamp goes on before the leap; takes them back there."""
    for (_, before_s), (number, after_s) in itertools.pairwise(self.recent):
      if before_s <= time_s < after_s and after_s - before_s > 2 * length_s + _SLACK_S:
        self.changes.append((number, _Piece(self.piece.offset_s + before_s + length_s - after_s)))
        self.changes.append((self.num_packets, self.piece))
        self.recent.clear()
        return True
    return False


class DiscontinuityScan:
  """Finds the jumps of a file from all its packets, in the order of the file."""

  def __init__(self, has_wraps: bool):
    """Args: has_wraps: whether timestamps have 33 bits."""
    self._wraps_s = (_WRAP_S, -_WRAP_S) if has_wraps else ()
    self._pieces: collections.deque[_Piece] = collections.deque(maxlen=_NUM_RECENT)
    self._tracks: dict[int, _Track] = {}
    self._has_strays = False

  def add(self, packet: av.Packet, usual_s: float) -> None:
    """Takes the next packet; usual_s is how long one lasts that does not say so."""
    index, unit_s = packet.stream_index, float(packet.time_base)
    track = self._tracks.setdefault(index, _Track())
    # Presentation times alone are out of order, except those of sound.
    is_ordered = packet.dts is None and packet.stream.type == 'audio'
    ticks = packet.pts if is_ordered else packet.dts
    length_s = packet.duration * unit_s if packet.duration else usual_s
    if ticks is None:
      track.next_s += length_s
    else:
      time_s = ticks * unit_s
      is_leading = packet.stream.type in ('video', 'audio')
      track.enter(self._piece_of(track, index, time_s, length_s, is_leading))
      track.piece.last_s[index] = time_s
      track.recent.append((track.num_packets, time_s))
      track.next_s = time_s + length_s
    if packet.pts is not None and packet.dts is not None:
      self._has_strays |= abs(packet.pts - packet.dts) * unit_s > DISCONTINUITY_S
    track.num_packets += 1

  def _piece_of(self, track: _Track, index: int, time_s: float, length_s: float, is_leading: bool) -> _Piece:
    """Returns the piece of a timestamp; a new one where it jumps and its stream is one that leads."""
    current = track.piece
    if current is None:
      return self._first_of(index, time_s)
    is_near = current.takes(index, time_s)
    gap_s = time_s - track.next_s
    if is_near and gap_s <= length_s + _SLACK_S:
      return current
    joined = self._joined(track, index, time_s, is_leading)
    if joined is not None:
      return joined
    best_s = min(abs(gap_s), _RETURN_S) if is_near else _RETURN_S
    for piece in self._open(track, index):
      if piece.takes(index, time_s) and abs(time_s + piece.offset_s - track.end_s) < best_s:
        return piece
    if is_near or not is_leading or track.take_back(time_s, length_s):
      return current
    for wrap_s in self._wraps_s:
      if current.takes(index, time_s + wrap_s):
        return self._begin(_Piece(current.offset_s + wrap_s, time_s, is_exact=True))
    return self._begin(_Piece(track.end_s - time_s, time_s))

  def _first_of(self, index: int, time_s: float) -> _Piece:
    """Returns the piece of a stream's first timestamp."""
    for piece in reversed(self._pieces):
      if piece.takes(index, time_s):
        return piece
    newest = self._pieces[-1] if self._pieces else None
    return self._begin(_Piece(newest.latest_s + newest.offset_s - time_s if newest else 0.0, time_s))

  def _joined(self, track: _Track, index: int, time_s: float, is_leading: bool) -> _Piece | None:
    """Returns the piece that another stream began and is in, where a timestamp can belong to it."""
    alive = {id(other.piece) for other in self._tracks.values()}
    for piece in reversed(self._pieces):
      if id(piece) in alive and index not in piece.last_s and piece.takes(index, time_s):
        if is_leading and not piece.is_exact:
          piece.offset_s = max(piece.offset_s, track.end_s - time_s)
        return piece
    return None

  def _open(self, track: _Track, index: int) -> list[_Piece]:
    """Returns the pieces that a stream may return to: others are there still, or it has just left."""
    found = [
      other.piece
      for other in self._tracks.values()
      if other.piece not in (None, track.piece) and index in other.piece.last_s
    ]
    left, number = track.left
    if left is not None and track.num_packets - number <= _NUM_RECENT:
      found.append(left)
    return found

  def _begin(self, piece: _Piece) -> _Piece:
    self._pieces.append(piece)
    return piece

  def timeline(self) -> 'Timeline | None':
    """Returns what corrects the packets; None where there is nothing to correct."""
    is_even = not any(piece.offset_s for track in self._tracks.values() for _, piece in track.changes)
    if is_even and not self._has_strays:
      return None
    return Timeline(
      {
        index: tuple((number, piece.offset_s) for number, piece in track.changes)
        for index, track in self._tracks.items()
      }
    )


@dataclasses.dataclass(frozen=True)
class Timeline:
  """For each stream, by its index, from which of its packets on which offset (eq. 1) counts."""

  changes: dict[int, tuple[tuple[int, float], ...]]


class Correction:
  """Puts the packets of a file on its timeline, from the first packet on and each once."""

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
      pts -= round((pts - dts) / wrap) * wrap  # one of both may lie before the wrap-around
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
