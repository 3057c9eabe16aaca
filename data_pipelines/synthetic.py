"""Renders the synthetic set to video files with ground truth, or to records for training.

  python -m data_pipelines.synthetic --num-clips 16 --seed 1 --scenes all --output clips/
  python -m data_pipelines.synthetic --num-clips 20000 --seed 0 --records --output records/

Files are DIR/SEED-INDEX-SCENE.mp4 (H.264, AAC) and .json; existing files are not overwritten. Every clip
depends only on (seed, index) and the flags, not on the number of processes. Files and the folder of records
are written to temporary names and renamed.
"""

import argparse
import collections
from collections.abc import Callable
from collections.abc import Iterator
import concurrent.futures
import concurrent.futures.process
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import time
from typing import Any
import uuid

import numpy as np

from v2a import clip
from v2a import entry_point
from v2a import files
from v2a import flags
from v2a import termination
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.media import frame_encoder
from v2a.media import write
from v2a.synthetic import clips
from v2a.synthetic import record_ids

FILE_SIZE, FILE_RATE_HZ = 256, 48000
# With its macroblock tree, the bytes that x264 writes depend on what else is in memory, even on one thread.
_ENCODER_OPTIONS = {'crf': '16', 'preset': 'fast', 'threads': '1', 'x264-params': 'mbtree=0'}
PENDING_PER_WORKER = 16  # finished clips that may wait for the writer; bounds memory


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = flags.Parser(
    prog='python -m data_pipelines.synthetic',
    description='Renders clips of the synthetic set.',
    allow_abbrev=False,
  )
  parser.add_argument('--num-clips', type=flags.count, required=True, help='number of clips')
  parser.add_argument('--seed', type=flags.seed, default=0, help='seed of the set of clips')
  parser.add_argument('--start-index', type=flags.seed, default=0, help='index of the first clip')
  parser.add_argument('--scenes', default='all', help=f'all, or some of {",".join(clips.SCENES)}')
  parser.add_argument(
    '--corruption',
    choices=clips.CORRUPTIONS,
    help='corruption of all clips; sampled per clip by default',
  )
  parser.add_argument('--output', type=flags.path, required=True, help='folder to write')
  parser.add_argument('--records', action='store_true', help='write records for training, not video files')
  parser.add_argument(
    '--size',
    type=flags.number(int, 4),
    help=f'height and width in pixels; default {FILE_SIZE}, or {clip.ClipSpec.frame_size} for records',
  )
  parser.add_argument('--fps', type=flags.number(float), help='frames per second of video files; default 25')
  parser.add_argument(
    '--clip-seconds', type=flags.number(float), default=4.0, help='duration of a clip; default 4'
  )
  parser.add_argument(
    '--sample-rate',
    type=flags.number(int, 8000),
    help=f'samples per second; default {FILE_RATE_HZ}, or {clip.ClipSpec.sample_rate_hz} for records',
  )
  parser.add_argument(
    '--num-workers', type=flags.num_workers, default=os.cpu_count(), help='number of processes'
  )
  args = parser.parse_args(argv)
  if args.records and args.fps is not None:
    parser.error('--fps is only for video files; the frame rates of records come from ClipSpec')
  if not args.records:
    files.check_local('--output without --records', args.output)
  if not args.records and args.size is not None and args.size % 2:
    parser.error(f'--size must be even for H.264; got {args.size}')
  return args


def spec_of(clip_s: float, size: int | None, sample_rate_hz: int | None) -> clip.ClipSpec:
  """Returns the ClipSpec of records; None means the default."""
  overrides = {'frame_size': size, 'sample_rate_hz': sample_rate_hz}
  return clip.ClipSpec(
    clip_s=clip_s, **{name: value for name, value in overrides.items() if value is not None}
  )


def make_record(
  index: int,
  seed: int,
  spec: clip.ClipSpec,
  scenes: tuple[str, ...] | None = None,
  corruption: str | None = None,
) -> dict:
  """Returns a synthetic clip as a record.

  Args:
    index: index of the clip.
    seed: seed of the set.
    spec: durations, rates and frame size.
    scenes, corruption: see `clips.render`.
  """
  rendered = clips.render(
    seed,
    index,
    scenes,
    corruption,
    float(spec.duration_s),
    spec.sync_fps,
    spec.frame_size,
    spec.sample_rate_hz,
  )
  # The last frame is held to the end if the duration is not a whole number of frames.
  frame_index_L = np.minimum(np.arange(spec.num_sync_frames), len(rendered.frame_LYX3) - 1)
  frame_LYX3 = rendered.frame_LYX3[frame_index_L]
  wave_NA = rendered.wave_NA if spec.num_channels == 2 else rendered.wave_NA.mean(axis=1, keepdims=True)
  return {
    'id': record_ids.make(seed, index),
    'wave_NA': record_schema.wave_to_int16(wave_NA),
    'semantic_frame_MYX3': frame_LYX3[spec.semantic_of_sync_M],
    'sync_frame_LYX3': frame_LYX3,
    'text': rendered.truth['annotation'],
    'transcript': rendered.truth['transcript'],
    'truth': json.dumps(rendered.truth, separators=(',', ':')),
    'has_video': True,
    'has_audio': True,
    'num_valid_samples': spec.num_samples,
    **record_schema.NOT_ENCODED,
  }


def _stem(seed: int, index: int) -> str:
  """Returns the prefix of the file name of a clip; its scene, known after rendering, follows."""
  return f'{seed}-{index:05d}-'


def _check_new(output: pathlib.Path, seed: int, indices: range) -> None:
  """Raises FileExistsError if a folder contains files of one of the clips."""
  prefixes = {_stem(seed, index) for index in indices}
  found = sorted(output.glob(f'{seed}-*-*'))
  files.check_new(*(path for path in found if '-'.join(path.name.split('-', 2)[:2]) + '-' in prefixes))


def write_file(
  index: int,
  seed: int,
  output: pathlib.Path,
  size: int,
  fps: float,
  clip_s: float,
  sample_rate_hz: int,
  scenes: tuple[str, ...] | None = None,
  corruption: str | None = None,
) -> pathlib.Path:
  """Writes one clip as .mp4 with its ground truth as .json, and returns the path of the .mp4.

  Args:
    index: index of the clip.
    seed: seed of the set.
    output: existing folder.
    size: height and width in pixels, even.
    fps: frames per second.
    clip_s: length in seconds.
    sample_rate_hz: samples per second.
    scenes, corruption: see `clips.render`.
  """
  rendered = clips.render(seed, index, scenes, corruption, clip_s, fps, size, sample_rate_hz)
  path = output / f'{_stem(seed, index)}{rendered.truth["scene"]}.mp4'
  files.check_new(path, path.with_suffix('.json'))
  silent_video = output / f'.{path.stem}.{uuid.uuid4().hex[:8]}.mp4'
  truth = silent_video.with_suffix('.json')
  try:
    frame_encoder.write(silent_video, rendered.frame_LYX3, fps, _ENCODER_OPTIONS)
    truth.write_text(json.dumps(rendered.truth, indent=1) + '\n')
    write.mux(silent_video, rendered.wave_NA, sample_rate_hz, path)
    truth.rename(path.with_suffix('.json'))
  finally:
    silent_video.unlink(missing_ok=True)
    truth.unlink(missing_ok=True)
  return path


def parallel_map(work: Callable[[int], Any], indices: range, num_workers: int) -> Iterator[Any]:
  """Yields work(index) in order, computed by num_workers processes, with bounded pending results.

  Args:
    work: picklable; called in this process if there is one only.
    indices: its arguments.
    num_workers: number of processes.

  Raises:
    OSError: a process died.
  """
  num_workers = min(num_workers, len(indices))
  if num_workers == 1:
    yield from map(work, indices)
    return
  # The arrays of one clip are small: threads of linear algebra libraries would only slow each other down.
  for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(name, '1')
  pending, rest = collections.deque(), iter(indices)
  work = functools.partial(_until_terminated, work)
  # Unlike multiprocessing.Pool, which would wait forever, this raises if a worker is killed (out of memory).
  executor = concurrent.futures.ProcessPoolExecutor(
    num_workers, multiprocessing.get_context('spawn'), _init_worker
  )
  try:
    for index in itertools.islice(rest, PENDING_PER_WORKER * num_workers):
      pending.append(executor.submit(work, index))
    while pending:
      yield pending.popleft().result()
      pending.extend(executor.submit(work, index) for index in itertools.islice(rest, 1))
  except concurrent.futures.process.BrokenProcessPool as error:
    message = f'a worker process died, perhaps out of memory ({num_workers} workers).'
    raise OSError(message) from error
  finally:
    if pending:  # ended early
      for process in multiprocessing.active_children():
        process.terminate()
    executor.shutdown(cancel_futures=True)


def _init_worker():
  """Ignores Ctrl-C, which the parent handles, and lets SIGTERM remove the files of an unfinished clip."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  termination.install_handlers()


def _until_terminated(work: Callable[[int], object], index: int) -> object:
  """Returns work(index); exits on SIGTERM, which the executor would treat as a failed task."""
  try:
    return work(index)
  except termination.Terminated as stop:
    os._exit(stop.exit_code)


def _report(num_done: int, total: int, start_s: float):
  """Updates the progress line on a terminal; in a log, writes a line for every tenth of the work."""
  rate = num_done / max(time.monotonic() - start_s, 1e-9)
  minutes, seconds = divmod(int((total - num_done) / rate), 60)
  text = f'{num_done}/{total} clips, {rate:.1f} clips/s, {minutes}:{seconds:02d} left'
  if sys.stderr.isatty():
    sys.stderr.write(f'\r{text:<60}' + ('\n' if num_done == total else ''))
  elif num_done == total or num_done % max(total // 10, 1) == 0:
    print(text, file=sys.stderr, flush=True)


def _render(args: argparse.Namespace) -> int:
  scenes = None if args.scenes == 'all' else tuple(args.scenes.split(','))
  clips.check(
    scenes, args.corruption, args.clip_seconds, args.fps or 25, args.size or 48, args.sample_rate or 16000
  )
  indices = range(args.start_index, args.start_index + args.num_clips)
  start_s = time.monotonic()
  if not args.records:
    _check_new(args.output, args.seed, indices)
    args.output.mkdir(parents=True, exist_ok=True)
    work = functools.partial(
      write_file,
      seed=args.seed,
      output=args.output,
      size=args.size or FILE_SIZE,
      fps=args.fps or 25.0,
      clip_s=args.clip_seconds,
      sample_rate_hz=args.sample_rate or FILE_RATE_HZ,
      scenes=scenes,
      corruption=args.corruption,
    )
    for done, _ in enumerate(parallel_map(work, indices, args.num_workers)):
      _report(done + 1, len(indices), start_s)
    return 0
  spec = spec_of(args.clip_seconds, args.size, args.sample_rate)
  work = functools.partial(make_record, seed=args.seed, spec=spec, scenes=scenes, corruption=args.corruption)
  about = {
    'source': 'synthetic',
    'seed': args.seed,
    'start_index': args.start_index,
    'scenes': args.scenes,
    'corruption': args.corruption,
  }
  with record_writer.Writer(args.output, spec, about) as writer:
    for done, record in enumerate(parallel_map(work, indices, args.num_workers)):
      writer.add(record)
      _report(done + 1, len(indices), start_s)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code."""
  return entry_point.run('data_pipelines.synthetic', lambda: _render(_parse(argv)))


if __name__ == '__main__':
  termination.exit_program(main())
