"""Annotates media records that are built, without rewriting them.

  python -m data_pipelines.annotate_records --records data/mine/train --annotate pocketsphinx,signal
  python -m data_pipelines.annotate_records --records data/mine/train --captioner MODEL@http://HOST:8000/v1 \
      --num-threads 32

The annotations become the column `annotations` beside the records (`annotate.column`), which the next
training reads in place of those in the records. Annotators add to what the column has, and never replace what
humans wrote; with --replace they begin again with the annotations in the records.

What annotators add to a clip is cached, so that an interrupted run continues and no clip is paid for twice:
in --cache; else in the cache of the build, where DIR is in its folder; else in DIR/columns/annotations-cache.
What annotators added in the build to clips that were not cut is found there. Do not run this while a training
reads the records.

The exit code is 0; 2 if the input is wrong, an endpoint refuses or a shard failed. Clips that could not be
annotated are counted, are in DIR/columns/annotations/failures.jsonl, and are tried again by the next run.
"""

import argparse
import collections
from collections.abc import Iterator
from collections.abc import Mapping
import pathlib

from data_pipelines import layout as layout_lib
from data_pipelines import runner
from data_pipelines import size_estimate
from data_pipelines.annotate import catalog
from data_pipelines.annotate import column
from data_pipelines.annotate import options
from v2a import entry_point
from v2a import flags
from v2a import termination
from v2a.data import feature_columns
from v2a.data import media_folder

_MAX_REASONS = 8


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Returns the flags of a command line. Raises ValueError where they are wrong."""
  parser = flags.Parser(
    prog='python -m data_pipelines.annotate_records',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    '--records', type=flags.path, required=True, metavar='DIR', help='folder of media records'
  )
  parser.add_argument(
    '--replace', action='store_true', help='begin with the annotations in the records, not with the column'
  )
  parser.add_argument(
    '--cache',
    type=flags.local_path,
    metavar='DIR',
    help='folder of the cache, on storage that all workers share; default: that of the build, or '
    'columns/annotations-cache beside the records, unless they are in s3:// or gs://',
  )
  parser.add_argument('--dry-run', action='store_true', help='print clips and costs; write nothing')
  group = parser.add_argument_group('annotation')
  options.add_flags(group)
  group.add_argument('--weights', help='folder of published weights; default $V2A_WEIGHTS')
  runner.add_flags(parser.add_argument_group('workers'))
  args = parser.parse_args(argv)
  if not (args.annotate or args.captioner or args.transcriber):
    parser.error('wanted --annotate, --captioner or --transcriber; got none of them.')
  return args


def summary_lines(
  folder: media_folder.MediaFolder, about: Mapping, failures: list[Mapping[str, str]]
) -> Iterator[str]:
  """Yields what the column has, and what could not be annotated by reason.

  Args:
    folder: of the records.
    about: of the column.
    failures: see `column.read_failures`.
  """
  counts = column.num_with_texts(about, len(folder))
  texts = f'{counts[0]} with captions, {counts[1]} with a transcript; ' if counts else ''
  path = feature_columns.path_of(folder, column.NAME)
  yield f'{path}: {len(folder)} clips, {texts}by {", ".join(about["annotators"])}'
  reasons = collections.Counter((each['annotator'], each['reason']) for each in failures)
  for (annotator, reason), count in reasons.most_common(_MAX_REASONS):
    yield f'{count} clips could not be annotated by {annotator}: {reason}'
  if len(reasons) > _MAX_REASONS:
    rest = sum(count for _, count in reasons.most_common()[_MAX_REASONS:])
    yield f'{rest} clips could not be annotated for {len(reasons) - _MAX_REASONS} other reasons'
  if failures:
    yield f'all of them: {path / column.FAILURES}'


def _cache(args: argparse.Namespace, folder: media_folder.MediaFolder) -> pathlib.Path:
  if args.cache is not None:
    return args.cache
  if not isinstance(folder.path, pathlib.Path):
    raise ValueError(f'{folder.path} is in an object store: --cache must name a folder of this machine.')
  of_build = layout_lib.Layout(folder.path.resolve().parent).annotations
  return of_build if of_build.is_dir() else folder.path / feature_columns.COLUMNS / column.CACHE


def _print_estimate(
  args: argparse.Namespace, settings: catalog.Settings, folder: media_folder.MediaFolder
) -> None:
  duration_s = float(folder.durations_s.sum())
  count, used = size_estimate.requests(settings, len(folder), duration_s)
  print(f'clips:    {len(folder)}, {duration_s / 3600:.3g} h')
  print(size_estimate.requests_line(count, options.prices(args).cost_usd(used)))


def _run(argv: list[str] | None) -> int:
  args = parse(argv)
  settings, workers = options.settings(args), runner.options_of(args)
  folder = media_folder.MediaFolder(args.records)
  if args.dry_run:
    _print_estimate(args, settings, folder)
    return 0
  workers.check()
  annotators = catalog.open_all(settings)
  cache = _cache(args, folder)
  written = column.annotate(folder, annotators, cache, args.replace, workers, args.num_threads)
  failures = column.read_failures(folder)
  print('\n'.join(summary_lines(folder, written.about, failures)))
  counts = collections.Counter(each['annotator'] for each in failures)
  return int(any(count >= len(folder) for count in counts.values()))  # as in `build`


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code; see the module."""
  return entry_point.run(
    'data_pipelines.annotate_records', lambda: _run(argv), 'interrupted; the same command continues'
  )


if __name__ == '__main__':
  termination.exit_program(main())
