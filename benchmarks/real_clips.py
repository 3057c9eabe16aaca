"""Measures a model on real videos: retrieval accuracy and onset timing.

  python benchmarks/real_clips.py nearest --model runs/flow_clips --records data/clips_latents [--seed 0]
  python benchmarks/real_clips.py onsets --model default --clips clips [--seed 0]

`nearest`: generates one soundtrack for the first window with audio of each video of the records, from the
frames alone, and computes its log-mel distance (metrics.retrieval) to every true soundtrack. Prints the top-1
retrieval accuracy, with chance, ceiling (true audio through the codec) and floor (the audio generated for the
next video), and the failures. Records are those of data_pipelines.build.

`onsets`: generates soundtracks as `v2a generate` does without any text, for the clips of CLIPS, in which
sounds and motion are clear. Prints precision and recall of their onsets relative to those of the true audio,
within 50 ms, and the floor: the onsets of the soundtrack of the next clip, cut or repeated to the same
duration. Counts are summed over samples (noise seeds) before dividing, and over all clips in the last row.

Onsets are detected by spectral flux (onsets.detect). The onset classifier is trained on the synthetic set
only and not valid for other recordings (docs/evaluation.md). Spectral flux has no weights, and finds the 4
hits of the anvil and the 2 barks of the dog exactly. It also detects echoes, and hardly any onset in the
clipped drumming of specvqgan_vas_drum_dense. The table states the number of detected onsets.
"""

import argparse
from collections.abc import Sequence
import json
import sys

import numpy as np

from v2a import entry_point
from v2a import flags
from v2a.cli import compilation_cache
from v2a.cli import progress
from v2a.data import folder_examples
from v2a.data import records
from v2a.evaluation import evaluator
from v2a.evaluation import systems
from v2a.media import read
from v2a.metrics import onsets
from v2a.metrics import retrieval
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib

CLIPS = (
  'specvqgan_vas_drum_dense.mp4',
  'specvqgan_vgg_drumkit.mp4',  # drums
  'foleycrafter_avsync2_anvil.mp4',  # hammer
  'condfoley_chopping.mp4',
  'condfoley_hitting_bag.mp4',  # hands at work
  'foleycrafter_avsync0_dog.mp4',
  'specvqgan_vas_dogs_playing.mp4',  # dogs
  'specvqgan_vas_gun.mp4',  # gun
  'vtaldm_squash_speech.mp4',  # squash
)
BATCH_SIZE = 8
# Spectral flux often detects the start of a file as an onset, in true and generated audio, and these would
# match.
EDGE_S = 0.05


def first_windows(source: Sequence[dict]) -> dict[str, dict]:
  """Returns the first window with audio of each video of the records, by the name of the video."""
  found = {}
  for index in range(len(source)):
    record = source[index]
    if record['has_audio'] and record['has_video']:
      found.setdefault(record['id'].rsplit('@', 1)[0], record)
  return found


def compare(
  names: Sequence[str],
  generated: Sequence[np.ndarray],
  codec: Sequence[np.ndarray],
  true: Sequence[np.ndarray],
) -> dict:
  """Returns the report of `nearest`: accuracies, and the failures with their nearest clip.

  Args:
    names: names of the videos.
    generated, codec, true: generated audio, true audio through the codec, true audio.
  """
  distance_NN = retrieval.pairwise_distances(generated, true)
  nearest_N = distance_NN.argmin(axis=1)
  failed = [
    {
      'clip': name,
      'nearest': names[nearest],
      'distance': float(distance_NN[k, nearest]),
      'distance_own': float(distance_NN[k, k]),
    }
    for k, (name, nearest) in enumerate(zip(names, nearest_N))
    if nearest != k
  ]
  return {
    'num_clips': len(names),
    'value': retrieval.top1_retrieval_accuracy(distance_NN),
    'chance': 1 / len(names),
    'ceiling': retrieval.top1_retrieval_accuracy(retrieval.pairwise_distances(codec, true)),
    # Row k of the floor is the audio generated for clip k + 1.
    'floor': retrieval.top1_retrieval_accuracy(np.roll(distance_NN, -1, axis=0)),
    'failed': failed,
  }


def run_nearest(args: argparse.Namespace) -> None:
  """Prints retrieval accuracies, and the failures."""
  source = records.open(args.records)
  windows = first_windows(source)
  if len(windows) < 2:
    raise ValueError(f'{args.records} must hold at least 2 videos with sound; got {len(windows)}.')
  model = bundle.load(args.model)
  # From the frames alone.
  clips = [
    folder_examples.from_record(record | {'text': '', 'transcript': '', 'truth': ''}, model.clip_spec)
    for record in windows.values()
  ]
  found = evaluator.evaluate(
    systems.adapt(model, request_lib.Request()),
    clips,
    str(args.records),
    args.seed,
    systems.batch_size(model, BATCH_SIZE),
    metrics=(),
    report_progress=lambda line: print(line, file=sys.stderr, flush=True),
  )
  true = (reference.true_sound for reference in found.references)
  generated, codec, true = (
    [sound.resampled_NA for sound in sounds]
    for sounds in (found.sounds.values(), found.codec_sounds.values(), true)
  )
  about = {'model': model.name, 'records': str(args.records), 'seed': args.seed}
  result = {**about, **compare(list(windows), generated, codec, true)}
  print(json.dumps(result) if args.json else format_accuracies(result))


def format_accuracies(result: dict) -> str:
  """Returns the report of `nearest` as text."""
  lines = [
    f'model {result["model"]}, {result["num_clips"]} clips of {result["records"]}, seed {result["seed"]}',
    '',
    '| audio | top-1 retrieval accuracy |',
    '|---|---|',
  ]
  lines += [
    f'| {label} | {result[key]:.3f} |'
    for key, label in (
      ('value', 'generated'),
      ('chance', 'chance'),
      ('ceiling', 'codec round trip (ceiling)'),
      ('floor', 'generated for the next video (floor)'),
    )
  ]
  lines += ['', f'{len(result["failed"])} of {result["num_clips"]} failed:']
  lines += [
    f'  {row["clip"]}: nearest is {row["nearest"]} ({row["distance"]:.2f}, own {row["distance_own"]:.2f})'
    for row in result['failed']
  ]
  return '\n'.join(lines)


def onset_times_s(wave_NA: np.ndarray, rate_hz: int) -> np.ndarray:
  """Returns the onset times, without onsets at the start of the file."""
  time_s = onsets.detect(wave_NA, rate_hz)
  return time_s[time_s >= EDGE_S]


def tile_times(time_s: np.ndarray, period_s: float, length_s: float) -> np.ndarray:
  """Returns the onset times of audio of duration `period_s` after cutting or repeating it to `length_s`.

  Computed from times, since the seams of a repeated waveform would be onsets.
  """
  starts_s = np.arange(np.ceil(length_s / period_s)) * period_s
  found_s = (starts_s[:, None] + time_s).ravel()
  return found_s[found_s < length_s]


def next_clip_onsets(
  found: Sequence[Sequence[np.ndarray]], lengths_s: Sequence[float]
) -> list[list[np.ndarray]]:
  """Returns for each clip the onset times of the next clip, cut or repeated to its own duration."""
  next_found, next_lengths_s = [*found[1:], found[0]], [*lengths_s[1:], lengths_s[0]]
  return [
    [tile_times(time_s, period_s, length_s) for time_s in samples]
    for samples, period_s, length_s in zip(next_found, next_lengths_s, lengths_s)
  ]


def count_onsets(known_s: np.ndarray, found: Sequence[np.ndarray]) -> onsets.Counts:
  """Returns the numbers of onsets, summed over samples.

  Args:
    known_s: onset times of the true audio.
    found: onset times of each generated sample.
  """
  return onsets.total(onsets.count(known_s, found_s) for found_s in found)


def format_onset_table(
  names: Sequence[str], value: Sequence[onsets.Counts], floor: Sequence[onsets.Counts], num_samples: int
) -> str:
  """Returns the Markdown table of `onsets`; value, floor: of `count_onsets`, by clip."""
  lines = [
    '| clip | true onsets | generated | precision | recall | floor precision | floor recall |',
    '|---|---|---|---|---|---|---|',
  ]
  all_counts = (*value, onsets.total(value)), (*floor, onsets.total(floor))
  for name, *pair in zip((*names, 'all'), *all_counts):
    ratios = [ratio for counts in pair for ratio in (counts.precision, counts.recall)]
    cells = ' | '.join('-' if ratio is None else f'{ratio:.2f}' for ratio in ratios)
    num_known, num_detected = pair[0].num_known // num_samples, pair[0].num_detected / num_samples
    lines.append(f'| {name} | {num_known} | {num_detected:g} | {cells} |')
  return '\n'.join(lines)


def run_onsets(args: argparse.Namespace) -> None:
  """Prints one row per clip, and one for all onsets together."""
  request = request_lib.Request(num_samples=args.num_samples, seed=args.seed)
  request.validate()
  paths = [args.clips / name for name in CLIPS]
  for path in paths:
    if not path.is_file():
      raise FileNotFoundError(f'no clip {path}; wanted the folder of real clips as --clips.')
  model = bundle.load(args.model)
  rate_hz, channels = model.sample_rate_hz, model.clip_spec.num_channels
  with progress.Progress('generating', 'windows') as bar:
    jobs = [(request_lib.Input(path), request) for path in paths]
    results = list(pipeline.Pipeline(model).run(jobs, progress=bar.update))
  for result in results:
    if result.error:
      raise ValueError(result.error)
  lengths_s = [result.soundtracks[0].duration_s for result in results]
  known = [
    onset_times_s(read.wave(path, rate_hz, channels, 0.0, length_s), rate_hz)
    for path, length_s in zip(paths, lengths_s)
  ]
  found = [[onset_times_s(each.waveform, rate_hz) for each in result.soundtracks] for result in results]
  value, floor = (
    list(map(count_onsets, known, times)) for times in (found, next_clip_onsets(found, lengths_s))
  )
  print(f'model {model.name}, {args.num_samples} samples a clip, seed {args.seed}\n')
  print(format_onset_table(CLIPS, value, floor, args.num_samples))


def _flags() -> flags.Parser:
  parser = flags.Parser(prog='real_clips.py', description=__doc__.splitlines()[0])
  commands = parser.add_subparsers(dest='command', required=True)
  nearest = commands.add_parser('nearest', help='top-1 retrieval accuracy among true soundtracks')
  nearest.add_argument(
    '--records', type=flags.local_path, required=True, metavar='DIR', help='folder of records'
  )
  nearest.add_argument('--json', action='store_true', help='print one JSON object')
  nearest.set_defaults(run=run_nearest)
  onset = commands.add_parser('onsets', help='precision and recall of onsets')
  onset.add_argument(
    '--num-samples',
    type=flags.number(int, 1),
    default=4,
    metavar='N',
    help='soundtracks per clip (%(default)s)',
  )
  onset.set_defaults(run=run_onsets)
  onset.add_argument(
    '--clips', type=flags.local_path, required=True, metavar='DIR', help='folder of the videos'
  )
  for command in (nearest, onset):
    flags.add_model(command)
    command.add_argument('--seed', type=flags.seed, default=0, help='seed of the noise (%(default)s)')
  return parser


def _run(argv: list[str] | None) -> int:
  args = _flags().parse_args(argv)
  compilation_cache.enable()
  args.run(args)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('real_clips.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
