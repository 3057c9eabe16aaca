"""Copying of everything besides the video and the default audio: other tracks, tags, chapters.

Everything that the output container supports is copied; every loss is described in words, for the manifest
and for a warning. Whether a container supports a stream is determined by writing a header with FFmpeg.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import fractions
import io
import pathlib
from typing import TYPE_CHECKING

import av
import av.stream

from v2a.media import boxes
from v2a.media import errors
from v2a.media import remux
from v2a.media import source
from v2a.media import timestamps

if TYPE_CHECKING:
  from av.container.core import Chapter  # only in the type stubs

# FFmpeg's MP4 muxer writes Dolby Vision and spherical mapping only with this setting. Edit lists count in
# ticks of the movie; the default of 1 ms would round the start of a track.
MUXER_OPTIONS = {
  'mp4': {'movie_timescale': '90000', 'strict': 'unofficial'},
  'mov': {'movie_timescale': '90000', 'strict': 'unofficial'},
  'matroska': {'strict': 'unofficial'},
  'webm': {'strict': 'unofficial'},
}
# Tags that describe the source file or its encoding; every muxer writes its own.
_FILE_TAGS = (
  'major_brand',
  'minor_version',
  'compatible_brands',
  'encoder',
  'duration',
  'software',
  'vendor_id',
  'timecode',
)
_FILE_TAG_PREFIXES = ('_statistics', 'bps', 'number_of_', 'duration')
# Tags of MXF about the program that wrote the file, and its identity.
_MXF_TAGS = (
  'uid',
  'generation_uid',
  'company_name',
  'application_platform',
  'operational_pattern_ul',
  'modification_date',
  'product_',
  'toolkit_',
  'material_package',
  'file_package',
)
# Tags of Apple's cameras and Matroska -> the names in other containers.
_SAME_TAGS = {
  'com.apple.quicktime.location.iso6709': 'location',
  'date_recorded': 'date',
  'com.apple.quicktime.creationdate': 'creation_time',
  'location-eng': 'location',
}
_TIMECODE = 'timecode'
_ALPHA = 'alpha_mode'
_RECORDS = {
  b'dvcC': 'Dolby Vision record',
  b'dvvC': 'Dolby Vision record',
  b'dvwC': 'Dolby Vision record',
  b'sv3d': 'spherical mapping',
  b'st3d': 'stereo 3D mapping',
}


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is copied besides the video.

  Attributes:
    container: FFmpeg's name of the output's container.
    codec_tags: index of every copied stream in the source -> its four-character code in the output.
    not_copied: descriptions of what cannot be copied.
    cost: total cost of the losses, for comparing containers: a whole track counts 1, transparency 2.
    is_exact: whether the video starts exactly at the requested time.
    timecode: timecode of the first frame, if there is one and the container supports it.
    has_metadata: whether tags and chapters are copied.
  """

  container: str
  codec_tags: Mapping[int, str]
  not_copied: tuple[str, ...]
  cost: int
  is_exact: bool = True
  timecode: str | None = None
  has_metadata: bool = True


def is_exact(segment: remux.Segment, container: str) -> bool:
  """Returns whether a copy of a segment starts exactly at the requested time in a container."""
  return segment.lead_in_s <= source.MAX_ROUNDING_S or container not in ('matroska', 'webm')


def plan(opened: source.Source, segment: remux.Segment, container: str, video_tag: str | None) -> Plan:
  """Returns what of a file a container can carry.

  Args:
    opened: the file.
    segment: the segment to copy.
    container: FFmpeg's name of the output's container.
    video_tag: result of `compatible_codec_tag` for the video stream.
  """
  codec_tags, losses = {}, []
  video = opened.require_video_stream()
  # QuickTime stores chapter titles in a track; they are copied as chapters.
  is_mov = 'mov' in opened.container.format.name.split(',')
  chapter_ids = boxes.chapter_tracks(opened.path) if is_mov else set()
  for stream in others(opened):
    if _is_timecode(stream) or stream.id in chapter_ids:
      continue
    tag = compatible_codec_tag(container, stream)
    if tag is None:
      losses.append(stream_description(stream))
    else:
      codec_tags[stream.index] = tag
  cost, timecode = len(losses), _timecode(opened)
  if _tag(video.metadata, _ALPHA) not in (None, '0') and container not in ('matroska', 'webm'):
    losses.append('transparency of the video')
    cost += 2
  is_exact_start = is_exact(segment, container)
  if not is_exact_start:
    early_s = float(segment.lead_in_s)
    losses.append(f'the exact start ({container} begins with a keyframe, {early_s:.2f} s earlier)')
  if timecode and (segment.start_s or not _accepts_timecode(container, video, video_tag, timecode)):
    losses.append(_TIMECODE)
    timecode = None
  return Plan(container, codec_tags, tuple(losses), cost, is_exact_start, timecode)


def others(opened: source.Source) -> list[av.stream.Stream]:
  """Returns all streams except the shown video and the default audio."""
  known = {stream.index for stream in (opened.video_stream, opened.audio_stream) if stream is not None}
  return [stream for stream in opened.container.streams if stream.index not in known]


def compatible_codec_tag(container: str, stream: av.stream.Stream) -> str | None:
  """Returns a four-character code with which a container accepts a stream; None if it does not.

  The code of the source is preferred: it distinguishes hvc1 from hev1, and profiles of ProRes and UT Video.
  """
  tags = [source.NO_CODEC_TAG]
  if container == 'mp4' and stream.type == 'audio' and stream.codec_context.name.startswith('pcm_'):
    return None  # ISO 23003-5 defines PCM in MP4, but few players support it.
  if stream.codec_context is not None:
    own = source.codec_tag(stream)
    # Apple's players require HEVC with parameter sets in the index, which this tag declares.
    first = 'hvc1' if stream.codec_context.codec.canonical_name == 'hevc' and own in _UNNAMED_HEVC else own
    tags = list(dict.fromkeys((first, own, source.NO_CODEC_TAG)))
  for tag in tags:
    if _is_accepted(container, stream, tag):
      return tag
  return None


def _is_accepted(container: str, stream: av.stream.Stream, tag: str, timecode: str | None = None) -> bool:
  """Returns whether a container accepts a stream, by writing a header with only that stream."""
  try:
    with av.open(io.BytesIO(), 'w', format=container, container_options=MUXER_OPTIONS[container]) as scratch:
      added = add_copy(scratch, stream, tag)
      if timecode:
        added.metadata[_TIMECODE] = timecode
      scratch.start_encoding()
    return True
  except (ValueError, av.error.FFmpegError):
    return False


def _accepts_timecode(container: str, stream: av.VideoStream, tag: str | None, timecode: str) -> bool:
  if container == 'matroska':  # Stored as a tag.
    return True
  return container in ('mp4', 'mov') and tag is not None and _is_accepted(container, stream, tag, timecode)


# In Matroska and elementary streams; in transport streams the code is a number.
_UNNAMED_HEVC = (source.NO_CODEC_TAG, 'HEVC', 'hevc', '$\0\0\0')


def add_copy(output: av.container.OutputContainer, stream: av.stream.Stream, tag: str) -> av.stream.Stream:
  """Returns a new stream for copied packets, with the metadata of its source.

  Args:
    output: the container that is written.
    stream: stream of the source.
    tag: four-character code of the codec in the output.

  Raises:
    ValueError: the container does not accept its codec.
  """
  # opaque: needs no encoder.
  added = output.add_stream_from_template(stream, opaque=True)
  added.disposition, added.time_base = stream.disposition, stream.time_base
  added.metadata.update(tags(stream.metadata))
  if added.codec_context is not None:
    added.codec_context.codec_tag = tag
    if isinstance(stream, av.VideoStream) and isinstance(added, av.VideoStream):
      unknown = fractions.Fraction(0)
      added.codec_context.framerate = stream.average_rate or unknown
      added.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio or unknown
  return added


def tags(metadata: dict[str, str]) -> dict[str, str]:
  """Returns the tags that describe the content, with the names that muxers use."""
  is_mxf = 'operational_pattern_ul' in metadata
  content = {
    name: value
    for name, value in metadata.items()
    if name.lower() not in _FILE_TAGS
    and not name.lower().startswith(_FILE_TAG_PREFIXES)
    and not (is_mxf and name.startswith(_MXF_TAGS))
  }
  known = {name.lower() for name in content}
  return content | {
    _SAME_TAGS[name.lower()]: value
    for name, value in content.items()
    if name.lower() in _SAME_TAGS and _SAME_TAGS[name.lower()] not in known
  }


def copy_metadata(
  output: av.container.OutputContainer, opened: source.Source, segment: remux.Segment, timecode: str | None
) -> None:
  """Copies the tags and chapters of a file to an output, and sets the timecode of its video.

  Args:
    output: the container that is written, with its video stream added.
    opened: the source.
    segment: the part that is copied; chapters are cut to it and their times count from its start.
    timecode: HH:MM:SS:FF of the first frame; None for no timecode.
  """
  output.metadata.update(tags(opened.container.metadata))
  output.set_chapters(_chapters(opened, segment))
  if timecode:
    output.streams.video[0].metadata[_TIMECODE] = timecode


def _chapters(opened: source.Source, segment: remux.Segment) -> list['Chapter']:
  """Returns the chapters of a segment, with times from its start."""
  found: list[Chapter] = []
  shift_s = segment.clock_origin_s + segment.start_s
  for chapter in opened.container.chapters():
    tick_s = chapter['time_base']
    if tick_s is None:
      raise errors.MediaError(f'{opened.path}: a chapter has no time base; the file is damaged.')
    begin_s, end_s = (
      max(0, min(ticks * tick_s - shift_s, segment.duration_s))
      for ticks in (chapter['start'], chapter['end'])
    )
    if end_s > begin_s:
      unit_s = fractions.Fraction(1, 1000)
      found.append(
        {**chapter, 'start': round(begin_s / unit_s), 'end': round(end_s / unit_s), 'time_base': unit_s}
      )
  return found


def packets(
  segment: remux.Segment, streams: dict[int, av.stream.Stream]
) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Yields (decoding time, packet) of the other streams of a segment, ready for muxing.

  Args:
    segment: the segment.
    streams: index in the source -> stream of the output.
  """
  if not streams:
    return
  shift_s = segment.clock_origin_s + segment.start_s
  with source.Source(segment.info.path) as opened:
    chosen = [stream for stream in opened.container.streams if stream.index in streams]
    last_dts: dict[int, int] = {}
    for packet in opened.packets_of(chosen):
      shifted_s = _shift(packet, shift_s, segment.duration_s)
      if shifted_s is None:
        continue
      assert packet.pts is not None and packet.dts is not None  # set by _shift
      index = packet.stream.index
      if packet.dts <= last_dts.get(index, packet.dts - 1):
        packet.dts = last_dts[index] + 1
        packet.pts = max(packet.pts, packet.dts)
      last_dts[index] = packet.dts
      packet.stream = streams[index]
      yield shifted_s, packet


def _shift(
  packet: av.Packet, shift_s: fractions.Fraction, duration_s: fractions.Fraction
) -> fractions.Fraction | None:
  """Shifts the timestamps of a packet; returns its new decoding time, or None if outside the segment."""
  if not packet.size or packet.is_discard:
    return None
  if packet.stream.disposition & av.stream.Disposition.attached_pic:
    packet.pts = packet.dts = 0
    return fractions.Fraction(0)
  if packet.pts is None and packet.dts is None:
    return None
  packet.dts = packet.pts if packet.dts is None else packet.dts
  packet.pts = packet.dts if packet.pts is None else packet.pts
  shift = round(shift_s / packet.time_base)
  packet.pts, packet.dts = timestamps.pts(packet) - shift, timestamps.dts(packet) - shift
  begin_s, length_s = packet.pts * packet.time_base, timestamps.duration_s(packet)
  if begin_s >= duration_s or begin_s + length_s < 0:
    return None
  if packet.stream.type == 'subtitle' and begin_s < 0:
    packet.pts, packet.dts, packet.duration = 0, 0, round((begin_s + length_s) / packet.time_base)
  return packet.dts * packet.time_base


def lost_metadata(opened: source.Source, segment: remux.Segment, path: pathlib.Path) -> list[str]:
  """Returns descriptions of tags, chapters and video records of the source that a finished copy lacks.

  Args:
    opened: the source.
    segment: the part that was copied; chapters outside it are not expected.
    path: the finished copy.
  """
  source_tags = tags(opened.container.metadata)
  with av.open(f'file:{path.absolute()}', metadata_errors='replace') as written:
    has = {name.lower() for name in written.metadata}
    num_chapters = len(written.chapters())
  losses = [f'tag {name}' for name in sorted(source_tags) if not _is_copied(name.lower(), has)]
  if _chapters(opened, segment) and not num_chapters:
    losses.append('chapters')
  if 'mov' in opened.container.format.name.split(','):
    before, after = (boxes.index_bytes(file) for file in (opened.path, path))
    losses += sorted({name for kind, name in _RECORDS.items() if kind in before and kind not in after})
  return losses


def _is_copied(name: str, has: set[str]) -> bool:
  return name in has or _SAME_TAGS.get(name, name) in has or name.removesuffix('-eng') in has


def _timecode(opened: source.Source) -> str | None:
  """Returns the timecode of the first frame of a file."""
  streams: Sequence[av.stream.Stream] = [opened.require_video_stream(), *others(opened)]
  found = (_tag(stream.metadata, _TIMECODE) for stream in streams)
  return next((text for text in found if text), _tag(opened.container.metadata, _TIMECODE))


def _is_timecode(stream: av.stream.Stream) -> bool:
  """Returns whether a stream is a QuickTime timecode track, which muxers create from the tag."""
  return stream.type == 'data' and _tag(stream.metadata, _TIMECODE) is not None


def _tag(metadata: dict[str, str], name: str) -> str | None:
  """Returns a tag by case-insensitive name, since Matroska writes names in capitals."""
  return next((value for key, value in metadata.items() if key.lower() == name), None)


def stream_description(stream: av.stream.Stream) -> str:
  """Returns a description of a stream."""
  is_cover = stream.disposition & av.stream.Disposition.attached_pic
  kind = 'cover image' if is_cover else f'{stream.type} track {stream.index}'
  codec = stream.codec_context.name if stream.codec_context is not None else ''
  # Cameras describe their telemetry tracks here.
  handler = stream.metadata.get('handler_name', '').strip() if stream.type == 'data' else ''
  language = stream.metadata.get('language', '').replace('und', '')
  details = [text for text in (codec, language, handler) if text]
  return f'{kind} ({", ".join(details)})' if details else kind
