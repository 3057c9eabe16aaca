"""Peak and RMS level of a waveform, computed in blocks so that long waveforms need no copy."""

import numpy as np

_BLOCK_SAMPLES = 1 << 16


def peak(wave_NA: np.ndarray) -> float:
  """Returns the largest absolute value; 0 for an empty wave."""
  return max(float(wave_NA.max(initial=0.0)), -float(wave_NA.min(initial=0.0)))


def rms(wave_NA: np.ndarray) -> float:
  """Returns the root mean square over all samples and channels; 0 for an empty wave."""
  blocks = (wave_NA[start : start + _BLOCK_SAMPLES] for start in range(0, len(wave_NA), _BLOCK_SAMPLES))
  total = sum(float(np.sum(np.square(block_NA, dtype=np.float64))) for block_NA in blocks)
  return float(np.sqrt(total / max(wave_NA.size, 1)))
