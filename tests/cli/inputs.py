"""Bad inputs of `v2a generate`, and the flags of its quickest run."""

import pathlib

import numpy as np
from PIL import Image
import soundfile

RATE_HZ = 16000
QUICK = ('--steps', '1', '--solver', 'euler')


def damaged(name: str, folder: pathlib.Path, video: pathlib.Path) -> pathlib.Path:
  """Makes a bad input of a name."""
  path = folder / name
  whole = video.read_bytes()
  if name == 'empty.mp4':
    path.write_bytes(b'')
  elif name == 'text.mp4':
    path.write_text('This is no video.\n' * 50)
  elif name == 'cut.mp4':
    path.write_bytes(whole[: len(whole) // 3])
  elif name == 'random.mp4':
    path.write_bytes(np.random.default_rng(0).bytes(20000))
  elif name == 'sound.wav':
    soundfile.write(path, np.zeros((RATE_HZ, 1), np.float32), RATE_HZ)
  elif name == 'dangling.mp4':
    path.symlink_to(folder / 'nowhere.mp4')
  elif name == 'folder.mp4':
    path.mkdir()
  elif name == 'still.png':
    Image.new('RGB', (32, 24), 'red').save(path)
  return path
