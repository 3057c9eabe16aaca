"""Mono mix and resampling as in hkchengrex/av-benchmark, for audio that published networks encode.

The choice of resampler changes published metrics by more than models differ, so the filter is part of the
protocol: a sinc with a squared cosine window, the default of torchaudio's `Resample` (Smith, "Digital audio
resampling"):

  y_n = sum_m x_m h(n / r_new - m / r_old),   h(t) = c sinc(c r t) cos(pi c r t / (2 w))^2            (1)

for |c r t| < w, with r = min(r_old, r_new), w = 6 zero crossings, c = 0.99 of the lower Nyquist frequency,
scaled by c r / r_old.
"""

import functools
import math

import numpy as np

_NUM_ZERO_CROSSINGS, _ROLLOFF = 6, 0.99


def to_mono(
  wave_NA: np.ndarray, sample_rate_hz: int, target_rate_hz: int, subtract_mean: bool = True
) -> np.ndarray:
  """Returns wave_N: the mean of the channels at another rate, cut to whole samples.

  Args:
    wave_NA: waveform, full scale 1; it is not normalised.
    sample_rate_hz: its rate.
    target_rate_hz: rate of the result, which has int(duration * target_rate_hz) samples.
    subtract_mean: whether the mean over time is subtracted before resampling; not every protocol does so.
  """
  wave_N = wave_NA.astype(np.float32).mean(axis=1)
  if subtract_mean:
    wave_N = wave_N - wave_N.mean()
  num_samples = len(wave_N) * target_rate_hz // sample_rate_hz
  return resample(wave_N, sample_rate_hz, target_rate_hz)[:num_samples]


def resample(wave_N: np.ndarray, old_hz: int, new_hz: int) -> np.ndarray:
  """Returns eq. 1 in float32: ceil(samples * new_hz / old_hz) samples.

  Args:
    wave_N: samples; zeros are assumed before the first and after the last.
    old_hz: their rate.
    new_hz: rate of the result.
  """
  wave_N = np.asarray(wave_N, np.float32)
  if old_hz == new_hz:
    return wave_N
  common = math.gcd(old_hz, new_hz)
  old, new = old_hz // common, new_hz // common
  filter_NG = _filters(old, new)
  reach = (len(filter_NG) - old) // 2
  padded_N = np.pad(wave_N, (reach, reach + old))
  view_JN = np.lib.stride_tricks.sliding_window_view(padded_N, len(filter_NG))[::old]
  # In chunks: the product copies the view, which repeats every sample len(filter) / old times.
  parts = [view_JN[first : first + 4096] @ filter_NG for first in range(0, len(view_JN), 4096)]
  return np.concatenate(parts).reshape(-1)[: -(-new * len(wave_N) // old)]


@functools.lru_cache(maxsize=16)
def _filters(old: int, new: int) -> np.ndarray:
  """Returns filter_NG: one filter for each of the `new` phases within `old` samples."""
  base = min(old, new) * _ROLLOFF
  reach = math.ceil(_NUM_ZERO_CROSSINGS * old / base)
  offset_N1 = np.arange(-reach, reach + old)[:, None] / old
  time_NG = (offset_N1 - np.arange(new) / new) * base
  time_NG = np.clip(time_NG, -_NUM_ZERO_CROSSINGS, _NUM_ZERO_CROSSINGS)
  window_NG = np.cos(time_NG * np.pi / _NUM_ZERO_CROSSINGS / 2.0) ** 2
  return (np.sinc(time_NG) * window_NG * base / old).astype(np.float32)
