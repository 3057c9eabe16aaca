"""Generates audio for a video and writes the sample with the highest score.

python examples/generate.py clip.mp4 out/ --prompt 'a wooden ball bounces on the floor'
"""

import argparse
from collections.abc import Sequence
import pathlib

import v2a


def main(argv: Sequence[str] | None = None) -> pathlib.Path:
  """Writes a .wav file and a video into a folder, and returns the video."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('video', type=pathlib.Path)
  parser.add_argument('output', type=pathlib.Path)
  parser.add_argument('--prompt')
  parser.add_argument('--model', default='default', help='name of a packaged model, or a folder')
  parser.add_argument('--num-samples', type=int, default=4)
  args = parser.parse_args(argv)

  pipeline = v2a.load(args.model)
  soundtracks = pipeline.generate(args.video, prompt=args.prompt, num_samples=args.num_samples)
  for soundtrack in soundtracks:
    print(f'sample {soundtrack.index}: score {soundtrack.score:.3f}, {soundtrack.duration_s:.2f} s')

  best = max(soundtracks, key=lambda soundtrack: soundtrack.score)
  args.output.mkdir(parents=True, exist_ok=True)
  best.save(args.output / f'{args.video.stem}.wav')
  return best.mux(args.video, args.output / f'{args.video.stem}.mp4')


if __name__ == '__main__':
  print(main())
