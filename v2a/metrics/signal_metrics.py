"""Metrics without learned weights: signal processing on a soundtrack, the true sound and the video.

They compute `v2a.metrics.signal`, one score per clip, in three kinds:

  timing      onsets against those of the true sound (`onset_*`), and against motion (`av_*`, `motion_*`)
  distances   of envelopes and of spectra to those of the true sound
  errors      |f(soundtrack) - f(true sound)| of a statistic f of one sound: level, bandwidth, channels;
              `mean` and `mean_truth` are the means of f over soundtracks and over true sounds

Timing and distances are measured at spectra.RATE_HZ, so that all systems are comparable. Statistics are
measured at the sound's own rate, that of the file for the true sound of a video, since resampling changes
clipping and bandwidth; both sounds have as many channels as the clips of the evaluation.
"""

from collections.abc import Callable
from collections.abc import Sequence
from concurrent import futures
import dataclasses

import numpy as np

from v2a.media import motion
from v2a.metrics import av_align
from v2a.metrics import metric
from v2a.metrics import onsets
from v2a.metrics import signal
from v2a.metrics import spectra

_NUM_THREADS = 2
NO_OPTICAL_FLOW = 'not computed: optical flow takes long; --optical-flow'

# A statistic of one sound, (wave_NA, rate in Hz) -> value; None where it is not defined.
StatisticFn = Callable[[np.ndarray, int], float | None]


def _of_stereo(measure: Callable[[np.ndarray], float | None]) -> StatisticFn:
  return lambda wave_NA, rate_hz: measure(wave_NA) if wave_NA.shape[1] == 2 else None


STATISTICS: dict[str, StatisticFn] = {
  'loudness_error_lu': signal.loudness_lufs,
  'true_peak_error_db': lambda wave_NA, rate_hz: signal.true_peak_db(wave_NA),
  'clipping_error': lambda wave_NA, rate_hz: signal.clipping_share(wave_NA),
  'silence_error': signal.silence_share,
  'rolloff_error_hz': signal.rolloff_hz,
  'dc_error': lambda wave_NA, rate_hz: signal.dc_offset(wave_NA),
  # The correlation with a constant channel counts as 0.
  'stereo_correlation_error': _of_stereo(lambda wave_NA: signal.stereo_correlation(wave_NA) or 0.0),
  'level_difference_error_db': _of_stereo(signal.level_difference_db),
}


def _mean(scores: Sequence[float]) -> float:
  return float(np.mean(scores))


def _median(scores: Sequence[float]) -> float:
  return float(np.median(scores))


def _wave(sound: metric.Sound) -> np.ndarray:
  return sound.resampled_NA.astype(np.float64)


def onset_metrics(sample: metric.Sample) -> signal.OnsetMetrics:
  """Returns the metrics of the onsets of a sample against those of its true sound."""
  reference = sample.reference
  detect = lambda sound: onsets.detect(_wave(sound), spectra.RATE_HZ)
  known_s = reference.shift_onsets(reference.true_sound.memo('onsets', lambda: detect(reference.true_sound)))
  return sample.memo(
    'onset_metrics', lambda: signal.onset_metrics(known_s, _wave(sample.sound), spectra.RATE_HZ)
  )


def _flow_peaks(reference: metric.Reference) -> tuple[np.ndarray, float]:
  source = reference.frame_source()
  if source is None:
    raise ValueError('AV-Align needs frames; the reference has none.')
  return av_align.motion_peaks(av_align.motion(source), source.fps), source.fps


def _av_align(sample: metric.Sample) -> float:
  sound, reference = sample.sound, sample.reference
  onset_s = sound.memo('av_align', lambda: av_align.onset_times(sound.wave_NA, sound.sample_rate_hz))
  peak_s, fps = reference.memo('av_align', lambda: _flow_peaks(reference))
  return av_align.score(onset_s, reference.shift_onsets(peak_s), fps)


def _motion_onset_iou(sample: metric.Sample) -> float | None:
  reference = sample.reference
  frame_LYX3, fps = reference.frames_and_fps
  peak_s = reference.memo('motion_peaks', lambda: signal.motion_peaks(motion.curve(frame_LYX3), fps))
  return signal.motion_onset_iou(_wave(sample.sound), spectra.RATE_HZ, reference.shift_onsets(peak_s), fps)


def _av_offset_ms(sample: metric.Sample) -> float | None:
  reference = sample.reference
  offset_s = lambda sound: signal.av_offset_s(_wave(sound), spectra.RATE_HZ, *reference.frames_and_fps)
  # Defined only where the true sound has an offset to the video.
  if reference.memo('av_offset_s', lambda: offset_s(reference.true_sound)) is None:
    return None
  found_s = offset_s(sample.sound)
  # A sound without onsets, such as silence, counts as the largest offset.
  return 1000.0 * abs(signal.OFFSET_LIMIT_S if found_s is None else found_s)


def _pair(sample: metric.Sample) -> tuple[np.ndarray, np.ndarray]:
  return _wave(sample.sound), _wave(sample.reference.true_sound)


@dataclasses.dataclass(eq=False, kw_only=True)
class SignalMetric(metric.Metric):
  """A metric by signal processing.

  Attributes:
    measure: sample -> score; None where it is not defined.
    aggregate: scores of all samples -> value.
    uses_optical_flow: whether it reads all frames of a video at full size, which takes about 0.3 s of one
      core per megapixel.
  """

  group: str = 'signal'
  needs: tuple[metric.Need, ...] = ('reference_sound',)
  measure: Callable[[metric.Sample], float | None]
  aggregate: Callable[[Sequence[float]], float] = _mean
  uses_optical_flow: bool = False

  def load(self, context: metric.LoadContext) -> 'SignalMetric':
    """Returns a copy without scores; unavailable where it needs optical flow that is not wanted."""
    is_available = context.use_optical_flow or not self.uses_optical_flow
    reason = self.unavailable_reason if is_available else NO_OPTICAL_FLOW
    return dataclasses.replace(self, unavailable_reason=reason, scores=[])

  def score(self, sample: metric.Sample) -> float | None:
    """Returns the score of one sample; None where it is not defined, or the metric is not available.

    Raises:
      ValueError: the soundtrack differs from the true sound in length or channels, or is empty or not finite.
    """
    return None if self.unavailable_reason else self.measure(sample)

  def score_all(self, samples: Sequence[metric.Sample]) -> list[float | None]:
    """Returns the score of each sample."""
    return _in_threads(super().score_all, samples)

  def combine(self, scores: Sequence[float]) -> float:
    """Returns the value."""
    return self.aggregate(scores)


@dataclasses.dataclass(eq=False, kw_only=True)
class StatisticError(metric.Metric):
  """The mean absolute error of a statistic of STATISTICS; a score is (of soundtrack, of true sound)."""

  group: str = 'signal'
  needs: tuple[metric.Need, ...] = ('reference_sound',)

  def score(self, sample: metric.Sample) -> tuple[float, float] | None:
    """Returns the statistic of the soundtrack and of the true sound; None where one is not defined."""
    true = sample.reference.memo('statistics', lambda: _statistics(sample.reference.native_sound()))[
      self.name
    ]
    found = STATISTICS[self.name](sample.sound.wave_NA, sample.sound.sample_rate_hz)
    return None if found is None or true is None else (found, true)

  def score_all(self, samples: Sequence[metric.Sample]) -> list[tuple[float, float] | None]:
    """Returns the score of each sample."""
    return _in_threads(super().score_all, samples)

  def combine(self, scores: Sequence[tuple[float, float]]) -> float:
    """Returns the mean absolute error."""
    found_N, true_N = np.transpose(scores)
    return float(np.abs(found_N - true_N).mean())

  def extra_values(self, scores: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Returns the means of the statistic over soundtracks and over true sounds."""
    if not scores:
      return {}
    found_N, true_N = np.transpose(scores)
    return {'mean': float(found_N.mean()), 'mean_truth': float(true_N.mean())}


def _statistics(sound: metric.Sound) -> dict[str, float | None]:
  return {name: statistic(sound.wave_NA, sound.sample_rate_hz) for name, statistic in STATISTICS.items()}


def _in_threads(
  score_all: Callable[[Sequence[metric.Sample]], list], samples: Sequence[metric.Sample]
) -> list:
  # NumPy's FFTs release the global interpreter lock.
  with futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
    return [score for part in pool.map(score_all, ([sample] for sample in samples)) for score in part]


_WITH_FRAMES: tuple[metric.Need, ...] = ('reference_sound', 'frames')
_ALL = (
  SignalMetric(
    name='onset_flux_f1',
    description='onsets within 100 ms of those of the true sound, F1; clips without true onsets are left out',
    direction='higher',
    smallest_effect=0.02,
    has_shifted_floor=True,
    measure=lambda sample: onset_metrics(sample).f1,
  ),
  SignalMetric(
    name='onset_accuracy',
    description='share of the true onsets that are found',
    direction='higher',
    smallest_effect=0.02,
    has_shifted_floor=True,
    measure=lambda sample: onset_metrics(sample).accuracy,
  ),
  SignalMetric(
    name='onset_average_precision',
    description='mean precision at the true onsets, loudest first',
    direction='higher',
    smallest_effect=0.02,
    has_shifted_floor=True,
    measure=lambda sample: onset_metrics(sample).average_precision,
  ),
  SignalMetric(
    name='onset_count_accuracy',
    description='share of clips with as many onsets as the true sound (does not order real clips)',
    direction='higher',
    smallest_effect=0.02,
    measure=lambda sample: float(onset_metrics(sample).is_count_correct),
  ),
  SignalMetric(
    name='av_align',
    description='AV-Align: peaks of optical flow and onsets within a frame, over all of both '
    '(does not order real clips)',
    direction='higher',
    smallest_effect=0.02,
    needs=_WITH_FRAMES,
    has_shifted_floor=True,
    uses_optical_flow=True,
    measure=_av_align,
  ),
  SignalMetric(
    name='motion_onset_iou',
    description='peaks of frame differences and onsets by spectral flux within a frame, over all of both '
    '(does not order real clips)',
    direction='higher',
    smallest_effect=0.02,
    needs=_WITH_FRAMES,
    has_shifted_floor=True,
    measure=_motion_onset_iou,
  ),
  SignalMetric(
    name='av_offset_ms',
    description='median offset at which sound and motion correlate best (does not order real clips)',
    unit='ms',
    smallest_effect=10.0,
    needs=_WITH_FRAMES,
    measure=_av_offset_ms,
    aggregate=_median,
  ),
  SignalMetric(
    name='envelope_l1',
    description='distance of RMS envelopes (ranks noise above another clip)',
    measure=lambda sample: signal.envelope_l1(*_pair(sample), spectra.RATE_HZ),
  ),
  SignalMetric(
    name='stft_distance',
    description='multi-resolution STFT distance',
    measure=lambda sample: signal.stft_distance(*_pair(sample)),
  ),
  SignalMetric(
    name='log_spectral_distance',
    description='log-spectral distance',
    unit='B',
    measure=lambda sample: signal.log_spectral_distance(*_pair(sample)),
  ),
  SignalMetric(
    name='log_mel_distance',
    description='distance of log mel magnitudes (ranks noise above another clip)',
    measure=lambda sample: signal.log_mel_distance(*_pair(sample), spectra.RATE_HZ),
  ),
  StatisticError(
    name='loudness_error_lu',
    smallest_effect=0.5,
    description='error of the loudness (ITU-R BS.1770)',
    unit='LU',
  ),
  StatisticError(
    name='true_peak_error_db', smallest_effect=0.5, description='error of the true peak', unit='dB'
  ),
  StatisticError(
    name='clipping_error', smallest_effect=0.001, description='error of the share of clipped samples'
  ),
  StatisticError(
    name='silence_error', smallest_effect=0.02, description='error of the share of silent frames'
  ),
  StatisticError(
    name='rolloff_error_hz',
    smallest_effect=100.0,
    description='error of the bandwidth of 99 % of the energy',
    unit='Hz',
  ),
  StatisticError(name='dc_error', smallest_effect=0.001, description='error of the DC offset'),
  StatisticError(
    name='stereo_correlation_error',
    smallest_effect=0.02,
    description='error of the correlation of left and right',
  ),
  StatisticError(
    name='level_difference_error_db',
    smallest_effect=0.5,
    description='error of the level of right over left',
    unit='dB',
  ),
)
METRICS = {each.name: each for each in _ALL}
