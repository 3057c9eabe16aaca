"""Writes a page about a data set: counts, filters with their thresholds, clips with players, rejected clips.

  python -m data_pipelines.report DIR

DIR is a finished data set, see `data_pipelines.pipeline`. The page is one HTML file of at most 20 MB,
DIR/report.html by default; a file that v2a did not write is not overwritten. Annotations are those of the
columns beside the records, where there are some (`data_pipelines.annotate_records`). Memory does not depend
on the number of clips.
"""

import argparse
from collections.abc import Callable
import pathlib

from data_pipelines import layout as layout_lib
from data_pipelines import pipeline
from data_pipelines import runner
from data_pipelines.reporting import annotated as annotated_lib
from data_pipelines.reporting import cards
from data_pipelines.reporting import page
from data_pipelines.reporting import statistics
from v2a import entry_point
from v2a import files
from v2a import flags
from v2a import termination

PAGE = 'report.html'
NUM_CLIPS = 24


def write(
  output: pathlib.Path,
  path: pathlib.Path | None = None,
  num_clips: int = NUM_CLIPS,
  report: Callable[[str], None] = runner.stderr,
) -> pathlib.Path:
  """Writes the page of a data set, and returns its file.

  Args:
    output: folder of the set.
    path: of the page; None is PAGE in the folder of the set.
    num_clips: clips with players, at most `cards.MAX_CLIPS`.
    report: takes lines of progress.

  Raises:
    FileExistsError: path is a file that v2a did not write.
    FileNotFoundError: there is no data set, or a part of it is missing.
    ValueError: a part of it has another format, or has changed.
  """
  path = output / PAGE if path is None else path
  manifest = pipeline.read_manifest(output)
  files.check_replaceable(path)
  if not path.parent.is_dir():
    raise FileNotFoundError(f'{path.parent} is no folder; {path.name} cannot be written there.')
  layout = layout_lib.Layout(output)
  annotated = annotated_lib.read(layout, manifest)
  manifest = annotated_lib.updated(manifest, annotated)
  found = statistics.read(layout, manifest, num_clips, report, annotated)
  shown = cards.make(layout, found.shown(num_clips), report, annotated=annotated)
  files.write_text(path, page.render(output.resolve().name, manifest, found, shown))
  return path


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Returns the flags."""
  parser = flags.Parser(prog='python -m data_pipelines.report', description=__doc__.split('\n')[0])
  parser.add_argument('data_set', type=flags.local_path, metavar='DIR', help='folder of a data set')
  parser.add_argument('--output', type=flags.local_path, metavar='FILE', help=f'the page (DIR/{PAGE})')
  parser.add_argument(
    '--clips',
    type=flags.number(int, 0, cards.MAX_CLIPS),
    default=NUM_CLIPS,
    metavar='N',
    help=f'clips with players, 0 to {cards.MAX_CLIPS} (%(default)s)',
  )
  return parser.parse_args(argv)


def _run(argv: list[str] | None) -> int:
  args = parse(argv)
  path = write(args.data_set, args.output, args.clips)
  print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code."""
  return entry_point.run('data_pipelines.report', lambda: _run(argv))


if __name__ == '__main__':
  termination.exit_program(main())
