"""The Kueue objects of a cluster, created once: node flavour, quota of chips, and the queue."""

import argparse
from collections.abc import Sequence
import json

from launch import accelerators
from launch import gke
from launch import render


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch queues`."""
  gke.add_shape_flags(parser)
  parser.add_argument('--namespace', default='default')


def manifests(args: argparse.Namespace) -> str:
  """Returns ResourceFlavor, ClusterQueue and LocalQueue as YAML."""
  kind = accelerators.ACCELERATORS[args.accelerator]
  num_slices, hosts_per_slice, chips_per_host = gke.hosts(args)
  return render.fill(
    'queues.yaml',
    {
      'flavor': '-'.join(filter(None, (args.accelerator, args.topology))),
      'node_selector': json.dumps(kind.node_selector(args.topology)),
      'cluster_queue': f'{args.name}-cluster',
      'resource': kind.resource,
      'num_chips': num_slices * hosts_per_slice * chips_per_host,
      'queue': args.name,
      'namespace': args.namespace,
    },
  )


def launch(args: argparse.Namespace, v2a_argv: Sequence[str]) -> int:
  """Creates the queue; see `launch.command_line`."""
  del v2a_argv
  return gke.apply(manifests(args), args.is_dry_run)
