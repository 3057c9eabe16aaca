"""Filters of the sound at its own rate and channels: level, clipping, bandwidth, stereo, alignment.

Loudness, silence, DC offset and stereo correlation are those of `v2a.metrics.signal`.
"""

import math

import numpy as np

from data_pipelines import decoded
from data_pipelines.filters import filter as filter_lib
from v2a.metrics import signal
from v2a.metrics import spectra

_MIN_S = 0.1  # shortest sound of which shares are measured
# Lossy codecs move clipped samples by about 1 %; a run of three is not the top of a sine above 1 kHz.
_CLIPPED_LEVEL, _CLIPPED_SAMPLES = 0.99, 3
# Pauses of digital silence shorter than this are not counted.
_ZERO_S = 0.05
_BAND_HZ = 250.0
# A band has energy if its level is less than this below that of the loudest band.
_BAND_RANGE_DB = 80.0
# Of a band of 16-bit quantization noise; dither is no content.
_BAND_FLOOR_DB = -110.0
_WINDOW_SAMPLES = 2048
TOO_SHORT = f'the sound is shorter than {_MIN_S} s'
SILENT = 'the sound is silent'


def _is_short(clip: decoded.DecodedClip) -> bool:
  return len(clip.wave_NA) < _MIN_S * clip.sample_rate_hz


def peak_db(clip: decoded.DecodedClip) -> float:
  """Returns the largest absolute sample in dBFS, at least signal.FLOOR_DB."""
  return 20 * math.log10(max(float(np.abs(clip.wave_NA).max()), 10 ** (signal.FLOOR_DB / 20)))


def silent_share(clip: decoded.DecodedClip) -> float | str:
  """Returns the share of time with a level below -60 dBFS (RMS of 32 ms)."""
  return TOO_SHORT if _is_short(clip) else signal.silence_share(clip.wave_NA, clip.sample_rate_hz)


def zero_share(clip: decoded.DecodedClip) -> float:
  """Returns the share of samples in pauses of at least 50 ms in which all samples are zero."""
  return _share_in_runs((clip.wave_NA == 0).all(axis=1), round(_ZERO_S * clip.sample_rate_hz))


def clipping_share(clip: decoded.DecodedClip) -> float:
  """Returns the share of samples in runs of at least three samples at full scale, on one side."""
  shares = [
    _share_in_runs(side * wave_N >= _CLIPPED_LEVEL, _CLIPPED_SAMPLES)
    for wave_N in clip.wave_NA.T
    for side in (1, -1)
  ]
  return sum(shares) / clip.wave_NA.shape[1]


def _share_in_runs(is_part_N: np.ndarray, min_samples: int) -> float:
  """Returns the share of values that are in runs of at least `min_samples` true ones."""
  edge_N = np.flatnonzero(np.diff(np.concatenate([[False], is_part_N, [False]]).astype(np.int8)))
  length_N = edge_N[1::2] - edge_N[::2]
  return float(length_N[length_N >= min_samples].sum() / len(is_part_N))


def loudness_lufs(clip: decoded.DecodedClip) -> float | str:
  """Returns the integrated loudness; see v2a.metrics.signal."""
  found = signal.loudness_lufs(clip.wave_NA, clip.sample_rate_hz)
  return 'the sound is shorter than a block of 0.4 s' if found is None else found


def bandwidth_hz(clip: decoded.DecodedClip) -> float | str:
  """Returns the upper edge of the highest band with energy; far below half the rate, it was upsampled.

  Bands of 250 Hz of the mean power spectrum; a band has energy if it is less than 80 dB below the loudest
  one. Opus and AAC at low bit rates also remove high bands.
  """
  if _is_short(clip):
    return TOO_SHORT
  power_F = np.zeros(_WINDOW_SAMPLES // 2 + 1)
  for wave_N in clip.wave_NA.T:
    # The edges of the clip are no content: zero-padding there would spread over all bands.
    stft_JF = spectra.stft(wave_N.astype(np.float64), _WINDOW_SAMPLES, _WINDOW_SAMPLES)[1:-1]
    power_F += (np.abs(stft_JF) ** 2).sum(axis=0) / max(1, len(stft_JF))
  width = max(1, round(_BAND_HZ * _WINDOW_SAMPLES / clip.sample_rate_hz))
  num_bands = len(power_F) // width
  band_F = power_F[: num_bands * width].reshape(num_bands, width).sum(axis=1) / clip.wave_NA.shape[1]
  band_db_F = 10 * np.log10(band_F + 1e-20)
  has_energy_F = (band_db_F > band_db_F.max() - _BAND_RANGE_DB) & (band_db_F > _BAND_FLOOR_DB)
  if not has_energy_F.any():
    return SILENT
  upper_hz = (np.flatnonzero(has_energy_F)[-1] + 1) * width * clip.sample_rate_hz / _WINDOW_SAMPLES
  return float(min(upper_hz, clip.sample_rate_hz / 2))


def dc_offset(clip: decoded.DecodedClip) -> float:
  """Returns the largest absolute mean of a channel, full scale 1."""
  return signal.dc_offset(clip.wave_NA)


def stereo_correlation(clip: decoded.DecodedClip) -> float | str:
  """Returns the correlation of left and right; 1 for mono as stereo, below 0 for opposite phases."""
  if clip.wave_NA.shape[1] != 2:
    return 'the sound is mono'
  found = signal.stereo_correlation(clip.wave_NA)
  return 'a channel is constant' if found is None else found


def level_difference_db(clip: decoded.DecodedClip) -> float | str:
  """Returns the level of the right over the left channel; above 60 dB, one of them is missing."""
  if clip.wave_NA.shape[1] != 2:
    return 'the sound is mono'
  return abs(signal.level_difference_db(clip.wave_NA))


def _offset_s(clip: decoded.DecodedClip) -> float | str:
  return clip.alignment.offset_s if clip.alignment else 'the alignment of the file is not known'


def _drift_s(clip: decoded.DecodedClip) -> float | str:
  return clip.alignment.drift_s if clip.alignment else 'the alignment of the file is not known'


def _gap_s(clip: decoded.DecodedClip) -> float | str:
  return clip.alignment.gap_s if clip.alignment else 'the alignment of the file is not known'


def _filter(name: str, unit: str, description: str, function: filter_lib.MeasureFn) -> filter_lib.Filter:
  return filter_lib.FunctionFilter(name, unit, description, function, needs_audio=True)


FILTERS: tuple[filter_lib.Filter, ...] = (
  _filter('peak', 'dBFS', 'largest absolute sample', peak_db),
  _filter('silent_share', '', 'share of time below -60 dBFS', silent_share),
  _filter('zero_share', '', 'share of samples in pauses of digital silence of at least 50 ms', zero_share),
  _filter('clipping_share', '', 'share of samples in runs of three or more at full scale', clipping_share),
  _filter('loudness', 'LUFS', 'integrated loudness by ITU-R BS.1770-4', loudness_lufs),
  _filter('bandwidth', 'Hz', 'upper edge of the highest band with energy', bandwidth_hz),
  _filter('dc_offset', '', 'largest absolute mean of a channel, full scale 1', dc_offset),
  _filter('stereo_correlation', '', 'correlation of left and right; 1 is mono as stereo', stereo_correlation),
  _filter('level_difference', 'dB', 'difference of the levels of left and right', level_difference_db),
)
ALIGNMENT_FILTERS: tuple[filter_lib.Filter, ...] = tuple(
  filter_lib.FunctionFilter(name, 's', description, function, needs_audio=True, needs_video=True)
  for name, description, function in (
    ('audio_offset', 'start of the sound of the file minus start of its video', _offset_s),
    ('audio_drift', 'duration of the sound of the file minus duration of its video', _drift_s),
    ('audio_gap', 'silence inserted (above 0) or sound cut (below 0) where timestamps jump', _gap_s),
  )
)
