"""`v2a compare`: metrics and costs of models, and of other systems' soundtracks, on the same clips."""

import argparse
import json
import sys

from v2a import file_names
from v2a import files
from v2a import flags
from v2a.cli import command
from v2a.cli import evaluate
from v2a.cli import sampling_flags

NUM_SEEDS = evaluate.NUM_REPORTED_SEEDS


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument(
    '--models',
    nargs='+',
    required=True,
    metavar='M',
    help='NAME or folder of a model, with :GENERATOR for another generator than its own, or a folder of wav '
    'files named as the clips; differences are to the first',
  )
  parser.add_argument(
    '--data',
    default=evaluate.DATA,
    metavar='synthetic:heldout|synthetic:SEED|DIR',
    help=f'clips of the synthetic set, or a folder of records or of videos ({evaluate.DATA})',
  )
  parser.add_argument(
    '--num-clips',
    type=flags.count,
    metavar='N',
    help=f'clips to evaluate on ({evaluate.NUM_CLIPS} of the synthetic set, all of a folder)',
  )
  evaluate.add_clip_seconds_flag(parser)
  parser.add_argument('--seed', type=flags.seed, default=0, metavar='S', help='first seed of the noise (0)')
  parser.add_argument(
    '--num-seeds',
    type=flags.count,
    default=NUM_SEEDS,
    metavar='N',
    help=f'number of seeds; metrics are averaged over them ({NUM_SEEDS})',
  )
  parser.add_argument(
    '--no-captions', action='store_true', help='generate without the annotations of the clips'
  )
  evaluate.add_optical_flow_flag(parser)
  sampling_flags.add_flags(parser, is_compared=True)
  sampling_flags.add_mesh_flag(parser)
  parser.add_argument(
    '--batch-size', type=flags.count, default=8, metavar='N', help='soundtracks generated at once (8)'
  )
  parser.add_argument(
    '--output',
    type=flags.local_path,
    required=True,
    metavar='DIR',
    help='folder for report.json, report.md, report.html and the soundtracks; a second call continues there',
  )
  evaluate.add_fetch_flag(parser)
  parser.add_argument(
    '--json', action='store_true', help='print the report as JSON, and nothing else on stdout'
  )


def run(args: argparse.Namespace) -> int:
  """Compares, writes the reports and prints where they are; 1 where clips could not be read.

  Raises:
    FileNotFoundError: there is no such model or data.
    ValueError: a flag is not valid, or an output exists.
  """
  if args.output.exists() and not args.output.is_dir():
    raise ValueError(f'--output must be a folder; {args.output} is a file.')
  # Not at the top: help and errors of the parser should not wait for JAX and SciPy.
  from v2a.cli import compilation_cache
  from v2a.evaluation import compare
  from v2a.metrics.embedders import catalog
  from v2a.reports import comparison_page
  from v2a.reports import comparison_report

  paths = {kind: args.output / f'report.{kind}' for kind in ('json', 'md', 'html')}
  files.check_replaceable(*paths.values())
  comparison_page.check(paths['html'])
  settings = sampling_flags.settings(args)
  config = compare.CompareConfig(
    models=args.models,
    data=args.data,
    num_clips=args.num_clips,
    seed=args.seed,
    num_seeds=args.num_seeds,
    steps=settings.pop('steps') or (),
    settings=settings,
    has_captions=not args.no_captions,
    batch_size=args.batch_size,
    clip_s=args.clip_seconds,
    mesh_sizes=sampling_flags.mesh_sizes(args),
    use_optical_flow=args.optical_flow,
  )
  config.check()  # before the models, which take longer to load
  compilation_cache.enable()

  def report(line: str) -> None:
    print(f'v2a compare: {file_names.printable(line)}', file=sys.stderr, flush=True)

  if args.fetch_weights:
    catalog.fetch(report)
  comparison = compare.compare(config, args.output, report)
  args.output.mkdir(parents=True, exist_ok=True)
  files.check_replaceable(*paths.values())
  about = f'{files.MARK} compare.'
  files.write_text(
    paths['json'], json.dumps(file_names.utf8({'about': about, **comparison.result}), indent=1) + '\n'
  )
  files.write_text(paths['md'], f'<!-- {about} -->\n\n{comparison_report.markdown(comparison.result)}')
  comparison_page.write(paths['html'], comparison, command.line('compare', add_flags, args))
  if args.json:
    print(json.dumps(file_names.utf8(comparison.result)))
  else:
    print(comparison_report.format_table(comparison.result))
    print('\nWith intervals, floors and ceilings:')
    print(file_names.printable(str(paths['md'])))
    print(file_names.printable(str(paths['html'])))
  return int(bool(comparison.failures))
