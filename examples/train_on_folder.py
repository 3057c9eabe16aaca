"""Trains codec, sync model and diffusion generator on a folder of videos.

  python examples/train_on_folder.py videos/ runs/mine
  python examples/train_on_folder.py videos/ runs/try --tiny        # a shrunk model and four steps each

The same as the commands in docs/howto/train.md.
"""

import argparse
from collections.abc import Sequence
import pathlib

from data_pipelines import build
from data_pipelines import encode
from v2a.cli import main as cli


def run(code: int) -> None:
  """Stops if a step failed; it has printed why."""
  if code:
    raise SystemExit(code)


def main(argv: Sequence[str] | None = None) -> pathlib.Path:
  """Trains the models below a folder, and returns the folder of the generator."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('videos', type=pathlib.Path)
  parser.add_argument('output', type=pathlib.Path)
  parser.add_argument('--tiny', action='store_true', help='a shrunk model and four steps, to try the path')
  args = parser.parse_args(argv)
  data = args.output / 'data'
  records = data / 'train'
  codec, sync, flow = (args.output / name for name in ('codec', 'sync', 'flow'))
  tiny = ['--tiny'] if args.tiny else []

  def train(config: str, workdir: pathlib.Path, *overrides: str) -> None:
    command = ['train', '--config', config, '--workdir', str(workdir), f'--config.data.train={records}']
    run(cli.main([*command, *overrides, *tiny]))

  # 1. Cut the videos, filter the clips, and store compressed video and sound.
  run(build.main(['--source', str(args.videos), '--output', str(data)]))
  # 2. Train the codec, and store the latents of every clip beside the records.
  train('codec_synthetic', codec)
  run(encode.main(['--records', str(records), '--codec', str(codec)]))
  # 3. Train the sync model on video and latents, then the generator, which starts from both.
  train('sync_synthetic', sync)
  train('flow_synthetic', flow, f'--config.init_from.codec={codec}', f'--config.init_from.sync={sync}')
  return flow


if __name__ == '__main__':
  print(f'trained {main()}; use it with: v2a generate VIDEO --model DIR')
