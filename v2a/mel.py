"""Mel scales and triangular filterbanks.

  slaney:  f 3 / 200 below 1 kHz,   15 + 27 ln(f / 1000) / ln(6.4) above                     (1)
  htk:     1127 ln(1 + f / 700)                                                              (2)

Slaney 1998, "Auditory Toolbox"; O'Shaughnessy 1987 (eq. 2, also written 2595 log10(1 + f / 700)).
"""

import functools

import numpy as np

SCALES = ('slaney', 'htk')


def _check(scale: str) -> None:
  if scale not in SCALES:
    raise ValueError(f'scale must be one of {SCALES}; got {scale!r}.')


def from_hz(frequency_hz: np.ndarray | float, scale: str = 'slaney') -> np.ndarray:
  """Returns mel of frequencies in hertz; `scale` is one of SCALES."""
  _check(scale)
  if scale == 'htk':
    return 1127.0 * np.log1p(np.asarray(frequency_hz) / 700.0)
  frequency_hz = np.asarray(frequency_hz, np.float64)
  linear = frequency_hz * 3 / 200
  logarithmic = 15 + np.log(np.maximum(frequency_hz, 1e-9) / 1000) * 27 / np.log(6.4)
  return np.where(frequency_hz < 1000, linear, logarithmic)


def to_hz(mel: np.ndarray | float, scale: str = 'slaney') -> np.ndarray:
  """Returns frequencies in hertz: the inverse of `from_hz`."""
  _check(scale)
  if scale == 'htk':
    return 700.0 * np.expm1(np.asarray(mel) / 1127.0)
  mel = np.asarray(mel, np.float64)
  return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def band_edges(num_mels: int, low_hz: float, high_hz: float, scale: str = 'slaney') -> np.ndarray:
  """Returns edge_R in mel, evenly spaced: band r rises from edge r to edge r + 1, and falls to edge r + 2.

  Args:
    num_mels: number of bands, two fewer than edges.
    low_hz, high_hz: first and last edge.
    scale: one of SCALES.
  """
  return np.linspace(from_hz(low_hz, scale), from_hz(high_hz, scale), num_mels + 2)


def triangles(point_F: np.ndarray, edge_R: np.ndarray) -> np.ndarray:
  """Returns triangles of height 1 as weight_FR, two bands fewer than edges.

  Args:
    point_F: where to evaluate them, in hertz, mel or bins.
    edge_R: see `band_edges`, in the same unit.
  """
  low_R, centre_R, high_R = edge_R[:-2], edge_R[1:-1], edge_R[2:]
  rising_FR = (point_F[:, None] - low_R) / (centre_R - low_R)
  falling_FR = (high_R - point_F[:, None]) / (high_R - centre_R)
  return np.maximum(0.0, np.minimum(rising_FR, falling_FR))


@functools.lru_cache(maxsize=32)
def filterbank(
  sample_rate_hz: float,
  n_fft: int,
  num_mels: int,
  low_hz: float = 0.0,
  high_hz: float | None = None,
  *,
  scale: str = 'slaney',
  is_linear_in_mel: bool = False,
) -> np.ndarray:
  """Returns triangles of height 1 as weight_FR, from the n_fft / 2 + 1 bins of a spectrum to mel bands.

  Args:
    sample_rate_hz: of the sound.
    n_fft: size of the Fourier transform.
    num_mels: number of bands.
    low_hz: where the first band begins.
    high_hz: where the last band ends; None for half the sample rate.
    scale: one of SCALES.
    is_linear_in_mel: whether sides are straight lines over mel (Kaldi, VGGish) or over hertz (librosa,
      torchaudio).
  """
  high_hz = sample_rate_hz / 2 if high_hz is None else high_hz
  bin_hz_F = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
  edge_R = band_edges(num_mels, low_hz, high_hz, scale)
  if is_linear_in_mel:
    weight_FR = triangles(from_hz(bin_hz_F, scale), edge_R)
  else:
    weight_FR = triangles(bin_hz_F, to_hz(edge_R, scale))
  weight_FR.setflags(write=False)  # it is cached
  return weight_FR


@functools.lru_cache(maxsize=32)
def area_normalized(sample_rate_hz: int, n_fft: int, num_mels: int) -> np.ndarray:
  """Returns Slaney's filterbank as weight_FR, float32: bands of unit area over hertz, 0 to half the rate."""
  edge_hz_R = to_hz(band_edges(num_mels, 0.0, sample_rate_hz / 2))
  weight_FR = filterbank(sample_rate_hz, n_fft, num_mels)
  return (weight_FR * 2 / (edge_hz_R[2:] - edge_hz_R[:-2])).astype(np.float32)
