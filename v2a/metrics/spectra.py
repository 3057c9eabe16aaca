"""Spectrograms for metrics, NumPy only.

Metrics are computed at RATE_HZ, whatever the rate of the model, so that values of different models are
comparable. Frame j of a spectrogram is centred on sample j * hop_samples; the waveform is zero-padded on both
sides, so frame 0 is centred on t=0 and J = N // hop_samples + 1.
"""

import functools

import numpy as np
import soxr

from v2a import mel

RATE_HZ = 16000
HOP_SAMPLES = 160
WINDOW_SAMPLES = 512
NUM_MELS = 64
_FLOOR = 1e-5


def checked(wave_NA: np.ndarray) -> np.ndarray:
  """Returns a waveform as float64.

  Raises:
    ValueError: the waveform has no channel axis, is empty, or contains NaN or infinity.
  """
  wave_NA = np.asarray(wave_NA)
  if wave_NA.ndim != 2 or 0 in wave_NA.shape:
    raise ValueError(f'a wave to measure needs the shape (samples, channels); got {wave_NA.shape}.')
  wave_NA = wave_NA.astype(np.float64)
  if not np.isfinite(wave_NA).all():
    raise ValueError(
      f'a wave to measure must be finite; got {int((~np.isfinite(wave_NA)).sum())} bad samples.'
    )
  return wave_NA


def resample(wave_NA: np.ndarray, sample_rate_hz: int, target_rate_hz: int = RATE_HZ) -> np.ndarray:
  """Returns a waveform as float64 at another rate.

  Args:
    wave_NA: full scale 1.
    sample_rate_hz: its rate.
    target_rate_hz: rate of the result.

  Raises:
    ValueError: see `checked`.
  """
  wave_NA = checked(wave_NA)
  if sample_rate_hz == target_rate_hz:
    return wave_NA
  return soxr.resample(wave_NA, sample_rate_hz, target_rate_hz)


def stft(
  wave_N: np.ndarray, window_samples: int = WINDOW_SAMPLES, hop_samples: int = HOP_SAMPLES
) -> np.ndarray:
  """Returns the complex spectrogram, Hann window, scaled so that a sine of amplitude a peaks at a / 2."""
  half = window_samples // 2
  padded_N = np.pad(wave_N, (half, half))
  view_JN = np.lib.stride_tricks.sliding_window_view(padded_N, window_samples)[::hop_samples]
  window_N = np.hanning(window_samples + 1)[:-1]
  return np.fft.rfft(view_JN * (window_N / window_N.sum()), axis=-1)


@functools.lru_cache(maxsize=8)
def mel_matrix(
  num_mels: int = NUM_MELS,
  window_samples: int = WINDOW_SAMPLES,
  low_hz: float = 60.0,
  high_hz: float = 7600.0,
) -> np.ndarray:
  """Returns a triangular HTK mel filterbank, each filter with sum 1, as weight_FR.

  Args:
    num_mels: number of filters.
    window_samples: window of the spectrogram in samples at RATE_HZ; F = window_samples // 2 + 1.
    low_hz, high_hz: lower edge of the lowest and upper edge of the highest filter.
  """
  weight_FR = mel.filterbank(
    RATE_HZ, window_samples, num_mels, low_hz, high_hz, scale='htk', is_linear_in_mel=True
  ).copy()
  # The lowest filters are narrower than a bin; one that contains no bin gets the bin nearest to its peak.
  empty_R = np.flatnonzero(weight_FR.sum(axis=0) == 0)
  bin_mel_F = mel.from_hz(np.arange(window_samples // 2 + 1) * RATE_HZ / window_samples, 'htk')
  peak_R = mel.band_edges(num_mels, low_hz, high_hz, 'htk')[1:-1]
  weight_FR[np.abs(bin_mel_F[:, None] - peak_R).argmin(axis=0)[empty_R], empty_R] = 1.0
  return weight_FR / weight_FR.sum(axis=0)


def log_mel(wave_N: np.ndarray) -> np.ndarray:
  """Returns log mel magnitudes as mel_JR: 100 frames a second, natural logarithm, about -11 to 0."""
  return np.log(np.abs(stft(wave_N)) @ mel_matrix() + _FLOOR).astype(np.float32)


def spectrogram_image(wave_NA: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns the log mel spectrogram of a sound as a uint8 image pixels_YX3, low frequencies at the bottom."""
  from matplotlib import colormaps

  mel_JR = log_mel(resample(wave_NA, sample_rate_hz).mean(axis=1))
  unit_JR = np.clip((mel_JR + 9.5) / 7.0, 0.0, 1.0)
  return (colormaps['magma'](unit_JR.T[::-1])[..., :3] * 255).astype(np.uint8)
