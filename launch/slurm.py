"""A Slurm job of GPU nodes: one process a GPU, requeued while its exit code allows."""

import argparse
from collections.abc import Sequence
import pathlib
import shlex
import subprocess

from launch import containers
from launch import render


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch slurm`."""
  parser.add_argument('--name', required=True, help='of the job; two of one name run one after the other')
  parser.add_argument('--nodes', type=int, default=1, metavar='N')
  parser.add_argument('--tasks-per-node', type=int, default=8, metavar='N', help='one a GPU')
  parser.add_argument('--gpus-per-node', type=int, metavar='N', help='default: as many as tasks; 0 for none')
  parser.add_argument('--time', default='24:00:00', metavar='HH:MM:SS', help='limit of one stretch')
  parser.add_argument(
    '--term-before-s',
    type=int,
    default=180,
    metavar='S',
    help='SIGTERM comes so long before the limit; must exceed the time of a save',
  )
  parser.add_argument('--max-restarts', type=int, default=100, metavar='N')
  parser.add_argument('--partition')
  parser.add_argument('--account')
  parser.add_argument('--log', default='%x-%j.log', help='of all tasks; Slurm fills in %%x and %%j')
  parser.add_argument(
    '--image',
    help='container image, for pyxis (srun --container-image); it sees the '
    'folder that the job is submitted from, under the same name',
  )
  parser.add_argument(
    '--mount',
    action='append',
    default=[],
    metavar='HOST:INSIDE',
    help='a further folder that the container sees; may be repeated',
  )
  parser.add_argument('--program', default='python3 -m v2a', help='how v2a is started on a node')
  parser.add_argument(
    '--sbatch-flag',
    action='append',
    default=[],
    metavar='FLAG',
    help='one more line of #SBATCH, such as --mem=64G; may be repeated',
  )


def script(args: argparse.Namespace, v2a_argv: Sequence[str]) -> str:
  """Returns the batch script."""
  gpus = args.tasks_per_node if args.gpus_per_node is None else args.gpus_per_node
  for name in ('nodes', 'tasks_per_node', 'term_before_s'):
    if getattr(args, name) < 1:
      raise ValueError(f'--{name.replace("_", "-")} must be at least 1; got {getattr(args, name)}')
  is_joined = args.nodes * args.tasks_per_node > 1
  more = [f'--partition={args.partition}'] if args.partition else []
  more += [f'--account={args.account}'] if args.account else []
  # Not --gpus-per-task: JAX wants to see all GPUs of a node and takes the one of its local rank.
  more += [f'--gres=gpu:{gpus}', '--exclusive', '--mem=0'] if gpus else []
  if args.mount and not args.image:
    raise ValueError('--mount goes with --image')
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
      'command': f'{args.program} {shlex.join(v2a_argv)}' + (' --coordinator auto' if is_joined else ''),
      'max_restarts': args.max_restarts,
      'retriable': render.fill('retriable.sh', {}),
    },
  )


def _environment(gpus: int) -> str:
  """Returns what makes enroot bring the driver into images that do not ask for it; Slurm picks the GPUs."""
  return (
    f'export NVIDIA_VISIBLE_DEVICES={"all" if gpus else "void"} NVIDIA_DRIVER_CAPABILITIES=compute,utility'
  )


def _container(args: argparse.Namespace, words: Sequence[str]) -> str:
  """Returns the flags of pyxis, with a blank at the end."""
  inside = containers.check_mounts(args.mount, '--mount')
  workdir = containers.flag_value(words, '--workdir')
  if workdir is not None and workdir.startswith('/'):
    # What lies below the folder that the job is submitted from is only known there.
    here = str(pathlib.Path.cwd())
    containers.check_workdir(words, [here, *inside], '--mount')
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
