"""Continuous sounds: engine, rain, wind, the hum of a bee or drone."""

import functools

import numpy as np
import scipy.signal

from v2a.synthetic import mixing


@functools.lru_cache(maxsize=8)
def wavetable(gains: tuple[float, ...]) -> np.ndarray:
  """Returns one period of a harmonic sound as a table of 4,096 samples of peak 1."""
  phase = np.arange(4096) * (2 * np.pi / 4096)
  table = sum(gain * np.sin((h + 1) * phase + 0.7 * h * h) for h, gain in enumerate(gains))
  return (table / np.abs(table).max()).astype(np.float32)


def oscillate(pitch_hz_N: np.ndarray, sample_rate_hz: int, gains: tuple[float, ...]) -> np.ndarray:
  """Returns mono_N, a harmonic sound that follows a pitch curve in Hz."""
  phase_N = np.cumsum(pitch_hz_N) * (4096 / sample_rate_hz)
  return wavetable(gains)[phase_N.astype(np.int64) & 4095]


@functools.lru_cache(maxsize=12)
def band(length: int, sample_rate_hz: int, low_hz: float, high_hz: float, stream: int) -> np.ndarray:
  """Returns band-pass noise of unit variance, the same for every clip; callers use different offsets.

  Args:
    length: number of samples.
    sample_rate_hz: samples per second.
    low_hz, high_hz: edges of the band; the upper one is at most 0.49 of the sample rate.
    stream: number of the white noise that is filtered (mixing.noise).
  """
  high_hz = min(high_hz, 0.49 * sample_rate_hz)
  sos = scipy.signal.butter(2, (low_hz, high_hz), 'bandpass', fs=sample_rate_hz, output='sos')
  noise_N = scipy.signal.sosfilt(sos, mixing.noise(length, stream)).astype(np.float32)
  noise_N /= noise_N.std()
  noise_N.setflags(write=False)
  return noise_N


def _looped_noise(rng, length: int, sample_rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
  """Returns `length` samples of band-pass noise from a random offset in a long stored signal, looped."""
  noise_N = band(16 * sample_rate_hz, sample_rate_hz, low_hz, high_hz, 1)
  start = int(rng.integers(len(noise_N)))
  return noise_N[(start + np.arange(length)) % len(noise_N)]


ENGINE_HARMONICS = (1.0, 0.75, 0.6, 0.45, 0.4, 0.28, 0.22, 0.18, 0.14, 0.1, 0.08, 0.06)
HUM_HARMONICS = (0.9, 1.0, 0.35, 0.6, 0.15, 0.3, 0.1, 0.15)


def rain(rng: np.random.Generator, level_N: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns mono_N: high-frequency noise at the given level."""
  return _looped_noise(rng, len(level_N), sample_rate_hz, 1200, 6500) * (level_N * np.float32(0.14))


def wind(rng: np.random.Generator, level_N: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns mono_N: low-frequency noise that becomes louder and brighter with the level."""
  low_N = _looped_noise(rng, len(level_N), sample_rate_hz, 90, 350)
  middle_N = _looped_noise(rng, len(level_N), sample_rate_hz, 350, 900)
  return np.float32(0.13) * level_N * (low_N * (1 - 0.5 * level_N) + middle_N * level_N)
