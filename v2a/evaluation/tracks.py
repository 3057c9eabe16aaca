"""Continuous measures of a wave: level, pitch, place between the channels, lag of a curve to another.

All tracks have TRACK_HZ values a second; value k belongs to t = k / TRACK_HZ.
"""

import numpy as np
from scipy import ndimage

from v2a.evaluation import spectra

TRACK_HZ = 100
_HOP = spectra.RATE_HZ // TRACK_HZ
_PITCH_WINDOW_SAMPLES = 1024


def correlate(a_N: np.ndarray, b_N: np.ndarray) -> float | None:
  """Returns Pearson's correlation, or None where a side is constant or has fewer than three values."""
  a_N, b_N = np.asarray(a_N, np.float64), np.asarray(b_N, np.float64)
  if a_N.shape != b_N.shape:
    raise ValueError(f'a correlation needs two tracks of one length; got {a_N.shape} and {b_N.shape}.')
  if len(a_N) < 3 or np.ptp(a_N) < 1e-9 or np.ptp(b_N) < 1e-9:
    return None
  return float(np.corrcoef(a_N, b_N)[0, 1])


def level(wave_NA: np.ndarray, num_frames: int, smooth_s: float = 0.2, low_hz: float = 0.0) -> np.ndarray:
  """Returns the RMS amplitude over channels, smoothed, as level_J.

  Args:
    wave_NA: the sound at spectra.RATE_HZ.
    num_frames: wanted values; a longer wave is cut, a shorter one continues in silence.
    smooth_s: width of the moving average of the power in seconds.
    low_hz: content below this frequency is left out.
  """
  if low_hz:
    wave_NA = _high_pass(wave_NA, low_hz)
  power_N = (wave_NA**2).mean(axis=1)
  power_N = np.pad(power_N, (0, max(0, num_frames * _HOP - len(power_N))))
  sum_N = np.concatenate([[0.0], np.cumsum(power_N)])
  half = max(1, int(smooth_s * spectra.RATE_HZ / 2))
  centre_J = np.arange(num_frames) * _HOP
  first_J, last_J = np.maximum(centre_J - half, 0), np.minimum(centre_J + half, len(power_N))
  return np.sqrt(np.clip((sum_N[last_J] - sum_N[first_J]) / (last_J - first_J), 0.0, None))


def _high_pass(wave_NA: np.ndarray, low_hz: float) -> np.ndarray:
  spectrum_FA = np.fft.rfft(wave_NA, axis=0)
  hz_F = np.fft.rfftfreq(len(wave_NA), 1.0 / spectra.RATE_HZ)
  # A cosine edge of an octave: a hard one would ring into the silence before an onset.
  edge_F = np.clip((hz_F / low_hz - 0.5) / 0.5, 0.0, 1.0)
  return np.fft.irfft(spectrum_FA * np.sin(0.5 * np.pi * edge_F)[:, None] ** 2, len(wave_NA), axis=0)


def pitch(
  wave_NA: np.ndarray,
  num_frames: int,
  low_hz: float = 50.0,
  high_hz: float = 300.0,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the fundamental frequency in Hz as pitch_J and how periodic the sound is, 0 to 1, as clarity_J.

  The normalised autocorrelation of McLeod and Wyvill 2005 ("A smarter way to find pitch"): 2 r(l) / m(l),
  the first peak that reaches 0.85 of the highest, parabola through its neighbours, then a median over 90 ms.

  Args:
    wave_NA: the sound at spectra.RATE_HZ.
    num_frames: wanted values.
    low_hz: lowest pitch that is looked for.
    high_hz: highest.
  """
  wave_N = wave_NA.mean(axis=1)
  size = _PITCH_WINDOW_SAMPLES
  wave_N = np.pad(wave_N, (size // 2, max(0, num_frames * _HOP - len(wave_N)) + size))
  view_JN = np.lib.stride_tricks.sliding_window_view(wave_N, size)[::_HOP][:num_frames]
  view_JN = view_JN - view_JN.mean(axis=1, keepdims=True)
  auto_JN = np.fft.irfft(np.abs(np.fft.rfft(view_JN, 2 * size, axis=1)) ** 2, axis=1)[:, :size]
  square_JN = np.cumsum(view_JN**2, axis=1)
  total_J1 = square_JN[:, -1:]
  # m(l) is the energy of the first and of the last size - l samples, the two sides of the overlap.
  before_JN = np.concatenate([np.zeros_like(total_J1), square_JN[:, :-1]], axis=1)
  energy_JN = total_J1 - before_JN + square_JN[:, ::-1]
  score_JN = 2.0 * auto_JN / (energy_JN + 1e-9)
  pitch_J, clarity_J = np.zeros(num_frames), np.zeros(num_frames)
  first, last = int(spectra.RATE_HZ / high_hz), int(np.ceil(spectra.RATE_HZ / low_hz)) + 1
  for j, score_N in enumerate(score_JN):
    pitch_J[j], clarity_J[j] = _first_peak(score_N, first, last)
  return ndimage.median_filter(pitch_J, 9, mode='nearest'), clarity_J


def _first_peak(score_N: np.ndarray, first: int, last: int) -> tuple[float, float]:
  part_N = score_N[first:last]
  inner_N = part_N[1:-1]
  at_N = np.flatnonzero((inner_N >= part_N[:-2]) & (inner_N > part_N[2:])) + 1
  if not len(at_N):
    return 0.0, 0.0
  best = part_N[at_N].max()
  lag = at_N[np.flatnonzero(part_N[at_N] >= 0.85 * best)[0]]
  left, here, right = part_N[lag - 1], part_N[lag], part_N[lag + 1]
  curve = left - 2.0 * here + right
  shift = 0.5 * (left - right) / curve if curve else 0.0
  return spectra.RATE_HZ / (first + lag + shift), float(max(here, 0.0))


def balance(
  wave_NA: np.ndarray, start_s: float, duration_s: float, low_hz: float = 0.0
) -> tuple[float, float]:
  """Returns where the sound sits between the channels, -1 left to 1 right, and its energy, in a stretch of time.

  The place is that of a constant-power pan: with amplitudes l and r it is 4/pi * atan2(r, l) - 1, so that a
  source panned by (cos, sin) of (x + 1) pi / 4 gives back x.

  Args:
    wave_NA: two channels at spectra.RATE_HZ.
    start_s: beginning of the stretch.
    duration_s: its length.
    low_hz: content below this frequency is left out.
  """
  if wave_NA.shape[1] != 2:
    raise ValueError(f'a balance needs two channels; got {wave_NA.shape[1]}.')
  first = max(0, int(start_s * spectra.RATE_HZ))
  part_NA = wave_NA[first : first + max(1, int(duration_s * spectra.RATE_HZ))]
  if low_hz and len(part_NA):
    part_NA = _high_pass(part_NA, low_hz)
  left, right = np.sqrt((part_NA**2).sum(axis=0)) if len(part_NA) else (0.0, 0.0)
  return float(np.arctan2(right, left) * 4.0 / np.pi - 1.0), float(left**2 + right**2)


def lag(reference_J: np.ndarray, track_J: np.ndarray, limit_s: float = 0.5) -> float:
  """Returns by how many seconds `track_J` comes after `reference_J`, where their correlation is highest.

  A track without any variation has no lag; it counts as the limit.
  """
  if np.ptp(track_J) < 1e-9 or np.ptp(reference_J) < 1e-9:
    return limit_s
  best, best_s = -np.inf, limit_s
  limit = int(round(limit_s * TRACK_HZ))
  for shift in sorted(range(-limit, limit + 1), key=abs):
    a_J = reference_J[max(0, -shift) : len(reference_J) - max(0, shift)]
    b_J = track_J[max(0, shift) : len(track_J) + min(0, shift)]
    score = correlate(a_J, b_J)
    if score is not None and score > best + 1e-9:
      best, best_s = score, shift / TRACK_HZ
  return best_s
