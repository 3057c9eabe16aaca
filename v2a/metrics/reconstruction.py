"""Metrics of a reconstructed sound against the true one, such as a round trip through a codec.

Nothing is generated: every metric compares two sounds of one length, rate and number of channels, at their
own rate, so that a codec of 16 kHz is judged by what it makes of sound at 16 kHz.

  log_spectral_db            ten times the log-spectral distance (`signal.log_spectral_distance`)
  stft                       multi-resolution STFT distance (`signal.stft_distance`)
  log_mel_db                 mean absolute difference of log mel levels (`signal.log_mel_distance`)
  band_db                    level of the reconstruction less that of the truth, by octave
  stereo_correlation_error   absolute difference of the correlations of left and right
  onset_sharpness            onset strength at the true onsets, as a ratio to that of the truth
  si_sdr_db                  scale-invariant signal-to-distortion ratio, which needs the true phases
                             (Le Roux et al. 2019, arXiv 1811.02508, eq. 4)
"""

from collections.abc import Iterable
from collections.abc import Mapping
import math
from typing import Any

import numpy as np

from v2a import shapes
from v2a.metrics import onsets
from v2a.metrics import signal
from v2a.metrics import spectra

# Centres of octaves in Hz. Each reaches half an octave to both sides, the last one to half the sample rate.
OCTAVES_HZ = (62.5, 125, 250, 500, 1000, 2000, 4000, 8000, 16000)
# A band of the truth below this level, in dB of full scale, is empty: its change says nothing.
MIN_BAND_DB = -90.0
_DB_PER_NEPER = 20.0 / math.log(10.0)
_ONSET_S = 0.02
_MAX_SI_SDR_DB = 120.0

# A number, None where it is not defined, or numbers by octave.
Value = Any


def band_db(wave_NA: np.ndarray, sample_rate_hz: int, low_hz: float, high_hz: float) -> float:
  """Returns the level of a band, RMS over channels in dB of full scale; at least `signal.FLOOR_DB`.

  Args:
    wave_NA: the sound.
    sample_rate_hz: its rate.
    low_hz, high_hz: the band; its upper end is left out.
  """
  power_FA = np.abs(np.fft.rfft(wave_NA, axis=0)) ** 2
  frequency_F = np.fft.rfftfreq(len(wave_NA), 1 / sample_rate_hz)
  is_in_F = (frequency_F >= low_hz) & (frequency_F < high_hz)
  power = 2 * power_FA[is_in_F].sum(axis=0).mean() / len(wave_NA) ** 2
  return float(10 * np.log10(max(power, 10 ** (signal.FLOOR_DB / 10))))


def octaves(sample_rate_hz: int) -> dict[str, tuple[float, float]]:
  """Returns the bands by the name of their centre in Hz; the last one ends at half the sample rate."""
  nyquist_hz = sample_rate_hz / 2
  centres = [centre for centre in OCTAVES_HZ if centre / math.sqrt(2) < nyquist_hz]
  ends = [centre * math.sqrt(2) for centre in centres[:-1]] + [nyquist_hz + 1.0]
  return {str(round(centre + 0.1)): (centre / math.sqrt(2), end) for centre, end in zip(centres, ends)}


def band_changes_db(true_NA: np.ndarray, output_NA: np.ndarray, sample_rate_hz: int) -> dict[str, float]:
  """Returns the change of level by octave in dB; bands in which the truth has no sound are left out."""
  changes = {}
  for name, band in octaves(sample_rate_hz).items():
    level_db = band_db(true_NA, sample_rate_hz, *band)
    if level_db >= MIN_BAND_DB:
      changes[name] = band_db(output_NA, sample_rate_hz, *band) - level_db
  return changes


def si_sdr_db(true_NA: np.ndarray, output_NA: np.ndarray) -> float | None:
  """Returns SI-SDR in dB over all channels together, within +-120; None where the truth is silent."""
  true_N, output_N = true_NA.ravel().astype(np.float64), output_NA.ravel().astype(np.float64)
  power = true_N @ true_N
  if power == 0.0:
    return None
  target_N = (output_N @ true_N / power) * true_N
  noise = max(np.sum((output_N - target_N) ** 2), 1e-30)
  ratio_db = 10 * np.log10(max(target_N @ target_N, 1e-30) / noise)
  return float(np.clip(ratio_db, -_MAX_SI_SDR_DB, _MAX_SI_SDR_DB))


def stereo_correlation_error(true_NA: np.ndarray, output_NA: np.ndarray) -> float | None:
  """Returns the difference of the correlations of left and right; None for mono, or a constant channel."""
  if true_NA.shape[1] != 2:
    return None
  true, output = (signal.stereo_correlation(wave_NA) for wave_NA in (true_NA, output_NA))
  return None if true is None or output is None else abs(true - output)


def onset_sharpness(true_NA: np.ndarray, output_NA: np.ndarray, sample_rate_hz: int) -> float | None:
  """Returns the onset strength at the true onsets (within 20 ms) over that of the truth; None without any."""
  waves = [spectra.resample(wave_NA, sample_rate_hz) for wave_NA in (true_NA, output_NA)]
  rate_hz, reach = (
    spectra.RATE_HZ / onsets.HOP_SAMPLES,
    round(_ONSET_S * spectra.RATE_HZ / onsets.HOP_SAMPLES),
  )
  centres = [round(time_s * rate_hz) for time_s in onsets.detect(waves[0], spectra.RATE_HZ)]
  if not centres:
    return None
  true_J, output_J = map(onsets.onset_strength, waves)
  peak = lambda flux_J: sum(flux_J[max(0, j - reach) : j + reach + 1].max() for j in centres)
  return float(peak(output_J) / peak(true_J))


def measure(true_NA: np.ndarray, output_NA: np.ndarray, sample_rate_hz: int) -> dict[str, Value]:
  """Returns all metrics of the module by name; None for what is not defined.

  Args:
    true_NA: the sound.
    output_NA: its reconstruction.
    sample_rate_hz: of both.

  Raises:
    ValueError: a sound is empty or not finite, or their shapes differ.
  """
  shapes.check(true_NA=true_NA, output_NA=output_NA)
  return {
    'log_spectral_db': 10 * signal.log_spectral_distance(true_NA, output_NA),
    'stft': signal.stft_distance(true_NA, output_NA),
    'log_mel_db': _DB_PER_NEPER * signal.log_mel_distance(true_NA, output_NA, sample_rate_hz),
    'band_db': band_changes_db(true_NA, output_NA, sample_rate_hz),
    'stereo_correlation_error': stereo_correlation_error(true_NA, output_NA),
    'onset_sharpness': onset_sharpness(true_NA, output_NA, sample_rate_hz),
    'si_sdr_db': si_sdr_db(true_NA, output_NA),
  }


def _mean(values: Iterable[float | None]) -> float | None:
  found = [value for value in values if value is not None]
  return float(np.mean(found)) if found else None


def mean(measured: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
  """Returns the means over sounds; of levels by band those of the sounds that have sound in the band."""
  measured = list(measured)
  means: dict[str, Value] = {}
  for name in measured[0]:
    values = [each[name] for each in measured]
    if name == 'band_db':
      bands = {band: [value[band] for value in values if band in value] for value in values for band in value}
      means[name] = {band: float(np.mean(bands[band])) for band in sorted(bands, key=int)}
    else:
      means[name] = _mean(values)
  return means
