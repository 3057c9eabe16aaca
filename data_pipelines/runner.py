"""Runs a function on each shard of a build: in this process, or by Apache Beam.

  runner.run(function, shards, runner.Options(num_workers=4))
  runner.run(function, shards, runner.Options('dataflow', ('--project=...', '--region=...')))

Beam (https://beam.apache.org) is the distributed engine: its direct runner works on this machine, and
Dataflow, Flink and Spark run the same pipeline on a cluster by Beam's own options. The function writes its
results to the storage that all workers share, and does nothing where they are there already; so Beam may
repeat an element, and an interrupted build continues.

On this machine each shard has a process of its own, started by a thread of the direct runner: one that is
killed (out of memory) fails its shard and no other, whereas that runner's own worker processes hang forever.

An error in a worker is written to a file of that storage, since engines wrap errors in pages of text; the
other shards are finished first.
"""

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import functools
import importlib
import importlib.util
import logging
import multiprocessing
import pathlib
import shutil
import sys
import threading
import time
from typing import Literal

from v2a import files
from v2a import flags
from v2a import input_errors

Name = Literal['local', 'dataflow', 'flink', 'spark']
_BEAM_RUNNERS: dict[str, str] = {
  'local': 'DirectRunner',
  'dataflow': 'DataflowRunner',
  'flink': 'FlinkRunner',
  'spark': 'SparkRunner',
}
NAMES = tuple(_BEAM_RUNNERS)
INSTALL_COMMAND = "pip install 'v2a[data]'"
_REPORT_EVERY_S = 5.0
Shard = tuple[str, int]  # split and index


class ShardError(OSError):
  """A shard could not be built; the message is one line."""


def is_beam_installed() -> bool:
  """Returns whether Apache Beam is installed."""
  return importlib.util.find_spec('apache_beam') is not None


@dataclasses.dataclass(frozen=True)
class Options:
  """Where the work is done.

  Attributes:
    name: of the runner.
    beam_options: options of Apache Beam, such as '--region=europe-west4'.
    num_workers: processes of the local runner; with 1 it works in this process, without Beam.
  """

  name: Name = 'local'
  beam_options: tuple[str, ...] = ()
  num_workers: int = 1

  def __post_init__(self):
    if self.name not in NAMES:
      raise ValueError(f'runner must be one of {", ".join(NAMES)}; got {self.name!r}.')
    if self.num_workers < 1:
      raise ValueError(f'num_workers must be at least 1; got {self.num_workers}.')

  @property
  def needs_beam(self) -> bool:
    """Whether Apache Beam must be installed."""
    return self.name != 'local' or self.num_workers > 1

  def check(self) -> None:
    """Raises ValueError if Beam is needed and not installed."""
    if self.needs_beam and not is_beam_installed():
      raise ValueError(
        f'runner {self.name} with {self.num_workers} workers needs Apache Beam: {INSTALL_COMMAND}.'
      )


LOCAL = Options()


def add_flags(group: argparse._ArgumentGroup) -> None:
  """Adds the flags of `Options` to a group of a parser."""
  group.add_argument('--runner', choices=NAMES, default='local', help='default local')
  group.add_argument(
    '--num-workers', type=flags.num_workers, default=1, help='processes of the local runner; default 1'
  )
  group.add_argument(
    '--beam-option', metavar='--NAME=VALUE', action='append', default=[], help='passed to Apache Beam'
  )


def options_of(args: argparse.Namespace) -> Options:
  """Returns what the flags of `add_flags` say."""
  return Options(args.runner, tuple(args.beam_option), args.num_workers)


@dataclasses.dataclass(frozen=True)
class Stage:
  """Work on every shard.

  Attributes:
    name: for progress, such as 'analysis'.
    function: takes split and index of a shard, is picklable, and does nothing where its result is there.
    is_done: whether the result of a shard is there.
    errors: folder of the files of errors, on storage that all workers share.
  """

  name: str
  function: Callable[[str, int], object]
  is_done: Callable[[str, int], bool]
  errors: pathlib.Path


def run(
  stage: Stage, shards: Sequence[Shard], options: Options, report: Callable[[str], None] | None = None
) -> None:
  """Runs a stage on all shards that are not done yet.

  Args:
    stage: the work.
    shards: all shards.
    options: where the work is done.
    report: takes a line of progress every few seconds.

  Raises:
    ShardError: a shard failed; the others are done.
    ValueError: Beam is needed and not installed.
  """
  shutil.rmtree(stage.errors, ignore_errors=True)
  left = [shard for shard in shards if not stage.is_done(*shard)]
  if not left:
    return
  options.check()
  stage.errors.mkdir(parents=True)
  with _Progress(stage, left, report):
    if options.needs_beam:
      _run_beam(stage, left, options)
    else:
      for shard in left:
        _guarded(stage, shard)
  if failed := sorted(stage.errors.glob('*.txt')):
    first = failed[0].read_text(encoding='utf-8').strip()
    raise ShardError(
      f'{len(failed)} of {len(left)} shards failed in the {stage.name}; {failed[0].stem}: {first}'
    )
  if missing := [shard for shard in left if not stage.is_done(*shard)]:
    raise ShardError(f'{len(missing)} of {len(left)} shards were not finished in the {stage.name}.')


def _guarded(stage: Stage, shard: Shard) -> None:
  """Runs a stage on a shard; an error becomes a file."""
  try:
    stage.function(*shard)
  except Exception as error:  # noqa: BLE001 the boundary of one shard
    _write_error(stage, shard, input_errors.format_error(error))


def _write_error(stage: Stage, shard: Shard, text: str) -> None:
  stage.errors.mkdir(parents=True, exist_ok=True)
  files.write_text(stage.errors / f'{shard[0]}-{shard[1]:05d}.txt', text + '\n')


def _in_process(stage: Stage, shard: Shard) -> None:
  """Runs a stage on a shard in a new process; a process that dies becomes a file, as an error does."""
  # Not forked: libraries have threads here.
  process = multiprocessing.get_context('spawn').Process(target=_guarded, args=(stage, shard), daemon=True)
  process.start()
  process.join()
  if process.exitcode:
    how = f'signal {-process.exitcode}' if process.exitcode < 0 else f'exit code {process.exitcode}'
    text = f'its process ended with {how}' + (' (out of memory?)' if process.exitcode == -9 else '')
    _write_error(stage, shard, text)


def _run_beam(stage: Stage, shards: Iterable[Shard], options: Options) -> None:
  beam = importlib.import_module('apache_beam')  # heavy, and in an extra
  pipeline_options = importlib.import_module('apache_beam.options.pipeline_options')
  arguments = [f'--runner={_BEAM_RUNNERS[options.name]}', *options.beam_options]
  if options.name == 'local':
    arguments += ['--direct_running_mode=multi_threading', f'--direct_num_workers={options.num_workers}']
  work = _in_process if options.name == 'local' else _guarded
  logging.getLogger('apache_beam').setLevel(logging.ERROR)
  with beam.Pipeline(options=pipeline_options.PipelineOptions(arguments)) as pipeline:
    elements = pipeline | 'shards' >> beam.Create(list(shards)) | beam.Reshuffle()
    elements | stage.name >> beam.Map(functools.partial(work, stage))


class _Progress:
  """Counts finished shards in a thread, and reports rate and time left."""

  def __init__(self, stage: Stage, shards: Sequence[Shard], report: Callable[[str], None] | None):
    self._stage, self._left, self._total, self._report = stage, list(shards), len(shards), report
    self._stop, self._begin_s = threading.Event(), time.monotonic()
    self._thread = threading.Thread(target=self._work, daemon=True)

  def __enter__(self) -> '_Progress':
    if self._report:
      self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._stop.set()
    if self._report:
      self._thread.join()

  def _work(self) -> None:
    while not self._stop.wait(_REPORT_EVERY_S):
      self._say()
    self._say()

  def _say(self) -> None:
    self._left = [shard for shard in self._left if not self._stage.is_done(*shard)]
    done, passed_s = self._total - len(self._left), time.monotonic() - self._begin_s
    rest = f', about {passed_s * len(self._left) / done:.0f} s left' if done and self._left else ''
    assert self._report is not None
    self._report(f'{self._stage.name}: {done} of {self._total} shards in {passed_s:.0f} s{rest}')


def stderr(line: str) -> None:
  """Prints a line of progress."""
  print(line, file=sys.stderr, flush=True)
