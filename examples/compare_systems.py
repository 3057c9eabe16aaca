"""Compares two systems on the same clips: metrics with intervals, and paired tests of their differences.

  python examples/compare_systems.py default default:tokens --num-clips 16
  python examples/compare_systems.py my_model other_system_wavs/ --data videos/

A system is a model by name or folder, with :GENERATOR for another generator than its first, or a folder of
wav files. `v2a compare` does the same and writes a report with plots and players.
"""

import argparse
from collections.abc import Sequence

import v2a


def main(argv: Sequence[str] | None = None) -> dict:
  """Prints the metrics of both systems, and returns the whole result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('systems', nargs=2)
  parser.add_argument(
    '--data', default='synthetic:31337', help='synthetic clips of a seed, or a folder of videos'
  )
  parser.add_argument('--num-clips', type=int, default=16)
  args = parser.parse_args(argv)

  result = v2a.compare(args.systems, args.data, num_clips=args.num_clips)
  (first, mine), (second, other) = result['models'].items()
  print(f'{"":28}{first:>12}{second:>12}')
  for group in v2a.metrics.GROUPS:
    marks = result['differences'][second].get(group, {})
    for name, entry in mine[group].items():
      value, other_value = entry['value'], other[group][name]['value']
      if value is not None and other_value is not None:
        mark = marks[name]['mark'] if name in marks else ''
        print(f'{name:28}{value:12.3f}{other_value:12.3f} {mark}')
  return result


if __name__ == '__main__':
  main()
