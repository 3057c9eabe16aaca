"""Signals of mixtures: pitch, stereo position, reverberation, background noise, limited bands, levels.

Everything is NumPy and SciPy, and a function of its random generator alone.
"""

from collections.abc import Callable
import fractions

import numpy as np
from scipy import signal

# Power spectrum of a noise in proportion to f^exponent.
NOISE_EXPONENTS = {'white': 0.0, 'pink': -1.0, 'brown': -2.0}
_LOWEST_NOISE_HZ = 20.0
_MAX_TERM = 441  # of the ratio of a resampling: 160 / 441 is from 44,100 to 16,000 Hz
_MAX_LEVEL_DIFFERENCE_DB, _MAX_DELAY_S = 15.0, 0.0008  # of a head: 0.7 ms, and spaced microphones
_DIFFUSER_S = 0.03
_MAX_DRIVE_DB = 12.0


def gain(level_db: float) -> float:
  """Returns the factor of a level in dB."""
  return 10 ** (level_db / 20)


def resample(wave_NA: np.ndarray, ratio: float) -> np.ndarray:
  """Returns a waveform with `ratio` times as many samples, without aliases.

  Args:
    wave_NA: full scale 1.
    ratio: rate after over rate before, over the factor of frequencies where pitch is changed; it is rounded
      to a fraction of small numbers, which those of usual rates are.
  """
  terms = fractions.Fraction(ratio).limit_denominator(_MAX_TERM)
  if terms == 1:
    return wave_NA
  return signal.resample_poly(wave_NA, terms.numerator, terms.denominator, axis=0).astype(np.float32)


def fade_ends(wave_NA: np.ndarray, num_samples: int) -> np.ndarray:
  """Returns a waveform whose first and last samples fade in and out."""
  num = min(num_samples, len(wave_NA) // 2)
  ramp_N1 = np.linspace(0, 1, num, endpoint=False, dtype=np.float32)[:, None]
  faded_NA = wave_NA.copy()
  faded_NA[:num] *= ramp_N1
  faded_NA[len(wave_NA) - num :] *= ramp_N1[::-1]
  return faded_NA


def sustain(wave_NA: np.ndarray, num_samples: int, overlap: int) -> np.ndarray:
  """Returns a waveform repeated to a length, repetitions crossfaded over `overlap` samples at equal power."""
  overlap = min(overlap, len(wave_NA) // 3)
  step = len(wave_NA) - overlap
  phase_N1 = np.linspace(0, np.pi / 2, overlap, dtype=np.float32)[:, None]
  part_NA = wave_NA.copy()
  part_NA[:overlap] *= np.sin(phase_N1)
  part_NA[step:] *= np.cos(phase_N1)
  total_NA = np.zeros((num_samples + len(wave_NA), wave_NA.shape[1]), np.float32)
  for start in range(0, num_samples, step):
    total_NA[start : start + len(part_NA)] += part_NA
  return total_NA[:num_samples]


def pan(wave_N: np.ndarray, position: float, sample_rate_hz: int) -> np.ndarray:
  """Returns a stereo waveform at a position by differences of level and time, at constant power.

  Args:
    wave_N: mono.
    position: -1 is left, 1 is right.
    sample_rate_hz: samples per second.
  """
  ratio = gain(_MAX_LEVEL_DIFFERENCE_DB * position)
  scale = np.sqrt(2 / (1 + ratio**2))
  delay = round(abs(position) * _MAX_DELAY_S * sample_rate_hz)
  late_N = np.concatenate([np.zeros(delay, np.float32), wave_N[: len(wave_N) - delay]])
  left_N, right_N = (late_N, wave_N) if position > 0 else (wave_N, late_N)
  return np.stack([scale * left_N, scale * ratio * right_N], axis=1).astype(np.float32)


def diffuse(rng: np.random.Generator, wave_N: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns a wide stereo waveform: each channel by a short decaying noise of its own, about flat."""
  num = round(_DIFFUSER_S * sample_rate_hz)
  filter_NA = rng.standard_normal((num, 2)) * np.exp(-np.arange(num) / (num / 4))[:, None]
  filter_NA /= np.sqrt(np.sum(filter_NA**2, axis=0))
  return _convolve(wave_N, filter_NA)


def impulse_response(rng: np.random.Generator, sample_rate_hz: int) -> np.ndarray:
  """Returns the reverberation of a random enclosure without the direct sound, of unit energy a channel.

  Early reflections are pulses, at other times in the two channels. The late part is noise that decays by 60
  dB in 0.1 to 2.5 s, at high frequencies in a part of that time; the correlation of its channels is 0 to 0.6.

  Args:
    rng: random generator.
    sample_rate_hz: samples per second.
  """
  decay_s = np.exp(rng.uniform(np.log(0.1), np.log(2.5)))
  num = round(1.1 * decay_s * sample_rate_hz)
  time_N1 = np.arange(num)[:, None] / sample_rate_hz
  late_NA = correlated_noise(rng, num, rng.uniform(0, 0.6))
  low_NA = signal.sosfilt(
    signal.butter(1, rng.uniform(500, 3000), fs=sample_rate_hz, output='sos'), late_NA, 0
  )
  high_NA = late_NA - low_NA
  share = rng.uniform(0.25, 0.9)
  response_NA = low_NA * 10 ** (-3 * time_N1 / decay_s) + high_NA * 10 ** (-3 * time_N1 / (share * decay_s))
  start = round(min(0.3 * decay_s, 0.03) * sample_rate_hz)
  response_NA[:start] *= np.linspace(0, 1, start)[:, None] ** 2
  level = np.sqrt(np.mean(response_NA**2) * num)
  for channel in range(2):
    for delay_s in np.exp(rng.uniform(np.log(0.003), np.log(0.06), rng.integers(3, 10))):
      index = round(delay_s * sample_rate_hz)
      if index < num:
        response_NA[index, channel] += (
          rng.choice((-1, 1)) * level * rng.uniform(0.05, 0.4) / (1 + 30 * delay_s)
        )
  return (response_NA / np.sqrt(np.sum(response_NA**2, axis=0))).astype(np.float32)


def reverberate(wave_NA: np.ndarray, response_NA: np.ndarray) -> np.ndarray:
  """Returns the reverberation of the sum of both channels, of the same length."""
  return _convolve(wave_NA.mean(axis=1), response_NA)


def correlated_noise(rng: np.random.Generator, num_samples: int, correlation: float) -> np.ndarray:
  """Returns white noise of unit variance whose two channels have a correlation from 0 to 1."""
  shared_N1 = rng.standard_normal((num_samples, 1))
  own_NA = rng.standard_normal((num_samples, 2))
  return np.sqrt(correlation) * shared_N1 + np.sqrt(1 - correlation) * own_NA


def background(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
  """Returns stereo noise of unit power: white, pink, brown or of a band, steady or slowly varying.

  Args:
    rng: random generator.
    num_samples: length.
    sample_rate_hz: samples per second.
  """
  kind = str(rng.choice(('white', 'pink', 'brown', 'band')))
  noise_NA = correlated_noise(rng, num_samples, float(rng.choice((0, 1, rng.uniform()))))
  frequency_F = np.fft.rfftfreq(num_samples, 1 / sample_rate_hz)
  spectrum_FA = np.fft.rfft(noise_NA, axis=0)
  if kind == 'band':
    center_hz = np.exp(rng.uniform(np.log(80), np.log(0.4 * sample_rate_hz)))
    octaves = rng.uniform(0.2, 2)
    with np.errstate(divide='ignore'):
      shape_F = np.exp(-0.5 * (np.log2(frequency_F / center_hz) / octaves) ** 2)
  else:
    shape_F = np.maximum(frequency_F, _LOWEST_NOISE_HZ) ** (NOISE_EXPONENTS[kind] / 2)
  noise_NA = np.fft.irfft(spectrum_FA * shape_F[:, None], num_samples, axis=0)
  if rng.uniform() < 0.4:
    noise_NA *= _slow_gain(rng, num_samples, sample_rate_hz)[:, None]
  return (noise_NA / np.sqrt(np.mean(noise_NA**2))).astype(np.float32)


def band_limit(
  wave_NA: np.ndarray, cutoff_hz: float, kind: str, order: int, sample_rate_hz: int
) -> np.ndarray:
  """Returns a waveform after a Butterworth filter.

  Args:
    wave_NA: full scale 1.
    cutoff_hz: where the level is 3 dB lower.
    kind: 'lowpass' or 'highpass'.
    order: 6 dB an octave each.
    sample_rate_hz: samples per second.
  """
  sections = signal.butter(order, cutoff_hz, kind, fs=sample_rate_hz, output='sos')
  return signal.sosfilt(sections, wave_NA, axis=0).astype(np.float32)


def limit(wave_NA: np.ndarray, peak: float) -> np.ndarray:
  """Returns a waveform whose peaks are compressed below a level, as those of loud recordings are."""
  found = float(np.abs(wave_NA).max(initial=0.0))
  drive = min(found / peak, gain(_MAX_DRIVE_DB))
  if drive <= 1:
    return wave_NA
  return (peak * np.tanh(wave_NA * (drive / found)) / np.tanh(drive)).astype(np.float32)


def _convolve(wave_N: np.ndarray, response_NA: np.ndarray) -> np.ndarray:
  convolve: Callable[..., np.ndarray] = signal.oaconvolve
  return convolve(wave_N[:, None], response_NA, axes=0)[: len(wave_N)].astype(np.float32)


def _slow_gain(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
  """Returns a gain that varies at 0.2 to 4 Hz by about 2 to 6 dB."""
  num_points = max(4, round(num_samples / sample_rate_hz * rng.uniform(0.2, 4)) + 2)
  level_db_N = rng.uniform(2, 6) * rng.standard_normal(num_points)
  position_N = np.linspace(0, num_points - 1, num_samples)
  return 10 ** (np.interp(position_N, np.arange(num_points), level_db_N) / 20)
