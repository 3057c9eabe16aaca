"""The command line of the launchers. Invalid input gives one line and exit code 2, as in v2a.

A launcher is a module with
  add_flags(parser) -> None
  launch(args, v2a_argv) -> int  returns the exit code; `v2a_argv` are the arguments of v2a; with
                                 args.is_dry_run it only prints
The sweep runs other launchers: its `launch` takes `main` as a third argument.
"""

import argparse
from collections.abc import Sequence
import sys
from typing import NoReturn

from launch import gke
from launch import local
from launch import preflight as preflight_lib
from launch import queues
from launch import slurm
from launch import sweep
from launch import tpu_vm
from launch import xpk

LAUNCHERS = {
  'local': (local, 'N processes on this machine, connected over loopback'),
  'slurm': (slurm, 'a job on a Slurm cluster of GPU nodes'),
  'tpu_vm': (tpu_vm, 'TPU VMs by queued resources, recreated after preemption'),
  'gke': (gke, 'a JobSet on Kubernetes, waiting in a Kueue queue'),
  'queues': (queues, 'the Kueue queue of gke jobs, created once per cluster'),
  'xpk': (xpk, 'like gke, by xpk, for clusters managed by it'),
}
SWEEP_HELP = 'one job for each cell of a grid of overrides, by another launcher'
# Launchers that do not run v2a.
WITHOUT_V2A = ('queues',)


class Parser(argparse.ArgumentParser):
  """An argument parser that raises ValueError instead of printing its usage and exiting.

  A copy of v2a.flags.Parser: launchers import nothing of v2a, so that they run without its dependencies.
  """

  def error(self, message: str) -> NoReturn:
    """Raises ValueError with argparse's message."""
    raise ValueError(f'{message} (see {self.prog} --help)')


def _parser() -> Parser:
  text = 'Starts v2a on one machine or many.'
  parser = Parser(prog='python -m launch', description=text, allow_abbrev=False)
  kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND', parser_class=Parser)
  for name, (module, text) in {**LAUNCHERS, 'sweep': (sweep, SWEEP_HELP)}.items():
    subparser = kinds.add_parser(
      name, help=text, description=f'{text[0].upper()}{text[1:]}.', allow_abbrev=False
    )
    subparser.add_argument(
      '--dry-run', action='store_true', dest='is_dry_run', help='print exactly what would run'
    )
    module.add_flags(subparser)
  return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Returns the flags of the launcher and the arguments of v2a after `--`.

  Raises:
    ValueError: wrong flags, or no arguments of v2a.
  """
  argv = list(argv)
  split = argv.index('--') if '--' in argv else len(argv)
  args, v2a_argv = _parser().parse_args(argv[:split]), argv[split + 1 :]
  if args.kind in WITHOUT_V2A:
    if v2a_argv:
      raise ValueError(f'{args.kind} does not run v2a; got the arguments {" ".join(v2a_argv)!r}')
  elif not v2a_argv:
    raise ValueError('the arguments of v2a must follow after --, as in: -- train --config NAME --workdir DIR')
  return args, v2a_argv


def main(argv: Sequence[str]) -> int:
  """Runs a launcher and returns the exit code."""
  try:
    args, v2a_argv = parse(argv)
    if args.kind not in WITHOUT_V2A:
      preflight_lib.check(v2a_argv)
    if args.kind == 'sweep':
      return sweep.launch(args, v2a_argv, main)
    return LAUNCHERS[args.kind][0].launch(args, v2a_argv)
  except (ValueError, OSError) as error:
    print(f'launch: {" ".join(str(error).split())}', file=sys.stderr)
    return 2
