"""Onset detection in a waveform, and matching of detected with known onsets.

Detection: spectral flux of the log mel spectrum, with differences to the maximum over neighbouring bands, so
  that vibrato and gliding tones do not count (SuperFlux: Boeck and Widmer 2013, "Maximum filter vibrato
  suppression for onset detection"). Impacts are broadband: the flux is averaged over bands, and a musical
  note, which rises in few bands, stays below the threshold. No learned weights.

Matching: a maximum one-to-one matching of detected and known times within a tolerance; for sorted times the
  greedy matching from the earliest on is a maximum one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from v2a.metrics import spectra

TOLERANCE_S = 0.05
HOP_SAMPLES = 80
WINDOW_SAMPLES = 320
_BANDS = 40


def onset_strength(wave_NA: np.ndarray) -> np.ndarray:
  """Returns the onset strength as flux_J, one value every HOP_SAMPLES of a waveform at spectra.RATE_HZ."""
  matrix_FR = spectra.mel_matrix(_BANDS, WINDOW_SAMPLES, 150.0, 7600.0)
  level_JR = np.zeros(())
  for wave_N in wave_NA.T:
    level_JR = level_JR + np.abs(spectra.stft(wave_N, WINDOW_SAMPLES, HOP_SAMPLES)) @ matrix_FR
  db_JR = 20.0 * np.log10(level_JR / wave_NA.shape[1] + 1e-4)
  lag = 3
  reference_JR = ndimage.maximum_filter1d(db_JR, 3, axis=1)
  flux_JR = np.zeros_like(db_JR)
  flux_JR[lag:] = np.clip(db_JR[lag:] - reference_JR[:-lag], 0.0, 30.0)
  return flux_JR.mean(axis=1)


def detect(wave_NA: np.ndarray, sample_rate_hz: int, threshold_db: float = 3.0) -> np.ndarray:
  """Returns the times of onsets in seconds, ascending.

  Args:
    wave_NA: the sound; the magnitudes of channels are added, so that opposite phases do not cancel.
    sample_rate_hz: its rate.
    threshold_db: threshold of the flux above its local median.
  """
  flux_J = onset_strength(spectra.resample(wave_NA, sample_rate_hz))
  rate_hz = spectra.RATE_HZ / HOP_SAMPLES
  base_J = ndimage.median_filter(flux_J, int(0.5 * rate_hz) | 1, mode='nearest')
  excess_J = flux_J - base_J
  peak_J = ndimage.maximum_filter1d(excess_J, int(0.06 * rate_hz) | 1, mode='nearest')
  is_peak_J = (excess_J == peak_J) & (excess_J > threshold_db)
  return np.flatnonzero(is_peak_J) / rate_hz


def match(
  known_s: np.ndarray, detected_s: np.ndarray, tolerance_s: float = TOLERANCE_S
) -> list[tuple[int, int]]:
  """Returns the index pairs (known, detected) of a maximum one-to-one matching within the tolerance.

  Args:
    known_s: ascending times.
    detected_s: ascending times.
    tolerance_s: largest distance of a pair, inclusive.
  """
  pairs = []
  i = j = 0
  while i < len(known_s) and j < len(detected_s):
    distance_s = detected_s[j] - known_s[i]
    if abs(distance_s) <= tolerance_s + 1e-9:
      pairs.append((i, j))
      i, j = i + 1, j + 1
    elif distance_s < 0:
      j += 1
    else:
      i += 1
  return pairs


class Counts(NamedTuple):
  """Numbers of onsets, of one sound or of several together.

  Attributes:
    num_matched: pairs of `match`.
    num_known: known onsets.
    num_detected: detected onsets.
  """

  num_matched: int
  num_known: int
  num_detected: int

  @property
  def recall(self) -> float | None:
    """The share of the known onsets that were detected; None without known onsets."""
    return self.num_matched / self.num_known if self.num_known else None

  @property
  def precision(self) -> float | None:
    """The share of the detected onsets that are known; None without detected onsets."""
    return self.num_matched / self.num_detected if self.num_detected else None

  @property
  def f1(self) -> float:
    """The F1 score; 1 where there are neither known nor detected onsets."""
    total = self.num_known + self.num_detected
    return 2.0 * self.num_matched / total if total else 1.0


def count(known_s: np.ndarray, detected_s: np.ndarray, tolerance_s: float = TOLERANCE_S) -> Counts:
  """Returns the numbers of onsets of a matching, see `match`."""
  return Counts(len(match(known_s, detected_s, tolerance_s)), len(known_s), len(detected_s))


def total(counts: Iterable[Iterable[int]]) -> Counts:
  """Returns the sums of the numbers of onsets of several sounds."""
  return Counts(*(sum(column) for column in zip(*counts, (0, 0, 0))))
