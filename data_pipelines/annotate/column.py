"""Annotates media records that are built: their column `annotations`, which training reads in their place.

  column.annotate(folder, settings, cache_folder)

The records are not rewritten. Annotators add to what the column has if there is one, else to the annotations
in the records; see `annotator.merge`, by which nothing that humans wrote is replaced.

  FOLDER/columns/annotations/                one row per record, see `v2a.data.media_source.ClipInfo`
  FOLDER/columns/annotations/failures.jsonl  id, annotator and reason of what could not be annotated
  FOLDER/columns/annotations-cache/          what annotators added, see `cache`; it may be elsewhere
  FOLDER/columns/annotations.new/            a column that is not finished; it replaces the other one whole

Clips are decoded from the records (`decode.of_record`), and are what annotators saw in the build: results are
the same, and those of clips that start where their media do are in the cache of the build. One thing a record
cannot say: that a transcript by humans has no word in it, since it is a part of the media without speech.

What was interrupted continues: whole shards stay, and clips of other shards are in the cache. What could not
be annotated is tried again by the next run.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

from data_pipelines import decode
from data_pipelines import decoded
from data_pipelines import runner
from data_pipelines.annotate import annotator as annotator_lib
from data_pipelines.annotate import apply
from data_pipelines.annotate import cache as cache_lib
from v2a import files
from v2a import input_errors
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.data import feature_columns
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import media_source
from v2a.data import shards

NAME = media_source.ANNOTATIONS
CACHE = f'{NAME}-cache'
FAILURES = 'failures.jsonl'
DECODING = 'decoding'  # in place of the annotator where a record cannot be decoded
OF_RECORDS = 'records'  # the digest of the base of a column that began with the records
_NEW = f'{NAME}.new'


@dataclasses.dataclass(frozen=True)
class Work:
  """What is added to the clips of a folder; it is pickled to workers.

  Attributes:
    folder: of the media records.
    annotators: that are applied, in this order.
    cache: folder of the cache.
    base: the column that is added to; None for the annotations in the records.
    num_threads: clips that a worker annotates at once.
  """

  folder: media_folder.MediaFolder
  annotators: Sequence[annotator_lib.Annotator]
  cache: pathlib.Path
  base: feature_columns.Column | None
  num_threads: int = 1

  @property
  def origins(self) -> list[str]:
    """Name and version of each annotator."""
    return [annotator_lib.origin(each) for each in self.annotators]

  @property
  def about(self) -> dict[str, Any]:
    """What identifies the column: its base and the annotators, also those that were applied to the base."""
    base = OF_RECORDS if self.base is None else self.base.hash
    digest = hashlib.sha256(json.dumps([base, self.origins]).encode()).hexdigest()
    earlier = [] if self.base is None else self.base.about.get('annotators', [])
    annotators = [each for each in earlier if each not in self.origins] + self.origins
    return {'digest': digest, 'base': base, 'annotators': annotators}

  def known(self, index: int, record: media_records.MediaRecord) -> media_source.ClipInfo:
    """Returns what is known about a clip."""
    if self.base is None:
      return media_source.ClipInfo.of(record)
    return media_source.ClipInfo.from_row(self.base.read(*self.folder.locate(index), record.id))


def annotate(
  folder: media_folder.MediaFolder,
  annotators: Sequence[annotator_lib.Annotator],
  cache: pathlib.Path,
  is_replaced: bool = False,
  options: runner.Options = runner.LOCAL,
  num_threads: int = 1,
  report: Callable[[str], None] = runner.stderr,
) -> feature_columns.Column:
  """Annotates the records of a folder, and returns the column.

  Nothing is done where the column is by these annotators already and none of them failed.

  Args:
    folder: of the media records.
    annotators: that are applied, in this order.
    cache: folder of the cache, on storage that all workers share.
    is_replaced: whether annotators begin with the annotations in the records although there is a column.
    options: where the work is done.
    num_threads: clips that a worker annotates at once; annotators that wait for an endpoint gain by several.
    report: takes lines of progress.

  Raises:
    FileNotFoundError: a shard of the records is missing.
    ServiceError: an annotator cannot be used.
    ShardError: a shard failed; what is finished stays finished.
    ValueError: there is a column of other records, or no annotator.
  """
  if not annotators:
    raise ValueError('wanted annotators; got none.')
  if storage.is_file(feature_columns.path_of(folder, _NEW) / feature_columns.MANIFEST):
    feature_columns.replace(folder, NAME, _NEW)  # interrupted between the two
  there = feature_columns.Column(folder, NAME) if NAME in feature_columns.names(folder) else None
  work = Work(folder, annotators, cache, None if is_replaced else there, num_threads)
  if there is not None and _is_done(there, work, is_replaced):
    report(f'{feature_columns.path_of(folder, NAME)}: is by {", ".join(work.origins)} already')
    return there
  for each in annotators:
    each.check()
  shards.check_present(folder.path, folder.shards)
  _begin(work)
  stage = runner.Stage(
    'annotation',
    functools.partial(_write, work),
    functools.partial(_is_written, work),
    work.cache / 'errors',
  )
  runner.run(stage, [(OF_RECORDS, index) for index in range(len(folder.shards))], options, report)
  _finish(work)
  return feature_columns.Column(folder, NAME)


def _is_done(there: feature_columns.Column, work: Work, is_replaced: bool) -> bool:
  """Whether a column is what the work would give; a label that was added since changes captions."""
  applied = there.about.get('annotators', [])
  wanted = applied[-len(work.origins) :] if not is_replaced else applied
  is_of_base = not is_replaced or there.about.get('base') == OF_RECORDS
  return is_of_base and wanted == work.origins and not there.about.get('failures')


def _begin(work: Work) -> None:
  """Opens the new column; one that was begun by other annotators is deleted: its clips are in the cache."""
  try:
    feature_columns.Writer(work.folder, _NEW, work.about).remove_partials()
  except FileExistsError:
    storage.remove_folder(feature_columns.path_of(work.folder, _NEW))
    feature_columns.Writer(work.folder, _NEW, work.about)


def _summary_path(work: Work, index: int) -> storage.Path:
  return feature_columns.path_of(work.folder, _NEW) / f'summary-{index:05d}.json'


def _is_written(work: Work, _: str, index: int) -> bool:
  return storage.exists(feature_columns.path_of(work.folder, _NEW) / work.folder.shards[index].path.name)


def _write(work: Work, _: str, index: int) -> None:
  """Writes a shard of the column; before it, what could not be annotated and the lengths of its texts."""
  media_folder.check_shard(work.folder, index)
  failures: list[annotator_lib.Failure] = []
  infos = list(_annotated(work, index, failures))
  lengths = {'text_bytes': collections.Counter(), 'transcript_bytes': collections.Counter()}
  for info in infos:
    captions = (len(caption.text.encode()) for caption in info.annotations.captions)
    lengths['text_bytes'][str(max(captions, default=0))] += 1
    lengths['transcript_bytes'][str(len(info.annotations.transcript.text.encode()))] += 1
  summary = {'contents': lengths, 'failures': [dataclasses.asdict(each) for each in failures]}
  files.write_text(_summary_path(work, index), json.dumps(summary) + '\n')
  writer = feature_columns.Writer(work.folder, _NEW, work.about)
  writer.write(index, (info.to_row() for info in infos))


def _annotated(
  work: Work, shard: int, failures: list[annotator_lib.Failure]
) -> Iterator[media_source.ClipInfo]:
  """Yields what is known about each clip of a shard after all annotators; the media of few are in memory."""
  infos: dict[str, media_source.ClipInfo] = {}

  def clips() -> Iterator[tuple[decoded.DecodedClip, annotations_lib.Annotations]]:
    for index in work.folder.indices(shard):
      record = work.folder[index]
      infos[record.id] = work.known(index, record)
      try:
        clip = decode.of_record(record)
      except Exception as error:
        if input_errors.is_of_machine(error):
          raise
        failures.append(annotator_lib.Failure(record.id, DECODING, input_errors.format_error(error)))
        continue
      yield clip, infos[record.id].annotations

  cache = cache_lib.Cache(work.cache)
  for result in apply.annotate_all(clips(), work.annotators, cache, work.num_threads):
    info = infos[result.id]
    failures += result.failures
    found = result.annotations.within(0.0, info.duration_s)  # as in `shard_writer`
    infos[result.id] = dataclasses.replace(info, annotations=found)
  yield from infos.values()


def _finish(work: Work) -> None:
  """Writes the manifest of the new column, and puts it in the place of the other one."""
  path = feature_columns.path_of(work.folder, _NEW)
  summaries = [
    json.loads(storage.read_text(_summary_path(work, index))) for index in range(len(work.folder.shards))
  ]
  failures = [failure for summary in summaries for failure in summary['failures']]
  files.write_text(path / FAILURES, ''.join(json.dumps(each) + '\n' for each in failures))
  contents = {
    name: _sum(summary['contents'][name] for summary in summaries)
    for name in ('text_bytes', 'transcript_bytes')
  }
  counts = dict(sorted(collections.Counter(each['annotator'] for each in failures).items()))
  feature_columns.Writer(work.folder, _NEW, work.about).finish({'contents': contents, 'failures': counts})
  for index in range(len(summaries)):
    storage.remove(_summary_path(work, index))
  feature_columns.replace(work.folder, NAME, _NEW)


def _sum(counts) -> dict[str, int]:
  total: collections.Counter[str] = collections.Counter()
  for each in counts:
    total.update(each)
  return dict(sorted(total.items(), key=lambda item: int(item[0])))


def read_failures(folder: media_folder.MediaFolder) -> list[Mapping[str, str]]:
  """Returns id, annotator and reason of what could not be annotated; none where there is no such file."""
  path = feature_columns.path_of(folder, NAME) / FAILURES
  if not storage.is_file(path):
    return []
  return [json.loads(line) for line in storage.read_text(path).splitlines()]


def num_with_texts(about: Mapping[str, Any], num_records: int) -> tuple[int, int] | None:
  """Returns how many clips have captions and a transcript; None where a column does not say it.

  Args:
    about: of the column.
    num_records: of the folder.
  """
  if (contents := about.get('contents')) is None:
    return None
  captions, transcripts = (
    num_records - contents[name].get('0', 0) for name in ('text_bytes', 'transcript_bytes')
  )
  return captions, transcripts
