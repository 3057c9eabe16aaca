"""Metrics of a sound by signal processing: timing, level, channels, and distances to another sound.

No learned weights, so the metrics are valid for any sound and comparable between models. Distances of two
sounds are averaged over channels, since opposite phases would cancel in a mono mix. Each function returns one
number per clip, or None where it is not defined.

Every function that takes a waveform raises ValueError if it is empty, has no channel axis or contains NaN or
infinity; every distance also if the two shapes differ.

Timing follows published protocols, with these corrections:

- Onset metrics, after XYPB/CondFoleyGen `predict_onset.py`. There and in code derived from it a missed onset
  enters the average precision as detected with confidence 0, so that silence scores 1; matching ends with the
  last detection and ignores the remaining onsets; confidences of signed waveforms give silence one half; one
  `delta` is both the detector's threshold and the tolerance; confidences are read at the wrong index; and a
  silent sound, or an onset near t=0, is an error. Here the detector is v2a.metrics.onsets, the tolerance is
  a separate argument, the matching is a maximum one, and a missed onset never counts as detected.
- Motion-onset IoU, the idea of AV-Align (v2a.metrics.av_align) with that detector in place of librosa's, the
  mean change between frames in place of optical flow, peaks of at least a tenth of the largest change in
  place of 0.1 pixels, and a maximum matching.

Times: sample n is at n / rate, frame l at l / fps, and a change between two frames is at the later one.
"""

import dataclasses

import numpy as np
import pyloudnorm
from scipy import ndimage
from scipy import signal as scipy_signal

from v2a import shapes
from v2a.media import motion
from v2a.metrics import curves
from v2a.metrics import onsets
from v2a.metrics import retrieval
from v2a.metrics import spectra

# Lower limit of levels, below 16-bit quantization noise, so that silence has a finite level.
FLOOR_DB = -120.0
# The largest lag between audio and video that is searched.
OFFSET_LIMIT_S = 0.5
# Absolute gate of ITU-R BS.1770.
SILENCE_LUFS = -70.0
# Full scale of 16-bit samples.
CLIPPING = 32767.0 / 32768.0
_CONFIDENCE_S = 0.05
_ENVELOPE_FRAME_SAMPLES, _ENVELOPE_HOP_SAMPLES = 512, 128
_STFT_WINDOWS = (512, 1024, 2048)
_LSD_WINDOW, _LSD_HOP = 2048, 512
# Peak magnitude of a sine at -94 dBFS; lower magnitudes are raised to it.
_MAGNITUDE_FLOOR = 1e-5


@dataclasses.dataclass(frozen=True)
class OnsetMetrics:
  """Metrics of the onsets of a sound against known onsets.

  Attributes:
    counts: their numbers.
    average_precision: mean over known onsets of the precision among the detections that are at least as
      loud as the matched one, 0 for a missed onset; None without known onsets.
  """

  counts: onsets.Counts
  average_precision: float | None

  @property
  def is_count_correct(self) -> bool:
    """Whether their numbers are equal; the mean over clips is the onset count accuracy."""
    return self.counts.num_known == self.counts.num_detected

  @property
  def accuracy(self) -> float | None:
    """The share of the known onsets that were detected; None without known onsets."""
    return self.counts.recall

  @property
  def f1(self) -> float | None:
    """The F1 of the matched pairs; None without known onsets, since silence would score 1."""
    return self.counts.f1 if self.counts.num_known else None


def onset_metrics(
  known_s: np.ndarray, wave_NA: np.ndarray, sample_rate_hz: int, tolerance_s: float = 0.1
) -> OnsetMetrics:
  """Returns the metrics of a sound's onsets against known times, see the module docstring.

  The confidence of an onset is the largest absolute sample within 50 ms of it.

  Args:
    known_s: known times in seconds, in any order: annotated, or onsets.detect of the true sound.
    wave_NA: the sound to evaluate.
    sample_rate_hz: its rate.
    tolerance_s: largest distance of a matched pair; 0.1 as in CondFoleyGen.

  Raises:
    ValueError: a known time is not finite.
  """
  wave_NA, known_s = _sound(wave_NA), np.sort(np.asarray(known_s, np.float64))
  if not np.isfinite(known_s).all():
    raise ValueError('known onset times must be finite; got NaN or infinity.')
  detected_s = onsets.detect(wave_NA, sample_rate_hz)
  pairs = onsets.match(known_s, detected_s, tolerance_s)
  confidences = [_peak_amplitude(wave_NA, sample_rate_hz, time_s) for time_s in detected_s]
  hits = [j for _, j in pairs]
  return OnsetMetrics(
    onsets.Counts(len(pairs), len(known_s), len(detected_s)),
    _average_precision(np.array(confidences), hits, len(known_s)),
  )


def _peak_amplitude(wave_NA: np.ndarray, sample_rate_hz: int, time_s: float) -> float:
  first = max(0, int((time_s - _CONFIDENCE_S) * sample_rate_hz))
  return float(np.abs(wave_NA[first : int((time_s + _CONFIDENCE_S) * sample_rate_hz) + 1]).max(initial=0.0))


def _average_precision(confidence_N: np.ndarray, hits: list[int], num_known: int) -> float | None:
  if not num_known:
    return None
  is_hit_N = np.isin(np.arange(len(confidence_N)), hits)
  at_least_NN = confidence_N >= confidence_N[:, None]
  return float(sum(is_hit_N[at_least_N].mean() for at_least_N in at_least_NN[is_hit_N]) / num_known)


def motion_peaks(motion_L: np.ndarray, fps: float) -> np.ndarray:
  """Returns the times in seconds of strict local maxima of at least a tenth of the largest value."""
  inner_L = motion_L[1:-1]
  is_top_L = (inner_L > motion_L[:-2]) & (inner_L > motion_L[2:])
  is_peak_L = is_top_L & (inner_L >= 0.1 * motion_L.max(initial=0.0))
  return (np.flatnonzero(is_peak_L) + 1) / fps


def motion_onset_iou(
  wave_NA: np.ndarray, sample_rate_hz: int, motion_s: np.ndarray, fps: float
) -> float | None:
  """Returns the intersection over union of audio onsets and motion peaks, 0 to 1, see the module.

  It does not order real clips. The published metric is `v2a.metrics.av_align`.

  Args:
    wave_NA: the sound.
    sample_rate_hz: its rate.
    motion_s: ascending times of the motion peaks of the video, see `motion_peaks`.
    fps: its frame rate; the tolerance of a match is one frame.

  Returns:
    The ratio; None without any onset or peak.
  """
  sound_s = onsets.detect(_sound(wave_NA), sample_rate_hz)
  num_matched = len(onsets.match(motion_s, sound_s, 1.0 / fps))
  num_all = len(sound_s) + len(motion_s) - num_matched
  return num_matched / num_all if num_all else None


def av_offset_s(
  wave_NA: np.ndarray,
  sample_rate_hz: int,
  frame_LYX3: np.ndarray,
  fps: float,
  limit_s: float = OFFSET_LIMIT_S,
) -> float | None:
  """Returns the delay of the audio to the video in seconds; below 0 the audio is early.

  The lag of the maximum cross-correlation of motion and onset strength, in steps of 10 ms. The onset strength
  is smoothed to the duration of a frame, the resolution of the motion. Inaccurate where most motion makes no
  sound: 12 clips of synthetic impacts, all synchronized, gave -0.22 to 0.13 s, and one the limit.

  Args:
    wave_NA: the sound.
    sample_rate_hz: its rate.
    frame_LYX3: the frames of the video.
    fps: their rate.
    limit_s: the largest lag that is searched; at most half of the clip.

  Returns:
    The lag; None where the onset strength or the motion is constant.
  """
  motion_L, flux_J = (
    motion.curve(frame_LYX3),
    onsets.onset_strength(_resampled(wave_NA, sample_rate_hz)),
  )
  flux_hz = spectra.RATE_HZ / onsets.HOP_SAMPLES
  num = int(min(len(motion_L) / fps, len(flux_J) / flux_hz) * curves.CURVE_HZ)
  time_N = np.arange(num) / curves.CURVE_HZ
  smooth_J = ndimage.gaussian_filter1d(flux_J, 0.5 * flux_hz / fps, mode='constant')
  motion_N = np.interp(time_N, np.arange(len(motion_L)) / fps, motion_L)
  sound_N = np.interp(time_N, np.arange(len(flux_J)) / flux_hz, smooth_J)
  if num < 4 or np.ptp(motion_N) < 1e-9 or np.ptp(sound_N) < 1e-9:
    return None
  return curves.lag(motion_N, sound_N, min(limit_s, num / 2 / curves.CURVE_HZ))


def envelope(wave_NA: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns the RMS amplitude over channels, in frames of 512 samples, hop 128, at 16 kHz, as level_J.

  Args:
    wave_NA: the sound; padded by reflection of 192 samples, as in jnwnlee/video-foley.
    sample_rate_hz: its rate.
  """
  power_N = (_resampled(wave_NA, sample_rate_hz) ** 2).mean(axis=1)
  edge = (_ENVELOPE_FRAME_SAMPLES - _ENVELOPE_HOP_SAMPLES) // 2
  power_N = np.pad(power_N, edge, mode='reflect')
  power_N = np.pad(power_N, (0, max(0, _ENVELOPE_FRAME_SAMPLES - len(power_N))))
  view_JN = np.lib.stride_tricks.sliding_window_view(power_N, _ENVELOPE_FRAME_SAMPLES)
  return np.sqrt(view_JN[::_ENVELOPE_HOP_SAMPLES].mean(axis=1))


def envelope_l1(a_NA: np.ndarray, b_NA: np.ndarray, sample_rate_hz: int) -> float:
  """Returns E-L1, the mean absolute difference of `envelope`, amplitudes of full scale 1.

  Lee et al. 2024, "Video-Foley", arXiv 2408.11915, as jnwnlee/video-foley `evaluate_v2s.py`.

  Args:
    a_NA, b_NA: sounds of one shape.
    sample_rate_hz: their rate.
  """
  a_NA, b_NA = _pair(a_NA, b_NA)
  return float(np.abs(envelope(a_NA, sample_rate_hz) - envelope(b_NA, sample_rate_hz)).mean())


def stft_distance(a_NA: np.ndarray, b_NA: np.ndarray) -> float:
  """Returns the multi-resolution STFT distance: spectral convergence plus log magnitude, mean over windows.

    | |A| - |B| |_2 / max(|A|_2, |B|_2)  +  mean | ln |A| - ln |B| |

  Yamamoto et al. 2020, "Parallel WaveGAN", arXiv 1910.11480, with windows of 512, 1024 and 2048
  samples and hops of a quarter of the window, at the sounds' own rate. The denominator is the larger norm:
  with that of the reference, the distance is asymmetric, and infinite for a silent reference.

  Args:
    a_NA, b_NA: sounds of one shape and rate.
  """
  a_NA, b_NA = _pair(a_NA, b_NA)
  pairs = [
    (_magnitude(a_N, window, window // 4), _magnitude(b_N, window, window // 4))
    for window in _STFT_WINDOWS
    for a_N, b_N in zip(a_NA.T, b_NA.T)
  ]
  return float(np.mean([_convergence(*pair) + np.abs(np.log(pair[0] / pair[1])).mean() for pair in pairs]))


def _convergence(a_JF: np.ndarray, b_JF: np.ndarray) -> float:
  return float(np.linalg.norm(a_JF - b_JF) / max(np.linalg.norm(a_JF), np.linalg.norm(b_JF)))


def log_spectral_distance(a_NA: np.ndarray, b_NA: np.ndarray) -> float:
  """Returns LSD: mean over frames of the root mean square over bins of log10 |A|^2 - log10 |B|^2.

  In bels, as in the literature on super-resolution; ten times that is in dB. Gray and Markel 1976,
  "Distance measures for speech processing"; windows of 2048 samples with a hop of 512, at the sounds' own
  rate, so that missing high frequencies count.

  Args:
    a_NA, b_NA: sounds of one shape and rate.
  """
  a_NA, b_NA = _pair(a_NA, b_NA)

  def distance(a_N: np.ndarray, b_N: np.ndarray) -> float:
    a_JF, b_JF = (_magnitude(wave_N, _LSD_WINDOW, _LSD_HOP) for wave_N in (a_N, b_N))
    return np.sqrt(((2.0 * np.log10(a_JF / b_JF)) ** 2).mean(axis=1)).mean()

  return float(np.mean([distance(a_N, b_N) for a_N, b_N in zip(a_NA.T, b_NA.T)]))


def log_mel_distance(a_NA: np.ndarray, b_NA: np.ndarray, sample_rate_hz: int) -> float:
  """Returns the mean absolute difference of log mel magnitudes at 16 kHz, natural logarithm.

  The distance of v2a.metrics.retrieval, channel by channel.

  Args:
    a_NA, b_NA: sounds of one shape.
    sample_rate_hz: their rate.
  """
  a_NA, b_NA = (_resampled(wave_NA, sample_rate_hz) for wave_NA in _pair(a_NA, b_NA))
  channels = [slice(k, k + 1) for k in range(a_NA.shape[1])]
  return float(np.mean([retrieval.pairwise_distances([a_NA[:, k]], [b_NA[:, k]]) for k in channels]))


def _magnitude(wave_N: np.ndarray, window_samples: int, hop_samples: int) -> np.ndarray:
  return np.maximum(np.abs(spectra.stft(wave_N, window_samples, hop_samples)), _MAGNITUDE_FLOOR)


def loudness_lufs(wave_NA: np.ndarray, sample_rate_hz: int) -> float | None:
  """Returns the integrated loudness by ITU-R BS.1770-4; a 997 Hz sine in both channels reads its dBFS.

  Args:
    wave_NA: one to five channels.
    sample_rate_hz: their rate.

  Returns:
    At least SILENCE_LUFS, the gate of the standard; None for a sound shorter than one block of 0.4 s.
  """
  wave_NA = _sound(wave_NA)
  meter = pyloudnorm.Meter(sample_rate_hz)
  if len(wave_NA) < meter.block_size * sample_rate_hz:
    return None
  with np.errstate(divide='ignore'):
    return max(SILENCE_LUFS, float(meter.integrated_loudness(wave_NA)))


def true_peak_db(wave_NA: np.ndarray) -> float:
  """Returns the largest amplitude between the samples of any channel in dB of full scale (dBTP).

  ITU-R BS.1770-5 annex 2: four times oversampled, here by scipy's polyphase filter of 81 taps in place of
  the annex's example of 48. Never below the sample peak; silence is FLOOR_DB.

  Args:
    wave_NA: the sound at 44.1 kHz or more; at lower rates the error is larger.
  """
  # Every fourth output sample is an input sample, up to 0.006 dB.
  peak = np.abs(scipy_signal.resample_poly(_sound(wave_NA), 4, 1, axis=0)).max()
  return float(20.0 * np.log10(max(peak, 10.0 ** (FLOOR_DB / 20.0))))


def clipping_share(wave_NA: np.ndarray) -> float:
  """Returns the share of samples, over all channels, with an absolute value of at least CLIPPING."""
  return float((np.abs(_sound(wave_NA)) >= CLIPPING).mean())


def silence_share(wave_NA: np.ndarray, sample_rate_hz: int, threshold_db: float = -60.0) -> float:
  """Returns the share of frames of `envelope` below `threshold_db` dB of full scale RMS."""
  return float((envelope(wave_NA, sample_rate_hz) < 10.0 ** (threshold_db / 20.0)).mean())


def rolloff_hz(wave_NA: np.ndarray, sample_rate_hz: int, share: float = 0.99) -> float:
  """Returns the spectral roll-off: the frequency below which is `share` of the energy; 0 for silence.

  Args:
    wave_NA: the sound; energies of channels and frames (2048 samples) are added.
    sample_rate_hz: its rate.
    share: 0 to 1.
  """
  spectrum_F = sum(
    (np.abs(spectra.stft(wave_N, _LSD_WINDOW, _LSD_HOP)) ** 2).sum(axis=0) for wave_N in _sound(wave_NA).T
  )
  sum_F = np.cumsum(spectrum_F)
  return float(np.searchsorted(sum_F, share * sum_F[-1]) * sample_rate_hz / _LSD_WINDOW)


def dc_offset(wave_NA: np.ndarray) -> float:
  """Returns the largest absolute mean of a channel, full scale 1."""
  return float(np.abs(_sound(wave_NA).mean(axis=0)).max())


def stereo_correlation(wave_NA: np.ndarray) -> float | None:
  """Returns Pearson's correlation of left and right, -1 to 1; None where a channel is constant.

  Raises:
    ValueError: not two channels.
  """
  return curves.correlate(*_stereo(wave_NA).T)


def level_difference_db(wave_NA: np.ndarray) -> float:
  """Returns the interchannel level difference (ILD), right over left, in dB.

  Levels below FLOOR_DB count as FLOOR_DB, so that silence has 0 dB.

  Raises:
    ValueError: not two channels.
  """
  left, right = np.maximum((_stereo(wave_NA) ** 2).mean(axis=0), 10.0 ** (FLOOR_DB / 10.0))
  return float(10.0 * np.log10(right / left))


def _stereo(wave_NA: np.ndarray) -> np.ndarray:
  wave_NA = _sound(wave_NA)
  if wave_NA.shape[1] != 2:
    raise ValueError(f'a stereo metric needs two channels; got {wave_NA.shape[1]}.')
  return wave_NA


def _pair(a_NA: np.ndarray, b_NA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  a_NA, b_NA = _sound(a_NA), _sound(b_NA)
  shapes.check(a_NA=a_NA, b_NA=b_NA)
  return a_NA, b_NA


def _sound(wave_NA: np.ndarray) -> np.ndarray:
  """Returns a checked waveform as float64, at its own rate."""
  return spectra.checked(wave_NA)


def _resampled(wave_NA: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  wave_NA = spectra.resample(wave_NA, sample_rate_hz)
  # Resampling one or two samples of a higher rate leaves none.
  return wave_NA if len(wave_NA) else np.zeros((1, wave_NA.shape[1]))
