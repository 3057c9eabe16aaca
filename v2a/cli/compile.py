"""`v2a compile`: compiles a training step for TPUs that are not here, and says what it costs there."""

import argparse
import dataclasses
import functools
import json
import os

from v2a import flags

MAX_SLICES = 1024


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags; `--config.a.b=V` are collected by the program."""
  parser.add_argument(
    '--config', required=True, metavar='NAME-or-FILE', help='a name in configs/, or a .py or .json file'
  )
  parser.add_argument(
    '--topology',
    required=True,
    nargs='+',
    metavar='CHIP:SHAPE',
    help='such as v5e:16x16 or 4*v6e:16x16 (four slices); several give one table',
  )
  parser.add_argument(
    '--num-slices',
    type=flags.number(int, 1, MAX_SLICES),
    default=1,
    help='of each topology that does not say how many',
  )
  parser.add_argument(
    '--batch-size',
    type=flags.count,
    nargs='+',
    metavar='N',
    help="clips a step in place of the config's; several give one table",
  )
  parser.add_argument(
    '--search',
    action='store_true',
    help='find the largest batch that fits, within an eighth, from --batch-size or one '
    'clip a device on; then the least remat for it',
  )
  parser.add_argument('--tiny', action='store_true', help='the shrunk model')
  parser.add_argument(
    '--output',
    type=flags.local_path,
    metavar='FILE',
    help='write the executable there (one topology, one batch)',
  )
  parser.add_argument('--json', action='store_true', help='one JSON object a line')


def run(args: argparse.Namespace) -> int:
  """Compiles, and prints a line a topology and batch; 1 where one does not fit.

  Raises:
    FileNotFoundError: there is no such configuration.
    ValueError: a flag is not valid, or the batch does not fit the mesh.
  """
  # Compiled for, not run on: this machine's own accelerators stay untouched.
  os.environ['JAX_PLATFORMS'] = 'cpu'
  from v2a import files
  from v2a.aot import program
  from v2a.aot import search
  from v2a.aot import topologies
  from v2a.config import files as files_lib

  c = files_lib.find(args.config)
  c = files_lib.override(files_lib.tiny(c, args.overrides) if args.tiny else c, args.overrides)
  wanted = [topologies.parse(name, args.num_slices) for name in args.topology]
  sizes = args.batch_size or [c.training.batch_size]
  if args.output and (args.search or len(wanted) * len(sizes) > 1):
    raise ValueError('--output takes one executable; give one --topology, one --batch-size, no --search.')
  if args.search and len(sizes) > 1:
    raise ValueError('--search begins with one --batch-size.')
  output = args.output
  if output and not output.parent.is_dir():
    raise FileNotFoundError(f'--output {output}: there is no folder {output.parent}.')
  if output:
    files.check_replaceable(output)
  if not args.json:
    print(HEADER, flush=True)

  def show(report) -> None:
    print(json.dumps(dataclasses.asdict(report)) if args.json else _row(report), flush=True)

  def compiled(topology, size: int, remat: str = c.training.remat):
    changes = [f'--config.training.batch_size={size}', f'--config.training.remat={remat}']
    return program.compile_step(files_lib.override(c, changes), topology, output)

  all_fit = True
  for topology in wanted:
    if args.search:
      first = args.batch_size[0] if args.batch_size else program.min_batch_size(c, topology)
      best = search.largest_batch(functools.partial(compiled, topology), first, show)
      all_fit &= best is not None
      if best and not args.json:
        print(
          f'{topology.name}: {best.batch_size} clips fit, with remat {best.remat}; an eighth more do not.'
        )
      continue
    for size in sizes:
      report = compiled(topology, size)
      show(report)
      all_fit &= report.fits
  return 0 if all_fit else 1


HEADER = (
  '| config | topology | mesh | batch | remat | GB a chip: arguments + temporaries of HBM | '
  'TFLOPs a clip | GB sent a chip, by axis | '
  'compute / HBM / ICI / DCN ms | bound | highest MFU |\n' + '|---' * 11 + '|'
)


def _row(report) -> str:
  mesh = ' x '.join(f'{name} {size}' for name, size in report.mesh.items() if size > 1)
  start = [report.config, report.topology, mesh, str(report.batch_size), report.remat]
  clip = f'{report.model_flops / report.batch_size / 1e12:.2f}'
  hbm = report.hbm_bytes / 2**30
  if not report.fits:
    return _joined([*start, f'does not fit {hbm:.4g}: {report.reason[-120:]}', clip, '', '', '', ''])
  held = report.memory_bytes
  memory = f'{held["arguments"] / 2**30:.2f} + {held["temporaries"] / 2**30:.2f} of {hbm:.4g}'
  times = ' / '.join(f'{1e3 * report.times_s[name]:.1f}' for name in ('compute', 'HBM', 'ICI', 'DCN'))
  sent = ', '.join(f'{axes} {sent / 1e9:.2g}' for axes, sent in sorted(report.sent_bytes.items()))
  return _joined([*start, memory, clip, sent, times, report.bound, f'{report.highest_mfu:.0%}'])


def _joined(cells: list[str]) -> str:
  return f'| {" | ".join(cells)} |'
