"""`v2a evaluate`: the figures of a model on clips whose truth is known, beside floors and ceilings."""

import argparse
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
NUM_REPORTED_SEEDS = 3  # that figures to be quoted are means over


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument('--model', default=MODEL, metavar='M', help=f'a packaged model or a folder ({MODEL})')
  parser.add_argument(
    '--data',
    default=DATA,
    metavar='world:heldout|world:SEED|DIR',
    help=f'clips of the world, or a folder of records or of videos ({DATA})',
  )
  clips = parser.add_mutually_exclusive_group()
  clips.add_argument(
    '--num-clips',
    type=flags.count,
    metavar='N',
    help=f'clips to evaluate on ({NUM_CLIPS} of a world, all of a folder)',
  )
  clips.add_argument(
    '--clips-per-scene', type=flags.count, metavar='N', help='so many clips of each scene of a world instead'
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
    '--no-captions', action='store_true', help='do not tell the model the annotations of the clips'
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
    help='folder for report.json, pictures of some clips of each scene, and what was drawn; a second call '
    'goes on there',
  )
  parser.add_argument(
    '--sweep',
    choices=('degradation',),
    help='instead, figures against damage to the picture; goes on where it stopped in --output',
  )
  parser.add_argument(
    '--page',
    type=flags.local_path,
    metavar='FILE.html',
    help='page for listening by looking: clips of each scene, and the worst by each figure with reasons',
  )
  add_fetch_flag(parser)
  parser.add_argument(
    '--json', action='store_true', help='print the report as JSON, and nothing else on stdout'
  )


def add_clip_seconds_flag(parser: argparse.ArgumentParser) -> None:
  """Adds the flag that sets how long the clips are."""
  parser.add_argument(
    '--clip-seconds',
    type=flags.duration_s,
    metavar='S',
    help="length of the clips: what is longer than a model's window is drawn window by window (one window; "
    'published protocols take 8)',
  )


def add_fetch_flag(parser: argparse.ArgumentParser) -> None:
  """Adds the flag that fetches what published networks need."""
  parser.add_argument(
    '--fetch-weights',
    action='store_true',
    help='first download weights of published networks into the folder V2A_WEIGHTS, where a checksum is '
    'known (mind their licences, and 4.8 GB of ImageBind)',
  )


def _cases(
  args: argparse.Namespace, world: int | None, spec, left_out: dict[str, int], failures: list[str], say
) -> list:
  from v2a.data import examples

  if world is None:
    return list(examples.from_folder(pathlib.Path(args.data), args.num_clips, spec, left_out, say, failures))
  if args.clips_per_scene is not None:
    return list(examples.from_every_scene(world, args.clips_per_scene, spec, say))
  return list(examples.from_synthetic(world, args.num_clips or NUM_CLIPS, spec, report=say))


def _sweep(args: argparse.Namespace, model, request, chosen: list, say) -> None:
  from v2a.evaluation import adapter
  from v2a.evaluation import robustness
  from v2a.reports import robustness_report

  result = robustness.sweep(
    model,
    request,
    chosen,
    args.output,
    say,
    data=file_names.printable(args.data),
    seed=args.seed,
    batch_size=adapter.batch_size(model, args.batch_size),
    has_captions=not args.no_captions,
  )
  result['settings'] = adapter.resolve(model, request, not args.no_captions)
  for path in robustness_report.write(args.output, result):
    say(f'writing {path}')
  print(json.dumps(result) if args.json else robustness_report.format_table(result))


def _check(args: argparse.Namespace, world: int | None) -> None:
  if world is None and not pathlib.Path(args.data).is_dir():
    raise FileNotFoundError(f"--data must be world:heldout, world:SEED or a folder; got '{args.data}'.")
  if world is None and args.clips_per_scene is not None:
    raise ValueError(
      f"--clips-per-scene needs clips of a world, --data world:SEED; '{args.data}' is a folder."
    )
  if args.output is not None and args.output.exists() and not args.output.is_dir():
    raise ValueError(f'--output must be a folder; {args.output} is a file.')
  if args.sweep and args.output is None:
    raise ValueError('--sweep needs --output, the folder in which drawn soundtracks are kept.')
  if args.sweep and args.clip_seconds is not None:
    raise ValueError('--sweep damages the pictures of one window; leave out --clip-seconds.')
  if args.sweep and (args.page is not None or args.num_seeds > 1):
    raise ValueError(
      '--sweep draws every soundtrack once and writes no page; leave out --num-seeds and --page.'
    )


def _evaluate(args: argparse.Namespace, model, request, chosen: list, say):
  """Returns the outcome; with --output what was drawn and embedded is kept there, and found again."""
  from v2a.evaluation import adapter
  from v2a.evaluation import distribution_metrics
  from v2a.evaluation import evaluator
  from v2a.evaluation import sample_cache

  # Before anything is drawn: weights that cannot be read shall be known at once.
  meter = distribution_metrics.DistributionMetrics(args.output and args.output / distribution_metrics.FOLDER)
  adapted, batch_size = adapter.adapt(model, request), adapter.batch_size(model, args.batch_size)
  if args.output is not None:
    key = sample_cache.cache_key(model, request, batch_size)
    adapted = sample_cache.SampleCache(args.output / sample_cache.FOLDER, key).wrap(adapted)
  outcome = evaluator.evaluate(
    adapted,
    chosen,
    file_names.printable(args.data),
    args.seed,
    batch_size,
    say=say,
    num_seeds=args.num_seeds,
    has_captions=not args.no_captions,
  )
  say('distances of sets')
  rate_hz, fps = model.clip_spec.sample_rate_hz, model.clip_spec.sync_fps
  sets = meter.measure(chosen, rate_hz, fps, outcome.waves, outcome.codec_waves, rate_hz)
  outcome.result[distribution_metrics.KEY] = sets.entries
  outcome.result['protocol']['embedders'] = meter.describe()
  return outcome


def run(args: argparse.Namespace) -> int:
  """Evaluates and prints; 1 where clips of the folder could not be read."""
  # Not at the top: help and the parser's faults shall not wait for JAX and SciPy.
  from v2a.cli import compilation_cache
  from v2a.data import examples
  from v2a.evaluation import adapter
  from v2a.metrics.embedders import catalog
  from v2a.reports import evaluation_page
  from v2a.reports import evaluation_report
  from v2a.reports import robustness_report
  from v2a.sampling import bundle
  from v2a.sampling import request as request_lib

  world = examples.synthetic_seed(args.data)
  _check(args, world)
  if world is None:
    examples.search(pathlib.Path(args.data))  # before the model, which takes longer to load
  if args.page is not None:
    evaluation_page.check(args.page)
  if args.output is not None:
    (robustness_report if args.sweep else evaluation_report).check(args.output)

  def say(line: str):
    print(f'v2a evaluate: {file_names.printable(line)}', file=sys.stderr, flush=True)

  if args.fetch_weights:
    catalog.fetch(say)
  request = request_lib.Request(generator=args.generator, **sampling_flags.settings(args))
  request.validate()
  compilation_cache.enable()
  model = bundle.load(args.model, generator=args.generator, mesh_sizes=sampling_flags.mesh_sizes(args))
  left_out: dict[str, int] = {}
  failures: list[str] = []
  chosen = _cases(args, world, adapter.clip_spec(model, args.clip_seconds), left_out, failures, say)
  for reason, num in left_out.items():
    say(f'note: {num} clips of the folder left out: {reason}')
  known = adapter.trained_on(model, chosen, world, say)
  if known:
    say(f'note: this model was trained on {len(known)} of these {len(chosen)} clips; they are not held out')
  if args.sweep:
    _sweep(args, model, request, chosen, say)
    return int(bool(failures))
  if args.output is not None:
    evaluation_report.check(args.output, chosen)
  outcome = _evaluate(args, model, request, chosen, say)
  result = outcome.result
  result['settings'] = {'generator': args.generator, **sampling_flags.settings(args)}
  result['held_out'] = None if known is None else not known
  result['num_trained_on'] = None if known is None else len(known)
  result['protocol']['left_out'] = left_out
  if args.num_seeds < NUM_REPORTED_SEEDS:
    say(f'note: metrics to be reported want --num-seeds {NUM_REPORTED_SEEDS} or more; got {args.num_seeds}')
  if result['silent']:
    some = ', '.join(result['silent'][:8])
    say(f'note: {len(result["silent"])} of {len(chosen)} soundtracks are silent: {some}')
  if args.output is not None:
    say(f'writing {evaluation_report.write(args.output, outcome, chosen, model.sample_rate_hz)}')
  if args.page is not None:
    say(f'writing {args.page}')
    line = command.line('evaluate', add_flags, args)
    evaluation_page.write(args.page, outcome, chosen, model.sample_rate_hz, line)
  print(
    json.dumps(result)
    if args.json
    else f'{evaluation_report.format_table(result)}\n{evaluation_report.format_additional_tables(result)}'
  )
  return int(bool(failures))
