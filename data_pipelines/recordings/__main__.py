"""Fetches recorded sounds with clean licences, as training data of codecs.

  python -m data_pipelines.recordings --output recordings/
  python -m data_pipelines.recordings --output recordings/ --packages downloads/

The Debian packages of `packages.PINS` are fetched by apt-get, which needs no root and installs nothing, or
are read from a folder. Their sounds under CC0, CC-BY and MIT become FLAC files with a manifest, which
`v2a data build --source audio_only:recordings/manifest.jsonl` reads; see `output` and `sounds`.

The exit code is 0; 2 if the input is wrong. An interrupted run continues with the same command.
"""

import argparse
import pathlib
import sys

from data_pipelines.recordings import output
from data_pipelines.recordings import packages as packages_lib
from v2a import entry_point
from v2a import flags
from v2a import termination


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Returns the flags of a command line. Raises ValueError where they are wrong."""
  parser = flags.Parser(
    prog='python -m data_pipelines.recordings',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('--output', type=flags.local_path, required=True, help='folder of the recordings')
  parser.add_argument(
    '--packages', type=flags.local_path, metavar='DIR', help='folder with the .deb files, instead of apt-get'
  )
  parser.add_argument(
    '--only', metavar='NAME,...', help=f'these packages; default all: {", ".join(packages_lib.PINS)}'
  )
  parser.add_argument(
    '--accept-rebuilt',
    action='store_true',
    help='accept files in --packages that have a pinned version and other bytes, such as those of Ubuntu',
  )
  args = parser.parse_args(argv)
  args.only = tuple(args.only.split(',')) if args.only else tuple(packages_lib.PINS)
  unknown = [name for name in args.only if name not in packages_lib.PINS]
  if unknown or len(set(args.only)) < len(args.only):
    raise ValueError(
      f'--only must name packages of {", ".join(packages_lib.PINS)}; got {",".join(args.only)}.'
    )
  return args


def _packages(args: argparse.Namespace) -> list[packages_lib.Package]:
  if args.packages is not None:
    return packages_lib.of_folder(args.only, args.packages, args.accept_rebuilt)
  return packages_lib.fetch(args.only, args.output / 'packages')


def _run(argv: list[str] | None) -> int:
  args = parse(argv)
  folder: pathlib.Path = args.output
  if args.packages is not None:
    _packages(args)  # before anything is written
  output.begin(folder, args.only)
  state = output.read_state(folder)
  if state is None or not state['is_complete']:
    found = _packages(args)
    for package in found:
      if not package.is_pinned:
        print(f'{package.name} {package.version}: not the file this was tested with', file=sys.stderr)
    state = output.write(folder, found)
  print('\n'.join(output.summary_lines(state)))
  print(f'{folder}: {sum(row["num_files"] for row in state["totals"])} files')
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code; see the module."""
  return entry_point.run(
    'data_pipelines.recordings', lambda: _run(argv), 'interrupted; the same command continues'
  )


if __name__ == '__main__':
  termination.exit_program(main())
