"""`v2a evaluate`: metrics of a model on clips with known truth, with floors and ceilings."""

import argparse
from collections.abc import Callable
import json
import pathlib
import sys

from v2a import file_names
from v2a import flags
from v2a.cli import command
from v2a.cli import sampling_flags

MODEL = 'world'
DATA = 'world:heldout'
NUM_CLIPS = 256
NUM_REPORTED_SEEDS = 3  # of published results


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument('--model', default=MODEL, metavar='M', help=f'a packaged model or a folder ({MODEL})')
  parser.add_argument(
    '--data',
    default=DATA,
    metavar='world:heldout|world:SEED|DIR',
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
  sampling_flags.add_flags(parser)
  sampling_flags.add_mesh_flag(parser)
  parser.add_argument(
    '--batch-size', type=flags.count, default=8, metavar='N', help='soundtracks generated at once (8)'
  )
  parser.add_argument(
    '--output',
    type=flags.local_path,
    metavar='DIR',
    help='folder for report.json, plots of some clips of each scene, and the soundtracks; a second call '
    'continues there',
  )
  parser.add_argument(
    '--sweep',
    choices=('degradation',),
    help='instead, metrics on corrupted pictures; continues where it stopped in --output',
  )
  parser.add_argument(
    '--page',
    type=flags.local_path,
    metavar='FILE.html',
    help='web page with clips of each scene, and the worst clips by each metric with likely causes',
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


def add_fetch_flag(parser: argparse.ArgumentParser) -> None:
  """Adds the flag that downloads weights of published networks."""
  parser.add_argument(
    '--fetch-weights',
    action='store_true',
    help='first download weights of published networks into the folder V2A_WEIGHTS, where a checksum is '
    'known (mind their licences, and 4.8 GB of ImageBind)',
  )


def _load_examples(
  args: argparse.Namespace,
  synthetic_seed: int | None,
  spec,
  left_out: dict[str, int],
  failures: list[str],
  report: Callable[[str], None],
) -> list:
  from v2a.data import folder_examples
  from v2a.data import synthetic_examples

  if synthetic_seed is None:
    folder = pathlib.Path(args.data)
    return list(folder_examples.read(folder, args.num_clips, spec, left_out, report, failures))
  if args.clips_per_scene is not None:
    return list(synthetic_examples.render_every_scene(synthetic_seed, args.clips_per_scene, spec, report))
  return list(synthetic_examples.render(synthetic_seed, args.num_clips or NUM_CLIPS, spec, report=report))


def _sweep(args: argparse.Namespace, model, request, examples: list, report: Callable[[str], None]) -> None:
  from v2a.evaluation import adapter
  from v2a.evaluation import robustness
  from v2a.reports import robustness_report

  result = robustness.sweep(
    model,
    request,
    examples,
    args.output,
    report,
    data=file_names.printable(args.data),
    seed=args.seed,
    batch_size=adapter.batch_size(model, args.batch_size),
    has_captions=not args.no_captions,
  )
  result['settings'] = adapter.resolve(model, request, not args.no_captions)
  for path in robustness_report.write(args.output, result):
    report(f'writing {path}')
  print(json.dumps(result) if args.json else robustness_report.format_table(result))


def _check(args: argparse.Namespace, synthetic_seed: int | None) -> None:
  if synthetic_seed is None and not pathlib.Path(args.data).is_dir():
    raise FileNotFoundError(f"--data must be world:heldout, world:SEED or a folder; got '{args.data}'.")
  if synthetic_seed is None and args.clips_per_scene is not None:
    raise ValueError(
      f"--clips-per-scene needs clips of the synthetic set, --data world:SEED; '{args.data}' is a folder."
    )
  if args.output is not None and args.output.exists() and not args.output.is_dir():
    raise ValueError(f'--output must be a folder; {args.output} is a file.')
  if args.sweep and args.output is None:
    raise ValueError('--sweep needs --output, the folder for its soundtracks.')
  if args.sweep and args.clip_seconds is not None:
    raise ValueError('--sweep corrupts the pictures of one window; leave out --clip-seconds.')
  if args.sweep and (args.page is not None or args.num_seeds > 1):
    raise ValueError(
      '--sweep generates each soundtrack once and writes no page; leave out --num-seeds and --page.'
    )


def _evaluate(args: argparse.Namespace, model, request, examples: list, report: Callable[[str], None]):
  """Returns the evaluation; with --output soundtracks and embeddings are kept there, and found again."""
  from v2a.evaluation import adapter
  from v2a.evaluation import evaluator
  from v2a.evaluation import sample_cache
  from v2a.metrics import registry

  # Before anything is generated: unreadable weights are an error at once.
  metrics = registry.load(embeddings=args.output and args.output / registry.EMBEDDINGS_FOLDER)
  system, batch_size = adapter.adapt(model, request), adapter.batch_size(model, args.batch_size)
  if args.output is not None:
    key = sample_cache.cache_key(model, request, batch_size)
    system = sample_cache.SampleCache(args.output / sample_cache.FOLDER, key).wrap(system)
  return evaluator.evaluate(
    system,
    examples,
    file_names.printable(args.data),
    args.seed,
    batch_size,
    metrics=metrics,
    report_progress=report,
    num_seeds=args.num_seeds,
    has_captions=not args.no_captions,
  )


def run(args: argparse.Namespace) -> int:
  """Evaluates and prints; 1 where clips of the folder could not be read."""
  # Not at the top: help and errors of the parser should not wait for JAX and SciPy.
  from v2a.cli import compilation_cache
  from v2a.data import folder_examples
  from v2a.data import synthetic_examples
  from v2a.evaluation import adapter
  from v2a.metrics.embedders import catalog
  from v2a.reports import evaluation_page
  from v2a.reports import evaluation_report
  from v2a.reports import robustness_report
  from v2a.sampling import bundle
  from v2a.sampling import request as request_lib

  synthetic_seed = synthetic_examples.parse_seed(args.data)
  _check(args, synthetic_seed)
  if synthetic_seed is None:
    folder_examples.search(pathlib.Path(args.data))  # before the model, which takes longer to load
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
  left_out: dict[str, int] = {}
  failures: list[str] = []
  spec = adapter.clip_spec(model, args.clip_seconds)
  examples = _load_examples(args, synthetic_seed, spec, left_out, failures, report)
  for reason, num in left_out.items():
    report(f'note: {num} clips of the folder left out: {reason}')
  trained_on = adapter.trained_on(model, examples, synthetic_seed, report)
  if trained_on:
    num = len(trained_on)
    report(f'note: this model was trained on {num} of these {len(examples)} clips; they are not held out')
  if args.sweep:
    _sweep(args, model, request, examples, report)
    return int(bool(failures))
  if args.output is not None:
    evaluation_report.check(args.output, examples)
  eval_result = _evaluate(args, model, request, examples, report)
  result = eval_result.result
  result['settings'] = {'generator': args.generator, **sampling_flags.settings(args)}
  result['held_out'] = None if trained_on is None else not trained_on
  result['num_trained_on'] = None if trained_on is None else len(trained_on)
  result['protocol']['left_out'] = left_out
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
  return int(bool(failures))
