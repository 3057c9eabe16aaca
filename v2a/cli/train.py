"""`v2a train`: trains a codec, a sync encoder or a generator from a configuration."""

import argparse
from collections.abc import Callable
import os
import pathlib

from v2a import files
from v2a import flags
from v2a import storage

CHECKPOINTS = 'checkpoints'  # training.checkpoints.checkpoint.FOLDER; that module is slow to import
WRITTEN = ('config.json', 'parameters.txt', 'model')
# Of config.training: steps that neither compile nor wait for the first batches.
PROFILED = {'profile_at_step': 3, 'profile_steps': 5}


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `v2a train`; `--config.a.b=V` are collected by the program."""
  parser.add_argument(
    '--config', required=True, metavar='NAME-or-FILE', help='a name in configs/, or a .py or .json file'
  )
  parser.add_argument(
    '--workdir',
    required=True,
    metavar='DIR',
    type=flags.path,
    help='training folder; a run that it holds is resumed',
  )
  parser.add_argument(
    '--tiny',
    action='store_true',
    help='a shrunk model and four steps, to try the whole path: on made-up clips, or on '
    'the records of --config.data.train',
  )
  parser.add_argument(
    '--profile',
    action='store_true',
    help="a profiler's trace of a few steps of the first process, in DIR/profile",
  )
  parser.add_argument(
    '--executable',
    metavar='FILE',
    help='the step as `v2a compile --output` wrote it for this config and these chips',
  )
  parser.add_argument(
    '--coordinator',
    metavar='HOST:PORT',
    help='of several processes, where process 0 listens; auto on Slurm, TPU and GKE',
  )
  parser.add_argument('--num-processes', type=flags.count, metavar='N')
  parser.add_argument('--process-id', type=flags.number(int, 0, flags.MAX_COUNT), metavar='I')


def _check_workdir(workdir: storage.Path) -> None:
  """Raises where no training can be written to a folder, or would replace files that no training wrote."""
  if storage.exists(workdir) and not storage.is_folder(workdir):
    raise ValueError(f'--workdir must be a folder; {workdir} is a file.')
  if isinstance(workdir, pathlib.Path):
    there = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
      raise PermissionError(f'--workdir {workdir}: {there} cannot be written to.')
  else:
    storage.check_writable(workdir)
  # A training makes its folder of checkpoints first.
  if not storage.is_folder(workdir / CHECKPOINTS):
    files.check_new(*(workdir / name for name in WRITTEN))


def check(args: argparse.Namespace) -> None:
  """Raises ValueError where the configuration is wrong; one in a file that is not here is not checked."""
  if not args.config.endswith(('.py', '.json')) or pathlib.Path(args.config).is_file():
    _config(args)


def _config(args: argparse.Namespace, report: Callable[[str], object] = lambda line: None):
  from v2a.config import files as files_lib
  from v2a.config import validation

  c = files_lib.find(args.config)
  if args.tiny:
    c = files_lib.tiny(c, args.overrides)
  if args.profile:
    c = c.unlock()
    c.training.update(PROFILED)
    c = c.lock()
  c = files_lib.override(c, args.overrides, report)
  validation.validate(c)
  return c


def run(args: argparse.Namespace) -> int:
  """Trains, and returns the exit code.

  Raises:
    FileNotFoundError: there is no such configuration or executable.
  """
  notes: list[str] = []
  c, workdir = _config(args, notes.append), args.workdir
  _check_workdir(workdir)
  if args.executable and not pathlib.Path(args.executable).is_file():
    raise FileNotFoundError(f'--executable {args.executable} does not exist.')
  from v2a.cli import allocator
  from v2a.cli import compilation_cache
  from v2a.training import loop
  from v2a.training import tasks
  from v2a.training.distributed import processes

  processes.join(args.coordinator, args.num_processes, args.process_id)
  compilation_cache.enable()
  allocator.keep_freed_pages()
  task, watching = tasks.make(c), []
  if c.training.evaluate_every_steps:
    # Measuring tools take a second to import.
    from v2a.evaluation import callbacks

    watching = callbacks.make(c, task)
  with processes.exit_on_own_error():
    loop.train(c, workdir, task, watching, executable_path=args.executable, notes=notes)
  return 0
