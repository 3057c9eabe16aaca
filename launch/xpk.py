"""A command of xpk, for clusters managed by it: xpk renders a JobSet similar to that of `launch gke`."""

import argparse
from collections.abc import Sequence
import shlex
import subprocess

from launch import exit_codes


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch xpk`."""
  parser.add_argument('--cluster', required=True)
  parser.add_argument('--name', required=True, help='name of the workload')
  parser.add_argument('--tpu-type', required=True, metavar='TYPE', help='such as v5litepod-256')
  parser.add_argument('--num-slices', type=int, default=1, metavar='N')
  parser.add_argument('--image', required=True)
  parser.add_argument('--priority', default='medium')
  parser.add_argument(
    '--max-restarts', type=int, default=1000, metavar='N', help='default 1000; the default of xpk is 0'
  )
  parser.add_argument(
    '--xpk-flag', action='append', default=[], metavar='FLAG', help='a further flag of xpk; repeatable'
  )


def command(args: argparse.Namespace, v2a_argv: Sequence[str]) -> list[str]:
  """Returns the command line of xpk."""
  # xpk itself restarts codes from 128 on.
  own = ','.join(str(code) for code in exit_codes.retriable() if code < exit_codes.FIRST_SIGNAL)
  return [
    'xpk',
    'workload',
    'create',
    f'--cluster={args.cluster}',
    f'--workload={args.name}',
    f'--docker-image={args.image}',
    f'--tpu-type={args.tpu_type}',
    f'--num-slices={args.num_slices}',
    f'--priority={args.priority}',
    f'--max-restarts={args.max_restarts}',
    f'--restart-on-exit-codes={own}',
    *args.xpk_flag,
    f'--command=exec v2a {shlex.join(v2a_argv)} --coordinator auto',
  ]


def launch(args: argparse.Namespace, v2a_argv: Sequence[str]) -> int:
  """Submits the workload; see `launch.command_line`."""
  line = command(args, v2a_argv)
  if args.is_dry_run:
    print(shlex.join(line))
    return 0
  return subprocess.run(line, check=False).returncode
