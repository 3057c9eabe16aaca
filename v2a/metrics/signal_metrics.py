"""How near a soundtrack comes to its clip's true sound and picture, by signal processing alone.

The figures of `v2a.metrics.signal`, one score a clip. Three groups:

  in time     onsets against those of the true sound (`onset_*`), and against the picture (`av_*`)
  distances   to the true sound: of envelopes and of spectra
  errors      |f(soundtrack) - f(truth)| for what a sound has by itself: level, bandwidth, channels; `mean`
              and `mean_truth` are the means of f over soundtracks and over truths

Times and distances are measured at spectra.RATE_HZ, so that they mean the same for each model; errors at the
sound's own rate, since another rate hides what clips and how high a sound reaches.
"""

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import dataclasses

import numpy as np

from v2a.data import examples as examples_lib
from v2a.data import record_schema
from v2a.metrics import onsets
from v2a.metrics import signal
from v2a.metrics import spectra
from v2a.metrics import tables

_NUM_THREADS = 2

# What a sound has by itself, by the name of the figure whose error it makes; None where it has none.
StatisticFn = Callable[[np.ndarray, int], float | None]


def _in_stereo(measure: Callable[[np.ndarray], float | None]) -> StatisticFn:
  return lambda wave_NA, rate_hz: measure(wave_NA) if wave_NA.shape[1] == 2 else None


STATISTICS: dict[str, StatisticFn] = {
  'loudness_error_lu': signal.loudness_lufs,
  'true_peak_error_db': lambda wave_NA, rate_hz: signal.true_peak_db(wave_NA),
  'clipping_error': lambda wave_NA, rate_hz: signal.clipping_share(wave_NA),
  'silence_error': signal.silence_share,
  'rolloff_error_hz': signal.rolloff_hz,
  'dc_error': lambda wave_NA, rate_hz: signal.dc_offset(wave_NA),
  # A channel that does not vary has nothing in common with the other.
  'stereo_correlation_error': _in_stereo(lambda wave_NA: signal.stereo_correlation(wave_NA) or 0.0),
  'level_difference_error_db': _in_stereo(signal.level_difference_db),
}


def _mean(scores: Sequence[float]) -> float:
  return float(np.mean(scores))


def _median(scores: Sequence[float]) -> float:
  return float(np.median(scores))


def _mean_error(scores: Sequence[tuple[float, float]]) -> float:
  mine_N, true_N = np.transpose(scores)
  return float(np.abs(mine_N - true_N).mean())


def _means(scores: Sequence[tuple[float, float]]) -> dict[str, float]:
  mine_N, true_N = np.transpose(scores)
  return {'mean': float(mine_N.mean()), 'mean_truth': float(true_N.mean())}


def _error(about: str) -> tables.Metric:
  return tables.Metric(f'error of the {about}', _mean_error, extra_values=_means)


METRICS = {
  'onset_flux_f1': tables.Metric('onsets within 100 ms of those of the true sound, F1', _mean, True),
  'onset_accuracy': tables.Metric('share of the true onsets that are found', _mean, True),
  'onset_average_precision': tables.Metric('mean precision at the true onsets, loudest first', _mean, True),
  'onset_count_accuracy': tables.Metric('share of clips with as many onsets as the truth', _mean, True),
  'av_align': tables.Metric('peaks of motion and onsets that meet, over all of both', _mean, True),
  'av_offset_ms': tables.Metric('median distance in time at which sound and motion agree best', _median),
  'envelope_l1': tables.Metric('distance of RMS envelopes', _mean),
  'stft_distance': tables.Metric('multi-resolution STFT distance', _mean),
  'log_spectral_distance': tables.Metric('log-spectral distance in bels', _mean),
  'log_mel_distance': tables.Metric('distance of log mel magnitudes', _mean),
  'loudness_error_lu': _error('loudness (ITU-R BS.1770) in LU'),
  'true_peak_error_db': _error('true peak in dB'),
  'clipping_error': _error('share of clipped samples'),
  'silence_error': _error('share of silent frames'),
  'rolloff_error_hz': _error('bandwidth of 99 % of the energy in Hz'),
  'dc_error': _error('constant part'),
  'stereo_correlation_error': _error('correlation of left and right'),
  'level_difference_error_db': _error('level of right over left in dB'),
}


@dataclasses.dataclass(frozen=True)
class Reference:
  """What soundtracks of one clip are measured against.

  Attributes:
    wave_NA: the true sound at spectra.RATE_HZ.
    onset_s: its onsets.
    has_offset: whether its onsets can be told from the picture's motion: only then soundtracks are asked.
    statistics: its value of each of STATISTICS.
    frame_LYX3: the picture.
    fps: its rate.
  """

  wave_NA: np.ndarray
  onset_s: np.ndarray
  has_offset: bool
  statistics: dict[str, float | None]
  frame_LYX3: np.ndarray
  fps: float


def make_reference(wave_NA: np.ndarray, sample_rate_hz: int, frame_LYX3: np.ndarray, fps: float) -> Reference:
  """Returns what soundtracks of a clip are measured against.

  Args:
    wave_NA: the true sound.
    sample_rate_hz: its rate.
    frame_LYX3: the picture.
    fps: its rate.
  """
  heard_NA = spectra.resample(wave_NA, sample_rate_hz)
  own = {name: measured(wave_NA, sample_rate_hz) for name, measured in STATISTICS.items()}
  # float32 halves what a set of clips holds, and no figure hears it.
  onset_s = onsets.detect(heard_NA, spectra.RATE_HZ)
  has_offset = signal.av_offset_s(heard_NA, spectra.RATE_HZ, frame_LYX3, fps) is not None
  return Reference(heard_NA.astype(np.float32), onset_s, has_offset, own, frame_LYX3, fps)


def score(wave_NA: np.ndarray, sample_rate_hz: int, reference: Reference) -> dict:
  """Returns the score of every figure for one soundtrack.

  Args:
    wave_NA: the soundtrack, as long as the true sound and with as many channels.
    sample_rate_hz: its rate.
    reference: of its clip.

  Raises:
    ValueError: it is longer or shorter, has other channels, or is no sound.
  """
  heard_NA, rate_hz = spectra.resample(wave_NA, sample_rate_hz), spectra.RATE_HZ
  found = signal.onset_metrics(reference.onset_s, heard_NA, rate_hz)
  offset_s = None
  if reference.has_offset:
    # What has no onsets, such as silence, agrees nowhere.
    offset_s = signal.av_offset_s(heard_NA, rate_hz, reference.frame_LYX3, reference.fps)
    offset_s = signal.OFFSET_LIMIT_S if offset_s is None else offset_s
  scores = {
    'onset_flux_f1': found.f1,
    'onset_accuracy': found.accuracy,
    'onset_average_precision': found.average_precision,
    'onset_count_accuracy': float(found.is_count_correct),
    'av_align': signal.av_align(heard_NA, rate_hz, reference.frame_LYX3, reference.fps),
    'av_offset_ms': None if offset_s is None else 1000.0 * abs(offset_s),
    'envelope_l1': signal.envelope_l1(heard_NA, reference.wave_NA, rate_hz),
    'stft_distance': signal.stft_distance(heard_NA, reference.wave_NA),
    'log_spectral_distance': signal.log_spectral_distance(heard_NA, reference.wave_NA),
    'log_mel_distance': signal.log_mel_distance(heard_NA, reference.wave_NA, rate_hz),
  }
  for name, measured in STATISTICS.items():
    mine, true = measured(wave_NA, sample_rate_hz), reference.statistics[name]
    scores[name] = None if mine is None or true is None else (mine, true)
  return scores


class SignalMetrics:
  """The table, see `tables.Table`."""

  key, title, metrics = 'signal', 'by signal processing alone', METRICS

  def make_references(self, examples: Sequence[examples_lib.Example], sample_rate_hz: int) -> list[Reference]:
    """Returns the truth of each clip."""
    return _threads(lambda case: _truth_of(case, sample_rate_hz), examples)

  def scores(
    self, waves: Sequence[np.ndarray], sample_rate_hz: int, references: Sequence[Reference]
  ) -> dict[str, list]:
    """Returns by figure one score a soundtrack."""
    rows = _threads(lambda pair: score(pair[0], sample_rate_hz, pair[1]), list(zip(waves, references)))
    return {name: [row[name] for row in rows] for name in METRICS}


def _truth_of(case: examples_lib.Example, sample_rate_hz: int) -> Reference:
  frame_LYX3 = case.frames[1]
  fps = len(frame_LYX3) * sample_rate_hz / len(case.wave_NA)
  return make_reference(record_schema.wave_to_float(case.wave_NA), sample_rate_hz, frame_LYX3, fps)


def _threads(run: Callable, items: Sequence) -> list:
  # NumPy's transforms let go of the interpreter, so that threads share the work.
  with futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
    return list(pool.map(run, items))
