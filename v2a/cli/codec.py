"""`v2a codec roundtrip`: what a codec loses of real sounds, as numbers, wav files and spectrograms."""

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
import sys
from typing import Any

from v2a import file_names
from v2a import files
from v2a import flags

COMMANDS = ('roundtrip',)
REPORT = 'roundtrip.json'
_STEM_BYTES = 120  # of the names of wav files, which also hold that of a codec


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help='roundtrip: encode and decode')
  parser.add_argument(
    'sounds', nargs='+', type=flags.local_path, metavar='FILE-or-FOLDER', help='videos or sounds'
  )
  which = parser.add_mutually_exclusive_group()
  flags.add_model(which)
  which.add_argument(
    '--codec',
    type=flags.path,
    action='append',
    metavar='RUN',
    help='training folder, exported model or name of a packaged codec; may be given several times, for '
    'codecs of one rate',
  )
  parser.add_argument('--seconds', type=flags.duration_s, metavar='S', help='of each sound (all)')
  parser.add_argument(
    '--output',
    type=flags.local_path,
    metavar='DIR',
    help='leave the sounds as wav files, spectrograms, and the numbers of each sound there; of a run that is '
    'interrupted, those of the sounds so far',
  )
  parser.add_argument('--json', action='store_true', help='print one JSON object instead of a table')


def expand(sounds: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Returns the files; folders are replaced by the videos and sounds below them.

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: a folder has no videos or sounds.
  """
  from v2a.media import folder

  paths = []
  for path in sounds:
    if not path.is_dir():
      if not path.exists():
        raise FileNotFoundError(f'{path}: does not exist.')
      paths.append(path)
      continue
    found = folder.search(path, (*folder.VIDEO_SUFFIXES, *folder.AUDIO_SUFFIXES), is_recursive=True)
    if not found.paths:
      besides = f' ({found.skipped_summary})' if found.skipped_summary else ''
      raise ValueError(f'{path}: the folder holds no videos or sounds{besides}.')
    if found.note:
      print(f'v2a: note: {file_names.one_line(found.note, path)}', file=sys.stderr, flush=True)
    paths.extend(found.paths)
  return paths


class _Outputs:
  """The files of --output; their names are checked before anything is computed."""

  def __init__(self, folder: pathlib.Path, paths: Sequence[pathlib.Path], names: Sequence[str]):
    from v2a.evaluation import round_trip

    if folder.exists() and not folder.is_dir():
      raise NotADirectoryError(f'{folder}: is a file; --output must be a folder, or a new name.')
    self._folder = folder
    self._stems = _unique_stems(paths)
    planned = [self._path(path, f'{name}.wav') for path in paths for name in (round_trip.TRUTH, *names)]
    planned += [self._path(path, 'png') for path in paths]
    files.check_new(folder / REPORT, *planned)
    folder.mkdir(parents=True, exist_ok=True)

  def _path(self, path: pathlib.Path, ending: str) -> pathlib.Path:
    return self._folder / f'{self._stems[path]}.{ending}'

  def write(self, path: pathlib.Path, waves: Mapping[str, Any], sample_rate_hz: int) -> None:
    """Writes the sounds of one file, which have one rate, and their spectrograms."""
    from v2a.media import audio_file
    from v2a.reports import round_trip_plot

    for name, wave_NA in waves.items():
      with files.atomic_write(self._path(path, f'{name}.wav')) as partial:
        audio_file.wav(partial, wave_NA, sample_rate_hz)
    round_trip_plot.write(self._path(path, 'png'), waves, sample_rate_hz)

  def finish(self, found: Mapping[str, Mapping[pathlib.Path, Any]]) -> None:
    """Writes the numbers of each sound, and the names of its wav files, by codec."""
    report = {
      name: {str(each): {**of_codec[each], 'wav': self._path(each, f'{name}.wav').name} for each in of_codec}
      for name, of_codec in found.items()
    }
    files.write_text(self._folder / REPORT, json.dumps(file_names.utf8(report), indent=1) + '\n')


def _unique_stems(paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
  """Returns a name for each file: its stem, with its suffix or a number where others have it, too."""
  stems: dict[pathlib.Path, str] = {}
  for path in paths:
    stem, name = (file_names.file_name(text, _STEM_BYTES) for text in (path.stem, path.name))
    names = (stem, name, *(f'{name}-{number}' for number in range(2, len(paths) + 2)))
    stems[path] = next(name for name in names if name not in stems.values())
  return stems


def _open(args: argparse.Namespace) -> list[Any]:
  from v2a.evaluation import round_trip

  if args.codec:
    return round_trip.of_runs(args.codec)
  codecs = list(round_trip.of_model(args.model))
  round_trip.check_forms({codec.name: codec.clip_spec for codec in codecs})
  return codecs


def _table(found: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns the means as text: a column for each codec."""
  lines = ['\t'.join(('', *found))]
  rows = [name for name in next(iter(found.values())) if name != 'band_db']
  cell = lambda value: '-' if value is None else f'{value:.4g}'
  lines += ['\t'.join((name, *(cell(each[name]) for each in found.values()))) for name in rows]
  for band in next(iter(found.values()))['band_db']:
    cells = (cell(each['band_db'].get(band)) for each in found.values())
    lines.append('\t'.join((f'band_db, {band} Hz', *cells)))
  return '\n'.join(lines).expandtabs(28)


def _round_trip(codecs: Sequence[Any], path: pathlib.Path, seconds: float | None) -> tuple[dict, dict]:
  """Returns the sounds of a file, the true one first, and its numbers, both by the name of the codec."""
  from v2a.evaluation import round_trip
  from v2a.metrics import reconstruction

  waves, found = {}, {}
  for codec in codecs:
    true_NA, output_NA, bits_per_s = round_trip.of_file(codec, path, seconds)
    measured = reconstruction.measure(true_NA, output_NA, codec.clip_spec.sample_rate_hz)
    waves |= {round_trip.TRUTH: true_NA, codec.name: output_NA}
    found[codec.name] = {**measured, 'bits_per_s': bits_per_s}
  return waves, found


def run(args: argparse.Namespace) -> int:
  """Runs the command; returns 1 if some files could not be used.

  Raises:
    ValueError: none could, or a flag is wrong.
    OSError: a file or model is not there, or --output cannot be written.
  """
  from v2a import input_errors
  from v2a.cli import progress
  from v2a.metrics import reconstruction

  paths = list(dict.fromkeys(expand(args.sounds)))
  codecs = _open(args)
  rate_hz = codecs[0].clip_spec.sample_rate_hz
  outputs = _Outputs(args.output, paths, [codec.name for codec in codecs]) if args.output else None
  by_codec: dict[str, dict[pathlib.Path, Any]] = {codec.name: {} for codec in codecs}
  try:
    with progress.Progress('encoding and decoding', 'files') as bar:
      for number, path in enumerate(paths, 1):
        try:
          waves, found = _round_trip(codecs, path, args.seconds)
        except (ValueError, OSError) as error:
          if input_errors.is_of_machine(error) or len(paths) == 1:
            raise
          print(f'v2a: {input_errors.format_error(error, path)}', file=sys.stderr, flush=True)
        else:
          if outputs:
            outputs.write(path, waves, rate_hz)
          for name, measured in found.items():
            by_codec[name][path] = measured
        bar.update(number, len(paths))
  finally:  # also of an interrupted run
    if outputs and any(by_codec.values()):
      outputs.finish(by_codec)
  num = len(by_codec[codecs[0].name])
  if not num:
    raise ValueError(f'none of the {len(paths)} files has sound that can be used.')
  means = {name: {**reconstruction.mean(each.values()), 'n': num} for name, each in by_codec.items()}
  print(json.dumps(means) if args.json else _table(means))
  return int(num < len(paths))
