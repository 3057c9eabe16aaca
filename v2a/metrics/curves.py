"""Continuous measures of a wave: level, pitch, place between the channels, lag of a curve to another.

All tracks have TRACK_HZ values a second; value k belongs to t = k / TRACK_HZ.
"""

import numpy as np

from v2a.metrics import spectra

CURVE_HZ = 100
_HOP = spectra.RATE_HZ // CURVE_HZ
_PITCH_WINDOW_SAMPLES = 1024
_PITCHES_AN_OCTAVE = 48


def correlate(a_N: np.ndarray, b_N: np.ndarray) -> float | None:
  """Returns Pearson's correlation, or None where a side is constant or has fewer than three values.

  Raises:
    ValueError: their lengths differ.
  """
  a_N, b_N = np.asarray(a_N, np.float64), np.asarray(b_N, np.float64)
  if a_N.shape != b_N.shape:
    raise ValueError(f'a correlation needs two tracks of one length; got {a_N.shape} and {b_N.shape}.')
  if len(a_N) < 3 or np.ptp(a_N) < 1e-9 or np.ptp(b_N) < 1e-9:
    return None
  return float(np.corrcoef(a_N, b_N)[0, 1])


def level(wave_NA: np.ndarray, num_frames: int, smooth_s: float = 0.2) -> np.ndarray:
  """Returns the RMS amplitude over channels, smoothed, as level_J.

  Args:
    wave_NA: the sound at spectra.RATE_HZ.
    num_frames: wanted values; a longer wave is cut, a shorter one continues in silence.
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
  """Returns the fundamental frequency in Hz as pitch_J and how periodic the sound is, 0 to 1, as clarity_J.

  The autocorrelation of a window whose spectrum is taken to the power 1, not 2, so that a few strong notes
  do not drown a comb of many weak harmonics (Tolonen and Karjalainen 2000, "A computationally efficient
  multipitch analysis model"), read on a logarithmic grid of pitches; then the smooth path through it that
  collects most.

  Args:
    wave_NA: the sound at spectra.RATE_HZ.
    num_frames: wanted values.
    low_hz: lowest pitch that is looked for.
    high_hz: highest.
  """
  size = _PITCH_WINDOW_SAMPLES
  wave_N = wave_NA.mean(axis=1)
  wave_N = np.pad(wave_N, (size // 2, max(0, num_frames * _HOP - len(wave_N)) + size))
  view_JN = np.lib.stride_tricks.sliding_window_view(wave_N, size)[::_HOP][:num_frames]
  spectrum_JF = np.abs(np.fft.rfft(view_JN * np.hanning(size), 2 * size, axis=1))
  auto_JN = np.fft.irfft(spectrum_JF, axis=1)[:, :size]
  num_pitches = int(np.log2(high_hz / low_hz) * _PITCHES_AN_OCTAVE) + 1
  hz_Q = low_hz * 2.0 ** (np.arange(num_pitches) / _PITCHES_AN_OCTAVE)
  lag_Q = spectra.RATE_HZ / hz_Q
  whole_Q = lag_Q.astype(int)
  part_Q = lag_Q - whole_Q
  score_JQ = auto_JN[:, whole_Q] * (1 - part_Q) + auto_JN[:, whole_Q + 1] * part_Q
  score_JQ = score_JQ / (auto_JN[:, :1] + 1e-6)
  path_J = _smooth_path(score_JQ)
  pitch_J = np.array([_peak_near(score_Q, hz_Q, best) for score_Q, best in zip(score_JQ, path_J)])
  return pitch_J, np.clip(score_JQ[np.arange(num_frames), path_J], 0.0, 1.0)


def _smooth_path(score_JQ: np.ndarray, reach: int = 4, penalty: float = 0.03) -> np.ndarray:
  """Returns for each frame the column of the path with the largest sum of scores less penalty * steps."""
  num_frames, num_pitches = score_JQ.shape
  best_Q, came_JQ = score_JQ[0].copy(), np.zeros(score_JQ.shape, int)
  shift_G = np.arange(-reach, reach + 1)
  for j in range(1, num_frames):
    padded_Q = np.pad(best_Q, reach, constant_values=-np.inf)
    moved_GQ = np.stack([padded_Q[reach + g : reach + g + num_pitches] - penalty * abs(g) for g in shift_G])
    choice_Q = moved_GQ.argmax(axis=0)
    came_JQ[j] = np.arange(num_pitches) + shift_G[choice_Q]
    best_Q = moved_GQ[choice_Q, np.arange(num_pitches)] + score_JQ[j]
  path = [int(best_Q.argmax())]
  for j in range(num_frames - 1, 0, -1):
    path.append(int(came_JQ[j, path[-1]]))
  return np.array(path[::-1])


def _peak_near(score_Q: np.ndarray, hz_Q: np.ndarray, at: int) -> float:
  """Returns the pitch at the top of the parabola through a grid value and its neighbours."""
  if not 0 < at < len(score_Q) - 1:
    return float(hz_Q[at])
  left, here, right = score_Q[at - 1 : at + 2]
  curve = left - 2.0 * here + right
  shift = np.clip(0.5 * (left - right) / curve, -0.5, 0.5) if curve < 0 else 0.0
  return float(hz_Q[at] * 2.0 ** (shift / _PITCHES_AN_OCTAVE))


def pan_position(
  wave_NA: np.ndarray, start_s: float, duration_s: float, background_s: float = 0.0
) -> tuple[float, float]:
  """Returns where a stretch of sound sits between the channels, -1 left to 1 right, and its energy.

  The place is that of a constant-power pan: with amplitudes l and r it is 4/pi * atan2(r, l) - 1, so that a
  source panned by (cos, sin) of (x + 1) pi / 4 gives back x.

  Args:
    wave_NA: two channels at spectra.RATE_HZ.
    start_s: beginning of the stretch.
    duration_s: its length.
    background_s: above 0, the power of so many seconds right before the stretch is taken off each channel,
      so that music or wind that goes on does not pull a blow to the middle.

  Raises:
    ValueError: the waveform does not have two channels.
  """
  if wave_NA.shape[1] != 2:
    raise ValueError(f'a balance needs two channels; got {wave_NA.shape[1]}.')
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


def lag(reference_J: np.ndarray, track_J: np.ndarray, limit_s: float = 0.5) -> float:
  """Returns by how many seconds `track_J` comes after `reference_J`, where their correlation is highest.

  A track without any variation has no lag; it counts as the limit.
  """
  if np.ptp(track_J) < 1e-9 or np.ptp(reference_J) < 1e-9:
    return limit_s
  best, best_s = -np.inf, limit_s
  limit = int(round(limit_s * CURVE_HZ))
  for shift in sorted(range(-limit, limit + 1), key=abs):
    a_J = reference_J[max(0, -shift) : len(reference_J) - max(0, shift)]
    b_J = track_J[max(0, shift) : len(track_J) + min(0, shift)]
    score = correlate(a_J, b_J)
    if score is not None and score > best + 1e-9:
      best, best_s = score, shift / CURVE_HZ
  return best_s
