"""Measures the rendering speed of the synthetic set.

  python benchmarks/rendering.py [--num-clips N] [--size S]

Prints clips of 4 s per minute and core for every scene, at the rates of records (25 frames per second, 16
kHz). Times are CPU times, so that other load on the machine does not affect them.
"""

import sys
import time

from v2a import entry_point
from v2a import flags
from v2a.synthetic import clips


def _run(argv: list[str] | None) -> int:
  """Prints the table."""
  parser = flags.Parser(prog='rendering.py', description=__doc__.splitlines()[0])
  parser.add_argument('--num-clips', type=flags.count, default=8, help='clips per scene (%(default)s)')
  parser.add_argument(
    '--size', type=flags.number(int, 4), default=48, help='height and width in pixels (%(default)s)'
  )
  args = parser.parse_args(argv)
  for scene in (*clips.SCENES, 'all'):
    names = None if scene == 'all' else (scene,)
    count = args.num_clips * (8 if scene == 'all' else 1)
    clips.render(1, 0, names, frame_size=args.size)
    start_s = time.process_time()
    for index in range(count):
      clips.render(1, index + 1, names, frame_size=args.size)
    seconds = (time.process_time() - start_s) / count
    print(f'{scene:<9} {seconds * 1000:7.1f} ms per clip {60 / seconds:8.0f} clips/min')
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('rendering.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
