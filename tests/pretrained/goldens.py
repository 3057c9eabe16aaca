"""Small codecs with random weights and the outputs of published code (scripts/make_codec_goldens.py)."""

import hashlib
import json
import pathlib

import numpy as np
import safetensors.numpy

FOLDER = pathlib.Path(__file__).parent / 'goldens'
SPECS = json.loads((FOLDER / 'specs.json').read_text())


def expected(name):
  """Returns the arrays of published code with the axes of this project: channels or codebooks last."""
  arrays = safetensors.numpy.load_file(FOLDER / name / 'expected.safetensors')
  return {key: array.transpose(0, 2, 1) if array.ndim == 3 else array for key, array in arrays.items()}


def assert_close(actual, wanted):
  """Asserts that arrays are equal within 1e-5 of the largest value."""
  assert actual.shape == wanted.shape
  assert np.abs(np.asarray(actual) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def sha256(slots):
  """Returns the hash of names and shapes, as in specs.json."""
  lines = ''.join(f'{name} {list(slot.shape)}\n' for name, slot in sorted(slots.items()))
  return hashlib.sha256(lines.encode()).hexdigest()


def rewrite(path, folder, change):
  """Writes a model's folder with other tensors, and returns it.

  Args:
    path: the model.
    folder: that is written.
    change: takes the tensors by name, and changes them in place.
  """
  folder.mkdir()
  tensors = safetensors.numpy.load_file(path / 'model.safetensors')
  change(tensors)
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  (folder / 'config.json').write_bytes((path / 'config.json').read_bytes())
  return folder
