"""TPU VMs, as queued resources of gcloud.

A loop creates them, starts the image of v2a on every worker, and recreates them after a preemption. It exits
with code 2 as soon as gcloud rejects a request, and with 75 after `--max-failures` consecutive failed rounds.

The loop is a shell script that runs on this machine; `--dry-run` prints it. The workdir must be on storage
that all workers share: mount it on the VMs, and pass it by `--mount`.
"""

import argparse
from collections.abc import Sequence
import shlex
import shutil
import subprocess

from launch import containers
from launch import render

# Open between the VMs of a slice; the default port of JAX is closed in old networks (jax#35905).
_PORT = 8476


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch tpu_vm`."""
  parser.add_argument('--name', required=True)
  parser.add_argument('--zone', required=True)
  parser.add_argument('--project')
  parser.add_argument(
    '--accelerator-type', required=True, metavar='TYPE', help='such as v5litepod-256, v6e-256'
  )
  parser.add_argument(
    '--runtime-version',
    required=True,
    metavar='VERSION',
    help='runtime of the VMs: v2-alpha-tpuv5-lite, v2-alpha-tpuv6e, ...',
  )
  parser.add_argument('--num-slices', type=int, default=1, metavar='N')
  parser.add_argument(
    '--kind',
    choices=('on-demand', 'spot', 'reserved', 'guaranteed'),
    default='on-demand',
    dest='capacity',
    help='type of the requested capacity',
  )
  parser.add_argument('--image', required=True, help='built from launch/docker/tpu.Dockerfile')
  parser.add_argument(
    '--mount',
    action='append',
    default=[],
    metavar='HOST:INSIDE',
    help='a folder of the VM to mount; repeatable',
  )
  parser.add_argument(
    '--cache',
    metavar='FOLDER',
    help='compilation cache, a path inside the container; persistent if on a mount',
  )
  parser.add_argument(
    '--grace-s',
    type=int,
    default=300,
    metavar='S',
    help='time between SIGTERM and SIGKILL; must exceed the time of saving a checkpoint',
  )
  parser.add_argument(
    '--max-restarts', type=int, default=1000, metavar='N', help='restarts of the container on the same TPU'
  )
  parser.add_argument(
    '--max-failures',
    type=int,
    default=60,
    metavar='N',
    help='consecutive rounds in which gcloud, or the start of a container, may fail',
  )
  parser.add_argument('--poll-s', type=float, default=60.0, metavar='S')
  parser.add_argument(
    '--keep', action='store_true', dest='keep_tpu', help='do not delete the TPU after the run'
  )


def script(args: argparse.Namespace, v2a_argv: Sequence[str]) -> str:
  """Returns the loop as a shell script.

  Raises:
    ValueError: a count is out of range, or the workdir is not below a mount.
  """
  if args.num_slices < 1:
    raise ValueError(f'--num-slices must be at least 1; got {args.num_slices}')
  if args.max_failures < 0:
    raise ValueError(f'--max-failures must be at least 0; got {args.max_failures}')
  containers.check_workdir(v2a_argv, containers.check_mounts(args.mount, '--mount'), '--mount')
  location = f'--zone={args.zone}' + (f' --project={args.project}' if args.project else '')
  is_multislice = args.num_slices > 1
  nodes = [f'{args.name}-{index}' for index in range(args.num_slices)] if is_multislice else [args.name]
  create = [
    'gcloud',
    'compute',
    'tpus',
    'queued-resources',
    'create',
    args.name,
    *location.split(),
    f'--accelerator-type={args.accelerator_type}',
    f'--runtime-version={args.runtime_version}',
  ]
  create += (
    [f'--node-count={args.num_slices}', f'--node-prefix={args.name}']
    if is_multislice
    else [f'--node-id={args.name}']
  )
  if args.capacity != 'on-demand':
    create.append(f'--{args.capacity}')
  delete = f'gcloud compute tpus queued-resources delete {args.name} {location} --force --quiet'
  return render.fill(
    'tpu_vm.sh',
    {
      'name': args.name,
      'nodes': ' '.join(nodes),
      'where': location,
      'retriable': render.fill('retriable.sh', {}),
      'create': shlex.join(create),
      'start': shlex.quote(_start(args, v2a_argv)),
      'inspect': shlex.quote(
        'sudo docker inspect --format "{{.State.Status}} {{.State.ExitCode}}" v2a 2>/dev/null || echo new 0'
      ),
      'max_restarts': args.max_restarts,
      'max_failures': args.max_failures,
      'poll_s': f'{args.poll_s:g}',
      'finish': f"say 'the TPU is kept; delete it by: {delete}'" if args.keep_tpu else delete,
    },
  )


def _start(args: argparse.Namespace, v2a_argv: Sequence[str]) -> str:
  """Returns the command that replaces the container on one worker."""
  run = [
    'sudo',
    'docker',
    'run',
    '--detach',
    '--name',
    'v2a',
    '--privileged',
    '--net=host',
    '--ipc=host',
    f'--stop-timeout={args.grace_s}',
    '--env',
    f'JAX_COORDINATOR_PORT={_PORT}',
  ]
  run += [flag for mount in args.mount for flag in ('--volume', mount)]
  run += ['--env', f'V2A_CACHE={args.cache}'] if args.cache else []
  registry = args.image.split('/')[0]
  login = f'sudo gcloud auth configure-docker {shlex.quote(registry)} --quiet && ' if '.' in registry else ''
  return f'sudo docker stop --time={args.grace_s} v2a; sudo docker rm --force v2a; {login}' + shlex.join(
    [*run, args.image, *v2a_argv, '--coordinator', 'auto']
  )


def launch(args: argparse.Namespace, v2a_argv: Sequence[str]) -> int:
  """Runs the loop until v2a has finished; see `launch.command_line`.

  Raises:
    FileNotFoundError: gcloud is not installed.
  """
  text = script(args, v2a_argv)
  if args.is_dry_run:
    print(text, end='')
    return 0
  if shutil.which('gcloud') is None:
    raise FileNotFoundError('gcloud is not installed, or not on the PATH')
  return subprocess.run(['bash', '-c', text], check=False).returncode
