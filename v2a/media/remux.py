"""Stream copy of video: selection of packets, and their timestamps in the output.

A segment of a video begins at the keyframe at or before the requested start, because decoding can only begin
there. Timestamps are shifted so that the first shown frame is at 0; packets that must be decoded before it
get negative timestamps, which MP4 and MOV hide by an edit list. A start within a frame shortens that frame:
it is shown from 0 on, so that players which begin with whole frames show the following ones on time.

If the edit list of a file shows several sections of its track, the track is copied whole, with an edit list
that shows the same sections.
"""

from collections.abc import Iterator
import dataclasses
import fractions
import math

import av

from v2a.media import boxes
from v2a.media import errors
from v2a.media import probe
from v2a.media import source
from v2a.media import timestamps

# Minimum difference of decoding times; short compared with any frame.
MIN_STEP_S = fractions.Fraction(1, 10000)
# Packets of earlier frames may follow a later one by this much.
_MAX_REORDER_S = 2


@dataclasses.dataclass(frozen=True)
class Segment:
  """A segment of a video to copy.

  Attributes:
    info: the file.
    clock_origin_s: time of t=0 on the container's clock.
    start_s: start of the segment, in seconds from t=0.
    duration_s: duration of the segment.
    first: index of the first packet to copy, in decoding order.
    last: index of the last packet to copy.
    order: decoding time -> presentation time, if the container only stores the former; else None.
    first_frame_s: presentation time of the frame on screen at the start of the segment.
    edit_list: (start on the clock of the new timestamps, None for a pause; duration) of the shown sections of
      the copied packets; empty if all of it is shown.
    lead_in_s: how much earlier than the segment the first packet is shown if no edit list hides it.
    media_origin_s: time in the track that becomes timestamp 0, if packets are read without the edit list of
      the file; else None.
  """

  info: probe.Probe
  clock_origin_s: fractions.Fraction
  start_s: fractions.Fraction
  duration_s: fractions.Fraction
  first: int = 0
  last: int = 0
  order: dict[fractions.Fraction, fractions.Fraction] | None = None
  first_frame_s: fractions.Fraction | None = None
  edit_list: tuple[tuple[fractions.Fraction | None, fractions.Fraction], ...] = ()
  lead_in_s: fractions.Fraction = fractions.Fraction(0)
  media_origin_s: fractions.Fraction | None = None

  @property
  def timestamp_origin_s(self) -> fractions.Fraction:
    """The time of the packets, as they are read, that becomes timestamp 0."""
    return self.clock_origin_s + self.start_s if self.media_origin_s is None else self.media_origin_s

  def open(self) -> source.Source:
    """Opens the file for copying its packets."""
    return source.Source(self.info.path, use_edit_lists=self.media_origin_s is None)


@dataclasses.dataclass(frozen=True)
class _Range:
  """Packets to copy, see Segment; is_cut: whether the file continues after them."""

  first: int
  last: int
  first_frame_s: fractions.Fraction | None
  first_packet_s: fractions.Fraction | None
  is_cut: bool


def find_segment(info: probe.Probe, start_s: float, duration_s: float | None) -> Segment:
  """Returns the segment with the packets to copy.

  Args:
    info: of the file.
    start_s: start of the segment in seconds, >= 0.
    duration_s: seconds, > 0, cut at the end of the video; None means to its end.

  Raises:
    MediaError: the video ends before start_s, or has no keyframe.
    ValueError: a number is out of range.
  """
  start, duration, rest = extent(info, start_s, duration_s)
  zero_s = source.clock_origin_s(info.path)
  sections = _sections(info, zero_s + start, duration)
  if sections:
    return _from_sections(Segment(info, zero_s, start, duration), sections)
  order = _order(info)
  begin_s = zero_s + start if start else None
  end_s = zero_s + start + duration if duration < rest else None
  with source.Source(info.path) as opened:
    found = _find(opened, begin_s, end_s, zero_s + start + duration, order)
  shown = ((fractions.Fraction(0), duration),) if found.is_cut else ()
  lead_in_s = fractions.Fraction(0)
  if found.first_packet_s not in (None, found.first_frame_s):
    lead_in_s = zero_s + start - found.first_packet_s
  return Segment(
    info, zero_s, start, duration, found.first, found.last, order, found.first_frame_s, shown, lead_in_s
  )


def _from_sections(
  segment: Segment, sections: list[tuple[fractions.Fraction | None, fractions.Fraction]]
) -> Segment:
  """Returns the segment that consists of sections (start in the track, None for a pause; duration)."""
  begin_s = min(media_s for media_s, _ in sections if media_s is not None)
  end_s = max(media_s + section_s for media_s, section_s in sections if media_s is not None)
  with source.Source(segment.info.path, use_edit_lists=False) as opened:
    found = _find(opened, begin_s, end_s, end_s, None)
  media_zero_s = next(media_s for media_s, _ in sections if media_s is not None)
  shown = tuple(
    (None if media_s is None else media_s - media_zero_s, section_s) for media_s, section_s in sections
  )
  return dataclasses.replace(
    segment, first=found.first, last=found.last, edit_list=shown, media_origin_s=media_zero_s
  )


def _sections(
  info: probe.Probe, begin_s: fractions.Fraction, duration_s: fractions.Fraction
) -> list[tuple[fractions.Fraction | None, fractions.Fraction]]:
  """Returns (start in the track, duration) of the sections that an edit list shows within a time span.

  The start of a pause is None. Empty if the edit list shows a single section, which FFmpeg's timestamps
  represent well.
  """
  with source.Source(info.path) as opened:
    if 'mov' not in opened.container.format.name.split(','):
      return []
    edits = boxes.edits(info.path, opened.require_video_stream().id)
  if sum(edit.media_s is not None for edit in edits) < 2:
    return []
  sections, time_s = [], fractions.Fraction(0)
  for edit in edits:
    first_s, end_s = max(time_s, begin_s), min(time_s + edit.duration_s, begin_s + duration_s)
    if end_s > first_s:
      begins_s = None if edit.media_s is None else edit.media_s + first_s - time_s
      sections.append((begins_s, end_s - first_s))
    time_s += edit.duration_s
  return sections if any(media_s is not None for media_s, _ in sections) else []


def extent(
  info: probe.Probe, start_s: float, duration_s: float | None
) -> tuple[fractions.Fraction, fractions.Fraction, fractions.Fraction]:
  """Returns start and duration of a segment, and the time from its start to the end of the video, in seconds.

  Args:
    info: of the file.
    start_s: start of the segment in seconds, >= 0.
    duration_s: seconds, > 0, cut at the end of the video; None means to its end.

  Raises:
    MediaError: the video ends before start_s.
    ValueError: a number is out of range.
  """
  check_extent(start_s, duration_s)
  start = fractions.Fraction(start_s).limit_denominator(10**6)
  rest = fractions.Fraction(info.duration_s).limit_denominator(10**6) - start
  if rest <= 0:
    raise errors.starts_too_late(info.path, info.duration_s, start_s)
  requested = rest if duration_s is None else fractions.Fraction(duration_s).limit_denominator(10**6)
  return start, min(rest, requested), rest


def check_extent(start_s: float, duration_s: float | None) -> None:
  """Raises ValueError if a number is out of range."""
  if not 0 <= start_s < math.inf:
    raise ValueError(f'start_s must be at least 0 s; got {start_s}.')
  if duration_s is not None and not 0 < duration_s < math.inf:
    raise ValueError(f'duration_s must be positive; got {duration_s}.')


def _order(info: probe.Probe) -> dict[fractions.Fraction, fractions.Fraction] | None:
  """Finds presentation times by decoding if the container (AVI) does not store them; else None.

  Every packet carries its decoding time through the decoder; the n-th shown frame has the time of the n-th
  packet.
  """
  with source.Source(info.path) as opened:
    stream = opened.require_video_stream()
    if not opened.has_only_dts:
      return None
    opened.select_stream(stream)
    stream.codec_context.flags |= av.codec.context.Flags.copy_opaque
    order, times = {}, []
    for packet in opened.packets(stream):
      packet.opaque = packet.dts
      times += [packet.dts] if packet.size else []
      for frame in source.decode(packet):
        if isinstance(frame.opaque, int) and frame.time_base is not None and len(order) < len(times):
          order[frame.opaque * frame.time_base] = times[len(order)] * frame.time_base
  return order


def _find(
  opened: source.Source,
  begin_s: fractions.Fraction | None,
  end_s: fractions.Fraction | None,
  shown_end_s: fractions.Fraction,
  order: dict[fractions.Fraction, fractions.Fraction] | None,
) -> _Range:
  """Returns the packets to copy.

  Args:
    opened: the file.
    begin_s: start of the segment; None if it starts with the file.
    end_s: end of the segment; None if it ends with the file.
    shown_end_s: end of the segment in any case; later packets that an edit list hides are not needed.
    order: see Segment.
  """
  first, last, first_frame_s, first_packet_s, index = 0, -1, None, None, -1
  stream = opened.require_video_stream()
  opened.select_stream(stream)
  late_s = source.rounding_s(stream)
  for index, (packet, _, time_s) in enumerate(timed(opened, stream, order)):
    if begin_s is not None and time_s <= begin_s + late_s:
      if packet.is_keyframe:
        first, first_packet_s = index, time_s
      if not probe.is_hidden(packet, stream):
        first_frame_s = time_s if first_frame_s is None else max(first_frame_s, time_s)
    is_after_end = packet.is_discard and time_s >= shown_end_s - late_s
    if time_s < end_s - late_s if end_s is not None else not is_after_end:
      last = index
    elif packet.is_keyframe and time_s > shown_end_s + _MAX_REORDER_S:
      break
  if last < first:
    raise errors.MediaError(f'{opened.path}: no video packet is in the requested segment.')
  return _Range(first, last, first_frame_s, first_packet_s, end_s is not None or index > last)


def timed(
  opened: source.Source,
  stream: av.VideoStream,
  order: dict[fractions.Fraction, fractions.Fraction] | None = None,
) -> Iterator[tuple[av.Packet, fractions.Fraction, fractions.Fraction]]:
  """Yields (packet, decoding time, presentation time) with every time filled in, in the container's seconds.

  Decoding times are strictly increasing: of two packets with the same one (VP8 reference frames that are
  never shown), the first is moved earlier by MIN_STEP_S.

  Args:
    opened: the file.
    stream: its video stream.
    order: decoding time -> presentation time, if the container only stores the former; see Segment.
  """
  pending, previous_s = None, None
  offset_s = max((decode_s - show_s for decode_s, show_s in order.items()), default=0) if order else 0
  for packet, decode_s, show_s in _filled(opened, stream):
    if order:
      decode_s, show_s = decode_s - offset_s, order.get(decode_s, show_s)
    if pending is not None:
      if previous_s is not None and pending[1] <= previous_s:
        pending = (pending[0], previous_s + MIN_STEP_S, pending[2])
      elif decode_s <= pending[1]:
        pending = (pending[0], decode_s - MIN_STEP_S, pending[2])
      previous_s = pending[1]
      yield pending
    pending = (packet, decode_s, show_s)
  if pending is not None:
    yield pending


def _filled(
  opened: source.Source, stream: av.VideoStream
) -> Iterator[tuple[av.Packet, fractions.Fraction, fractions.Fraction]]:
  """Like `timed`, but decoding times may repeat.

  Some containers (AVI, Matroska) omit decoding times at the start; they are extrapolated from the first known
  one.
  """
  usual_s = source.default_frame_duration_s(stream)
  waiting: list[av.Packet] = []
  previous_s = None
  for packet in opened.packets(stream):
    if packet.size == 0:
      continue
    if packet.dts is None and previous_s is None and len(waiting) < 64:
      waiting.append(packet)
      continue
    for item in _extrapolated(waiting, packet, usual_s):
      previous_s = item[1]
      yield item
    waiting = []
    if packet.dts is not None:
      decode_s = packet.dts * packet.time_base
    else:
      assert previous_s is not None  # of an earlier packet, or of the last one in `waiting`
      decode_s = previous_s + usual_s
    previous_s = decode_s
    time_s = opened.time_s(packet)
    yield packet, decode_s, decode_s if time_s is None else time_s
  if waiting:
    yield from _extrapolated(waiting, waiting[-1], usual_s)


def _extrapolated(waiting: list[av.Packet], known: av.Packet, usual_s: fractions.Fraction):
  times = [packet.pts * packet.time_base for packet in [*waiting, known] if packet.pts is not None]
  end_s = known.dts * known.time_base if known.dts is not None else min(times, default=fractions.Fraction(0))
  for index, packet in enumerate(waiting):
    decode_s = end_s - (len(waiting) - index) * usual_s
    yield packet, decode_s, packet.pts * packet.time_base if packet.pts is not None else decode_s


def packet_time_base(stream: av.VideoStream) -> fractions.Fraction:
  """Returns the time base of copied packets: that of the container, subdivided if above MIN_STEP_S."""
  unit_s = timestamps.time_base(stream)
  return unit_s / math.ceil(unit_s / MIN_STEP_S)


def packets(
  segment: Segment, stream: av.VideoStream, opened: source.Source
) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Yields (decoding time, packet) of a segment; timestamps in `packet_time_base` from its first shown frame.

  Args:
    segment: the segment.
    stream: its video stream, in `opened`.
    opened: result of `segment.open()`.
  """
  shift_s, unit_s = segment.timestamp_origin_s, packet_time_base(stream)
  for index, (packet, decode_s, show_s) in enumerate(timed(opened, stream, segment.order)):
    if index > segment.last:
      return
    if index >= segment.first:
      # The last packet of a transport stream has no duration, but its frame is shown as long as any other.
      shown_s = timestamps.duration_s(packet) or source.default_frame_duration_s(stream)
      if show_s == segment.first_frame_s and show_s < shift_s:
        show_s, shown_s = shift_s, max(MIN_STEP_S, shown_s - (shift_s - show_s))
      packet.time_base = unit_s
      packet.pts = round((show_s - shift_s) / unit_s)
      packet.dts = round((decode_s - shift_s) / unit_s)
      packet.duration = round(shown_s / unit_s)
      yield decode_s - shift_s, packet
