"""Retrieval by spectral distance: whether the true sound nearest to a generated one is that of its clip.

  d(a, b) = mean over frames j and bands r of |log_mel(a)_jr - log_mel(b)_jr|            (1)

with spectra.log_mel of the mono mix. Frames are compared at equal times and without level normalization, so
that (1) depends on timing and level as well as on timbre. No learned weights. All waveforms are at
spectra.RATE_HZ.
"""

from collections.abc import Sequence

import numpy as np

from v2a import shapes
from v2a.metrics import spectra


def pairwise_distances(a_waves: Sequence[np.ndarray], b_waves: Sequence[np.ndarray]) -> np.ndarray:
  """Returns eq. 1 of every pair: a row per sound of `a_waves`, a column per sound of `b_waves`.

  Args:
    a_waves, b_waves: at least one wave_NA each, all of the same length; the numbers of channels may differ.

  Raises:
    ValueError: the lengths differ.
  """
  lengths = {len(wave_NA) for wave_NA in (*a_waves, *b_waves)}
  if len(lengths) > 1:
    raise ValueError(f'sounds to compare must have one length; got {sorted(lengths)} samples.')
  b_NJR = np.stack([_mel(wave_NA) for wave_NA in b_waves])
  # One row at a time, for memory: all pairs of forty clips are 1600 spectrograms.
  return np.stack([np.abs(b_NJR - _mel(wave_NA)).mean(axis=(1, 2)) for wave_NA in a_waves])


def _mel(wave_NA: np.ndarray) -> np.ndarray:
  return spectra.log_mel(wave_NA.mean(axis=1))


def top1_retrieval_accuracy(distance_NN: np.ndarray) -> float:
  """Returns the share of rows whose smallest distance is on the diagonal; the chance level is 1 / N.

  Args:
    distance_NN: row k and column k are of the same clip, see `pairwise_distances`.
  """
  shapes.check(distance_NN=distance_NN)
  return float((distance_NN.argmin(axis=1) == np.arange(len(distance_NN))).mean())
