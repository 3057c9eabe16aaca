"""One line of xpk, for clusters that are kept by it: it renders a JobSet much like that of `launch gke`."""

import argparse
from collections.abc import Sequence
import shlex
import subprocess

from launch import exit_codes


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch xpk`."""
  parser.add_argument('--cluster', required=True)
  parser.add_argument('--name', required=True, help='of the workload')
  parser.add_argument('--tpu-type', required=True, metavar='TYPE', help='such as v5litepod-256')
  parser.add_argument('--num-slices', type=int, default=1, metavar='N')
  parser.add_argument('--image', required=True)
  parser.add_argument('--priority', default='medium')
  parser.add_argument('--max-restarts', type=int, default=1000, metavar='N', help='xpk alone would take 0')
  parser.add_argument(
    '--xpk-flag', action='append', default=[], metavar='FLAG', help='one more; may be repeated'
  )


def command(args: argparse.Namespace, v2a_argv: Sequence[str]) -> list[str]:
  """Returns xpk's command line."""
  # Codes from 128 on are restarted by xpk itself.
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
