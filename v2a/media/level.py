"""How loud a wave is, measured without a copy of it, so that long sounds cost no memory."""

import numpy as np

_PIECE_SAMPLES = 1 << 16


def peak(wave_NA: np.ndarray) -> float:
  """Returns the largest absolute value; 0 for an empty wave."""
  return max(float(wave_NA.max(initial=0.0)), -float(wave_NA.min(initial=0.0)))


def rms(wave_NA: np.ndarray) -> float:
  """Returns the root mean square over all samples and channels; 0 for an empty wave."""
  pieces = (wave_NA[start : start + _PIECE_SAMPLES] for start in range(0, len(wave_NA), _PIECE_SAMPLES))
  total = sum(float(np.sum(np.square(piece_NA, dtype=np.float64))) for piece_NA in pieces)
  return float(np.sqrt(total / max(wave_NA.size, 1)))
