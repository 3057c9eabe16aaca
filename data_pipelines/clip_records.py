"""Decodes a folder of videos to records of fixed length: frames at the size of a model, and waveforms.

Such records are large (30 MB for 8 s at 224 pixels) and of one model's rates, but are read without decoding.
`data_pipelines.build` stores compressed media instead, of any source, filtered and annotated.

  python -m data_pipelines.clip_records --source videos/ --output records/
  python -m data_pipelines.clip_records --source videos/ --output records/ --config flow_base --clip-seconds 8

Every video in the folder is cut into consecutive windows. A remainder of at least half a window gives one
more window that ends with the video. A video of at least half a window but less than one is padded by its
last frame and silence.

Optional sidecars of `a.mp4`: `a.txt`, a description of its sound; `a.srt` or `a.vtt`, subtitles of its
speech; and `a.json` with the keys `annotation`, `transcript` and `words` (a list of {word, start_s, end_s}).
The annotation in `a.json` takes precedence over `a.txt`, its words over subtitles, and subtitles over its
transcript. Every word is assigned to the window in which it is spoken. A transcript without times is used
only if the video has a single window. Notes report what is not in the records: such transcripts, ends of
videos, unknown keys, and texts longer than the model input.

Records are in the order of the sorted file names, whatever the number of workers. The exit code is 0; 1 if
files were skipped (each is reported); 2 if nothing could be done. Ctrl-C (130), SIGTERM (143) and SIGHUP
(129) leave no partial output.
"""

import argparse
from collections.abc import Iterator
import dataclasses
import fractions
import math
import pathlib
import queue
import sys
import threading
import time

import numpy as np

from data_pipelines import omissions
from v2a import clip
from v2a import entry_point
from v2a import file_names
from v2a import flags
from v2a import input_errors
from v2a import storage
from v2a import termination
from v2a.config import files
from v2a.config import schema
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.media import audio_reader
from v2a.media import errors
from v2a.media import folder as folder_lib
from v2a.media import probe
from v2a.media import read
from v2a.media import sidecar

_MIN_WINDOW_FRACTION = 0.5
_SLACK_S = 0.1  # shorter ends of videos are not reported, since containers round
_PENDING_PER_WORKER = 4
_POLL_S = 0.2
# A worker that still waits for its file (on a network) after this time is abandoned.
_STOP_S = 10.0


def find(folder: pathlib.Path) -> folder_lib.SearchResult:
  """Returns the videos under a folder, and a count of other files (v2a.media.folder.search).

  Raises:
    ValueError: the folder does not exist, or has no videos.
  """
  if not folder.is_dir():
    raise ValueError(f'--source must be a folder; got {folder}.')
  found = folder_lib.search(folder, folder_lib.VIDEO_SUFFIXES, is_recursive=True)
  if not found.paths:
    skipped = f' ({found.skipped_summary})' if found.skipped_summary else ''
    suffixes = ', '.join(folder_lib.VIDEO_SUFFIXES)
    raise ValueError(f'--source {folder} has no video{skipped}; wanted files that end in {suffixes}.')
  return found


def window_starts(duration_s: float, clip_s: fractions.Fraction) -> list[fractions.Fraction | float]:
  """Returns the start times of the windows of a video in seconds; empty if it is too short for one."""
  # Containers round: the last window may exceed the end of the video by a tick.
  whole = math.floor(duration_s / float(clip_s) + 1e-3)
  rest_s = duration_s - float(whole * clip_s)
  starts_s: list[fractions.Fraction | float] = [index * clip_s for index in range(whole)]
  if rest_s >= _MIN_WINDOW_FRACTION * clip_s:
    starts_s.append(max(0.0, duration_s - float(clip_s)))
  return starts_s


def make_records(
  path: pathlib.Path, name: str, spec: clip.ClipSpec, omitted: omissions.Omissions | None = None
) -> Iterator[dict]:
  """Yields the records of one video, in bounded memory.

  Args:
    path: the video.
    name: prefix of the record ids.
    spec: durations, rates and frame size.
    omitted: collects content of the video that is not in the records.

  Raises:
    MediaError: the file has no video stream, or cannot be read.
    ValueError: the video is too short, or a sidecar is malformed.
  """
  info, sidecars = probe.probe(path), sidecar.read(path)
  if not info.has_video or info.is_image:
    raise errors.MediaError(f'{path}: has no video stream of several frames; wanted a video.')
  starts_s = window_starts(info.duration_s, spec.duration_s)
  if not starts_s:
    raise errors.MediaError(
      f'{path}: lasts {info.duration_s:.2f} s; wanted at least '
      f'{_MIN_WINDOW_FRACTION * float(spec.duration_s):g} s.'
    )
  clip_s = float(spec.duration_s)
  if omitted is not None:
    omitted.add_sidecars(path, name, sidecars, len(starts_s))
    tail_s = info.duration_s - float(starts_s[-1]) - clip_s
    if tail_s > _SLACK_S:
      omitted.add_tail(name, tail_s)
  for start_s, frames, wave_NA in _windows(path, starts_s, spec):
    num_valid = min(spec.num_samples, round((info.duration_s - start_s) * spec.sample_rate_hz))
    yield _record(
      f'{name}@{start_s:.3f}',
      frames,
      wave_NA,
      sidecars.annotation,
      sidecars.transcript_in_window(start_s, clip_s, len(starts_s) == 1).text,
      num_valid,
    )


def _windows(
  path: pathlib.Path, starts_s: list[fractions.Fraction | float], spec: clip.ClipSpec
) -> Iterator[tuple[float, tuple[np.ndarray, np.ndarray], np.ndarray]]:
  """Yields (start_s, semantic and sync frames, wave_NA)."""
  # Decode once for both encoders: the union of their frame times.
  num_semantic, rate_hz, size = spec.num_semantic_frames, spec.ticks_hz, spec.frame_size
  tick_F, inverse_F = np.unique(
    np.concatenate([spec.semantic_ticks(), spec.sync_ticks()]), return_inverse=True
  )
  split = lambda frame_FYX3: (frame_FYX3[inverse_F[:num_semantic]], frame_FYX3[inverse_F[num_semantic:]])
  clip_s = spec.duration_s
  consecutive_s = [start_s for index, start_s in enumerate(starts_s) if start_s == index * clip_s]
  if consecutive_s:
    blocks = audio_reader.iterate_blocks(
      path, spec.sample_rate_hz, spec.num_channels, 0.0, float(len(consecutive_s) * clip_s)
    )
    waves = _regrouped(blocks, spec.num_samples)
    all_ticks = np.concatenate([tick_F + int(start_s * rate_hz) for start_s in consecutive_s])
    frames = read.iterate_frames_at(path, all_ticks, rate_hz, size, 0.0, len(tick_F))
    yield from zip(map(float, consecutive_s), map(split, frames), waves)
  for start_s in map(float, starts_s[len(consecutive_s) :]):
    frame_FYX3 = next(read.iterate_frames_at(path, tick_F, rate_hz, size, start_s, len(tick_F)))
    yield (
      start_s,
      split(frame_FYX3),
      read.wave(path, spec.sample_rate_hz, spec.num_channels, start_s, float(clip_s)),
    )


def _regrouped(blocks: Iterator[np.ndarray], num_samples: int) -> Iterator[np.ndarray]:
  """Yields the same samples in blocks of num_samples."""
  rest: list[np.ndarray] = []
  for block_NA in blocks:
    rest.append(block_NA)
    if sum(map(len, rest)) >= num_samples:
      wave_NA = np.concatenate(rest)
      whole = len(wave_NA) // num_samples * num_samples
      for start in range(0, whole, num_samples):
        yield wave_NA[start : start + num_samples]
      rest = [wave_NA[whole:]]


def _record(
  name: str,
  frames: tuple[np.ndarray, np.ndarray],
  wave_NA: np.ndarray,
  text: str,
  transcript: str,
  num_valid: int,
) -> dict:
  return {
    'id': name,
    'wave_NA': record_schema.wave_to_int16(wave_NA),
    'semantic_frame_MYX3': frames[0],
    'sync_frame_LYX3': frames[1],
    'text': text,
    'transcript': transcript,
    'truth': '',
    'has_video': True,
    'has_audio': not audio_reader.is_silent(wave_NA[:num_valid]),
    'num_valid_samples': num_valid,
    **record_schema.NOT_ENCODED,
  }


def _name(path: pathlib.Path, folder: pathlib.Path) -> str:
  """Returns the name of a video in its folder as unique printable text, whatever bytes it contains."""
  return file_names.printable(path.relative_to(folder).as_posix().replace('\\', '\\\\'))


@dataclasses.dataclass(frozen=True)
class _End:
  """Marks the end of the records of a video; failure: one line if reading failed."""

  failure: str = ''


class _Reader:
  """Reads several videos ahead in threads, and yields their records in the order of the videos.

  FFmpeg releases the global interpreter lock, so threads suffice. The queue of each video is short, so memory
  is bounded.
  """

  def __init__(self, paths: list[pathlib.Path], folder: pathlib.Path, spec: clip.ClipSpec, num_workers: int):
    self._paths, self._folder, self._spec, self.omitted = paths, folder, spec, omissions.Omissions()
    self._queues = [queue.Queue(_PENDING_PER_WORKER) for _ in paths]
    self._next, self._lock, self._is_stopped = 0, threading.Lock(), threading.Event()
    num_workers = min(num_workers, len(paths))
    self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(num_workers)]
    for thread in self._threads:
      thread.start()

  def _work(self):
    while True:
      with self._lock:
        index, self._next = self._next, self._next + 1
      if index >= len(self._paths) or self._is_stopped.is_set():
        return
      path = self._paths[index]
      # The queue of a video must always end with a mark, otherwise its reader would wait forever.
      end = _End(f'{path}: its worker failed')
      try:
        for record in make_records(path, _name(path, self._folder), self._spec, self.omitted):
          if not self._put(index, record):
            return
        end = _End()
      except Exception as error:  # noqa: BLE001 the boundary of one input
        end = _End(input_errors.format_error(error, path))
      finally:
        self._put(index, end)

  def _put(self, index: int, item) -> bool:
    """Puts an item into the queue of a video when it has room; returns False if the reader was stopped."""
    while not self._is_stopped.is_set():
      try:
        self._queues[index].put(item, timeout=_POLL_S)
        return True
      except queue.Full:
        continue
    return False

  def records_of(self, index: int, failures: list[str]) -> Iterator[dict]:
    """Yields the records of one video; if reading fails, appends one line to failures."""
    while not isinstance(item := self._get(index), _End):
      yield item
    if item.failure:
      failures.append(item.failure)

  def _get(self, index: int):
    """Returns the next item of a video; an _End if no worker is alive to provide one."""
    while True:
      is_served = any(thread.is_alive() for thread in self._threads)
      try:
        return self._queues[index].get(timeout=_POLL_S)
      except queue.Empty:
        if not is_served:
          return _End(f'{self._paths[index]}: its worker failed')

  def stop(self):
    """Stops the threads; those that do not stop in time are daemons, so that the program can exit."""
    self._is_stopped.set()
    end_s = time.monotonic() + _STOP_S
    for thread in self._threads:
      thread.join(max(0.0, end_s - time.monotonic()))


class _NoRecordsError(ValueError):
  """No video gave a record."""


def build(folder: pathlib.Path, output: storage.Path, spec: clip.ClipSpec, num_workers: int = 1) -> list[str]:
  """Writes a folder of records from a folder of videos.

  Args:
    folder: folder of videos, searched recursively.
    output: new folder; appears under its name only when complete.
    spec: durations, rates and frame size of the records.
    num_workers: number of videos read concurrently.

  Returns:
    One line for each video that was skipped or only partly read, with the reason.

  Raises:
    ValueError: the folder has no usable video.
    FileExistsError: output exists.
  """
  found, failures, start_s, num_records = find(folder), [], time.monotonic(), 0
  paths = found.paths
  _note([f'{folder}: {found.skipped_summary}'] if found.skipped_summary else [])
  _note(omissions.shared_sidecars(paths))
  with record_writer.Writer(output, spec, {'source': 'videos', 'num_videos': len(paths)}) as writer:
    reader = _Reader(paths, folder, spec, num_workers)
    try:
      for index in range(len(paths)):
        for record in reader.records_of(index, failures):
          writer.add(record)
          num_records += 1
        _report(index + 1, len(paths), num_records, start_s)
    finally:
      reader.stop()
    if not num_records:
      raise _NoRecordsError(f'none of the {len(paths)} videos in {folder} can be used: {failures[0]}')
    _note(
      reader.omitted.notes()
      + writer.contents.truncation_notes(spec.num_text_bytes, spec.num_transcript_bytes)
    )
  return failures


def _note(lines: list[str]) -> None:
  for line in lines:
    print(f'data_pipelines.clip_records: note: {file_names.printable(line)}', file=sys.stderr, flush=True)


def _report(num_done: int, total: int, num_records: int, start_s: float):
  """Updates the progress line on a terminal; in a log, writes a line for every tenth of the work."""
  rate = num_done / max(time.monotonic() - start_s, 1e-9)
  minutes, seconds = divmod(int((total - num_done) / rate), 60)
  text = (
    f'{num_done}/{total} videos, {num_records} records, {rate:.1f} videos/s, {minutes}:{seconds:02d} left'
  )
  if sys.stderr.isatty():
    sys.stderr.write(f'\r{text:<76}' + ('\n' if num_done == total else ''))
  elif num_done == total or num_done % max(total // 10, 1) == 0:
    print(text, file=sys.stderr, flush=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
  parser = flags.Parser(
    prog='python -m data_pipelines.clip_records',
    description='Builds records from a folder of videos.',
    allow_abbrev=False,
  )
  default = clip.ClipSpec()
  parser.add_argument('--source', type=flags.local_path, required=True, help='folder of videos')
  parser.add_argument('--output', type=flags.path, required=True, help='new folder of records')
  parser.add_argument('--config', help='configuration whose clip duration and rates are used')
  parser.add_argument(
    '--clip-seconds',
    type=flags.number(float, 0, is_open=True),
    help=f'duration of a window; default {default.clip_s:g}',
  )
  parser.add_argument(
    '--size', type=flags.number(int, 1), help=f'height and width of a frame; default {default.frame_size}'
  )
  parser.add_argument(
    '--sample-rate', type=flags.number(int, 1), help=f'samples per second; default {default.sample_rate_hz}'
  )
  parser.add_argument(
    '--num-channels', type=flags.number(int, 1, 2), help=f'1 mono, 2 stereo; default {default.num_channels}'
  )
  parser.add_argument(
    '--num-workers', type=flags.num_workers, default=2, help='number of videos read concurrently; default 2'
  )
  return parser.parse_args(argv)


def _spec_of(args: argparse.Namespace) -> clip.ClipSpec:
  spec = schema.clip_spec(files.find(args.config)) if args.config else clip.ClipSpec()
  overrides = {
    'clip_s': args.clip_seconds,
    'frame_size': args.size,
    'sample_rate_hz': args.sample_rate,
    'num_channels': args.num_channels,
  }
  return dataclasses.replace(spec, **{name: value for name, value in overrides.items() if value is not None})


def _run(argv: list[str] | None) -> int:
  args = _parse(argv)
  failures = build(args.source, args.output, _spec_of(args), args.num_workers)
  for failure in failures:
    print(f'data_pipelines.clip_records: skipped: {failure}', file=sys.stderr)
  return 1 if failures else 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code; see the module."""
  return entry_point.run(
    'data_pipelines.clip_records', lambda: _run(argv), 'interrupted; nothing was written'
  )


if __name__ == '__main__':
  termination.exit_program(main())
