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

from v2a import file_names
from v2a import flags
from v2a import input_errors
from v2a.cli import sampling_flags

MODEL = 'world'
OUTPUT = 'out'
MAX_PATH = 4096
# A separator and a suffix, without blanks: no sentence, but the name of a file.
_LIKE_A_PATH = re.compile(r'\S*[/\\]\S*\.[A-Za-z0-9]{1,5}')
# Below it, -26 dB of full scale at its loudest, a soundtrack is hard to hear at all.
# Less than --duration by no more than a frame is no news.
SHORTER_S = 0.1
FAINT_PEAK = 0.05


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument('videos', nargs='*', metavar='VIDEO', help='video, still image, or folder of them')
  asked = parser.add_argument_group('what to hear')
  asked.add_argument('--prompt', metavar='T', help='what to hear')
  asked.add_argument('--negative-prompt', metavar='T', help='what not to hear')
  asked.add_argument(
    '--transcript',
    metavar='T-or-FILE',
    help='words of the dialogue, or a text file; SRT and WebVTT tell when they are said',
  )
  asked.add_argument(
    '--num-samples', type=flags.number(int, 1), default=1, metavar='N', help='soundtracks a clip (1)'
  )
  asked.add_argument(
    '--seed',
    type=flags.seed,
    default=0,
    metavar='S',
    help='sample i depends on (S, i) alone (0)',
  )
  part = parser.add_argument_group('which part')
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
  how = parser.add_argument_group('how')
  how.add_argument(
    '--model', default=MODEL, metavar='NAME-or-DIR', help=f'a packaged model or a folder ({MODEL})'
  )
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
  out.add_argument('--json', action='store_true', help='print the manifests alone, one line a clip')
  out.add_argument('--quiet', action='store_true', help='no progress')


def transcript_of(text: str):
  """Returns the Transcript of --transcript: what a file of that name holds, else the text itself.

  Raises:
    ValueError: the file holds no transcript, or is not there though the text looks like the name of one.
  """
  from v2a.media import transcript

  if not text or len(text) > MAX_PATH or '\0' in text or '\n' in text:
    return _as_it_stands(text)
  path = pathlib.Path(text)
  is_name = path.suffix.lower() in transcript.SUFFIXES or _LIKE_A_PATH.fullmatch(text)
  try:
    status = path.stat()
  except (OSError, ValueError):  # A sentence may be too long for a name of a file.
    if is_name:
      raise FileNotFoundError(
        f'--transcript {text}: no such file.{_nearest(path)} To have it spoken, put it into a text file.'
      ) from None
    return _as_it_stands(text)
  if not stat.S_ISREG(status.st_mode):
    if is_name or os.sep in text:
      raise ValueError(f'--transcript {text}: is no regular file; wanted a text, SRT or WebVTT file.')
    return _as_it_stands(text)
  try:
    found = transcript.read(path)
  except ValueError as error:
    raise ValueError(f'--transcript {error}') from error
  if not found.text:
    raise ValueError(f'--transcript {path}: holds no words.')
  return found


def _as_it_stands(text: str):
  """Returns the Transcript of a flag's text, which a shell may have read from a file of subtitles."""
  from v2a.media import transcript

  try:
    return transcript.parse(text)
  except ValueError as error:
    raise ValueError(f'--transcript: {error}.') from error


def _nearest(path: pathlib.Path) -> str:
  try:
    names = [child.name for child in path.parent.iterdir()]
  except OSError:
    return ''
  near = difflib.get_close_matches(path.name, names, n=1)
  return f' Did you mean {path.with_name(near[0])}?' if near else ''


def expand(videos: Iterable[str]) -> list[pathlib.Path]:
  """Returns the files that were named, folders replaced by the videos and stills right in them.

  What a folder holds besides is counted in one line on stderr.

  Raises:
    ValueError: a folder holds none, or a name is empty.
  """
  from v2a.media import folder

  paths = []
  for video in videos:
    if not video:  # which pathlib takes for the current folder
      raise ValueError("VIDEO must name a file or a folder; got ''.")
    path = pathlib.Path(video)
    if not path.is_dir():
      paths.append(path)
      continue
    found = folder.search(path, (*folder.VIDEO_SUFFIXES, *folder.STILL_SUFFIXES))
    if not found.paths:
      besides = f' ({found.skipped_summary})' if found.skipped_summary else ''
      raise ValueError(f'{path}: the folder holds no videos or stills{besides}.')
    if found.note:
      print(f'v2a: note: {file_names.one_line(found.note, path)}', file=sys.stderr, flush=True)
    paths.extend(found.paths)
  return paths


def check_output(folder: pathlib.Path) -> None:
  """Raises ValueError where a folder of that name cannot be made or written."""
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
  given = {**vars(args), 'transcript': spoken.text or None, 'word_times_s': spoken.times_s}
  fields = dataclasses.fields(request_lib.Request)
  request = request_lib.Request(**{field.name: given[field.name] for field in fields})
  request.validate()
  return request


def _report(delivery, args: argparse.Namespace) -> None:
  """Prints the manifest, or where the files are."""
  if args.json:
    print(json.dumps(delivery.manifest), flush=True)
    return
  for sample in delivery.manifest['samples']:
    rank = '' if sample['rank'] is None else f'  rank {sample["rank"]}'
    print(file_names.printable(str(delivery.path.with_name(sample['video'] or sample['wav']))), rank, sep='')


def _warn(source, manifest: dict) -> None:
  """Prints a line each: unusual pictures, a short video, what it lacks, words outside of it, silence."""
  name = source.path or 'the prompt'
  found = manifest['ood']
  lines = []
  if found and found['is_unusual']:
    lines.append(
      f'out-of-distribution score {found["distance"]:.2f} (threshold {found["threshold"]:.2f}): expect lower '
      'quality on this video.'
    )
  shown_s, requested_s = (manifest['input'][name] for name in ('duration_s', 'requested_duration_s'))
  if requested_s is not None and shown_s < requested_s - SHORTER_S:
    lines.append(f'lasts {shown_s:.2f} s, to the end of the video; --duration {requested_s:g} is longer.')
  if manifest['not_copied']:
    lines.append(f'not in the written video: {", ".join(manifest["not_copied"])}.')
  lines += _unsaid(source, manifest)
  faint = [sample for sample in manifest['samples'] if sample['peak'] < FAINT_PEAK]
  if faint:
    listed = ', '.join(f'{sample["index"]} (peak {sample["peak"]:g})' for sample in faint)
    lines.append(f'nearly silent: sample {listed}. Another --seed or more --num-samples draw others.')
  for line in lines:
    print(f'v2a: warning: {file_names.printable(str(name))}: {line}', file=sys.stderr, flush=True)


def _unsaid(source, manifest: dict) -> list[str]:
  """Returns a line where words with times fall outside of a whole clip, or all fall outside of a part."""
  times_s, end_s = manifest['word_times_s'] or [], source.start_s + manifest['input']['duration_s']
  num = sum(not source.start_s <= time_s < end_s for time_s in times_s)
  is_part = source.start_s > 0 or source.duration_s is not None
  if not num or (is_part and num < len(times_s)):
    return []
  return [
    f'{num} of the {len(times_s)} words of the transcript are not said: their times lie outside of '
    f'{source.start_s:g}..{end_s:g} s.'
  ]


def run(args: argparse.Namespace) -> int:
  """Draws and writes the soundtracks; 1 where some inputs failed, 2 where all did."""
  _check(args)
  paths = expand(args.videos) or [None]
  request = _request(args)
  failures = _unreadable(paths)
  try:
    if len(failures) < len(paths):
      _draw(args, paths, request, failures)
  finally:  # whatever ends the batch, what is known of its inputs is reported
    for _, error in sorted(failures.items()):
      print(f'v2a: {error}', file=sys.stderr)
  if not failures:
    return 0
  return 2 if len(failures) == len(paths) else 1


def _unreadable(paths: list[pathlib.Path | None]) -> dict[int, str]:
  """Returns one line for each input that can be seen to fail before a model is loaded, by its number."""
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


def _draw(
  args: argparse.Namespace, paths: list[pathlib.Path | None], request, failures: dict[int, str]
) -> None:
  """Draws and writes for the inputs that have not failed; adds those that fail now."""
  from v2a.cli import compilation_cache
  from v2a.cli import progress
  from v2a.reports import export
  from v2a.reports import outputs
  from v2a.sampling import bundle
  from v2a.sampling import pipeline
  from v2a.sampling import request as request_lib

  numbers = [number for number in range(len(paths)) if number not in failures]
  inputs = [request_lib.Input(paths[number], args.start, args.duration) for number in numbers]
  all_stems = outputs.stems(paths, args.output)
  stems = [all_stems[number] for number in numbers]
  guard = outputs.OverwriteGuard(paths, request.num_samples, args.overwrite)
  export.check(guard, inputs, stems, request, args.audio)  # before the model, which takes longer to load
  compilation_cache.enable()
  model = bundle.load(args.model, generator=args.generator, mesh_sizes=sampling_flags.mesh_sizes(args))
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
        delivery = export.write_outputs(model, source, request, result, stem, args.audio, guard=guard)
      except Exception as error:  # noqa: BLE001 the boundary of one input
        failures[number] = input_errors.format_error(error, source.path)
        continue
      _report(delivery, args)
      _warn(source, delivery.manifest)
