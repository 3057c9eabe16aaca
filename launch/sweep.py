"""A grid of dotted overrides: one run per cell, submitted by another launcher, each in its own folder."""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import itertools
import posixpath
import re
import shlex

from launch import preflight as preflight_lib


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch sweep`."""
  parser.add_argument(
    '--by',
    required=True,
    metavar='"KIND FLAGS"',
    dest='inner',
    help='another launcher with its flags, as one argument: "slurm --nodes 2 --name wide"',
  )
  parser.add_argument(
    '--grid',
    action='append',
    required=True,
    metavar='KEY=V,V,...',
    help='values of a key of the config, such as training.learning_rate=1e-4,3e-4; a value '
    'that contains commas is separated by ";"; repeatable',
  )


def cells(grid: Sequence[str]) -> list[dict[str, str]]:
  """Returns every combination of the values of a grid, the last key varying fastest.

  Raises:
    ValueError: a key has no values, or a key or value is repeated.
  """
  axes: dict[str, list[str]] = {}
  for axis in grid:
    key, _, text = axis.partition('=')
    key = key.removeprefix('--').removeprefix('config.')
    values = [value.strip() for value in text.split(';' if ';' in text else ',')]
    if not key or not all(values):
      raise ValueError(f'--grid must look like training.learning_rate=1e-4,3e-4; got {axis!r}')
    if key in axes or len(set(values)) != len(values):
      raise ValueError(f'--grid names {key} or one of its values twice')
    axes[key] = values
  return [dict(zip(axes, cell)) for cell in itertools.product(*axes.values())]


def name(cell: dict[str, str]) -> str:
  """Returns the name of a cell for files, with the last part of each key."""
  parts = [f'{key.rsplit(".", 1)[-1]}={value}' for key, value in cell.items()]
  return re.sub(r'[^\w=.,+-]+', '_', ','.join(parts))


def cell_argv(cell: dict[str, str], v2a_argv: Sequence[str]) -> list[str]:
  """Returns the arguments of v2a for one cell: with its overrides, and its own folder below --workdir.

  Raises:
    ValueError: there is not exactly one --workdir.
  """
  v2a_argv = list(v2a_argv)
  positions = [
    index for index, word in enumerate(v2a_argv) if word == '--workdir' or word.startswith('--workdir=')
  ]
  if len(positions) != 1 or (v2a_argv[positions[0]] == '--workdir' and positions[0] + 1 == len(v2a_argv)):
    raise ValueError('a sweep needs exactly one --workdir DIR, in which each cell gets a folder')
  index = positions[0]
  if v2a_argv[index] == '--workdir':
    v2a_argv[index + 1] = posixpath.join(v2a_argv[index + 1], name(cell))
  else:
    v2a_argv[index] = posixpath.join(v2a_argv[index], name(cell))
  return v2a_argv + [f'--config.{key}={value}' for key, value in cell.items()]


def launch(args: argparse.Namespace, v2a_argv: Sequence[str], run: Callable[[Sequence[str]], int]) -> int:
  """Launches every cell in turn, and returns the first nonzero exit code.

  Args:
    args: flags of the sweep.
    v2a_argv: arguments of v2a.
    run: runs the command line of a launcher and returns its exit code.
  """
  inner = shlex.split(args.inner)
  first_code, all_cells = 0, cells(args.grid)
  for cell in all_cells:  # check all before the first is submitted
    preflight_lib.check(cell_argv(cell, v2a_argv))
  for index, cell in enumerate(all_cells):
    argv = [*inner, *(['--dry-run'] if args.is_dry_run else [])]
    # Schedulers identify jobs by name, and a singleton job would wait for the previous one of its name.
    for position, word in enumerate(argv):
      if word.startswith('--name=') or (position and argv[position - 1] == '--name'):
        argv[position] = f'{word}-{index:03d}'
    print(f'# {name(cell)}', flush=True)
    code = run([*argv, '--', *cell_argv(cell, v2a_argv)])
    first_code = first_code or code
  return first_code
