"""Writes zip.pt and stream.pt, the two formats of torch.save, beside this file; needs torch and numpy.

  python tests/models/published/goldens/torchfile.py

Made with torch 2.13.0. Run it again when test_torchfile needs other tensors.
"""

import collections
import pathlib
import random

import numpy as np
import torch


def content() -> dict:
  """Returns tensors of several types and layouts, among other objects."""
  whole_23 = torch.arange(6, dtype=torch.float32).reshape(2, 3)
  model = collections.OrderedDict(
    {
      'net.whole': whole_23,
      'net.turned': whole_23.T,
      'net.row': whole_23[1],
      'net.half': torch.tensor([0.5, -2.0], dtype=torch.float16),
      'net.brain': torch.tensor([1.5, 3.0], dtype=torch.bfloat16),
      'net.count': torch.tensor(7),
      'net.parameter': torch.nn.Parameter(torch.tensor([1.0, 2.0])),
    }
  )
  # torch.nn.Module.state_dict sets this attribute on its result.
  model._metadata = collections.OrderedDict({'': {'version': 1}})
  sampler = {'indexes': np.arange(3), 'random': random.Random(0), 'pointer': 4}
  return {'iteration': 5, 'model': model, 'sampler': sampler, 'path': pathlib.PurePosixPath('x')}


if __name__ == '__main__':
  folder = pathlib.Path(__file__).parent
  torch.save(content(), folder / 'zip.pt')
  torch.save(content(), folder / 'stream.pt', _use_new_zipfile_serialization=False)
