"""Ablations of the default model: the tables of docs/results/default_model.md.

  python benchmarks/ablations.py sampling --model default               guidance, solver, steps of one model
  python benchmarks/ablations.py training --workdir runs/ablations      fine-tuned without one part
  python benchmarks/ablations.py average --workdir runs/flow_synthetic  averaged weights and the last ones
  python benchmarks/ablations.py features --model default               linear probe of sync features

Metrics are those of `v2a evaluate`, on clips of seed 31337, with the same clips and noise in every row.
`training` needs the records of configs/flow_synthetic.py. Each of its models starts from the weights of the
default model, without one part, and is trained for the same number of steps on the same clips in the same
order; "whole" has all parts. Finished runs are not repeated.
"""

import argparse
from collections.abc import Iterator
import json
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np

from v2a import entry_point
from v2a import flags
from v2a import weights
from v2a.cli import compilation_cache
from v2a.config import files
from v2a.config import schema
from v2a.data import record_writer
from v2a.data import records
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.evaluation import systems
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import synthetic
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

SEED, BATCH = 31337, 8
DATA, CLEAN, SHORT = 'data/synthetic_latents', 'data/synthetic_latents_clean', 'data/synthetic_latents_short'
MODEL = 'v2a/assets/models/default/flow'
# Short, since the model is trained already: it only has to adapt to the missing part.
SHORT_RUN = {
  'init_from.model': MODEL,
  'init_from.codec': 'v2a/assets/models/default/codec',
  'init_from.sync': '',
  'training.batch_size': 8,
  'training.num_steps': 400,
  'training.learning_rate': 5e-4,
  'training.warmup_steps': 40,
  'training.ema_decay': 0.99,
  'training.checkpoint_every_steps': 10_000,
}
# Row -> differences from the first row.
RUNS = {
  'whole': {},
  'without sync features': {'conditioning.ablate': ('sync',)},
  'without their times (no adaLN per step)': {'conditioning.ablate': ('sync_times',)},
  'without semantic tokens': {'conditioning.ablate': ('semantic',)},
  'without augmentation': {'data.augment_probability': 0.0},
  'clean frames only': {'data.augment_probability': 0.0, 'data.train': (CLEAN,)},
  'timesteps around the middle (0, 1)': {'flow.logit_normal_mean': 0.0, 'flow.logit_normal_std': 1.0},
  'clips of 2 s': {'data.train': (SHORT,), 'clip.clip_s': 2.0},
}
# Joint guidance; then of video alone, of text alone, and of both.
GUIDANCE = [{'guidance': scale} for scale in (1.0, 1.5, 2.0, 4.0, 6.0)]
GUIDANCE += [
  {'guidance': 1.0, name: scale} for name in ('guidance_video', 'guidance_text') for scale in (2.0, 4.0, 6.0)
]
GUIDANCE += [{'guidance': 1.0, 'guidance_video': 2.0, 'guidance_text': scale} for scale in (1.5, 2.0)]
STEPS = [{'solver': solver, 'steps': steps} for solver in schema.SOLVERS for steps in (4, 8, 16, 25, 50)]
BASE = tuple(name for name, metric in synthetic.METRICS.items() if metric.variant == metric_lib.CLEAN_VARIANT)
ROBUSTNESS = ('onset_f1', 'onset_f1_archive_ratio', 'onset_f1_degraded_ratio')


def measure(model: bundle.Bundle, clips: list, names: tuple[str, ...], **settings) -> dict[str, float | None]:
  """Returns metrics of a model on clips, by name; settings: fields of the request."""
  system = systems.adapt(model, request_lib.Request(**settings))
  metrics = [registry.get(name) for name in names]
  found = evaluator.evaluate(
    system,
    clips,
    '',
    batch_size=BATCH,
    metrics=metrics,
    has_ceilings=False,
    report_progress=lambda line: None,
  )
  return {name: found.result['synthetic'][name]['value'] for name in names}


def row(name: str, values: dict[str, float | None], *more: str) -> str:
  """Returns a row of a Markdown table."""
  cells = [
    '-' if value is None else f'{value:.0f}' if key.endswith('_ms') else f'{value:.2f}'
    for key, value in values.items()
  ]
  return '| ' + ' | '.join([name, *cells, *more]) + ' |'


def head(first: str, names: tuple[str, ...], *more: str) -> str:
  """Returns the first two lines of a Markdown table."""
  columns = [first, *(f'`{name}`' for name in names), *more]
  return '| ' + ' | '.join(columns) + ' |\n|' + '---|' * len(columns)


def sampling(args: argparse.Namespace) -> None:
  """Prints metrics for settings of guidance, and of solvers and steps."""
  model = bundle.load(args.model)
  clips = list(synthetic_examples.render(SEED, args.num_clips, model.clip_spec))
  for title, rows in {'guidance': GUIDANCE, 'steps': STEPS}.items():
    if args.only not in title:
      continue
    print('\n' + head(title, BASE, 's per clip'), flush=True)
    for settings in rows:
      start_s = time.perf_counter()
      values = measure(model, clips, BASE, **settings)
      seconds = (time.perf_counter() - start_s) / len(clips)
      name = ', '.join(f'{key} {value}' for key, value in settings.items())
      print(row(name, values, f'{seconds:.2f}'), flush=True)


def halves(record: dict) -> Iterator[dict]:
  """Yields the two halves of an encoded record; a word belongs to the half in which it starts."""
  truth = json.loads(record['truth']) if record['truth'] else {'words': []}
  for half in range(2):
    cut = {key: np.split(record[key], 2)[half] for key in record if key.endswith(('NA', 'X3', 'TC'))}
    words = [word['word'] for word in truth['words'] if int(word['start_s'] >= truth['clip_s'] / 2) == half]
    yield record | cut | {'id': f'{record["id"]}/{half}', 'transcript': ' '.join(words), 'truth': ''}


def _write_derived_records() -> None:
  """Writes the records of the runs on clean frames and on short clips."""
  source = records.open(DATA)
  c = files.find('flow_synthetic')
  spec = schema.clip_spec(c)
  if not pathlib.Path(CLEAN).exists():
    clean = (
      record
      for record in map(source.__getitem__, range(len(source)))
      if json.loads(record['truth'])['look'] == 'clean'
    )
    record_writer.write(CLEAN, clean, spec)
  if not pathlib.Path(SHORT).exists():
    c.clip.clip_s = 2.0
    short = (half for index in range(len(source)) for half in halves(source[index]))
    record_writer.write(SHORT, short, schema.clip_spec(c))


def training(args: argparse.Namespace) -> None:
  """Trains missing runs, and prints the metrics of all."""
  _write_derived_records()
  printed = ROBUSTNESS[:1] + BASE[1:] + ROBUSTNESS[1:]
  print(head('model', printed), flush=True)
  for name, changes in RUNS.items():
    if args.only not in name:
      continue
    workdir = args.workdir / name.replace(' ', '_')
    overrides = [
      f'--config.{key}={",".join(value) if isinstance(value, tuple) else value}'
      for key, value in (SHORT_RUN | changes).items()
    ]
    command = [sys.executable, '-m', 'v2a', 'train', '--config', 'flow_synthetic', '--workdir', str(workdir)]
    log = args.workdir / f'{workdir.name}.log'
    args.workdir.mkdir(parents=True, exist_ok=True)
    with log.open('a') as file:
      if subprocess.run(command + overrides, stdout=file, stderr=subprocess.STDOUT).returncode:
        raise SystemExit(f'training failed; see {log}')
    model = bundle.load(str(workdir))
    if model.clip_spec.clip_s != 4:
      print(f'{name}: python benchmarks/generalization.py --model {workdir}', flush=True)
      continue
    clips = list(synthetic_examples.render(SEED, args.num_clips, model.clip_spec))
    print(row(name, measure(model, clips, printed)), flush=True)


def average(args: argparse.Namespace) -> None:
  """Prints metrics of the averaged and of the last weights of a finished run."""
  from v2a.sharding import mesh
  from v2a.training import optimizer
  from v2a.training import state
  from v2a.training import tasks
  from v2a.training.checkpoints import checkpoint

  checkpoints = checkpoint.Checkpoints(args.workdir)
  step = checkpoints.latest_step()
  c, _ = checkpoints.read(step)
  task = tasks.make(c)
  adamw = optimizer.make(c.training, task.param_groups)
  abstract = state.abstract(task, adamw, mesh.make(c.mesh.to_dict(), None))
  last = state.model(state.graph(task), checkpoints.restore(step, abstract), use_ema=False)
  folder = args.workdir / 'last_weights'
  weights.export(last, folder / weights.EXPORT_FOLDER, c, 'float32')
  print(head(f'weights at step {step}', BASE), flush=True)
  for name, path in (('averaged', args.workdir), ('last', folder)):
    model = bundle.load(str(path))
    clips = list(synthetic_examples.render(SEED, args.num_clips, model.clip_spec))
    print(row(name, measure(model, clips, BASE)), flush=True)


def features(args: argparse.Namespace) -> None:
  """Prints how well a linear probe predicts loudness from sync features, on clean clips of the records."""
  source, known, frames = records.open(DATA), {}, {}
  for record in map(source.__getitem__, range(len(source))):
    truth = json.loads(record['truth'])
    if truth['look'] == 'clean' and truth['scene'] in synthetic.ENVELOPE_SCENES:
      time_L = np.arange(len(record['sync_frame_LYX3'])) / source.spec.sync_fps
      envelope_J = np.array(truth['envelope'])
      level_L = np.interp(time_L, np.arange(len(envelope_J)) / truth['track_hz'], envelope_J)
      known.setdefault(truth['scene'], []).append(level_L)
      frames.setdefault(truth['scene'], []).append(record['sync_frame_LYX3'])
  model = bundle.load(args.model)
  encode = jax.jit(lambda state, frame_BLYX3: model.merge('flow', state).conditioner.sync(frame_BLYX3))
  print('| scene | clips | correlation of level |\n|---|---|---|')
  for scene, level_NL in known.items():
    parts = (np.stack(frames[scene][first : first + BATCH]) for first in range(0, len(level_NL), BATCH))
    feature_NLD = np.concatenate([encode(model.states['flow'], part) for part in parts])
    num_fitted = len(level_NL) * 3 // 4
    predicted_NL = _linear_probe(
      feature_NLD[:num_fitted], np.stack(level_NL[:num_fitted]), feature_NLD[num_fitted:]
    )
    found = [np.corrcoef(*pair)[0, 1] for pair in zip(predicted_NL, level_NL[num_fitted:])]
    print(f'| {scene} | {num_fitted} + {len(found)} | {np.mean(found):.2f} |', flush=True)


def _linear_probe(feature_NLD: np.ndarray, level_NL: np.ndarray, other_NLD: np.ndarray) -> np.ndarray:
  """Predicts levels of other clips by ridge regression on features of unit variance."""
  mean_D, std_D = feature_NLD.mean((0, 1)), feature_NLD.std((0, 1)) + 1e-6
  scaled_SD = ((feature_NLD - mean_D) / std_D).reshape(-1, len(mean_D))
  normal_DD = scaled_SD.T @ scaled_SD + 10.0 * np.eye(len(mean_D))
  slope_D = np.linalg.solve(normal_DD, scaled_SD.T @ (level_NL.reshape(-1) - level_NL.mean()))
  return (other_NLD - mean_D) / std_D @ slope_D


def _run(argv: list[str] | None) -> int:
  """Prints a table."""
  parser = flags.Parser(prog='ablations.py', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--num-clips',
    type=flags.number(int, 2, flags.MAX_COUNT),
    default=64,
    help='clips to evaluate on (%(default)s)',
  )
  commands = parser.add_subparsers(dest='command', required=True)
  flags.add_model(commands.add_parser('sampling'))
  commands.choices['sampling'].add_argument('--only', default='', help='guidance or steps')
  flags.add_model(commands.add_parser('features'))
  for name in ('training', 'average'):
    commands.add_parser(name).add_argument('--workdir', type=flags.local_path, required=True)
  commands.choices['training'].add_argument('--only', default='', help='runs whose name contains this')
  args = parser.parse_args(argv)
  compilation_cache.enable()
  print(f'{args.num_clips} clips of seed {SEED}', flush=True)
  run = {'sampling': sampling, 'training': training, 'average': average, 'features': features}
  run[args.command](args)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('ablations.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
