"""Measures `v2a generate` as its users meet it: whole processes, wall time, peak memory.

  python benchmarks/generate.py [--model world] [--seconds 8 300]

For each length a video is made from the procedural world; the program runs twice on it, so that the
second run finds its compiled programs on disk. Prints, for the second run: wall time of the process,
of loading and drawing (warm), and the peak of resident memory.
"""

import argparse
import fractions
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import av

from v2a.synthetic import clips

FPS, SIZE = 25, 256


def film(path: pathlib.Path, duration_s: float) -> None:
  """Writes a video of the world, clip after clip, of the given length."""
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=fractions.Fraction(FPS), options={'preset': 'ultrafast'})
    stream.width = stream.height = SIZE
    stream.pix_fmt = 'yuv420p'
    left, index = round(duration_s * FPS), 0
    while left:
      shown = clips.render(99, index, ('bounce', 'strike', 'engine', 'dialogue'), 'clean', 4.0, FPS, SIZE)
      for frame_YX3 in shown.frame_LYX3[:left]:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_YX3, format='rgb24')))
      left -= min(left, len(shown.frame_LYX3))
      index += 1
    container.mux(stream.encode(None))


def run(path: pathlib.Path, model: str, output: pathlib.Path) -> dict:
  """Returns wall seconds, peak bytes and the manifest of one process."""
  flags = ['--model', model, '--output', str(output), '--json']
  command = [sys.executable, '-m', 'v2a', 'generate', str(path), *flags]
  start_s = time.perf_counter()
  process = subprocess.Popen(command, stdout=subprocess.PIPE)
  out = process.stdout.read()
  _, status, usage = os.wait4(process.pid, 0)
  wall_s = time.perf_counter() - start_s
  if status:
    raise SystemExit(f'v2a generate failed on {path.name}')
  return {'wall_s': wall_s, 'peak_mb': usage.ru_maxrss / 1024, 'manifest': json.loads(out)}


def main():
  """Prints one line a length."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--model', default='world')
  parser.add_argument('--seconds', type=float, nargs='+', default=[8, 300])
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    for seconds in args.seconds:
      path = root / f'{seconds:g}s.mp4'
      film(path, seconds)
      run(path, args.model, root / 'first')
      found = run(path, args.model, root / 'second')
      timings = found['manifest']['timings_s']
      warm_s = sum(timings[name] for name in ('read', 'sample', 'decode', 'rank'))
      print(
        f'{seconds:6g} s: process {found["wall_s"]:.1f} s, drawing {warm_s:.1f} s '
        f'({", ".join(f"{name} {value:.2f}" for name, value in timings.items())}), '
        f'peak {found["peak_mb"]:.0f} MB'
      )


if __name__ == '__main__':
  main()
