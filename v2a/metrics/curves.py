"""Curves over time of a waveform: level and pitch; also stereo position, correlation and lag of two curves.

All curves have CURVE_HZ values per second; value k is at t = k / CURVE_HZ.
"""

import numpy as np

from v2a.metrics import spectra

CURVE_HZ = 100
_HOP = spectra.RATE_HZ // CURVE_HZ
_PITCH_WINDOW_SAMPLES = 1024
_PITCHES_PER_OCTAVE = 48


def correlate(a_N: np.ndarray, b_N: np.ndarray) -> float | None:
  """Returns Pearson's correlation; None where one side is constant or has fewer than three values.

  Raises:
    ValueError: their lengths differ.
  """
  a_N, b_N = np.asarray(a_N, np.float64), np.asarray(b_N, np.float64)
  if a_N.shape != b_N.shape:
    raise ValueError(f'a correlation needs two curves of the same length; got {a_N.shape} and {b_N.shape}.')
  if len(a_N) < 3 or np.ptp(a_N) < 1e-9 or np.ptp(b_N) < 1e-9:
    return None
  return float(np.corrcoef(a_N, b_N)[0, 1])


def level(wave_NA: np.ndarray, num_frames: int, smooth_s: float = 0.2) -> np.ndarray:
  """Returns the RMS amplitude over channels, smoothed, as level_J.

  Args:
    wave_NA: the sound at spectra.RATE_HZ.
    num_frames: number of values; a longer wave is truncated, a shorter one padded with silence.
    smooth_s: width of the moving average of the power in seconds.
  """
  power_N = (wave_NA**2).mean(axis=1)
  power_N = np.pad(power_N, (0, max(0, num_frames * _HOP - len(power_N))))
  sum_N = np.concatenate([[0.0], np.cumsum(power_N)])
  half = max(1, int(smooth_s * spectra.RATE_HZ / 2))
  centre_J = np.arange(num_frames) * _HOP
  first_J, last_J = np.maximum(centre_J - half, 0), np.minimum(centre_J + half, len(power_N))
  return np.sqrt(np.clip((sum_N[last_J] - sum_N[first_J]) / (last_J - first_J), 0.0, None))


def pitch(
  wave_NA: np.ndarray,
  num_frames: int,
  low_hz: float = 50.0,
  high_hz: float = 300.0,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the fundamental frequency in Hz as pitch_J and its periodicity, 0 to 1, as clarity_J.

  Generalized autocorrelation of windows, with the magnitude spectrum to the power 1 instead of 2, so that a
  few strong notes do not mask many weak harmonics (Tolonen and Karjalainen 2000, "A computationally
  efficient multipitch analysis model"), interpolated on a logarithmic grid of pitches. The Viterbi path
  through the grid is refined by parabolic interpolation.

  Args:
    wave_NA: the sound at spectra.RATE_HZ.
    num_frames: number of values.
    low_hz: lowest pitch of the grid.
    high_hz: highest pitch of the grid.
  """
  size = _PITCH_WINDOW_SAMPLES
  wave_N = wave_NA.mean(axis=1)
  wave_N = np.pad(wave_N, (size // 2, max(0, num_frames * _HOP - len(wave_N)) + size))
  view_JN = np.lib.stride_tricks.sliding_window_view(wave_N, size)[::_HOP][:num_frames]
  spectrum_JF = np.abs(np.fft.rfft(view_JN * np.hanning(size), 2 * size, axis=1))
  auto_JN = np.fft.irfft(spectrum_JF, axis=1)[:, :size]
  num_pitches = int(np.log2(high_hz / low_hz) * _PITCHES_PER_OCTAVE) + 1
  hz_Q = low_hz * 2.0 ** (np.arange(num_pitches) / _PITCHES_PER_OCTAVE)
  lag_Q = spectra.RATE_HZ / hz_Q
  whole_Q = lag_Q.astype(int)
  part_Q = lag_Q - whole_Q
  score_JQ = auto_JN[:, whole_Q] * (1 - part_Q) + auto_JN[:, whole_Q + 1] * part_Q
  score_JQ = score_JQ / (auto_JN[:, :1] + 1e-6)
  path_J = _viterbi_path(score_JQ)
  pitch_J = np.array([_parabolic_peak(score_Q, hz_Q, best) for score_Q, best in zip(score_JQ, path_J)])
  return pitch_J, np.clip(score_JQ[np.arange(num_frames), path_J], 0.0, 1.0)


def _viterbi_path(score_JQ: np.ndarray, max_step: int = 4, penalty: float = 0.03) -> np.ndarray:
  """Returns the Viterbi path: per frame the column, with the largest sum of scores minus penalty * |step|."""
  num_frames, num_pitches = score_JQ.shape
  best_Q, backpointer_JQ = score_JQ[0].copy(), np.zeros(score_JQ.shape, int)
  step_G = np.arange(-max_step, max_step + 1)
  for j in range(1, num_frames):
    padded_Q = np.pad(best_Q, max_step, constant_values=-np.inf)
    candidate_GQ = np.stack(
      [padded_Q[max_step + g : max_step + g + num_pitches] - penalty * abs(g) for g in step_G]
    )
    choice_Q = candidate_GQ.argmax(axis=0)
    backpointer_JQ[j] = np.arange(num_pitches) + step_G[choice_Q]
    best_Q = candidate_GQ[choice_Q, np.arange(num_pitches)] + score_JQ[j]
  path = [int(best_Q.argmax())]
  for j in range(num_frames - 1, 0, -1):
    path.append(int(backpointer_JQ[j, path[-1]]))
  return np.array(path[::-1])


def _parabolic_peak(score_Q: np.ndarray, hz_Q: np.ndarray, index: int) -> float:
  """Returns the pitch at the vertex of the parabola through a grid value and its neighbours."""
  if not 0 < index < len(score_Q) - 1:
    return float(hz_Q[index])
  left, centre, right = score_Q[index - 1 : index + 2]
  curvature = left - 2.0 * centre + right
  shift = np.clip(0.5 * (left - right) / curvature, -0.5, 0.5) if curvature < 0 else 0.0
  return float(hz_Q[index] * 2.0 ** (shift / _PITCHES_PER_OCTAVE))


def pan_position(
  wave_NA: np.ndarray, start_s: float, duration_s: float, background_s: float = 0.0
) -> tuple[float, float]:
  """Returns the stereo position of a segment, -1 left to 1 right, and its energy.

  The position is that of a constant-power pan: 4/pi * atan2(r, l) - 1 for amplitudes l and r, so that a
  source panned by (cos, sin) of (x + 1) pi / 4 has the position x.

  Args:
    wave_NA: two channels at spectra.RATE_HZ.
    start_s: start of the segment.
    duration_s: its duration.
    background_s: the power of so many seconds before the segment is subtracted from each channel, so that
      continuing music or wind does not shift an impact to the centre; 0 subtracts nothing.

  Raises:
    ValueError: the waveform does not have two channels.
  """
  if wave_NA.shape[1] != 2:
    raise ValueError(f'a stereo position needs two channels; got {wave_NA.shape[1]}.')
  power_A = _power(wave_NA, start_s, duration_s)
  if background_s:
    power_A = np.clip(power_A - _power(wave_NA, start_s - background_s, background_s), 0.0, None)
  left, right = np.sqrt(power_A)
  energy = float(power_A.sum() * duration_s * spectra.RATE_HZ)
  return float(np.arctan2(right, left) * 4.0 / np.pi - 1.0) if energy else 0.0, energy


def _power(wave_NA: np.ndarray, start_s: float, duration_s: float) -> np.ndarray:
  first, last = (max(0, int(round(time_s * spectra.RATE_HZ))) for time_s in (start_s, start_s + duration_s))
  part_NA = wave_NA[first:last]
  return (part_NA**2).mean(axis=0) if len(part_NA) else np.zeros(2)


def lag(reference_J: np.ndarray, curve_J: np.ndarray, limit_s: float = 0.5) -> float:
  """Returns the delay of `curve_J` to `reference_J` in seconds, at the maximum of their cross-correlation.

  The lag of a constant curve is not defined, and `limit_s` is returned.
  """
  if np.ptp(curve_J) < 1e-9 or np.ptp(reference_J) < 1e-9:
    return limit_s
  best, best_s = -np.inf, limit_s
  limit = int(round(limit_s * CURVE_HZ))
  for shift in sorted(range(-limit, limit + 1), key=abs):
    a_J = reference_J[max(0, -shift) : len(reference_J) - max(0, shift)]
    b_J = curve_J[max(0, shift) : len(curve_J) + min(0, shift)]
    score = correlate(a_J, b_J)
    if score is not None and score > best + 1e-9:
      best, best_s = score, shift / CURVE_HZ
  return best_s
