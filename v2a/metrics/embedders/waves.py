"""Sounds as hkchengrex/av-benchmark loads them: its mix, its offset, its resampler.

Resampling alone moves published figures by more than models differ, so the filter is part of the protocol:
a sinc under a squared cosine, as torchaudio's `Resample` by default (Smith, "Digital audio resampling"):

  y_n = sum_m x_m h(n / r_new - m / r_old),   h(t) = c sinc(c r t) cos(pi c r t / (2 w))^2            (1)

for |c r t| < w, with r = min(r_old, r_new), w = 6 zero crossings, c = 0.99 of the lower Nyquist frequency,
scaled by c r / r_old.
"""

import functools
import math

import numpy as np

_WIDTH, _ROLLOFF = 6, 0.99


def mono(wave_NA: np.ndarray, sample_rate_hz: int, wanted_hz: int, is_centred: bool = True) -> np.ndarray:
  """Returns wave_N: the mean over channels less its own mean, at another rate, cut to whole samples.

  Args:
    wave_NA: full scale 1; nothing is normalised.
    sample_rate_hz: its rate.
    wanted_hz: rate of the result, which has int(duration * wanted_hz) samples.
    is_centred: whether the mean over time is taken away (before resampling), which not every protocol does.
  """
  wave_N = wave_NA.astype(np.float32).mean(axis=1)
  if is_centred:
    wave_N = wave_N - wave_N.mean()
  num_samples = len(wave_N) * wanted_hz // sample_rate_hz
  return resample(wave_N, sample_rate_hz, wanted_hz)[:num_samples]


def resample(wave_N: np.ndarray, old_hz: int, new_hz: int) -> np.ndarray:
  """Returns eq. 1 in float32: ceil(samples * new_hz / old_hz) samples.

  Args:
    wave_N: samples; what lies beyond both ends is silence.
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
  # A part at a time: the view repeats every sample len(filter) / old times once it is multiplied.
  parts = [view_JN[first : first + 4096] @ filter_NG for first in range(0, len(view_JN), 4096)]
  return np.concatenate(parts).reshape(-1)[: -(-new * len(wave_N) // old)]


@functools.lru_cache(maxsize=16)
def _filters(old: int, new: int) -> np.ndarray:
  """Returns one filter for each of the `new` places between two steps of `old` samples, as filter_NG."""
  base = min(old, new) * _ROLLOFF
  reach = math.ceil(_WIDTH * old / base)
  offset_N1 = np.arange(-reach, reach + old)[:, None] / old
  time_NG = np.clip((offset_N1 - np.arange(new) / new) * base, -_WIDTH, _WIDTH)
  window_NG = np.cos(time_NG * np.pi / _WIDTH / 2.0) ** 2
  return (np.sinc(time_NG) * window_NG * base / old).astype(np.float32)
