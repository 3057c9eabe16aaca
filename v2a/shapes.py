"""The legend of axis letters, and a check of array shapes against array names.

The suffix of an array's name lists its axes, one letter each: `latent_BTC` has a batch, latent
steps and channels. A digit is a literal size: `frame_LYX3` ends in three colour channels. Scalars,
pytrees and structs carry no suffix.
"""

import re
from typing import Any

LEGEND = {
  'A': 'audio channels (1 mono, 2 stereo)',
  'B': 'batch',
  'C': 'latent channels',
  'D': 'model width',
  'E': 'size of one attention head',
  'F': 'features, frequency bins of a spectrum, or encoded audio of either kind (C or K)',
  'G': 'guidance branches, or grouped items',
  'H': 'attention heads',
  'I': 'input features of a linear map',
  'J': 'STFT frames',
  'K': 'codebooks',
  'L': 'video frames at the sync rate',
  'M': 'video frames at the semantic rate',
  'N': 'waveform samples in time, or members of an evaluated set',
  'O': 'output features of a linear map',
  'P': 'patches of one image',
  'Q': 'query positions',
  'R': 'mel bands',
  'S': 'key positions, or tokens of any sequence',
  'T': 'latent steps',
  'U': 'bytes or tokens of a prompt',
  'V': 'entries of a codebook or a vocabulary',
  'W': 'bytes or tokens of a transcript, words or phonemes',
  'X': 'image columns',
  'Y': 'image rows',
  'Z': 'layers',
}

_SUFFIX = re.compile(r'_([A-Z0-9]+)$')


def axes(name: str) -> str | None:
  """Returns the axis letters in an array's name, or None where it has no suffix."""
  match = _SUFFIX.search(name)
  return match.group(1) if match else None


def check(**arrays: Any) -> dict[str, int]:
  """Checks ranks and sizes of arrays against the axes in their names.

  Args:
    **arrays: arrays by their names in the caller; None is skipped.

  Returns:
    The size of every axis letter.

  Raises:
    ValueError: a rank or a size differs from what the names say.
  """
  sizes: dict[str, int] = {}
  owners: dict[str, str] = {}
  for name, array in arrays.items():
    if array is None:
      continue
    letters = axes(name)
    if letters is None:
      raise ValueError(f'{name} has no axis suffix; wanted a name such as {name}_BTC.')
    if array.ndim != len(letters):
      raise ValueError(f'{name} names {len(letters)} axes, but has shape {tuple(array.shape)}.')
    for letter, size in zip(letters, array.shape):
      if letter.isdigit():
        if size != int(letter):
          raise ValueError(f'{name} names a literal {letter}, but has shape {tuple(array.shape)}.')
      elif sizes.setdefault(letter, size) != size:
        other = owners[letter]
        raise ValueError(f'{name} has {letter}={size}, but {other} has {letter}={sizes[letter]}.')
      else:
        owners.setdefault(letter, name)
  return sizes
