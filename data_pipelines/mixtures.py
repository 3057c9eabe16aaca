"""Renders mixtures of recordings, as training data of codecs.

  python -m data_pipelines.recordings --output recordings/
  python -m data_pipelines.mixtures --recordings recordings/ --num-clips 2000 --seed 0 --output mixtures/

A mixture has up to eight recordings, each once, repeated, or sustained over some seconds, at gains of -30 to
0 dB and pitches of -5 to 5 semitones, at a position between left and right or all around; reverberation and
background noise; in some the band is limited at 3 to 7 kHz, both channels are the same, or the ends are
silent. Levels are spread over about 30 dB. Only recordings of one split are used.

A clip depends on the recordings, the seed and its index alone. The folder has the clips as FLAC, a manifest
which `v2a data build --source audio_only:mixtures/manifest.jsonl` reads (the licence of a clip is that of all
its recordings), `sources.jsonl` with the recordings of each clip, and the licences of all recordings. An
interrupted run continues, and a larger --num-clips adds clips.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np
import soundfile

from data_pipelines import acoustics
from data_pipelines import synthetic
from data_pipelines.recordings import output as recordings_lib
from v2a import entry_point
from v2a import files
from v2a import flags
from v2a import termination
from v2a.data import licences
from v2a.media import audio_file

SETTINGS = 'mixtures.json'
MAX_RECORDINGS = 8
MAX_SEMITONES = 5.0
GAIN_DB = (-30.0, 0.0)
NOISE_DB = (-70.0, -30.0)
LEVEL_DB = (-45.0, -14.0)  # RMS of a clip, full scale 0
CUTOFF_HZ = (3000.0, 7000.0)
PEAK = 0.97
_MIN_S = 0.03  # shorter recordings are periods of waves
_MAX_SECONDS = 600.0
_STARTS = ('once', 'repeated', 'sustained')


@dataclasses.dataclass(frozen=True)
class Recording:
  """A recording of the manifest.

  Attributes:
    path: of the file.
    name: its path in the folder.
    label: what it is.
    licence: SPDX identifier.
  """

  path: pathlib.Path
  name: str
  label: str
  licence: str


@dataclasses.dataclass(frozen=True)
class Settings:
  """What clips depend on, besides their index.

  Attributes:
    seed: of the random generators.
    seconds: length of a clip.
    sample_rate_hz: samples per second.
    split: of the recordings.
  """

  seed: int
  seconds: float
  sample_rate_hz: int
  split: str

  @property
  def num_samples(self) -> int:
    """Length of a clip."""
    return round(self.seconds * self.sample_rate_hz)


def read_recordings(folder: pathlib.Path, split: str) -> list[Recording]:
  """Returns the recordings of a split that are long enough, in the order of the manifest.

  Raises:
    ValueError: the folder is not whole, or has none of the split.
    OSError: it cannot be read.
  """
  state = recordings_lib.read_state(folder)
  if state is None or not state['is_complete']:
    raise ValueError(f'{folder}: is no finished folder of recordings, see data_pipelines.recordings.')
  lines = (folder / recordings_lib.MANIFEST).read_text(encoding='utf-8').splitlines()
  rows = [row for row in map(json.loads, lines) if row['split'] == split]
  found = [Recording(folder / row['path'], row['path'], row['label'], row['licence']) for row in rows]
  found = [recording for recording in found if _duration_s(recording.path) >= _MIN_S]
  if not found:
    raise ValueError(f'{folder}: has no recordings of the split {split!r}.')
  return found


def choose(recordings: Sequence[Recording], settings: Settings, index: int) -> list[Recording]:
  """Returns the recordings of a clip; each label is as probable, however many recordings it has."""
  rng = np.random.default_rng((settings.seed, index, 0))
  by_label: dict[str, list[Recording]] = {}
  for recording in recordings:
    by_label.setdefault(recording.label, []).append(recording)
  labels = sorted(by_label)
  count = 0 if rng.uniform() < 0.03 else int(rng.integers(1, MAX_RECORDINGS + 1))
  chosen = [by_label[labels[rng.integers(len(labels))]] for _ in range(count)]
  return [group[rng.integers(len(group))] for group in chosen]


def render(chosen: Sequence[Recording], settings: Settings, index: int) -> np.ndarray:
  """Returns the waveform wave_NA of a clip, stereo, full scale 1.

  Args:
    chosen: recordings of the clip.
    settings: seed, length and rate.
    index: of the clip.
  """
  rng = np.random.default_rng((settings.seed, index, 1))
  rate_hz, num = settings.sample_rate_hz, settings.num_samples
  wave_NA = np.zeros((num, 2), np.float32)
  for recording in chosen:
    wave_NA += _source(rng, recording, settings)
  if rng.uniform() < 0.6:
    wet_NA = acoustics.reverberate(wave_NA, acoustics.impulse_response(rng, rate_hz))
    level_db = rng.uniform(-25, 3)
    wave_NA += wet_NA * acoustics.gain(level_db) * _rms(wave_NA) / max(_rms(wet_NA), 1e-9)
  level_db = rng.uniform(*LEVEL_DB)
  wave_NA *= acoustics.gain(level_db) / max(_rms(wave_NA), 1e-9)
  noise_db = rng.uniform(*NOISE_DB)
  if rng.uniform() < 0.8 or not chosen:
    noise_db = min(noise_db, level_db + 3) if chosen else level_db
    wave_NA += acoustics.background(rng, num, rate_hz) * acoustics.gain(noise_db)
  if rng.uniform() < 0.25:
    cutoff_hz = min(rng.uniform(*CUTOFF_HZ), 0.45 * rate_hz)
    wave_NA = acoustics.band_limit(wave_NA, cutoff_hz, 'lowpass', int(rng.choice((4, 8, 12))), rate_hz)
  if rng.uniform() < 0.3:
    wave_NA = acoustics.band_limit(wave_NA, rng.uniform(20, 200), 'highpass', 2, rate_hz)
  if rng.uniform() < 0.15:
    wave_NA = np.repeat(wave_NA.mean(axis=1, keepdims=True), 2, axis=1)
  wave_NA = _below_full_scale(rng, wave_NA)
  return _silent_ends(rng, wave_NA, rate_hz) if rng.uniform() < 0.2 else wave_NA


def row(chosen: Sequence[Recording], settings: Settings, index: int) -> dict[str, Any]:
  """Returns the row of the manifest of a clip."""
  named = sorted({recording.licence for recording in chosen}) or [licences.GENERATED]
  return {
    'path': f'audio/{_name(settings, index)}.flac',
    'id': _name(settings, index),
    'label': sorted({recording.label for recording in chosen}),
    'licence': ' AND '.join(named),
    'split': settings.split,
  }


def write_clip(index: int, recordings: Sequence[Recording], settings: Settings, folder: pathlib.Path) -> None:
  """Writes a clip that is not there yet.

  Args:
    index: of the clip.
    recordings: those of the split.
    settings: seed, length and rate.
    folder: of the mixtures.
  """
  path = folder / 'audio' / f'{_name(settings, index)}.flac'
  if not path.exists():
    audio_file.flac(
      path, render(choose(recordings, settings, index), settings, index), settings.sample_rate_hz
    )


def _name(settings: Settings, index: int) -> str:
  return f'{settings.seed}-{settings.split}-{index:06d}'


def _source(rng: np.random.Generator, recording: Recording, settings: Settings) -> np.ndarray:
  """Returns a recording in the time of the clip and at its position, stereo."""
  rate_hz, num = settings.sample_rate_hz, settings.num_samples
  found_NA, own_rate_hz = _read(recording.path)
  semitones = rng.uniform(-MAX_SEMITONES, MAX_SEMITONES)
  wave_NA = acoustics.resample(found_NA, rate_hz / own_rate_hz * 2 ** (-semitones / 12))
  wave_NA = acoustics.fade_ends(wave_NA, round(0.002 * rate_hz))
  wave_NA = wave_NA * (acoustics.gain(rng.uniform(*GAIN_DB)) / max(np.abs(wave_NA).max(), 1e-4))
  line_NA = _in_time(rng, wave_NA, num, rate_hz)
  if line_NA.shape[1] == 2 and rng.uniform() < 0.5:
    return line_NA
  line_N = line_NA.mean(axis=1)
  position = rng.uniform()
  if position < 0.25:
    return np.repeat(line_N[:, None], 2, axis=1)
  if position < 0.45:
    return acoustics.diffuse(rng, line_N, rate_hz)
  return acoustics.pan(line_N, rng.uniform(-1, 1), rate_hz)


def _in_time(rng: np.random.Generator, wave_NA: np.ndarray, num: int, rate_hz: int) -> np.ndarray:
  """Returns a sound in a clip: once, repeated with varying times and gains, or sustained."""
  line_NA = np.zeros((num, wave_NA.shape[1]), np.float32)
  kind = str(rng.choice(_STARTS, p=(0.4, 0.35, 0.25)))
  if kind == 'sustained':
    length = round(rng.uniform(0.2, 1) * num)
    start = int(rng.integers(num - length + 1))
    held_NA = acoustics.sustain(wave_NA, length, round(rng.uniform(0.01, 0.2) * rate_hz))
    line_NA[start : start + length] = acoustics.fade_ends(held_NA, round(rng.uniform(0.005, 0.5) * rate_hz))
    return line_NA
  first = int(rng.integers(-len(wave_NA) // 4, num))
  count = 1 if kind == 'once' else int(rng.integers(2, 24))
  period_s, jitter = np.exp(rng.uniform(np.log(0.08), np.log(1.5))), rng.uniform(0, 0.3)
  for index in range(count):
    start = first + round((index + (index > 0) * jitter * rng.standard_normal()) * period_s * rate_hz)
    begin, end = max(0, start), min(num, start + len(wave_NA))
    if begin < end:
      gain = acoustics.gain(rng.uniform(-6, 0)) if count > 1 else 1.0
      line_NA[begin:end] += gain * wave_NA[begin - start : end - start]
  return line_NA


def _below_full_scale(rng: np.random.Generator, wave_NA: np.ndarray) -> np.ndarray:
  """Returns a waveform with peaks of at most PEAK: by its gain, or by compressing them first."""
  if rng.uniform() < 0.5:
    wave_NA = acoustics.limit(wave_NA, PEAK)
  peak = float(np.abs(wave_NA).max())
  return wave_NA * np.float32(PEAK / peak) if peak > PEAK else wave_NA


def _silent_ends(rng: np.random.Generator, wave_NA: np.ndarray, rate_hz: int) -> np.ndarray:
  """Returns a waveform with silence, or nearly so, at its begin, its end or both."""
  wave_NA = wave_NA.copy()
  floor = 0.0 if rng.uniform() < 0.6 else acoustics.gain(rng.uniform(-70, -40))
  ends = int(rng.integers(1, 4))
  for bit, view_NA in ((1, wave_NA), (2, wave_NA[::-1])):
    length = round(rng.uniform(0.02, 0.3) * len(wave_NA))
    ramp = min(length, round(rng.uniform(0.001, 0.3) * rate_hz))
    if ends & bit:
      view_NA[: length - ramp] *= floor
      view_NA[length - ramp : length] *= np.linspace(floor, 1, ramp, dtype=np.float32)[:, None]
  return wave_NA


def _rms(wave_NA: np.ndarray) -> float:
  return float(np.sqrt(np.mean(np.square(wave_NA, dtype=np.float64))))


@functools.lru_cache(maxsize=128)
def _read(path: pathlib.Path) -> tuple[np.ndarray, int]:
  return soundfile.read(path, dtype='float32', always_2d=True)


def _duration_s(path: pathlib.Path) -> float:
  """Returns the length of a FLAC file. Raises OSError where it cannot be read."""
  try:
    info = soundfile.info(path)
  except soundfile.LibsndfileError as error:
    raise OSError(f'{path}: cannot be read ({error.error_string}).') from error
  return info.frames / info.samplerate


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = flags.Parser(
    prog='python -m data_pipelines.mixtures',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    '--recordings', type=flags.local_path, required=True, metavar='DIR', help='of data_pipelines.recordings'
  )
  parser.add_argument('--output', type=flags.local_path, required=True, metavar='DIR', help='of the mixtures')
  parser.add_argument('--num-clips', type=flags.number(int, 1, flags.MAX_COUNT), required=True)
  parser.add_argument(
    '--seconds', type=flags.number(float, 0.5, _MAX_SECONDS), default=8.0, help='a clip; default 8'
  )
  parser.add_argument('--seed', type=flags.number(int, 0, flags.MAX_SEED), default=0, help='default 0')
  parser.add_argument('--sample-rate', type=int, choices=(16000, 44100, 48000), default=48000)
  parser.add_argument('--split', default='train', help='of the recordings; default train')
  parser.add_argument(
    '--num-workers',
    type=flags.number(int, 1, flags.MAX_WORKERS),
    default=os.cpu_count() or 1,
    help='processes; default the number of cores',
  )
  return parser.parse_args(argv)


def _begin(folder: pathlib.Path, about: dict[str, Any]) -> None:
  """Makes the folder, or continues one of the same settings. Raises FileExistsError where it is another."""
  path = folder / SETTINGS
  if path.is_file():
    found = json.loads(path.read_text(encoding='utf-8'))
    if found != about:
      names = [name for name in about if found.get(name) != about[name]]
      raise FileExistsError(
        f'{folder}: has mixtures of other settings ({", ".join(names)}); name another folder.'
      )
    return
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise FileExistsError(f'{folder}: exists and is not a folder of mixtures; nothing is overwritten.')
  folder.mkdir(parents=True, exist_ok=True)
  files.write_text(path, json.dumps(about, indent=1) + '\n')


def _run(argv: list[str] | None) -> int:
  args = _parse(argv)
  settings = Settings(args.seed, args.seconds, args.sample_rate, args.split)
  recordings = read_recordings(args.recordings, args.split)
  manifest = (args.recordings / recordings_lib.MANIFEST).read_bytes()
  _begin(args.output, dataclasses.asdict(settings) | {'recordings': hashlib.sha256(manifest).hexdigest()})
  work = functools.partial(write_clip, recordings=recordings, settings=settings, folder=args.output)
  indices, start_s = range(args.num_clips), time.monotonic()
  for _ in synthetic.parallel_map(work, indices, args.num_workers):
    pass
  _write_tables(args.output, args.recordings, recordings, settings, indices)
  seconds = time.monotonic() - start_s
  print(
    f'{args.output}: {len(indices)} clips in {seconds:.0f} s, {len(indices) / seconds:.1f} clips/s',
    file=sys.stderr,
  )
  return 0


def _write_tables(
  folder: pathlib.Path,
  source: pathlib.Path,
  recordings: Sequence[Recording],
  settings: Settings,
  indices: range,
) -> None:
  """Writes the licences, the recordings of each clip, and at last the manifest."""
  for name in ('licences.csv', 'README.txt'):
    files.write_text(folder / name, (source / name).read_text(encoding='utf-8'))
  chosen = [choose(recordings, settings, index) for index in indices]
  rows = [row(found, settings, index) for found, index in zip(chosen, indices, strict=True)]
  sources = [
    {'id': about['id'], 'recordings': [recording.name for recording in found]}
    for found, about in zip(chosen, rows, strict=True)
  ]
  for name, table in (('sources.jsonl', sources), ('manifest.jsonl', rows)):
    files.write_text(folder / name, ''.join(json.dumps(line) + '\n' for line in table))


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code; see the module."""
  return entry_point.run(
    'data_pipelines.mixtures', lambda: _run(argv), 'interrupted; the same command continues'
  )


if __name__ == '__main__':
  termination.exit_program(main())
