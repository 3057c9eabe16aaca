"""`v2a evaluate`: metrics of a model on clips with known truth, with floors and ceilings."""

import argparse
from collections.abc import Callable
import json
import sys

from v2a import file_names
from v2a import flags
from v2a.cli import command
from v2a.cli import sampling_flags

DATA = 'synthetic:heldout'
NUM_CLIPS = 256
NUM_REPORTED_SEEDS = 3  # of published results


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  flags.add_model(parser)
  _add_data_flags(parser)
  parser.add_argument('--seed', type=flags.seed, default=0, metavar='S', help='first seed of the noise (0)')
  parser.add_argument(
    '--num-seeds',
    type=flags.count,
    default=1,
    metavar='N',
    help='number of seeds; metrics are averaged over them (1)',
  )
  parser.add_argument(
    '--no-captions', action='store_true', help='generate without the annotations of the clips'
  )
  add_optical_flow_flag(parser)
  sampling_flags.add_flags(parser)
  sampling_flags.add_mesh_flag(parser)
  parser.add_argument(
    '--batch-size', type=flags.count, default=8, metavar='N', help='soundtracks generated at once (8)'
  )
  _add_report_flags(parser)


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--data',
    default=DATA,
    metavar='synthetic:heldout|synthetic:SEED|DIR',
    help=f'clips of the synthetic set, or a folder of records or of videos ({DATA})',
  )
  clips = parser.add_mutually_exclusive_group()
  clips.add_argument(
    '--num-clips',
    type=flags.count,
    metavar='N',
    help=f'clips to evaluate on ({NUM_CLIPS} of the synthetic set, all of a folder)',
  )
  clips.add_argument(
    '--clips-per-scene',
    type=flags.count,
    metavar='N',
    help='clips of each scene of the synthetic set, instead of --num-clips',
  )
  add_clip_seconds_flag(parser)


def _add_report_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--output',
    type=flags.local_path,
    metavar='DIR',
    help='folder for report.json, plots of some clips of each scene, and the soundtracks; a second call '
    'continues there',
  )
  parser.add_argument(
    '--sweep',
    choices=('corruption',),
    help='do not write a report, but compute metrics on videos with corruption of growing severity, and '
    'write a table and plots to --output; a second call continues there',
  )
  parser.add_argument(
    '--page',
    type=flags.local_path,
    metavar='FILE.html',
    help='web page with the clips and their scores, videos in the order of their distance to the true sound; '
    'of the synthetic set also the worst clips by each metric with likely causes',
  )
  add_fetch_flag(parser)
  parser.add_argument(
    '--json', action='store_true', help='print the report as JSON, and nothing else on stdout'
  )


def add_clip_seconds_flag(parser: argparse.ArgumentParser) -> None:
  """Adds the flag for the length of the clips."""
  parser.add_argument(
    '--clip-seconds',
    type=flags.duration_s,
    metavar='S',
    help="length of the clips; longer ones than a model's window are generated window by window (one window; "
    'published protocols use 8)',
  )


def add_optical_flow_flag(parser: argparse.ArgumentParser) -> None:
  """Adds the flag for metrics that read all frames at full size."""
  parser.add_argument(
    '--optical-flow',
    action='store_true',
    help='also compute AV-Align, which takes about 0.3 s of one core per megapixel of video',
  )


def add_fetch_flag(parser: argparse.ArgumentParser) -> None:
  """Adds the flag that downloads weights of published networks."""
  parser.add_argument(
    '--fetch-weights',
    action='store_true',
    help='first download weights of published networks into the folder V2A_WEIGHTS, where a checksum is '
    'known (mind their licences, and 4.8 GB of ImageBind)',
  )


def _sweep(args: argparse.Namespace, model, request, examples: list, report: Callable[[str], None]) -> None:
  from v2a.data import examples as examples_lib
  from v2a.evaluation import robustness
  from v2a.evaluation import systems
  from v2a.reports import robustness_report

  result = robustness.sweep(
    model,
    request,
    examples,
    args.output,
    report,
    data=file_names.printable(args.data),
    seed=args.seed,
    batch_size=systems.batch_size(model, args.batch_size),
    has_captions=not args.no_captions,
  )
  has_prompts = not args.no_captions and examples_lib.have_annotations(examples)
  result['settings'] = systems.resolve(model, request, has_prompts)
  for path in robustness_report.write(args.output, result):
    report(f'writing {path}')
  print(json.dumps(result) if args.json else robustness_report.format_table(result))


def _check(args: argparse.Namespace) -> None:
  if args.output is not None and args.output.exists() and not args.output.is_dir():
    raise ValueError(f'--output must be a folder; {args.output} is a file.')
  if args.sweep and args.output is None:
    raise ValueError('--sweep needs --output, the folder for its soundtracks.')
  if args.sweep and args.clip_seconds is not None:
    raise ValueError('--sweep corrupts the video of one window; leave out --clip-seconds.')
  if args.sweep and (args.page is not None or args.num_seeds > 1 or args.optical_flow):
    raise ValueError(
      '--sweep generates each soundtrack once, computes metrics of the synthetic set and writes no page; '
      'leave out --num-seeds, --optical-flow and --page.'
    )


def _config(args: argparse.Namespace):
  from v2a.evaluation import evaluate

  return evaluate.EvaluateConfig(
    data=args.data,
    num_clips=args.num_clips,
    clips_per_scene=args.clips_per_scene,
    clip_s=args.clip_seconds,
    seed=args.seed,
    num_seeds=args.num_seeds,
    has_captions=not args.no_captions,
    batch_size=args.batch_size,
    use_optical_flow=args.optical_flow,
  )


def run(args: argparse.Namespace) -> int:
  """Evaluates and prints; 1 where clips of the folder could not be read."""
  # Not at the top: help and errors of the parser should not wait for JAX and SciPy.
  from v2a.cli import compilation_cache
  from v2a.evaluation import evaluate
  from v2a.metrics.embedders import catalog
  from v2a.reports import evaluation_page
  from v2a.reports import evaluation_report
  from v2a.reports import robustness_report
  from v2a.sampling import bundle
  from v2a.sampling import request as request_lib

  config = _config(args)
  config.check()  # before the model, which takes longer to load
  _check(args)
  if args.page is not None:
    evaluation_page.check(args.page)
  if args.output is not None:
    (robustness_report if args.sweep else evaluation_report).check(args.output)

  def report(line: str) -> None:
    print(f'v2a evaluate: {file_names.printable(line)}', file=sys.stderr, flush=True)

  if args.fetch_weights:
    catalog.fetch(report)
  request = request_lib.Request(generator=args.generator, **sampling_flags.settings(args))
  request.validate()
  compilation_cache.enable()
  model = bundle.load(args.model, generator=args.generator, mesh_sizes=sampling_flags.mesh_sizes(args))
  loaded = evaluate.load_examples(model, config, report)
  if args.sweep:
    _sweep(args, model, request, loaded.examples, report)
    return int(bool(loaded.failures))
  if args.output is not None:
    evaluation_report.check(args.output, loaded.examples)
  eval_result = evaluate.evaluate(model, request, loaded, config, args.output, report)
  _report(args, eval_result, loaded.examples, report)
  return int(bool(loaded.failures))


def _report(args: argparse.Namespace, eval_result, examples: list, report: Callable[[str], None]) -> None:
  """Writes the reports and prints the metrics."""
  from v2a.reports import evaluation_page
  from v2a.reports import evaluation_report

  result = eval_result.result
  if args.num_seeds < NUM_REPORTED_SEEDS:
    report(f'note: published results need --num-seeds {NUM_REPORTED_SEEDS} or more; got {args.num_seeds}')
  if result['silent']:
    some = ', '.join(result['silent'][:8])
    report(f'note: {len(result["silent"])} of {len(examples)} soundtracks are silent: {some}')
  if args.output is not None:
    report(f'writing {evaluation_report.write(args.output, eval_result, examples)}')
  if args.page is not None:
    report(f'writing {args.page}')
    line = command.line('evaluate', add_flags, args)
    evaluation_page.write(args.page, eval_result, examples, line)
  print(json.dumps(result) if args.json else evaluation_report.format_table(result))
