"""Measures `v2a generate` as a whole process: wall time and peak memory.

  python benchmarks/generate.py [--model default] [--seconds 8 300]

For each duration a synthetic video is rendered, and the program is run twice on it, so that the second run
uses the compilation cache. Prints for the second run: wall time of the process, of reading, sampling,
decoding and ranking (warm), and the peak of resident memory.
"""

from collections.abc import Iterator
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from v2a import entry_point
from v2a import flags
from v2a.media import frame_encoder
from v2a.synthetic import clips

FPS, SIZE = 25, 256


def render(duration_s: float) -> Iterator[np.ndarray]:
  """Yields the frames of consecutive synthetic clips of the given duration."""
  left, index = round(duration_s * FPS), 0
  while left:
    clip = clips.render(99, index, ('bounce', 'strike', 'engine', 'dialogue'), 'clean', 4.0, FPS, SIZE)
    yield from clip.frame_LYX3[:left]
    left -= min(left, len(clip.frame_LYX3))
    index += 1


def run(path: pathlib.Path, model: str, output: pathlib.Path) -> dict:
  """Returns wall time, peak memory and the manifest of one process."""
  command = [sys.executable, '-m', 'v2a', 'generate', str(path)]
  command += ['--model', model, '--output', str(output), '--json']
  start_s = time.perf_counter()
  process = subprocess.Popen(command, stdout=subprocess.PIPE)
  out = process.stdout.read()
  _, status, usage = os.wait4(process.pid, 0)
  wall_s = time.perf_counter() - start_s
  if status:
    raise SystemExit(f'v2a generate failed on {path.name}')
  return {'wall_s': wall_s, 'peak_mb': usage.ru_maxrss / 1024, 'manifest': json.loads(out)}


def _run(argv: list[str] | None) -> int:
  """Prints one line per duration."""
  parser = flags.Parser(prog='generate.py', description=__doc__.splitlines()[0])
  flags.add_model(parser)
  parser.add_argument(
    '--seconds', type=flags.duration_s, nargs='+', default=[8, 300], metavar='S', help='durations (8 300)'
  )
  args = parser.parse_args(argv)
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    for seconds in args.seconds:
      path = root / f'{seconds:g}s.mp4'
      frame_encoder.write(path, render(seconds), FPS, {'preset': 'ultrafast'})
      run(path, args.model, root / 'first')
      found = run(path, args.model, root / 'second')
      timings = found['manifest']['timings_s']
      warm_s = sum(timings[name] for name in ('read', 'sample', 'decode', 'rank'))
      print(
        f'{seconds:6g} s: process {found["wall_s"]:.1f} s, generation {warm_s:.1f} s '
        f'({", ".join(f"{name} {value:.2f}" for name, value in timings.items())}), '
        f'peak {found["peak_mb"]:.0f} MB'
      )
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('generate.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
