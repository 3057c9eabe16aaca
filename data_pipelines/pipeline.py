"""The build of a data set: source -> plan -> analysis -> decisions -> records -> manifests.

  pipeline.build(settings, output, runner.Options(num_workers=4))

Each arrow is a function that writes whole files, so that an interrupted build continues where it was:

  plan        which items go into which split and shard       (`plan`, on this machine)
  analysis    decodes, cuts and measures each clip             (`analysis`, by shard on all workers)
  decisions   thresholds and duplicates, nothing is decoded    (`decisions`, on this machine)
  records     annotates and writes the accepted clips          (`shard_writer`, by shard on all workers)
  manifests   of the splits and of the set; written last

Equal sources and settings give equal bytes, whatever the number of workers.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import json
import pathlib
import shutil
from typing import Any

from data_pipelines import analysis
from data_pipelines import decisions
from data_pipelines import layout as layout_lib
from data_pipelines import plan
from data_pipelines import runner
from data_pipelines import shard_writer
from data_pipelines.annotate import catalog as annotators_lib
from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import registry
from data_pipelines.sources import catalog as sources_lib
from data_pipelines.sources import folder as folder_lib
from data_pipelines.sources import items
import v2a
from v2a import files
from v2a import storage
from v2a.data import feature_columns
from v2a.data import manifest_file
from v2a.data import media_folder

FORMAT = 'v2a data set 1'
# Changes whenever equal sources and settings give other records.
PIPELINE_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Settings:
  """What is built.

  Attributes:
    source: such as 'vggsound:meta/vggsound.csv', see `sources.catalog`.
    source_settings: of the source, such as {'media': 'videos'}.
    planning: splits and size of shards.
    analysing: how items are cut, and what is measured.
    thresholds: by the name of a filter; None are the default ones.
    annotating: which annotators are applied.
    num_threads: clips that a worker annotates at once.
  """

  source: str
  source_settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  planning: plan.Settings = plan.Settings()
  analysing: analysis.Settings = analysis.Settings()
  thresholds: Mapping[str, filter_lib.Threshold] | None = None
  annotating: annotators_lib.Settings = annotators_lib.Settings()
  num_threads: int = 1

  def to_json(self) -> dict[str, Any]:
    """Returns what decides the bytes of the records, as values of JSON."""
    values = {
      'pipeline_version': PIPELINE_VERSION,
      'source': self.source,
      'source_settings': dict(self.source_settings),
      'planning': dataclasses.asdict(self.planning),
      'analysing': dataclasses.asdict(self.analysing),
      'thresholds': filter_lib.thresholds_to_json(self.resolved_thresholds()),
      'annotating': self.annotating.to_json(),
    }
    return json.loads(json.dumps(values, default=str))

  def resolved_thresholds(self) -> dict[str, filter_lib.Threshold]:
    """Returns the thresholds.

    Raises:
      ValueError: a threshold has no filter, or that of a filter that cannot be computed has limits.
    """
    filters = registry.load(self.analysing.filters, self.analysing.weights)
    if self.thresholds is None:
      return registry.default_thresholds(filters)
    filter_lib.check(self.thresholds, filters)
    return dict(self.thresholds)


def build(
  settings: Settings,
  output: storage.Path,
  options: runner.Options = runner.LOCAL,
  is_resumed: bool = False,
  report: Callable[[str], None] = runner.stderr,
  work: pathlib.Path | None = None,
) -> dict[str, Any]:
  """Builds a data set, and returns the content of its manifest.

  Args:
    settings: what is built.
    output: folder of the set; new, or that of a build with equal settings that is resumed.
    options: where the work is done.
    is_resumed: whether output may exist; what is finished in it is not done again.
    report: takes lines of progress.
    work: folder of intermediate results, see `layout`.

  Raises:
    FileExistsError: output or work exists, and the build is not resumed.
    FileNotFoundError: the source is not there.
    ShardError: a shard failed; what is finished stays finished.
    ServiceError: an annotator cannot be used.
    ValueError: a setting is wrong, or output was built with other settings.
  """
  layout = layout_lib.Layout(output, work)
  options.check()
  thresholds = settings.resolved_thresholds()
  for annotator in annotators_lib.open_all(settings.annotating):
    annotator.check()
  source = sources_lib.open_source(settings.source, **settings.source_settings)
  is_new = _open_output(layout, settings, is_resumed)
  try:
    _plan(layout, source, settings, report)
  except (OSError, ValueError):
    if is_new:
      _discard(layout)
    raise
  shards = plan.shards(layout.plan)
  runner.run(_analysis_stage(layout, settings), shards, options, report)
  if not (layout.decisions / decisions.DECISIONS).exists():
    report('decisions: thresholds and duplicates')
    decisions.decide(layout.plan, layout.analysis, layout.decisions, thresholds)
  runner.run(_records_stage(layout, settings), shards, options, report)
  return _finish(layout, settings, shards)


def _discard(layout: layout_lib.Layout) -> None:
  """Deletes the folders of a build that has nothing but its settings, so that it can be begun again."""
  layout.settings.unlink()
  layout.build.rmdir()
  if isinstance(layout.output, pathlib.Path) and layout.work is None:
    layout.output.rmdir()


def _open_output(layout: layout_lib.Layout, settings: Settings, is_resumed: bool) -> bool:
  """Makes the folder of a new build, or checks that of a resumed one; returns whether it is new."""
  wanted = settings.to_json()
  existing = [path for path in (layout.output, layout.build) if storage.exists(path)]
  if not existing:
    layout.build.mkdir(parents=True)
    files.write_text(layout.settings, json.dumps(wanted, indent=2) + '\n')
    return True
  if not is_resumed:
    raise FileExistsError(f'{existing[0]} exists already; --resume continues a build in it.')
  if not layout.settings.is_file():
    raise ValueError(f'{layout.output} cannot be resumed: there is no {layout.settings} of a build.')
  for folder in {layout.output, layout.build}:
    if isinstance(folder, pathlib.Path) and folder.is_dir():
      _remove_partials(folder)
  if storage.is_remote(layout.output):
    _discard_lost_shards(layout)
  found = json.loads(layout.settings.read_text(encoding='utf-8'))
  for key, value in wanted.items():
    if found.get(key) != value:
      raise ValueError(
        f'{layout.output} was built with other settings: {key} was {_shown(found.get(key))}; '
        f'got {_shown(value)}. Build into a new folder.'
      )
  return False


def _remove_partials(folder: pathlib.Path) -> None:
  """Deletes files of workers that were killed."""
  for partial in folder.rglob('.*.partial*'):
    shutil.rmtree(partial) if partial.is_dir() else partial.unlink()


def _discard_lost_shards(layout: layout_lib.Layout) -> None:
  """Deletes the summaries of shards that are missing or torn in an object store, so that they are redone."""
  listed = storage.list_files(layout.output)
  for split, index in plan.shards(layout.plan) if layout.plan.exists() else ():
    found = shard_writer.read_summary(layout, split, index)
    name = f'{split}/{layout.shard(split, index).name}'
    if found is not None and found.num_records and listed.get(name, {}).get('size') != found.num_bytes:
      layout.shard_summary(split, index).unlink()


def _shown(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 200 else f'{text[:197]}...'


def _plan(
  layout: layout_lib.Layout, source: items.Source, settings: Settings, report: Callable[[str], None]
) -> None:
  """Writes the plan unless it is there."""
  if layout.plan.exists():
    return
  content = plan.make(source, layout.plan, settings.planning)
  if isinstance(source, folder_lib.Folder) and source.skipped_note:
    report(f'{source.path}: {source.skipped_note}')
  report(
    f'plan: {sum(content["num_items"].values())} items in {sum(content["num_shards"].values())} shards; '
    f'{sum(content["num_problems"].values())} clips cannot be used'
  )


def _analysis_stage(layout: layout_lib.Layout, settings: Settings) -> runner.Stage:
  return runner.Stage(
    'analysis',
    functools.partial(_analyse, layout, settings.analysing),
    functools.partial(_is_analysed, layout),
    layout.build / 'errors',
  )


def _records_stage(layout: layout_lib.Layout, settings: Settings) -> runner.Stage:
  return runner.Stage(
    'records',
    functools.partial(_write, layout, settings),
    functools.partial(_is_written, layout),
    layout.build / 'errors',
  )


def _analyse(layout: layout_lib.Layout, settings: analysis.Settings, split: str, index: int) -> None:
  analysis.analyse_shard(layout.plan, split, index, layout.analysis, settings)


def _is_analysed(layout: layout_lib.Layout, split: str, index: int) -> bool:
  return plan.shard_path(layout.analysis, split, index).exists()


def _is_written(layout: layout_lib.Layout, split: str, index: int) -> bool:
  return shard_writer.read_summary(layout, split, index) is not None


def _write(layout: layout_lib.Layout, settings: Settings, split: str, index: int) -> None:
  annotators = annotators_lib.open_all(settings.annotating)
  shard_writer.write(layout, split, index, annotators, settings.num_threads)


def _finish(layout: layout_lib.Layout, settings: Settings, shards: list[runner.Shard]) -> dict[str, Any]:
  """Writes the manifests of the splits, rejected.jsonl, and the manifest of the set."""
  summaries: dict[str, list[tuple[int, shard_writer.Summary]]] = {}
  for split, index in shards:
    found = shard_writer.read_summary(layout, split, index)
    assert found is not None  # the stage is done
    summaries.setdefault(split, []).append((index, found))
  decided = json.loads((layout.decisions / decisions.DECISIONS).read_text(encoding='utf-8'))
  counts = {split: dict(each) for split, each in decided['counts'].items()}
  failures = []
  splits: dict[str, Any] = {}
  for split, found in summaries.items():
    splits[split] = _finish_split(layout, split, found)
    failed = [failure for _, summary in found for failure in summary.failures]
    failures += [{'outcome': 'failed', 'split': split, **failure} for failure in failed]
    if failed:
      counts[split]['accepted'] -= len(failed)
      counts[split]['failed'] = counts[split].get('failed', 0) + len(failed)
  with files.atomic_write(layout.rejected) as partial:
    shutil.copyfile(layout.decisions / decisions.REJECTED, partial)
    with open(partial, 'a', encoding='utf-8') as file:
      file.writelines(json.dumps(failure) + '\n' for failure in failures)
  not_annotated = [
    {'split': split, **failure}
    for split, found in summaries.items()
    for _, summary in found
    for failure in summary.annotation_failures
  ]
  if not_annotated:
    files.write_text(layout.annotation_failures, ''.join(json.dumps(each) + '\n' for each in not_annotated))
  manifest = {
    'format': FORMAT,
    'v2a_version': v2a.__version__,
    'settings': settings.to_json(),
    'counts': counts,
    'splits': splits,
    'licences': _sum(each['licences'] for each in splits.values()),
    'annotation_failures': _sum({failure['annotator']: 1} for failure in not_annotated),
  }
  files.write_text(layout.manifest, json.dumps(manifest, indent=2) + '\n')
  return manifest


def _finish_split(
  layout: layout_lib.Layout, split: str, found: list[tuple[int, shard_writer.Summary]]
) -> dict[str, Any]:
  """Writes the manifest of a split, and returns what that of the set says about it."""
  entries = [
    {
      'name': layout.shard(split, index).name,
      'num_records': summary.num_records,
      'num_bytes': summary.num_bytes,
      'sha256': summary.sha256,
      'first_id': summary.first_id,
      'last_id': summary.last_id,
      'durations_s': summary.durations_s,
    }
    for index, summary in found
    if summary.num_records
  ]
  total = lambda name: sum(getattr(summary, name) for _, summary in found)
  about = {
    'num_bytes': total('num_bytes'),
    'duration_s': round(sum(duration_s for _, summary in found for duration_s in summary.durations_s), 3),
    'num_with_video': total('num_with_video'),
    'num_with_audio': total('num_with_audio'),
    'num_with_captions': total('num_with_captions'),
    'num_with_transcript': total('num_with_transcript'),
    'licences': _sum(summary.licences for _, summary in found),
  }
  contents = {
    'num_records': total('num_records'),
    'num_with_audio': total('num_with_audio'),
    'text_bytes': _sum(summary.text_bytes for _, summary in found),
    'transcript_bytes': _sum(summary.transcript_bytes for _, summary in found),
  }
  storage.make_folder(layout.split(split))
  manifest = media_folder.write_manifest(layout.split(split), entries, {**about, 'contents': contents})
  return {'num_records': manifest['num_records'], 'hash': manifest['hash'], **about}


def _sum(counts) -> dict[str, int]:
  total: dict[str, int] = {}
  for each in counts:
    for name, count in each.items():
      total[name] = total.get(name, 0) + count
  return dict(sorted(total.items()))


def verify(output: storage.Path, report: Callable[[str], None] = runner.stderr) -> dict[str, int]:
  """Rereads a data set whole, its columns too, and returns the number of records by split.

  Args:
    output: its folder.
    report: takes lines of progress.

  Raises:
    FileNotFoundError: the set or a shard of it is not there.
    ValueError: a manifest, a shard or a row of it is not what was written, or clips are not accounted for.
  """
  layout = layout_lib.Layout(output)
  manifest = read_manifest(output)
  counts = {}
  for split, about in manifest['splits'].items():
    folder = media_folder.MediaFolder(layout.split(split))
    if folder.hash != about['hash']:
      raise ValueError(f'{folder.path} has another manifest than that of the set: its hash differs.')
    ids = media_folder.verify(folder, report)
    counts[split] = len(ids)
    for name in feature_columns.names(folder):
      report(f'{split}: verifying the column {name}')
      feature_columns.Column(folder, name).verify(ids)
    accepted = manifest['counts'].get(split, {}).get('accepted', 0)
    if counts[split] != accepted:
      raise ValueError(f'{folder.path} has {counts[split]} records; the manifest says {accepted} clips.')
  wanted = sum(
    count for each in manifest['counts'].values() for name, count in each.items() if name != 'accepted'
  )
  num_rejected = len(storage.read_text(layout.rejected).splitlines())
  if num_rejected != wanted:
    raise ValueError(f'{layout.rejected} has {num_rejected} lines; the manifest counts {wanted} clips.')
  return counts


def read_manifest(output: storage.Path) -> dict[str, Any]:
  """Returns the manifest of a data set.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is another one.
  """
  path = layout_lib.Layout(output).manifest
  return manifest_file.read(path, f'{output} is no finished data set', ('format', FORMAT))
