"""Builds a data set of media records: filtered, annotated, checksummed; see `pipeline`.

  python -m data_pipelines.build --source videos/ --output data/mine
  python -m data_pipelines.build --source vggsound:vggsound.csv --media videos/ --output data/vggsound \
      --cut scenes --split train=0.98,validation=0.01,test=0.01 --annotate pocketsphinx,signal --num-workers 8
  python -m data_pipelines.build --output data/mine --verify

A set has a folder of records for each split, which training reads: --config.data.train=data/mine/train.
Every clip that is in no record is in rejected.jsonl, with the reason and its numbers.

The exit code is 0; 2 if the input is wrong or a shard failed. What is finished stays, and --resume continues
a build that was interrupted or failed.
"""

import argparse
from collections.abc import Mapping
import time
from typing import Any

from data_pipelines import analysis
from data_pipelines import cut
from data_pipelines import layout as layout_lib
from data_pipelines import pipeline
from data_pipelines import plan
from data_pipelines import runner
from data_pipelines import size_estimate
from data_pipelines.annotate import options
from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import registry
from data_pipelines.sources import catalog as sources_lib
from v2a import entry_point
from v2a import flags
from v2a import storage
from v2a import termination


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Returns the flags of a command line. Raises ValueError where they are wrong."""
  parser = flags.Parser(
    prog='python -m data_pipelines.build',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('--output', type=flags.path, required=True, help='folder of the data set')
  parser.add_argument(
    '--work',
    type=flags.local_path,
    metavar='DIR',
    help='folder of intermediate results, on storage that all workers share; default: build in the output, '
    'unless that is s3:// or gs://',
  )
  what = parser.add_mutually_exclusive_group()
  what.add_argument('--resume', action='store_true', help='continue the build in the folder')
  what.add_argument('--verify', action='store_true', help='reread a finished set, and do nothing else')
  what.add_argument(
    '--dry-run', action='store_true', help='print clips, bytes, hours and costs; write nothing'
  )
  _add_source_flags(parser.add_argument_group('source'))
  _add_clip_flags(parser.add_argument_group('clips and filters'))
  options.add_flags(parser.add_argument_group('annotation'))
  runner.add_flags(parser.add_argument_group('workers'))
  args = parser.parse_args(argv)
  if not args.verify and not args.source:
    parser.error('the following arguments are required: --source')
  return args


def _add_source_flags(group: argparse._ArgumentGroup) -> None:
  names = ', '.join(sources_lib.SOURCES)
  group.add_argument('--source', metavar='NAME:PATH', help=f'a folder, or a source and its path: {names}')
  group.add_argument('--media', help='folder of the media of a source of metadata')
  group.add_argument('--licence', help='of all clips, where the source does not say it')
  group.add_argument(
    '--source-setting', metavar='KEY=VALUE', action='append', default=[], help='further setting of the source'
  )
  group.add_argument(
    '--split',
    metavar='NAME=SHARE,...',
    help='such as train=0.98,test=0.02, by hash of the source video; default: as the source says',
  )
  group.add_argument('--ignore-source-splits', action='store_true', help='use --split for all clips')
  group.add_argument(
    '--clips-per-shard', type=flags.number(int, 1), default=512, help='mean number of items; default 512'
  )


def _add_clip_flags(group: argparse._ArgumentGroup) -> None:
  default = cut.Cutting()
  group.add_argument(
    '--cut', choices=cut.MODES, default=default.mode, help=f'into segments; default {default.mode}'
  )
  seconds = flags.number(float, 0, is_open=True)
  group.add_argument(
    '--min-seconds', type=seconds, default=default.min_s, help=f'shortest segment; default {default.min_s:g}'
  )
  group.add_argument(
    '--max-seconds', type=seconds, default=default.max_s, help=f'longest segment; default {default.max_s:g}'
  )
  group.add_argument('--filters', help='names, separated by commas; default all')
  group.add_argument(
    '--threshold',
    metavar='NAME=MIN:MAX',
    action='append',
    default=[],
    help='accepted values of a filter, either side may be empty; added to the default ones',
  )
  group.add_argument('--no-thresholds', action='store_true', help='without the default ones')
  group.add_argument('--weights', help='folder of published weights; default $V2A_WEIGHTS')


def settings_of(args: argparse.Namespace) -> pipeline.Settings:
  """Returns the settings of a command line.

  Raises:
    ValueError: a value is wrong.
  """
  filters = tuple(args.filters.split(',')) if args.filters else None
  shares = plan.parse_shares(args.split) if args.split else plan.Settings().shares
  return pipeline.Settings(
    source=args.source if _names_a_source(args.source) else f'folder:{args.source}',
    source_settings=_source_settings(args),
    planning=plan.Settings(args.clips_per_shard, shares, args.ignore_source_splits),
    analysing=analysis.Settings(
      cut.Cutting(args.cut, args.min_seconds, args.max_seconds), filters, args.weights
    ),
    thresholds=_thresholds(args.threshold, args.no_thresholds, filters, args.weights),
    annotating=options.settings(args),
    num_threads=args.num_threads,
  )


def _names_a_source(text: str) -> bool:
  """Whether a source and its path are given, not a folder alone."""
  return ':' in text and not storage.is_remote(text)


def _source_settings(args: argparse.Namespace) -> Mapping[str, Any]:
  found = {'media': args.media, 'licence': args.licence}
  for text in args.source_setting:
    key, sign, value = text.partition('=')
    if not sign or not key.isidentifier():
      raise ValueError(f'--source-setting must be KEY=VALUE; got {text!r}.')
    found[key] = value
  return {key: value for key, value in found.items() if value is not None}


def _thresholds(
  texts: list[str], is_empty: bool, filters: tuple[str, ...] | None, weights: str | None
) -> dict[str, filter_lib.Threshold]:
  """Returns the default thresholds, unless they are not wanted, with those of the texts."""
  loaded = registry.load(filters, weights)
  found = {} if is_empty else registry.default_thresholds(loaded)
  for text in texts:
    name, sign, limits = text.partition('=')
    least, colon, most = limits.partition(':')
    if not sign or not colon:
      raise ValueError(f'--threshold must be NAME=MIN:MAX, such as loudness=-40:; got {text!r}.')
    limit = lambda part: flags.parse_number(float, part) if part else None
    try:
      found[name] = filter_lib.Threshold(limit(least), limit(most))
    except ValueError as error:
      raise ValueError(f'--threshold {text}: {error}') from error
  filter_lib.check(found, loaded)
  return found


def summary_lines(manifest: Mapping[str, Any]) -> list[str]:
  """Returns what a build wrote: records by split, and clips by outcome."""
  lines = []
  for split, about in manifest['splits'].items():
    lines.append(
      f'{split}: {about["num_records"]} records, {about["duration_s"] / 3600:.2f} h, '
      f'{about["num_bytes"] / 1e6:.1f} MB; {about["num_with_audio"]} with sound, '
      f'{about["num_with_captions"]} with captions, {about["num_with_transcript"]} with a transcript'
    )
  totals: dict[str, int] = {}
  for counts in manifest['counts'].values():
    for name, count in counts.items():
      totals[name] = totals.get(name, 0) + count
  lines.append('clips: ' + ', '.join(f'{count} {name}' for name, count in sorted(totals.items())))
  for name, count in manifest['annotation_failures'].items():
    lines.append(f'{count} clips could not be annotated by {name}: see {layout_lib.ANNOTATION_FAILURES}')
  return lines


def _run(argv: list[str] | None) -> int:
  args, start_s = parse(argv), time.monotonic()
  if args.verify:
    for split, count in pipeline.verify(args.output).items():
      print(f'{split}: {count} records are as they were written')
    return 0
  settings = settings_of(args)
  workers = runner.options_of(args)
  if args.dry_run:
    estimate = size_estimate.estimate(settings, workers.num_workers, options.prices(args))
    print('\n'.join(estimate.lines()))
    return 0
  manifest = pipeline.build(settings, args.output, workers, args.resume, work=args.work)
  print('\n'.join(summary_lines(manifest)))
  print(f'{args.output}: written in {time.monotonic() - start_s:.0f} s')
  num_records = sum(about['num_records'] for about in manifest['splits'].values())
  # An annotator that failed on every clip: its endpoint or its settings are wrong.
  return int(any(count >= num_records for count in manifest['annotation_failures'].values()))


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code; see the module."""
  return entry_point.run(
    'data_pipelines.build', lambda: _run(argv), 'interrupted; --resume continues the build'
  )


if __name__ == '__main__':
  termination.exit_program(main())
