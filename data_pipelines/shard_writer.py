"""Writes the records of a shard: the accepted clips, annotated, as compressed video and FLAC.

  shard_writer.write(layout, 'train', 12, annotators)

The file of a shard appears under its name when it is complete; then its summary is written. A shard with a
summary and a file of the size in it is not written again, so a build that is resumed redoes only what is
missing or torn. Equal media, decisions and annotations give equal bytes, whatever the number of workers.
"""

import collections
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import tempfile

from array_record.python import array_record_module

from data_pipelines import analysis
from data_pipelines import decisions
from data_pipelines import decode
from data_pipelines import decoded
from data_pipelines import layout as layout_lib
from data_pipelines import plan
from data_pipelines.annotate import annotator as annotator_lib
from data_pipelines.annotate import apply
from data_pipelines.annotate import cache as cache_lib
from data_pipelines.filters import video as video_filters
from data_pipelines.sources import items
from v2a import files
from v2a import input_errors
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.data import licences
from v2a.data import media_decoding
from v2a.data import media_records
from v2a.media import audio_file
from v2a.media import write as media_write

# Media are compressed already.
_WRITER_OPTIONS = 'group_size:1,uncompressed'


@dataclasses.dataclass
class Summary:
  """What is in a shard.

  Attributes:
    num_records, num_bytes, sha256: of the file; no file if there is no record.
    first_id, last_id: of the records; '' without.
    durations_s: of the clips.
    num_with_video, num_with_audio, num_with_captions, num_with_transcript: numbers of records.
    licences: licence -> number of records.
    text_bytes, transcript_bytes: length of the longest caption and of the transcript -> number of records.
    failures: clips that were accepted and could not be written, with the reason.
    annotation_failures: annotators that added nothing to a clip because of an error.
  """

  num_records: int = 0
  num_bytes: int = 0
  sha256: str = ''
  first_id: str = ''
  last_id: str = ''
  durations_s: list[float] = dataclasses.field(default_factory=list)
  num_with_video: int = 0
  num_with_audio: int = 0
  num_with_captions: int = 0
  num_with_transcript: int = 0
  licences: dict[str, int] = dataclasses.field(default_factory=dict)
  text_bytes: dict[str, int] = dataclasses.field(default_factory=dict)
  transcript_bytes: dict[str, int] = dataclasses.field(default_factory=dict)
  failures: list[dict[str, str]] = dataclasses.field(default_factory=list)
  annotation_failures: list[dict[str, str]] = dataclasses.field(default_factory=list)

  def add(self, record: media_records.MediaRecord) -> None:
    """Counts a record."""
    self.first_id = self.first_id or record.id
    self.last_id = record.id
    self.num_records += 1
    self.durations_s.append(record.duration_s)
    self.num_with_video += bool(record.video)
    self.num_with_audio += bool(record.audio)
    self.num_with_captions += bool(record.annotations.captions)
    self.num_with_transcript += bool(record.annotations.transcript.text)
    captions = [caption.text for caption in record.annotations.captions]
    longest = max((len(text.encode()) for text in captions), default=0)
    _count(self.text_bytes, str(longest))
    _count(self.transcript_bytes, str(len(record.annotations.transcript.text.encode())))
    _count(self.licences, record.licence or licences.UNKNOWN)


def _count(counts: dict[str, int], name: str) -> None:
  counts[name] = counts.get(name, 0) + 1


def read_summary(layout: layout_lib.Layout, split: str, index: int) -> Summary | None:
  """Returns the summary of a shard; None if it must be written (again).

  Args:
    layout: of the data set.
    split: name of the split.
    index: of the shard.
  """
  path, shard = layout.shard_summary(split, index), layout.shard(split, index)
  try:
    found = Summary(**json.loads(path.read_text(encoding='utf-8')))
    # Of a store, the sizes of all shards are compared when the build is resumed (`pipeline`).
    is_local = isinstance(shard, pathlib.Path)
    size = shard.stat().st_size if found.num_records and is_local else found.num_bytes
  except (OSError, ValueError, TypeError):
    return None
  return found if size == found.num_bytes else None


def write(
  layout: layout_lib.Layout,
  split: str,
  index: int,
  annotators: Sequence[annotator_lib.Annotator],
  num_threads: int = 1,
) -> Summary:
  """Writes the records of a shard unless they are there, and returns what is in it.

  Args:
    layout: of the data set, with plan, analysis and decisions.
    split: name of the split.
    index: of the shard.
    annotators: applied to each clip, in this order.
    num_threads: clips that are annotated at once; annotators that wait for an endpoint gain by several.

  Raises:
    ServiceError: an endpoint cannot be used; what was annotated is in the cache.
    OSError: a file cannot be written.
  """
  found = read_summary(layout, split, index)
  if found is not None:
    return found
  summary, path = Summary(), layout.shard(split, index)
  storage.make_folder(path.parent)
  layout.shard_summary(split, index).parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as partial:
    writer = array_record_module.ArrayRecordWriter(str(partial), _WRITER_OPTIONS)
    for record in _records(layout, split, index, annotators, num_threads, summary):
      try:
        writer.write(record.to_bytes())
      except RuntimeError as error:
        raise OSError(f'{path} cannot be written: {error}') from error
      summary.add(record)
    try:
      writer.close()
    except RuntimeError as error:
      raise OSError(f'{path} cannot be written: {error}') from error
    summary.num_bytes, summary.sha256 = partial.stat().st_size, files.sha256(partial)
  if not summary.num_records:
    storage.remove(path)
    summary.num_bytes, summary.sha256 = 0, ''
  text = json.dumps(dataclasses.asdict(summary), indent=2) + '\n'
  files.write_text(layout.shard_summary(split, index), text)
  return summary


def _records(
  layout: layout_lib.Layout,
  split: str,
  index: int,
  annotators: Sequence[annotator_lib.Annotator],
  num_threads: int,
  summary: Summary,
) -> Iterator[media_records.MediaRecord]:
  """Yields the annotated records of the accepted clips; those that fail are added to the summary."""
  cache = cache_lib.Cache(layout.annotations) if annotators else None
  pending: collections.deque[tuple[float, media_records.MediaRecord]] = collections.deque()

  def known() -> Iterator[tuple[decoded.DecodedClip, annotations_lib.Annotations]]:
    for clip, record in _prepared(layout, split, index, summary):
      pending.append((clip.start_s, record))
      yield clip, record.annotations

  for result in apply.annotate_all(known(), annotators, cache, num_threads):
    start_s, record = pending.popleft()
    summary.annotation_failures += [
      {'id': record.id, 'annotator': each.annotator, 'reason': each.reason} for each in result.failures
    ]
    annotations = result.annotations.within(start_s, start_s + record.duration_s)
    yield dataclasses.replace(record, annotations=annotations)


def _prepared(
  layout: layout_lib.Layout, split: str, index: int, summary: Summary
) -> Iterator[tuple[decoded.DecodedClip, media_records.MediaRecord]]:
  """Yields each accepted clip with its record, whose annotations are those of the whole media."""
  accepted = set(decisions.read_accepted(layout.decisions, split, index))
  by_item: dict[str, list[analysis.Entry]] = {}
  for entry in analysis.read_shard(layout.analysis, split, index):
    # A part that is omitted has the id of its item, and so has the only clip of an item.
    if entry.id in accepted and entry.outcome == 'measured':
      by_item.setdefault(entry.item, []).append(entry)
  for item in plan.read_shard(layout.plan, split, index):
    left = by_item.get(item.id, [])
    try:
      for clip, record in clips(item, left) if left else ():
        left = left[1:]
        yield clip, record
    except Exception as error:
      if items.is_of_all(error):
        raise
      reason = input_errors.format_error(error, item.media.name)
      summary.failures += [{'id': entry.id, 'reason': reason} for entry in left]


def clips(
  item: items.Item, entries: Sequence[analysis.Entry]
) -> Iterator[tuple[decoded.DecodedClip, media_records.MediaRecord]]:
  """Yields the clips of an item, decoded, and as records that are not annotated.

  Args:
    item: of the plan.
    entries: its clips, as they were analysed.

  Raises:
    MediaError: the media cannot be decoded.
  """
  with item.media.as_file() as path, tempfile.TemporaryDirectory(prefix='v2a-') as folder:
    media = decode.open_file(path)
    segments = [(entry.start_s, entry.end_s) for entry in entries]
    for entry, clip in zip(entries, decode.decode(media, segments, item.id), strict=True):
      clip = dataclasses.replace(clip, id=entry.id)
      video, suffix, start_s = b'', '', 0.0
      if clip.has_video:
        copy = media_write.copy_video(path, pathlib.Path(folder) / 'video', clip.start_s, clip.duration_s)
        video, suffix, start_s = copy.path.read_bytes(), copy.path.suffix, copy.start_s
        copy.path.unlink()
      audio = b''
      if clip.has_audio:
        audio = audio_file.flac_bytes(clip.wave_NA, clip.sample_rate_hz)
        # Annotators hear what is stored, so that records can be annotated later with the same results.
        clip = dataclasses.replace(clip, wave_NA=media_decoding.stored_wave(audio)[0])
      yield (
        clip,
        media_records.MediaRecord(
          id=clip.id,
          group=item.group,
          duration_s=clip.duration_s,
          video=video,
          video_suffix=suffix,
          video_start_s=start_s,
          audio=audio,
          annotations=item.annotations,
          licence=item.licence,
          measured={name: each.value for name, each in entry.measured.items()},
          crop=video_filters.stored_box(entry.measured.get('letterbox'), clip.frame_MYX3),
        ),
      )
