"""A Slurm job on GPU nodes: one process per GPU, requeued while its exit code allows."""

import argparse
from collections.abc import Sequence
import pathlib
import shlex
import subprocess

from launch import containers
from launch import render


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch slurm`."""
  parser.add_argument(
    '--name', required=True, help='name of the job; jobs of the same name run one after the other'
  )
  parser.add_argument('--nodes', type=int, default=1, metavar='N')
  parser.add_argument('--tasks-per-node', type=int, default=8, metavar='N', help='one per GPU')
  parser.add_argument('--gpus-per-node', type=int, metavar='N', help='default: as many as tasks; 0 for none')
  parser.add_argument('--time', default='24:00:00', metavar='HH:MM:SS', help='time limit of one attempt')
  parser.add_argument(
    '--term-before-s',
    type=int,
    default=180,
    metavar='S',
    help='time of SIGTERM before the limit; must exceed the time of saving a checkpoint',
  )
  parser.add_argument('--max-restarts', type=int, default=100, metavar='N')
  parser.add_argument('--partition')
  parser.add_argument('--account')
  parser.add_argument('--log', default='%x-%j.log', help='log file of all tasks; Slurm replaces %%x and %%j')
  parser.add_argument(
    '--image',
    help='container image, for pyxis (srun --container-image); the folder from '
    'which the job is submitted is mounted at the same path',
  )
  parser.add_argument(
    '--mount',
    action='append',
    default=[],
    metavar='HOST:INSIDE',
    help='a further folder to mount; repeatable',
  )
  parser.add_argument('--program', default='python3 -m v2a', help='command that starts v2a on a node')
  parser.add_argument(
    '--sbatch-flag',
    action='append',
    default=[],
    metavar='FLAG',
    help='a further #SBATCH line, such as --mem=64G; repeatable',
  )


def script(args: argparse.Namespace, v2a_argv: Sequence[str]) -> str:
  """Returns the batch script.

  Raises:
    ValueError: a count is below 1, or --mount comes without --image.
  """
  gpus = args.tasks_per_node if args.gpus_per_node is None else args.gpus_per_node
  for name in ('nodes', 'tasks_per_node', 'term_before_s'):
    if getattr(args, name) < 1:
      raise ValueError(f'--{name.replace("_", "-")} must be at least 1; got {getattr(args, name)}')
  is_distributed = args.nodes * args.tasks_per_node > 1
  more = [f'--partition={args.partition}'] if args.partition else []
  more += [f'--account={args.account}'] if args.account else []
  # Not --gpus-per-task: JAX must see all GPUs of a node, and uses the one of its local rank.
  more += [f'--gres=gpu:{gpus}', '--exclusive', '--mem=0'] if gpus else []
  if args.mount and not args.image:
    raise ValueError('--mount requires --image')
  return render.fill(
    'slurm.sh',
    {
      'name': args.name,
      'nodes': args.nodes,
      'tasks_per_node': args.tasks_per_node,
      'time': args.time,
      'term_before_s': args.term_before_s,
      'log': args.log,
      'more': '\n'.join(f'#SBATCH {flag}' for flag in more + args.sbatch_flag),
      'environment': _environment(gpus) if args.image else None,
      'container': _container(args, v2a_argv) if args.image else '',
      'command': f'{args.program} {shlex.join(v2a_argv)}' + (' --coordinator auto' if is_distributed else ''),
      'max_restarts': args.max_restarts,
      'retriable': render.fill('retriable.sh', {}),
    },
  )


def _environment(gpus: int) -> str:
  """Returns variables that make enroot mount the driver into any image; Slurm assigns the GPUs."""
  return (
    f'export NVIDIA_VISIBLE_DEVICES={"all" if gpus else "void"} NVIDIA_DRIVER_CAPABILITIES=compute,utility'
  )


def _container(args: argparse.Namespace, v2a_argv: Sequence[str]) -> str:
  """Returns the flags of pyxis, followed by a blank."""
  inside = containers.check_mounts(args.mount, '--mount')
  workdir = containers.flag_value(v2a_argv, '--workdir')
  if workdir is not None and workdir.startswith('/'):
    # The folder from which the job is submitted is mounted, too.
    submit_dir = str(pathlib.Path.cwd())
    containers.check_workdir(v2a_argv, [submit_dir, *inside], '--mount')
  mounts = ''.join(f',{shlex.quote(mount)}' for mount in args.mount)
  return (
    f'--container-image={shlex.quote(args.image)} '
    f'--container-mounts="$SLURM_SUBMIT_DIR:$SLURM_SUBMIT_DIR"{mounts} '
    '--container-workdir="$SLURM_SUBMIT_DIR" '
    '--container-env=NVIDIA_VISIBLE_DEVICES,NVIDIA_DRIVER_CAPABILITIES '
  )


def launch(args: argparse.Namespace, v2a_argv: Sequence[str]) -> int:
  """Submits the job; see `launch.command_line`."""
  text = script(args, v2a_argv)
  if args.is_dry_run:
    print(text, end='')
    return 0
  return subprocess.run(['sbatch'], input=text, text=True, check=False).returncode
