"""The command line of the launchers. Faults of the input are one line and exit code 2, as in v2a.

A launcher is a module with
  add_flags(parser) -> None
  launch(args, v2a_argv) -> int  the exit code; `v2a_argv` are the arguments of v2a; with args.is_dry_run
                                 it only prints
"""

import argparse
from collections.abc import Sequence
import sys

from launch import gke
from launch import local
from launch import preflight as preflight_lib
from launch import queues
from launch import slurm
from launch import sweep
from launch import tpu_vm
from launch import xpk

LAUNCHERS = {
  'local': (local, 'N processes on this machine, joined over loopback'),
  'slurm': (slurm, 'a job on a Slurm cluster of GPU nodes'),
  'tpu_vm': (tpu_vm, 'TPU VMs by queued resources, made again when they are taken away'),
  'gke': (gke, 'a JobSet on Kubernetes, waiting in a Kueue queue'),
  'queues': (queues, 'the Kueue queue that gke jobs wait in, once a cluster'),
  'xpk': (xpk, 'the same as gke, by xpk where that is in use'),
  'sweep': (sweep, 'one job for each cell of a grid of overrides, by any of the others'),
}
# Those that start no v2a.
WORDLESS = ('queues',)


class Parser(argparse.ArgumentParser):
  """An argument parser that raises where argparse prints its usage and leaves."""

  def error(self, message: str):
    """Raises ValueError with argparse's message."""
    raise ValueError(f'{message} (see {self.prog} --help)')


def _parser() -> Parser:
  text = 'Starts v2a on one machine or many.'
  parser = Parser(prog='python -m launch', description=text, allow_abbrev=False)
  kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND', parser_class=Parser)
  for name, (module, text) in LAUNCHERS.items():
    one = kinds.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.', allow_abbrev=False)
    one.add_argument('--dry-run', action='store_true', dest='is_dry_run', help='print exactly what would run')
    module.add_flags(one)
  return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Returns the flags of the launcher and the words after `--`.

  Raises:
    ValueError: wrong flags, or no words where v2a is to be started.
  """
  argv = list(argv)
  split = argv.index('--') if '--' in argv else len(argv)
  args, words = _parser().parse_args(argv[:split]), argv[split + 1 :]
  if args.kind in WORDLESS:
    if words:
      raise ValueError(f'{args.kind} starts no v2a; got the words {" ".join(words)!r}')
  elif not words:
    raise ValueError('what v2a is to do stands after --, as in: -- train --config NAME --workdir DIR')
  return args, words


def main(argv: Sequence[str]) -> int:
  """Launches, and returns the exit code."""
  try:
    args, words = parse(argv)
    if args.kind not in WORDLESS:
      preflight_lib.check(words)
    return LAUNCHERS[args.kind][0].launch(args, words)
  except (ValueError, OSError) as error:
    print(f'launch: {" ".join(str(error).split())}', file=sys.stderr)
    return 2
