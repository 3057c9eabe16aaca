"""The analysis of a shard: what is measured of each clip, before anything is decided, annotated or written.

  analysis.analyse_shard(plan_folder, 'train', 12, analysis_folder, settings)

writes one line of JSON per clip to ANALYSIS/train/00012.jsonl, in the order of the plan. The file appears
under its name when it is complete, so a shard is analysed or it is not; a build that is resumed skips those
that are. Decisions read these lines only: other thresholds need no decoding.

Every item of the plan has at least one line. What cannot be decoded, and parts that no segment covers, have
lines with the reason; an error of one item never ends the shard, nor is it replaced by another item.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib
from typing import Any
from typing import Literal

from data_pipelines import cut
from data_pipelines import decode
from data_pipelines import plan
from data_pipelines.annotate import cache
from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import fingerprints
from data_pipelines.filters import registry
from data_pipelines.sources import items
from v2a import files
from v2a import input_errors

Outcome = Literal['measured', 'omitted', 'failed']
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Settings:
  """What an analysis does; equal settings and equal media give equal lines.

  Attributes:
    cutting: how items are cut into segments.
    filters: names of the filters, in the order of the numbers; None for all.
    weights: folder of published weights of filters; None is the environment variable V2A_WEIGHTS.
  """

  cutting: cut.Cutting = cut.Cutting()
  filters: tuple[str, ...] | None = None
  weights: str | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
  """A line of an analysis: a clip, a part of an item without a clip, or an item that failed.

  Attributes:
    item: id of the item.
    id: of the clip; that of the item where there is no clip.
    outcome: 'measured'; 'omitted', a part that is too short or too long; 'failed', not decoded.
    start_s, end_s: segment in the media; both 0 for an item that failed.
    reason: why there is no clip; '' where there is one.
    content: hash of the decoded clip, by which annotations are cached; '' without a clip.
    has_video, has_audio: of the clip.
    sample_rate_hz: of its sound.
    measured: by name of the filter.
    fingerprint: of the clip, by which duplicates are found; None without a clip.
  """

  item: str
  id: str
  outcome: Outcome
  start_s: float = 0.0
  end_s: float = 0.0
  reason: str = ''
  content: str = ''
  has_video: bool = False
  has_audio: bool = False
  sample_rate_hz: int = 0
  measured: Mapping[str, filter_lib.Measurement] = dataclasses.field(default_factory=dict)
  fingerprint: fingerprints.Fingerprint | None = None

  def to_json(self) -> dict[str, Any]:
    """Returns the entry as values of JSON."""
    measured = {name: each.to_json() for name, each in self.measured.items()}
    fingerprint = self.fingerprint and self.fingerprint.to_json()
    return {**vars(self), 'measured': measured, 'fingerprint': fingerprint}

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> 'Entry':
    """Returns the entry of `to_json`."""
    measured = {name: filter_lib.Measurement.from_json(each) for name, each in values['measured'].items()}
    found = values['fingerprint']
    fingerprint = None if found is None else fingerprints.Fingerprint.from_json(found)
    fields: dict[str, Any] = dict(values, measured=measured, fingerprint=fingerprint)
    return cls(**fields)


def analyse_item(
  item: items.Item, cutting: cut.Cutting, filters: Sequence[filter_lib.Filter]
) -> Iterator[Entry]:
  """Yields what is measured of each clip of an item; a clip is in memory only while it is measured.

  Args:
    item: of a plan.
    cutting: how it is cut.
    filters: what is measured.

  Raises:
    MediaError: the media cannot be decoded.
    ValueError: the segment of the item starts after the end of the media.
    OSError: it cannot be read.
  """
  with item.media.as_file() as path:
    media = decode.open_file(path)
    end_s = media.info.duration_s if item.end_s is None else min(item.end_s, media.info.duration_s)
    if item.start_s >= end_s:
      raise ValueError(f'starts at {item.start_s:g} s, but the media lasts {media.info.duration_s:g} s.')
    scenes = cut.find_scenes(media, item.start_s, end_s) if cutting.mode == 'scenes' else None
    found = cutting.segments(item.start_s, end_s, scenes)
    for part in found.omitted:
      yield Entry(item.id, item.id, 'omitted', part.start_s, part.end_s, part.reason)
    needs_sync = any(each.needs_sync_frames and not each.unavailable_reason for each in filters)
    for clip in decode.decode(media, found.segments, item.id, needs_sync):
      yield Entry(
        item.id,
        clip.id,
        'measured',
        clip.start_s,
        clip.start_s + clip.duration_s,
        content=cache.content_hash(clip),
        has_video=clip.has_video,
        has_audio=clip.has_audio,
        sample_rate_hz=clip.sample_rate_hz,
        measured=filter_lib.measure_all(clip, filters),
        fingerprint=fingerprints.make(clip),
      )


def analyse_items(planned: Sequence[items.Item], settings: Settings) -> Iterator[Entry]:
  """Yields the entries of items; one that fails has an entry with the reason."""
  filters = registry.load(settings.filters, settings.weights)
  for item in planned:
    try:
      yield from analyse_item(item, settings.cutting, filters)
    except Exception as error:
      if items.is_of_all(error):
        raise
      reason = input_errors.format_error(error, item.media.name)
      yield Entry(item.id, item.id, 'failed', reason=reason)


def analyse_shard(
  plan_folder: pathlib.Path, split: str, index: int, folder: pathlib.Path, settings: Settings
) -> None:
  """Writes the analysis of a shard unless it is there.

  Args:
    plan_folder: see `plan.make`.
    split: name of the split.
    index: of the shard.
    folder: of the analysis.
    settings: what is measured.

  Raises:
    OSError: the analysis cannot be written.
  """
  path = plan.shard_path(folder, split, index)
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path) as partial, open(partial, 'w', encoding='utf-8') as file:
      file.write(json.dumps({'format': FORMAT}) + '\n')
      for entry in analyse_items(plan.read_shard(plan_folder, split, index), settings):
        file.write(json.dumps(entry.to_json(), ensure_ascii=True) + '\n')


def read_shard(folder: pathlib.Path, split: str, index: int) -> Iterator[Entry]:
  """Yields the entries of a shard.

  Args:
    folder: of the analysis.
    split: name of the split.
    index: of the shard.

  Raises:
    FileNotFoundError: the shard was not analysed.
    ValueError: the file is of another format.
  """
  path = plan.shard_path(folder, split, index)
  with open(path, encoding='utf-8') as file:
    header = json.loads(next(file, '{}'))
    if header.get('format') != FORMAT:
      raise ValueError(f'{path}: wanted an analysis of format {FORMAT}; got {str(header)[:80]}.')
    for line in file:
      yield Entry.from_json(json.loads(line))
