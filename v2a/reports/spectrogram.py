"""Mel spectrograms and envelopes for plots."""

import numpy as np
import numpy.typing as npt
from scipy import signal

from v2a import mel
from v2a import shapes

FLOOR_DB = -80.0
MAX_COLUMNS = 1200
WINDOW_S = 0.032


def mel_filters(num_bands: int, frequency_F: np.ndarray) -> np.ndarray:
  """Returns filter_RF: triangles, evenly spaced in mel, that overlap by half and sum to one inside the range.

  Args:
    num_bands: number of triangles.
    frequency_F: frequency of every bin in hertz, ascending.
  """
  edge_R = mel.band_edges(num_bands, frequency_F[1], frequency_F[-1], 'htk')
  return mel.triangles(mel.from_hz(frequency_F, 'htk'), edge_R).T


def mel_spectrogram(wave_NA: np.ndarray, sample_rate_hz: int, num_bands: int = 96) -> np.ndarray:
  """Returns level_RJ: mel levels in decibels under the loudest, from FLOOR_DB to 0, lowest band first.

  Columns are spread evenly over the wave, at most MAX_COLUMNS, so that memory does not grow with the length.

  Args:
    wave_NA: samples, any number of channels; their powers are averaged.
    sample_rate_hz: samples a second.
    num_bands: mel bands.
  """
  shapes.check(wave_NA=wave_NA)
  window = 2 * round(WINDOW_S * sample_rate_hz / 2)
  num_samples = len(wave_NA)
  hop_samples = max(window // 4, -(-num_samples // MAX_COLUMNS))
  starts = range(0, max(num_samples, 1), hop_samples)
  taper = signal.windows.hann(window, sym=False)
  frequency_F = np.fft.rfftfreq(window, 1.0 / sample_rate_hz)
  filter_RF = mel_filters(num_bands, frequency_F)
  power_RJ = np.empty((num_bands, len(starts)))
  for column, start in enumerate(starts):
    spectrum_FA = np.fft.rfft(_around(wave_NA, start, window) * taper[:, None], axis=0)
    power_RJ[:, column] = filter_RF @ np.mean(np.abs(spectrum_FA) ** 2, axis=1)
  peak = power_RJ.max()
  if peak <= 0.0:
    return np.full_like(power_RJ, FLOOR_DB)
  return 10.0 * np.log10(np.maximum(power_RJ / peak, 10.0 ** (FLOOR_DB / 10.0)))


def _around(wave_NA: np.ndarray, center: int, num_samples: int) -> np.ndarray:
  """Returns the samples around one, zeros beyond the ends; the wave is not copied as a whole."""
  first = center - num_samples // 2
  inside_NA = wave_NA[max(first, 0) : first + num_samples]
  before = max(-first, 0)
  return np.pad(inside_NA, ((before, num_samples - before - len(inside_NA)), (0, 0)))


def envelope(values: npt.ArrayLike, num_columns: int) -> np.ndarray:
  """Returns the largest value in each of a number of equal spans, so that thin peaks stay visible in a plot.

  Args:
    values: a curve of any length of at least 1.
    num_columns: number of spans; fewer are returned where there are fewer values.
  """
  values = np.asarray(values)
  spans = np.array_split(values, min(num_columns, len(values)))
  return np.asarray([span.max() for span in spans])
