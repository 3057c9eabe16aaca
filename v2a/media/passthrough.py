"""What a copy of a file keeps besides its picture and its first sound: other tracks, tags, chapters.

Everything that the output's container can carry is copied. What it cannot is described in words, a loss each,
for the manifest and for a warning. FFmpeg knows best what a container carries: a stream is tried in a scratch
output first.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import fractions
import io
import pathlib

import av

from v2a.media import boxes
from v2a.media import remux
from v2a.media import source

# FFmpeg's MP4 muxer writes Dolby Vision and spherical mapping only where it may go beyond the standard.
# Edit lists count in ticks of the movie; the usual 1 ms would round the begin of a track.
MUXER_OPTIONS = {
  'mp4': {'movie_timescale': '90000', 'strict': 'unofficial'},
  'mov': {'movie_timescale': '90000', 'strict': 'unofficial'},
  'matroska': {'strict': 'unofficial'},
  'webm': {'strict': 'unofficial'},
}
# Tags that describe the old file or its coding, which every muxer writes anew.
_OWN_TAGS = (
  'major_brand',
  'minor_version',
  'compatible_brands',
  'encoder',
  'duration',
  'software',
  'vendor_id',
  'timecode',
)
_OWN_PREFIXES = ('_statistics', 'bps', 'number_of_', 'duration')
# Of MXF: which program wrote the file, and its identity.
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
# Where Apple's cameras and Matroska write what other containers call by another name.
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
  """What is copied besides the picture.

  Attributes:
    container: FFmpeg's name of the output's container.
    codec_tags: index of each of the source's streams that is copied -> its four-character code in the output.
    not_copied: what cannot be, in words.
    cost: how much the losses are worth another container: a whole track counts 1, transparency 2.
    is_exact: whether the picture begins where it should.
    timecode: of the first frame, where there is one and the container takes it.
  """

  container: str
  codec_tags: Mapping[int, str]
  not_copied: tuple[str, ...]
  cost: int
  is_exact: bool = True
  timecode: str | None = None


def plan(opened: source.Source, wanted: remux.Segment, container: str, picture_tag: str | None) -> Plan:
  """Returns what of a file a container carries.

  Args:
    opened: the file.
    wanted: the part that is copied.
    container: FFmpeg's name of the output's container.
    picture_tag: of `compatible_codec_tag` for the picture.
  """
  codes, losses = {}, []
  # QuickTime keeps the names of chapters in a track; they are copied as chapters.
  is_mov = 'mov' in opened.container.format.name.split(',')
  chapter_ids = boxes.chapter_tracks(opened.path) if is_mov else set()
  for stream in others(opened):
    if _is_timecode(stream) or stream.id in chapter_ids:
      continue
    tag = compatible_codec_tag(container, stream)
    if tag is None:
      losses.append(stream_description(stream))
    else:
      codes[stream.index] = tag
  cost, timecode = len(losses), _timecode(opened)
  if _tag(opened.video_stream.metadata, _ALPHA) not in (None, '0') and container not in ('matroska', 'webm'):
    losses.append('transparency of the picture')
    cost += 2
  is_exact = wanted.lead_in_s <= source.MAX_ROUNDING_S or container not in ('matroska', 'webm')
  if not is_exact:
    early_s = float(wanted.lead_in_s)
    losses.append(f'the exact start ({container} begins with a key frame, {early_s:.2f} s earlier)')
  if timecode and (
    wanted.start_s or not _takes_timecode(container, opened.video_stream, picture_tag, timecode)
  ):
    losses.append(_TIMECODE)
    timecode = None
  return Plan(container, codes, tuple(losses), cost, is_exact, timecode)


def others(opened: source.Source) -> list[av.stream.Stream]:
  """Returns all streams but the picture and the sound that is heard."""
  known = {stream.index for stream in (opened.video_stream, opened.audio_stream) if stream is not None}
  return [stream for stream in opened.container.streams if stream.index not in known]


def compatible_codec_tag(container: str, stream: av.stream.Stream) -> str | None:
  """Returns the four-character code under which a container takes a stream; None where it does not.

  The source's own comes first: it tells hvc1 from hev1, and one profile of ProRes or UT Video from another.
  """
  tags = [source.NO_CODEC_TAG]
  if container == 'mp4' and stream.type == 'audio' and stream.codec_context.name.startswith('pcm_'):
    return None  # There is a way to write it (ISO 23003-5), but few players know it.
  if stream.codec_context is not None:
    own = source.codec_tag(stream)
    # Apple's players want HEVC with its parameter sets in the index, which this name promises.
    first = 'hvc1' if stream.codec_context.codec.canonical_name == 'hevc' and own in _UNNAMED_HEVC else own
    tags = list(dict.fromkeys((first, own, source.NO_CODEC_TAG)))
  for tag in tags:
    if _is_taken(container, stream, tag):
      return tag
  return None


def _is_taken(container: str, stream: av.stream.Stream, tag: str, timecode: str | None = None) -> bool:
  """Returns whether a container takes a stream, by writing a header with nothing else."""
  try:
    with av.open(io.BytesIO(), 'w', format=container, container_options=MUXER_OPTIONS[container]) as scratch:
      added = add_copy(scratch, stream, tag)
      if timecode:
        added.metadata[_TIMECODE] = timecode
      scratch.start_encoding()
    return True
  except (ValueError, av.error.FFmpegError):
    return False


def _takes_timecode(container: str, stream: av.VideoStream, tag: str | None, timecode: str) -> bool:
  if container == 'matroska':  # As a tag.
    return True
  return container in ('mp4', 'mov') and tag is not None and _is_taken(container, stream, tag, timecode)


# In Matroska and elementary streams; in transport streams the code is a number.
_UNNAMED_HEVC = (source.NO_CODEC_TAG, 'HEVC', 'hevc', '$\0\0\0')


def add_copy(output: av.container.OutputContainer, stream: av.stream.Stream, tag: str) -> av.stream.Stream:
  """Adds a stream for copied packets, with all that is known of it.

  Raises:
    ValueError: the container does not take its codec.
  """
  # opaque: no encoder is needed here.
  added = output.add_stream_from_template(stream, opaque=True)
  added.disposition, added.time_base = stream.disposition, stream.time_base
  added.metadata.update(tags(stream.metadata))
  if added.codec_context is not None:
    added.codec_context.codec_tag = tag
    if stream.type == 'video':
      added.codec_context.framerate = stream.average_rate or 0
      added.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio or 0
  return added


def tags(given: dict[str, str]) -> dict[str, str]:
  """Returns the tags that describe the content, under the names that muxers know."""
  is_mxf = 'operational_pattern_ul' in given
  kept = {
    name: value
    for name, value in given.items()
    if name.lower() not in _OWN_TAGS
    and not name.lower().startswith(_OWN_PREFIXES)
    and not (is_mxf and name.startswith(_MXF_TAGS))
  }
  known = {name.lower() for name in kept}
  return kept | {
    _SAME_TAGS[name.lower()]: value
    for name, value in kept.items()
    if name.lower() in _SAME_TAGS and _SAME_TAGS[name.lower()] not in known
  }


def copy_metadata(
  output: av.container.OutputContainer, opened: source.Source, wanted: remux.Segment, timecode: str | None
) -> None:
  """Gives an output the tags and chapters of a file, and its picture a timecode."""
  output.metadata.update(tags(opened.container.metadata))
  output.set_chapters(_chapters(opened, wanted))
  if timecode:
    output.streams.video[0].metadata[_TIMECODE] = timecode


def _chapters(opened: source.Source, wanted: remux.Segment) -> list[dict]:
  """Returns the chapters of a part, counted from its begin."""
  found, shift_s = [], wanted.clock_origin_s + wanted.start_s
  for chapter in opened.container.chapters():
    begin_s, end_s = (
      max(0, min(chapter[edge] * chapter['time_base'] - shift_s, wanted.duration_s))
      for edge in ('start', 'end')
    )
    if end_s > begin_s:
      unit_s = fractions.Fraction(1, 1000)
      found.append(
        {**chapter, 'start': round(begin_s / unit_s), 'end': round(end_s / unit_s), 'time_base': unit_s}
      )
  return found


def packets(
  wanted: remux.Segment, streams: dict[int, av.stream.Stream]
) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Yields (decoding time, packet) of other streams of a part, ready to be muxed.

  Args:
    wanted: the part.
    streams: index in the source -> stream of the output.
  """
  if not streams:
    return
  shift_s = wanted.clock_origin_s + wanted.start_s
  with source.Source(wanted.info.path) as opened:
    chosen = [stream for stream in opened.container.streams if stream.index in streams]
    last_dts: dict[int, int] = {}
    for packet in opened.packets_of(chosen):
      placed_s = _place(packet, shift_s, wanted.duration_s)
      if placed_s is None:
        continue
      index = packet.stream.index
      if packet.dts <= last_dts.get(index, packet.dts - 1):
        packet.dts = last_dts[index] + 1
        packet.pts = max(packet.pts, packet.dts)
      last_dts[index] = packet.dts
      packet.stream = streams[index]
      yield placed_s, packet


def _place(
  packet: av.Packet, shift_s: fractions.Fraction, duration_s: fractions.Fraction
) -> fractions.Fraction | None:
  """Moves a packet's time stamps; returns its new decoding time, or None where it is not in the part."""
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
  packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
  begin_s, lasting_s = packet.pts * packet.time_base, packet.duration * packet.time_base
  if begin_s >= duration_s or begin_s + lasting_s < 0:
    return None
  if packet.stream.type == 'subtitle' and begin_s < 0:
    packet.pts, packet.dts, packet.duration = 0, 0, round((begin_s + lasting_s) / packet.time_base)
  return packet.dts * packet.time_base


def lost_metadata(opened: source.Source, part: remux.Segment, path: pathlib.Path) -> list[str]:
  """Returns what a finished copy lost of a file's tags, chapters, and records of the picture, in words."""
  wanted = tags(opened.container.metadata)
  with av.open(f'file:{path.absolute()}', metadata_errors='replace') as written:
    has = {name.lower() for name in written.metadata}
    num_chapters = len(written.chapters())
  losses = [f'tag {name}' for name in sorted(wanted) if not _is_kept(name.lower(), has)]
  if _chapters(opened, part) and not num_chapters:
    losses.append('chapters')
  if 'mov' in opened.container.format.name.split(','):
    before, after = (boxes.index_bytes(place) for place in (opened.path, path))
    losses += sorted({name for kind, name in _RECORDS.items() if kind in before and kind not in after})
  return losses


def _is_kept(name: str, has: set[str]) -> bool:
  return name in has or _SAME_TAGS.get(name, name) in has or name.removesuffix('-eng') in has


def _timecode(opened: source.Source) -> str | None:
  """Returns the timecode of a file's first frame."""
  streams: Sequence[av.stream.Stream] = [opened.video_stream, *others(opened)]
  found = (_tag(stream.metadata, _TIMECODE) for stream in streams)
  return next((text for text in found if text), _tag(opened.container.metadata, _TIMECODE))


def _is_timecode(stream: av.stream.Stream) -> bool:
  """Returns whether a stream is QuickTime's timecode track, which muxers make anew from the tag."""
  return stream.type == 'data' and _tag(stream.metadata, _TIMECODE) is not None


def _tag(metadata: dict[str, str], name: str) -> str | None:
  """Returns a tag; Matroska writes their names in capitals."""
  return next((value for key, value in metadata.items() if key.lower() == name), None)


def stream_description(stream: av.stream.Stream) -> str:
  """Returns a stream in words."""
  is_cover = stream.disposition & av.stream.Disposition.attached_pic
  kind = 'cover picture' if is_cover else f'{stream.type} track {stream.index}'
  codec = stream.codec_context.name if stream.codec_context is not None else ''
  # Cameras name their tracks of measurements here.
  handler = stream.metadata.get('handler_name', '').strip() if stream.type == 'data' else ''
  language = stream.metadata.get('language', '').replace('und', '')
  details = [text for text in (codec, language, handler) if text]
  return f'{kind} ({", ".join(details)})' if details else kind
