"""Mel filterbank (Slaney's scale: linear below 1 kHz, logarithmic above; unit-area triangles)."""

import functools

import numpy as np


def hz_to_mel(frequency_hz: np.ndarray) -> np.ndarray:
  """Slaney's mel scale."""
  frequency_hz = np.asarray(frequency_hz, np.float64)
  linear = frequency_hz * 3 / 200
  logarithmic = 15 + np.log(np.maximum(frequency_hz, 1e-9) / 1000) * 27 / np.log(6.4)
  return np.where(frequency_hz < 1000, linear, logarithmic)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
  """The inverse of `hz_to_mel`."""
  mel = np.asarray(mel, np.float64)
  return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@functools.lru_cache(maxsize=32)
def filterbank(sample_rate_hz: int, n_fft: int, num_mels: int) -> np.ndarray:
  """Returns triangular filters mel_FR of frequency bins to mel bands, from 0 Hz to Nyquist."""
  bins_hz = np.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1)
  edges_hz = mel_to_hz(np.linspace(0, hz_to_mel(sample_rate_hz / 2), num_mels + 2))
  low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
  rising = (bins_hz[:, None] - low) / (centre - low)
  falling = (high - bins_hz[:, None]) / (high - centre)
  triangle = np.maximum(0, np.minimum(rising, falling))
  return (triangle * 2 / (high - low)).astype(np.float32)
