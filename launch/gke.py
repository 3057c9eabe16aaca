"""A JobSet on Kubernetes (GKE): one child job per slice, one pod per host, scheduled by a Kueue queue."""

import argparse
from collections.abc import Sequence
import json
import re
import shlex
import subprocess

from launch import accelerators
from launch import containers
from launch import exit_codes
from launch import render

_PORT = 8476
# Name of the replicated job in the template: pods are named NAME-slice-SLICE-HOST.
_REPLICATED = 'slice'
_DNS_LABEL = re.compile(r'[a-z]([-a-z0-9]{0,26}[a-z0-9])?')


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch gke`."""
  add_shape_flags(parser)
  parser.add_argument('--image', required=True, help='built from launch/docker')
  parser.add_argument('--queue', default='v2a', help='the LocalQueue of Kueue, see `launch queues`')
  parser.add_argument('--namespace', default='default')
  parser.add_argument('--priority', help='a PriorityClass; jobs of higher priority preempt others')
  parser.add_argument('--max-restarts', type=int, default=1000, metavar='N')
  parser.add_argument(
    '--grace-s',
    type=int,
    default=300,
    metavar='S',
    help='time between SIGTERM and SIGKILL; must exceed the time of saving a checkpoint',
  )
  parser.add_argument(
    '--claim',
    action='append',
    default=[],
    metavar='CLAIM:INSIDE',
    help='a PersistentVolumeClaim and its mount path; repeatable',
  )
  parser.add_argument('--cache', default='', metavar='DIR', help='shared folder of the compilation cache')


def add_shape_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags for type and number of accelerators."""
  parser.add_argument('--name', required=True, help='a DNS label of at most 28 characters')
  parser.add_argument('--accelerator', required=True, choices=tuple(accelerators.ACCELERATORS))
  parser.add_argument('--topology', metavar='AxB[xC]', help='shape of a TPU slice, such as 16x16')
  parser.add_argument('--num-slices', type=int, default=1, metavar='N', help='number of TPU slices')
  parser.add_argument('--nodes', type=int, metavar='N', help='number of GPU machines')


def hosts(args: argparse.Namespace) -> tuple[int, int, int]:
  """Returns the number of slices, of hosts per slice, and of chips per host.

  Raises:
    ValueError: flags do not match the accelerator, or the topology does not exist.
  """
  kind = accelerators.ACCELERATORS[args.accelerator]
  if args.num_slices < 1:
    raise ValueError(f'--num-slices must be at least 1; got {args.num_slices}')
  if not kind.is_tpu:
    if args.topology or args.num_slices != 1 or not args.nodes or args.nodes < 1:
      raise ValueError(f'{args.accelerator} machines are counted by --nodes, not --topology and --num-slices')
    return 1, args.nodes, kind.chips_per_host
  if args.nodes or not args.topology:
    raise ValueError(f'{args.accelerator} slices are given by --topology and --num-slices, not --nodes')
  chips = accelerators.num_chips(args.accelerator, args.topology)
  per_host = min(chips, kind.chips_per_host)
  return args.num_slices, chips // per_host, per_host


def manifest(args: argparse.Namespace, v2a_argv: Sequence[str]) -> str:
  """Returns the JobSet as YAML.

  Raises:
    ValueError: the name is not a DNS label, or a workdir is not below a claim.
  """
  if not _DNS_LABEL.fullmatch(args.name):
    raise ValueError(f'--name must be a DNS label (a-z, 0-9, -) of at most 28 characters; got {args.name!r}')
  kind = accelerators.ACCELERATORS[args.accelerator]
  num_slices, hosts_per_slice, chips_per_host = hosts(args)
  volumes, mounts = _claims(args.claim)
  containers.check_workdir(v2a_argv, containers.check_mounts(args.claim, '--claim'), '--claim')
  # One child job (one slice) has its node pool exclusively: two jobs on one host would use the same ports.
  exclusive = {'alpha.jobset.sigs.k8s.io/exclusive-topology': 'cloud.google.com/gke-nodepool'}
  return render.fill(
    'jobset.yaml',
    {
      'name': args.name,
      'namespace': args.namespace,
      'queue': args.queue,
      'annotations': json.dumps(exclusive if kind.is_tpu else {}),
      'max_restarts': args.max_restarts,
      'num_slices': num_slices,
      'hosts_per_slice': hosts_per_slice,
      'retriable': json.dumps(exit_codes.retriable()),
      'grace_s': args.grace_s,
      'priority': f'priorityClassName: {args.priority}' if args.priority else None,
      'node_selector': json.dumps(kind.node_selector(args.topology)),
      'resource': kind.resource,
      'image': json.dumps(args.image),
      'command': json.dumps(_command(args, v2a_argv, hosts_per_slice)),
      'env': f'env: [{{name: V2A_CACHE, value: {json.dumps(args.cache)}}}]' if args.cache else None,
      'chips_per_host': chips_per_host,
      'more_volumes': volumes,
      'more_mounts': mounts,
    },
  )


def _command(args: argparse.Namespace, v2a_argv: Sequence[str], num_hosts: int) -> str:
  line = f'exec v2a {shlex.join(v2a_argv)}'
  if args.num_slices * num_hosts == 1:
    return line
  if accelerators.ACCELERATORS[args.accelerator].is_tpu:
    return f'{line} --coordinator auto'  # from variables that GKE sets
  host = f'{args.name}-{_REPLICATED}-0-0.{args.name}'
  # The name of a pod resolves only once it runs, and v2a exits without restart if it does not resolve.
  wait = f'for _ in $(seq 300); do getent hosts {host} > /dev/null && break; sleep 1; done; '
  line += f' --coordinator {host}:{_PORT} --num-processes {num_hosts}'
  return wait + line + ' --process-id "$JOB_COMPLETION_INDEX"'  # set by Kubernetes


def _claims(claims: Sequence[str]) -> tuple[str, str]:
  volumes, mounts = [], []
  for index, (claim, inside) in enumerate(zip(claims, containers.check_mounts(claims, '--claim'))):
    name = claim.partition(':')[0]
    volumes.append(f'- {{name: claim-{index}, persistentVolumeClaim: {{claimName: {json.dumps(name)}}}}}')
    mounts.append(f'- {{name: claim-{index}, mountPath: {json.dumps(inside)}}}')
  return '\n'.join(volumes), '\n'.join(mounts)


def apply(text: str, is_dry_run: bool) -> int:
  """Applies manifests with kubectl, or prints them; returns the exit code."""
  if is_dry_run:
    print(text, end='')
    return 0
  line = ['kubectl', 'apply', '--filename', '-']
  return subprocess.run(line, input=text, text=True, check=False).returncode


def launch(args: argparse.Namespace, v2a_argv: Sequence[str]) -> int:
  """Submits the JobSet; see `launch.command_line`."""
  return apply(manifest(args, v2a_argv), args.is_dry_run)
