"""Measures a model on real videos: whose sound is it, are hits in time, and what does the codec alone lose?

  python benchmarks/real_clips.py nearest --model runs/flow_clips --records data/clips_latents [--seed 0]
  python benchmarks/real_clips.py onsets --model world --clips clips [--seed 0]
  python benchmarks/real_clips.py codec --model world --clips clips [--seconds 4] [--generator flow]

`nearest`: one soundtrack for the first window with sound of each video of the records, from its pictures
alone, and its log-mel distance (evaluation.nearest) to every true sound. Prints the share whose nearest true
sound is their own beside chance, ceiling (the true sounds through the codec) and floor (what was drawn for
the next video), and what the others were taken for. Records are those of data_pipelines.build.

`onsets`: soundtracks as `v2a generate` makes them without any text, for the clips of CLIPS, where sound and
motion are plain. Prints precision and recall of their onsets against those of the true sound, within 50 ms,
beside the floor: the onsets of the next clip's soundtrack, cut or repeated to the length. Counts of all
samples (noises) are added up before dividing, and those of all clips for the last row. None of the clips is
tennis; the nearest to it is squash, which is cut to a man who talks.

Both sounds are heard by onsets.detect, spectral flux. The world's own instrument is a network that was
trained on the world alone and says nothing about other recordings (docs/evaluation.md). The flux has no
weights, and hears the 4 hits of the anvil and the 2 barks of the dog exactly; it also hears echoes, and
hardly anything in the clipped drumming of specvqgan_vas_drum_dense. The table says how many it hears.

`codec`: the first seconds of every clip of CLIPS that is as long and has sound there, through the codec of a
generator and back, with nothing generated in between. Prints the log-spectral distance, the change of the
level over all frequencies and from 4 to 8 kHz, and the correlation of left and right before and after, all at
the model's rate.
"""

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
import sys

import numpy as np

from v2a import flags
from v2a.cli import compilation_cache
from v2a.cli import main as program
from v2a.cli import progress
from v2a.data import examples
from v2a.data import record_schema
from v2a.data import records
from v2a.evaluation import adapter
from v2a.evaluation import evaluator
from v2a.media import folder as folder_lib
from v2a.media import probe
from v2a.media import read
from v2a.metrics import onsets
from v2a.metrics import retrieval
from v2a.metrics import signal
from v2a.metrics import spectra
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.sampling import samplers

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
TREBLE_HZ = 4000.0, 8000.0
SILENCE = 1e-4  # of full scale: a sound whose peak lies below this is none
# The flux takes the beginning of many a file for an onset, true or drawn, and the two would match.
EDGE_S = 0.05


def first_windows(source: Sequence[dict]) -> dict[str, dict]:
  """Returns for each video of records its first window with sound, by the video's name."""
  found = {}
  for index in range(len(source)):
    record = source[index]
    if record['has_audio'] and record['has_video']:
      found.setdefault(record['id'].rsplit('@', 1)[0], record)
  return found


def compare(
  names: Sequence[str], drawn: Sequence[np.ndarray], codec: Sequence[np.ndarray], true: Sequence[np.ndarray]
) -> dict:
  """Returns the report of `nearest`: the shares, and what the clips that failed were taken for.

  Args:
    names: of the videos.
    drawn, codec, true: what was drawn for them, their sounds through the codec, their sounds.
  """
  distance_NN = retrieval.pairwise_distances(drawn, true)
  taken_N = distance_NN.argmin(axis=1)
  failed = [
    {
      'clip': name,
      'taken_for': names[taken],
      'distance': float(distance_NN[k, taken]),
      'distance_own': float(distance_NN[k, k]),
    }
    for k, (name, taken) in enumerate(zip(names, taken_N))
    if taken != k
  ]
  return {
    'num_clips': len(names),
    'value': retrieval.top1_retrieval_accuracy(distance_NN),
    'chance': 1 / len(names),
    'ceiling': retrieval.top1_retrieval_accuracy(retrieval.pairwise_distances(codec, true)),
    # Row k of the floor is what was drawn for clip k + 1.
    'floor': retrieval.top1_retrieval_accuracy(np.roll(distance_NN, -1, axis=0)),
    'failed': failed,
  }


def run_nearest(args: argparse.Namespace) -> None:
  """Prints the shares, and what the others were taken for."""
  source = records.open(args.records)
  chosen = first_windows(source)
  if len(chosen) < 2:
    raise ValueError(f'{args.records} must hold at least 2 videos with sound; got {len(chosen)}.')
  model = bundle.load(args.model)
  for record in chosen.values():
    record_schema.validate(record, model.clip_spec)
  adapted, size = adapter.adapt(model, request_lib.Request()), adapter.batch_size(model, BATCH_SIZE)
  conditions = [
    examples.GenerationInputs(
      record['semantic_frame_MYX3'],
      record['sync_frame_LYX3'],
      '',
      '',
      '',
      evaluator.noise_seed(args.seed, index),
    )
    for index, record in enumerate(chosen.values())
  ]
  waves = [record_schema.wave_to_float(record['wave_NA']) for record in chosen.values()]
  rate_hz = model.sample_rate_hz
  drawn = list(evaluator.in_batches(adapted.generate, conditions, size, rate_hz))
  reconstruct = lambda part: adapted.reconstruct(np.stack(part))
  codec = list(evaluator.in_batches(reconstruct, waves, size, rate_hz))
  true = [spectra.resample(wave_NA, rate_hz) for wave_NA in waves]
  about = {'model': model.name, 'records': str(args.records), 'seed': args.seed}
  result = {**about, **compare(list(chosen), drawn, codec, true)}
  print(json.dumps(result) if args.json else shares(result))


def shares(result: dict) -> str:
  """Returns the report of `nearest` as text."""
  lines = [
    f'model {result["model"]}, {result["num_clips"]} clips of {result["records"]}, seed {result["seed"]}',
    '',
    '| nearest true sound is their own | share |',
    '|---|---|',
  ]
  lines += [
    f'| {label} | {result[key]:.3f} |'
    for key, label in (
      ('value', 'drawn'),
      ('chance', 'chance'),
      ('ceiling', 'codec round trip (ceiling)'),
      ('floor', 'drawn for the next video (floor)'),
    )
  ]
  lines += ['', f'{len(result["failed"])} of {result["num_clips"]} failed:']
  lines += [
    f'  {row["clip"]}: taken for {row["taken_for"]} ({row["distance"]:.2f}, own {row["distance_own"]:.2f})'
    for row in result['failed']
  ]
  return '\n'.join(lines)


def onset_times_s(wave_NA: np.ndarray, rate_hz: int) -> np.ndarray:
  """Returns the times of the onsets, without that of the file itself."""
  time_s = onsets.detect(wave_NA, rate_hz)
  return time_s[time_s >= EDGE_S]


def tile_times(time_s: np.ndarray, period_s: float, length_s: float) -> np.ndarray:
  """Returns the times in a sound of `period_s` as they are where it is cut or repeated to `length_s`.

  Times and not the wave, whose seams would be onsets of their own.
  """
  starts_s = np.arange(np.ceil(length_s / period_s)) * period_s
  found_s = (starts_s[:, None] + time_s).ravel()
  return found_s[found_s < length_s]


def next_clip_onsets(
  found: Sequence[Sequence[np.ndarray]], lengths_s: Sequence[float]
) -> list[list[np.ndarray]]:
  """Returns for each clip the times of the next one's samples, cut or repeated to its own length."""
  next_found, next_lengths_s = [*found[1:], found[0]], [*lengths_s[1:], lengths_s[0]]
  return [
    [tile_times(time_s, period_s, length_s) for time_s in samples]
    for samples, period_s, length_s in zip(next_found, next_lengths_s, lengths_s)
  ]


def count_onsets(known_s: np.ndarray, found: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the numbers of (matched, true, drawn) onsets, added up over samples.

  Args:
    known_s: times in the true sound.
    found: times in each drawn sound.
  """
  return np.sum([(len(onsets.match(known_s, found_s)), len(known_s), len(found_s)) for found_s in found], 0)


def format_onset_table(
  names: Sequence[str], value: Sequence[np.ndarray], floor: Sequence[np.ndarray], num_samples: int
) -> str:
  """Returns the Markdown table of `onsets`; see `count` for the rows of value and floor."""
  lines = [
    '| clip | true onsets | drawn | precision | recall | floor precision | floor recall |',
    '|---|---|---|---|---|---|---|',
  ]
  for name, mine, other in zip((*names, 'all'), (*value, sum(value)), (*floor, sum(floor))):
    # Over what is drawn, and over what is true.
    ratios = [
      f'{matched / whole:.2f}' if whole else '-'
      for matched, known, found in (mine, other)
      for whole in (found, known)
    ]
    known, found = mine[1] // num_samples, mine[2] / num_samples
    lines.append(f'| {name} | {known} | {found:g} | {" | ".join(ratios)} |')
  return '\n'.join(lines)


def run_onsets(args: argparse.Namespace) -> None:
  """Prints a row a clip, and one over all onsets together."""
  request = request_lib.Request(num_samples=args.num_samples, seed=args.seed)
  request.validate()
  paths = [args.clips / name for name in CLIPS]
  for path in paths:
    if not path.is_file():
      raise FileNotFoundError(f'no clip {path}; wanted the folder of real clips as --clips.')
  model = bundle.load(args.model)
  rate_hz, channels = model.sample_rate_hz, model.clip_spec.num_channels
  with progress.Progress('drawing', 'windows') as bar:
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


def band_db(wave_NA: np.ndarray, rate_hz: int, low_hz: float, high_hz: float) -> float:
  """Returns the level of a sound from `low_hz` up to `high_hz`, RMS over channels in dB of full scale."""
  power_FA = np.abs(np.fft.rfft(wave_NA, axis=0)) ** 2
  frequency_F = np.fft.rfftfreq(len(wave_NA), 1 / rate_hz)
  is_in_F = (frequency_F >= low_hz) & (frequency_F < high_hz)
  power = 2 * power_FA[is_in_F].sum(axis=0).mean() / len(wave_NA) ** 2
  return float(10 * np.log10(max(power, 10 ** (signal.FLOOR_DB / 10))))


def round_trip_changes(true_NA: np.ndarray, output_NA: np.ndarray, rate_hz: int) -> dict[str, float]:
  """Returns what a round trip changed, as `codec` prints it; NaN where there is no left and right."""

  def correlation(wave_NA: np.ndarray) -> float:
    found = signal.stereo_correlation(wave_NA) if wave_NA.shape[1] == 2 else None
    return np.nan if found is None else found

  change_db = lambda *band: band_db(output_NA, rate_hz, *band) - band_db(true_NA, rate_hz, *band)
  return {
    'distance_db': 10 * signal.log_spectral_distance(true_NA, output_NA),
    'level_db': change_db(0.0, rate_hz),
    'treble_db': change_db(*TREBLE_HZ),
    'correlation': correlation(true_NA),
    'correlation_after': correlation(output_NA),
  }


def format_round_trip_table(found: Mapping[str, Mapping[str, float]]) -> str:
  """Returns the Markdown table of `codec`: a row a clip, see `lost`, then their mean and median."""
  lines = [
    '| clip | log-spectral distance, dB | level, dB | 4-8 kHz, dB | left/right correlation | after |',
    '|---|---|---|---|---|---|',
  ]
  values_NK = np.array([list(row.values()) for row in found.values()])
  summary = ('mean', np.nanmean(values_NK, axis=0)), ('median', np.nanmedian(values_NK, axis=0))
  for name, (distance_db, level_db, treble_db, *correlations) in (*zip(found, values_NK), *summary):
    shown = ' | '.join('-' if np.isnan(value) else f'{value:.2f}' for value in correlations)
    lines.append(f'| {name} | {distance_db:.1f} | {level_db:+.1f} | {treble_db:+.1f} | {shown} |')
  return '\n'.join(lines)


def run_codec(args: argparse.Namespace) -> None:
  """Prints what the codec loses of each clip."""
  paths = folder_lib.search(args.clips, folder_lib.VIDEO_SUFFIXES).paths
  found, model = {}, bundle.load(args.model)
  rate_hz, spec = model.sample_rate_hz, model.clip_spec
  num_samples = round(args.seconds * rate_hz) // spec.latent_hop_samples * spec.latent_hop_samples
  for path in paths:
    info = probe.probe(path)
    if not info.has_audio or info.duration_s < args.seconds:
      continue
    wave_NA = read.wave(path, rate_hz, spec.num_channels, 0.0, args.seconds)[:num_samples]
    if np.abs(wave_NA).max() >= SILENCE:
      output_NA = np.asarray(model.reconstruct(wave_NA[None], args.generator))[0]
      found[path.name] = round_trip_changes(wave_NA, output_NA, rate_hz)
  if not found:
    raise ValueError(
      f'no video in {args.clips} has {args.seconds:g} s with sound; wanted the folder of real '
      'clips as --clips.'
    )
  print(
    f'codec of {model.name}, {len(found)} clips of at least {args.seconds:g} s with sound there, of '
    f'{len(paths)}\n'
  )
  print(format_round_trip_table(found))


def _flags() -> flags.Parser:
  parser = flags.Parser(prog='real_clips.py', description=__doc__.splitlines()[0])
  commands = parser.add_subparsers(dest='command', required=True)
  one = commands.add_parser('nearest', help='whose sound is it?')
  one.add_argument('--records', type=pathlib.Path, required=True, metavar='DIR', help='folder of records')
  one.add_argument('--json', action='store_true', help='print one JSON object')
  one.set_defaults(run=run_nearest)
  two = commands.add_parser('onsets', help='when is it heard?')
  two.add_argument('--clips', type=pathlib.Path, required=True, metavar='DIR', help='folder of the videos')
  two.add_argument(
    '--num-samples',
    type=flags.number(int, 1),
    default=4,
    metavar='N',
    help='soundtracks a clip (%(default)s)',
  )
  two.set_defaults(run=run_onsets)
  three = commands.add_parser('codec', help='what does the codec lose?')
  three.add_argument('--clips', type=pathlib.Path, required=True, metavar='DIR', help='folder of the videos')
  three.add_argument(
    '--seconds',
    type=flags.number(float, 0.5, 60.0),
    default=4.0,
    metavar='S',
    help='of each clip, from its beginning (%(default)s)',
  )
  three.add_argument(
    '--generator',
    choices=tuple(samplers.GENERATORS),
    metavar='NAME',
    help="whose codec (the model's first generator)",
  )
  three.set_defaults(run=run_codec)
  for command in (one, two, three):
    command.add_argument(
      '--model', default='world', metavar='NAME-or-DIR', help='a packaged model or a folder (%(default)s)'
    )
    command.add_argument('--seed', type=flags.seed, default=0, help='of the noise (%(default)s)')
  return parser


def main(argv: list[str] | None = None) -> int:
  """Runs one of the three; returns the exit code."""
  try:
    args = _flags().parse_args(argv)
    compilation_cache.enable()
    args.run(args)
  except (ValueError, OSError) as error:
    print(f'real_clips.py: {program.error_message(error)}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
