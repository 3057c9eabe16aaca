"""A grid of dotted overrides: one run a cell, each by one of the other launchers, in a folder of its own."""

import argparse
from collections.abc import Sequence
import itertools
import pathlib
import re

from launch import preflight as preflight_lib


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch sweep`."""
  parser.add_argument(
    '--by',
    required=True,
    metavar='"KIND FLAGS"',
    dest='inner',
    help='another launcher with its flags, as one word: "slurm --nodes 2 --name wide"',
  )
  parser.add_argument(
    '--grid',
    action='append',
    required=True,
    metavar='KEY=V,V,...',
    help='values of a key of the config, such as training.learning_rate=1e-4,3e-4; a value '
    'with commas of its own is set apart by ";"; may be repeated',
  )


def cells(grid: Sequence[str]) -> list[dict[str, str]]:
  """Returns every combination of the values of a grid, the last key changing first.

  Raises:
    ValueError: a key without values, or twice the same.
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
  """Returns a cell as a word for file names, with the last part of each key."""
  parts = [f'{key.rsplit(".", 1)[-1]}={value}' for key, value in cell.items()]
  return re.sub(r'[^\w=.,+-]+', '_', ','.join(parts))


def words_of(cell: dict[str, str], v2a_argv: Sequence[str]) -> list[str]:
  """Returns the words of v2a for one cell: its overrides, and its own folder below --workdir."""
  v2a_argv = list(v2a_argv)
  where = [
    index for index, word in enumerate(v2a_argv) if word == '--workdir' or word.startswith('--workdir=')
  ]
  if len(where) != 1 or (v2a_argv[where[0]] == '--workdir' and where[0] + 1 == len(v2a_argv)):
    raise ValueError('a sweep wants one --workdir DIR, below which each cell gets a folder')
  index = where[0]
  if v2a_argv[index] == '--workdir':
    v2a_argv[index + 1] = str(pathlib.PurePath(v2a_argv[index + 1]) / name(cell))
  else:
    v2a_argv[index] = f'--workdir={pathlib.PurePath(v2a_argv[index].split("=", 1)[1]) / name(cell)}'
  return v2a_argv + [f'--config.{key}={value}' for key, value in cell.items()]


def launch(args: argparse.Namespace, v2a_argv: Sequence[str]) -> int:
  """Launches every cell in turn, and returns the first exit code that is not 0."""
  import shlex

  from launch import command_line

  inner = shlex.split(args.inner)
  first, found = 0, cells(args.grid)
  for cell in found:  # all of them, before one is submitted
    preflight_lib.check(words_of(cell, v2a_argv))
  for index, cell in enumerate(found):
    argv = [*inner, *(['--dry-run'] if args.is_dry_run else [])]
    # Schedulers tell jobs by name, and one that runs as a singleton would wait for the one before.
    for place, word in enumerate(argv):
      if word.startswith('--name=') or (place and argv[place - 1] == '--name'):
        argv[place] = f'{word}-{index:03d}'
    print(f'# {name(cell)}', flush=True)
    code = command_line.main([*argv, '--', *words_of(cell, v2a_argv)])
    first = first or code
  return first
