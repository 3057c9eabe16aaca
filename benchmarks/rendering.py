"""Measures the rendering speed of the synthetic set.

  python benchmarks/rendering.py [--num-clips N] [--size S]

Prints clips of 4 s per minute and core for every scene, at the rates of records (25 frames per second, 16
kHz). Times are CPU times, so that other load on the machine does not affect them.
"""

import argparse
import time

from v2a.synthetic import clips


def main():
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--num-clips', type=int, default=8, help='clips per scene')
  parser.add_argument('--size', type=int, default=48, help='height and width in pixels')
  args = parser.parse_args()
  for scene in (*clips.SCENES, 'all'):
    names = None if scene == 'all' else (scene,)
    count = args.num_clips * (8 if scene == 'all' else 1)
    clips.render(1, 0, names, frame_size=args.size)
    start_s = time.process_time()
    for index in range(count):
      clips.render(1, index + 1, names, frame_size=args.size)
    seconds = (time.process_time() - start_s) / count
    print(f'{scene:<9} {seconds * 1000:7.1f} ms per clip {60 / seconds:8.0f} clips/min')


if __name__ == '__main__':
  main()
