"""`v2a generate`: soundtracks for videos, stills, or a prompt alone."""

import argparse
from collections.abc import Iterable
import dataclasses
import difflib
import json
import os
import pathlib
import re
import stat
import sys
from typing import Any

from v2a import file_names
from v2a import flags
from v2a import input_errors
from v2a.cli import sampling_flags

OUTPUT = 'out'
MAX_PATH = 4096
_COMMON_SUFFIXES = ('.mp4', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.png', '.jpg', '.webp', '.heic')
# A separator and a suffix, without blanks: a file name, not a sentence.
_LIKE_A_PATH = re.compile(r'\S*[/\\]\S*\.[A-Za-z0-9]{1,5}')
# Shorter than --duration by about a frame: no warning.
SHORTER_S = 0.1
# A peak of -26 dB of full scale: a quieter soundtrack is hardly audible.
FAINT_PEAK = 0.05


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument('videos', nargs='*', metavar='VIDEO', help='video, still image, or folder of them')
  texts = parser.add_argument_group('request')
  texts.add_argument('--prompt', metavar='T', help='the sound that is wanted')
  texts.add_argument('--negative-prompt', metavar='T', help='the sound that is not wanted')
  texts.add_argument(
    '--transcript',
    metavar='T-or-FILE',
    help='words of the dialogue, or a text file; SRT and WebVTT give the times, too',
  )
  texts.add_argument(
    '--num-samples',
    type=flags.number(int, 1, flags.MAX_SAMPLES),
    default=1,
    metavar='N',
    help=f'soundtracks per clip, 1..{flags.MAX_SAMPLES} (1)',
  )
  texts.add_argument(
    '--seed',
    type=flags.seed,
    default=0,
    metavar='S',
    help='seed of the noise; sample i depends on (S, i) alone (0)',
  )
  part = parser.add_argument_group('part of the video')
  part.add_argument(
    '--start',
    type=flags.number(float, 0, flags.MAX_START_S),
    default=0.0,
    metavar='S',
    help='seconds into the video (0)',
  )
  part.add_argument(
    '--duration',
    type=flags.duration_s,
    metavar='S',
    help='seconds (to the end; needed for stills and for a prompt alone)',
  )
  how = parser.add_argument_group('sampling')
  flags.add_model(how)
  sampling_flags.add_flags(how)
  sampling_flags.add_mesh_flag(how)
  out = parser.add_argument_group('output')
  out.add_argument(
    '--audio', choices=('replace', 'mix'), default='replace', help="the video's own sound (replace)"
  )
  out.add_argument(
    '--output', type=flags.local_path, default=pathlib.Path(OUTPUT), metavar='DIR', help=f'folder ({OUTPUT})'
  )
  out.add_argument(
    '--overwrite',
    action='store_true',
    help='replace the outputs of other requests, too; files that v2a did not write are never replaced',
  )
  out.add_argument('--json', action='store_true', help='print the manifests alone, one line per clip')
  out.add_argument('--quiet', action='store_true', help='no progress')


def transcript_of(text: str) -> Any:
  """Returns the Transcript of --transcript: what a file of that name holds, else the text itself.

  Raises:
    FileNotFoundError: the text looks like the name of a file that is not there.
    ValueError: the file holds no transcript.
  """
  from v2a.media import transcript

  if not text or len(text) > MAX_PATH or '\0' in text or '\n' in text:
    return _parse_transcript(text)
  path = pathlib.Path(text)
  is_name = path.suffix.lower() in transcript.SUFFIXES or _LIKE_A_PATH.fullmatch(text)
  try:
    status = path.stat()
  except (OSError, ValueError):  # A sentence may be too long for a name of a file.
    if is_name:
      raise FileNotFoundError(
        f'--transcript {text}: no such file.{_suggestion(path)} If these are words, put them into a file.'
      ) from None
    return _parse_transcript(text)
  if not stat.S_ISREG(status.st_mode):
    if is_name or os.sep in text:
      raise ValueError(f'--transcript {text}: is not a regular file; wanted a text, SRT or WebVTT file.')
    return _parse_transcript(text)
  try:
    found = transcript.read(path)
  except ValueError as error:
    raise ValueError(f'--transcript {error}') from error
  if not found.text:
    raise ValueError(f'--transcript {path}: holds no words.')
  return found


def _parse_transcript(text: str):
  """Returns the Transcript of a flag's text, which may be the content of a subtitle file."""
  from v2a.media import transcript

  try:
    return transcript.parse(text)
  except ValueError as error:
    raise ValueError(f'--transcript: {error}.') from error


def _suggestion(path: pathlib.Path) -> str:
  try:
    names = [child.name for child in path.parent.iterdir()]
  except OSError:
    return ''
  near = difflib.get_close_matches(path.name, names, n=1)
  return f' Did you mean {path.with_name(near[0])}?' if near else ''


def expand(videos: Iterable[str]) -> list[pathlib.Path]:
  """Returns the input files; folders are replaced by the videos and stills directly in them.

  Other files of a folder are counted in one line on stderr.

  Raises:
    ValueError: a folder has no videos or stills, or a name is empty.
  """
  from v2a.media import folder

  paths = []
  for video in videos:
    if not video:  # pathlib reads it as the current folder
      raise ValueError("VIDEO must name a file or a folder; got ''.")
    path = pathlib.Path(video)
    if not path.is_dir():
      paths.append(path)
      continue
    found = folder.search(path, (*folder.VIDEO_SUFFIXES, *folder.STILL_SUFFIXES))
    if not found.paths:
      besides = f' ({found.skipped_summary})' if found.skipped_summary else ''
      raise ValueError(
        f'{path}: the folder holds no videos or stills{besides}; wanted files directly in it with a suffix '
        f'such as {", ".join(_COMMON_SUFFIXES)}.'
      )
    if found.note:
      print(f'v2a: note: {file_names.one_line(found.note, path)}', file=sys.stderr, flush=True)
    paths.extend(found.paths)
  return paths


def check_output(folder: pathlib.Path) -> None:
  """Raises ValueError or PermissionError where a folder of that name cannot be made or written."""
  if folder.exists() and not folder.is_dir():
    raise ValueError(f'--output must be a folder; {folder} is a file.')
  nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
  if not os.access(nearest, os.W_OK):
    raise PermissionError(f'--output {folder}: {nearest} cannot be written.')


def _check(args: argparse.Namespace) -> None:
  """Raises ValueError for combinations of flags that have no meaning, before anything heavy is loaded."""
  for name in ('prompt', 'negative_prompt', 'transcript'):
    if any('\ud800' <= letter <= '\udfff' for letter in getattr(args, name) or ''):
      raise ValueError(f'--{name.replace("_", "-")} must be UTF-8 text; got other bytes.')
  if not args.videos:
    if not args.prompt and not args.transcript:
      raise ValueError('nothing to generate for: name a VIDEO, or give --prompt with --duration.')
    if args.duration is None:
      raise ValueError('without a VIDEO, --duration must say how long the soundtrack is.')
    if args.start:
      raise ValueError(f'--start {args.start:g} has no meaning without a VIDEO.')
    if args.audio == 'mix':
      raise ValueError('--audio mix has no meaning without a VIDEO.')
  check_output(args.output)


def _request(args: argparse.Namespace):
  from v2a.sampling import request as request_lib

  spoken = transcript_of(args.transcript or '')
  given: dict[str, Any] = {**vars(args), 'transcript': spoken.text or None, 'word_times_s': spoken.times_s}
  fields = dataclasses.fields(request_lib.Request)
  request = request_lib.Request(**{field.name: given[field.name] for field in fields})
  request.validate()
  return request


def _report(written, args: argparse.Namespace) -> None:
  """Prints the manifest, or the paths of the files."""
  if args.json:
    print(json.dumps(written.manifest), flush=True)
    return
  samples = written.manifest['samples']
  for sample in samples:
    rank = '' if sample['rank'] is None or len(samples) == 1 else f'  rank {sample["rank"]}'
    score = '' if sample['score'] is None else f'  score {sample["score"]:.3f}'
    path = written.path.with_name(sample['video'] or sample['wav'])
    print(file_names.printable(str(path)), rank, score, sep='')
  plot = written.path.with_name(written.manifest['plot'])
  print(file_names.printable(f'{written.path}  settings and scores; plot: {plot.name}'))


def _warn(source, manifest: dict) -> None:
  """Prints warnings: out-of-distribution video, short video, streams not copied, words outside, silence."""
  name = source.path or 'the prompt'
  found = manifest['ood']
  lines = []
  if found and found['is_ood']:
    lines.append(
      f'out-of-distribution score {found["score"]:.2f} (threshold {found["threshold"]:.2f}): expect lower '
      'quality on this video.'
    )
  shown_s, requested_s = (manifest['input'][name] for name in ('duration_s', 'requested_duration_s'))
  if requested_s is not None and shown_s < requested_s - SHORTER_S:
    lines.append(f'lasts {shown_s:.2f} s, to the end of the video; --duration {requested_s:g} is longer.')
  if manifest['not_copied']:
    lines.append(f'not in the written video: {", ".join(manifest["not_copied"])}.')
  lines += _unspoken_words(source, manifest)
  faint = [sample for sample in manifest['samples'] if sample['peak'] < FAINT_PEAK]
  if faint:
    listed = ', '.join(f'{sample["index"]} (peak {sample["peak"]:g})' for sample in faint)
    lines.append(f'nearly silent: sample {listed}. Try another --seed or more --num-samples.')
  for line in lines:
    print(f'v2a: warning: {file_names.printable(str(name))}: {line}', file=sys.stderr, flush=True)


def _unspoken_words(source, manifest: dict) -> list[str]:
  """Returns a line where words with times lie outside of a whole clip, or all lie outside of a part."""
  times_s, end_s = manifest['word_times_s'] or [], source.start_s + manifest['input']['duration_s']
  num = sum(not source.start_s <= time_s < end_s for time_s in times_s)
  is_part = source.start_s > 0 or source.duration_s is not None
  if not num or (is_part and num < len(times_s)):
    return []
  return [
    f'{num} of the {len(times_s)} words of the transcript are left out: their times lie outside of '
    f'{source.start_s:g}..{end_s:g} s.'
  ]


def run(args: argparse.Namespace) -> int:
  """Generates and writes the soundtracks; returns 1 where some inputs failed, 2 where all did."""
  _check(args)
  paths: list[pathlib.Path | None] = [*expand(args.videos)] or [None]
  request = _request(args)
  failures = _unreadable(paths)
  try:
    if len(failures) < len(paths):
      _generate(args, paths, request, failures)
  finally:  # errors of inputs are reported whatever ends the batch
    for _, error in sorted(failures.items()):
      print(f'v2a: {error}', file=sys.stderr)
  if not failures:
    return 0
  return 2 if len(failures) == len(paths) else 1


def _unreadable(paths: list[pathlib.Path | None]) -> dict[int, str]:
  """Returns the errors that are found before a model is loaded, one line each, by the number of the input."""
  from v2a.media import errors
  from v2a.media import source

  failures = {}
  for number, path in enumerate(paths):
    try:
      if path is not None:
        source.check_file(path)
    except errors.MediaError as error:
      failures[number] = input_errors.format_error(error, path)
  return failures


def _invalid_parts(inputs: dict, spec) -> dict[int, str]:
  """Returns the errors of inputs without a soundtrack of a valid length, by the number of the input."""
  from v2a.sampling import jobs

  failures = {}
  for number, source in inputs.items():
    try:
      jobs.soundtrack_duration_s(source, spec)
    except Exception as error:  # noqa: BLE001 the boundary of one input
      failures[number] = input_errors.format_error(error, source.path, use_flags=True)
  return failures


def _generate(
  args: argparse.Namespace, paths: list[pathlib.Path | None], request, failures: dict[int, str]
) -> None:
  """Generates and writes for the inputs that have not failed; adds errors to failures."""
  from v2a.cli import compilation_cache
  from v2a.cli import progress
  from v2a.reports import export
  from v2a.reports import outputs
  from v2a.sampling import bundle
  from v2a.sampling import pipeline
  from v2a.sampling import request as request_lib

  stems = outputs.stems(paths, args.output)
  guard = outputs.OverwriteGuard(paths, request.num_samples, args.overwrite)
  # Before the model, which takes longer to load.
  guard.check_files(stem for number, stem in enumerate(stems) if number not in failures)
  compilation_cache.enable()
  model = bundle.load(args.model, generator=args.generator, mesh_sizes=sampling_flags.mesh_sizes(args))
  # What is invalid is reported as such, not as another request than that of earlier outputs.
  request_lib.check_texts(model, request)
  inputs = {
    number: request_lib.Input(path, args.start, args.duration)
    for number, path in enumerate(paths)
    if number not in failures
  }
  failures.update(_invalid_parts(inputs, model.clip_spec))
  numbers = [number for number in inputs if number not in failures]
  if not numbers:
    return
  inputs, stems = [inputs[number] for number in numbers], [stems[number] for number in numbers]
  export.check(guard, inputs, stems, request, args.audio, model)
  with progress.Progress('generating', 'windows', args.json or args.quiet) as bar:
    jobs = [(source, request) for source in inputs]
    results = pipeline.Pipeline(model).run(jobs, progress=bar.update)
    for number, source, stem, result in zip(numbers, inputs, stems, results, strict=True):
      if result.error is not None:
        failures[number] = result.error
        continue
      bar.clear()
      try:
        written = export.write_outputs(model, source, request, result, stem, args.audio, guard=guard)
      except Exception as error:  # noqa: BLE001 the boundary of one input
        failures[number] = input_errors.format_error(error, source.path)
        continue
      _report(written, args)
      _warn(source, written.manifest)
