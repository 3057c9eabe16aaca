"""AV-Align: how well peaks of motion in a video and onsets of a sound agree, as published.

  motion_l   mean length of the optical flow from frame l - 1 to frame l (v2a.metrics.optical_flow);
             motion_0 = motion_1                                                                        (1)
  peaks      strict local maxima of (1) of at least 0.1 pixels                                          (2)
  onsets     peaks of librosa's onset strength of the mono mix at 22050 Hz, default settings            (3)
  score      matched / (peaks + onsets - matched); an onset, in order of time, matches the first peak
             less than a frame away that no other matched                                               (4)

Yariv et al. 2023, "Diverse and aligned audio-to-video generation via text-to-video model adaptation", arXiv
2309.16429, as guyyariv/TempoTokens (bf0b1e30a8) `av_align.py` computes it: frames at the video's own size and
rate. There, a clip without peaks and onsets is a division by zero; here it scores 0.

Onsets (3) follow librosa 0.11.0, `onset.onset_strength` and `onset.onset_detect`: Hann windows of 2048
samples every 512, 128 Slaney mel bands of power in dB, at most 80 below the loudest; the mean rise over bands
from one window to the next, scaled to 0 to 1; a peak is at least the value before it and exceeds the mean of
the four values before, itself and the four after by 0.07. The value after a peak is never one.
"""

import numpy as np

from v2a import mel
from v2a.metrics import optical_flow
from v2a.metrics import spectra
from v2a.metrics.embedders import frames as frames_lib

RATE_HZ = 22050
HOP_SAMPLES = 512
MIN_MOTION_PIXELS = 0.1
_WINDOW_SAMPLES, _NUM_MELS = 2048, 128
_POWER_FLOOR, _RANGE_DB = 1e-10, 80.0
_MAX_BEFORE, _MEAN_BEFORE, _MEAN_AFTER = 1, 4, 4
_THRESHOLD = 0.07


def onset_strength(wave_NA: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns librosa's onset strength as strength_J, in dB, one value every HOP_SAMPLES at RATE_HZ.

  Args:
    wave_NA: the sound; channels are averaged.
    sample_rate_hz: its rate.

  Raises:
    ValueError: the wave has no channel axis, is empty, or holds NaN or infinity.
  """
  wave_N = spectra.resample(wave_NA, sample_rate_hz, RATE_HZ).mean(axis=1)
  # spectra.stft divides by the sum of the window.
  magnitude_JF = np.abs(spectra.stft(wave_N, _WINDOW_SAMPLES, HOP_SAMPLES)) * (_WINDOW_SAMPLES / 2)
  power_JR = magnitude_JF**2 @ mel.area_normalized(RATE_HZ, _WINDOW_SAMPLES, _NUM_MELS)
  level_JR = 10.0 * np.log10(np.maximum(power_JR, _POWER_FLOOR))
  level_JR = np.maximum(level_JR, level_JR.max() - _RANGE_DB)
  rise_J = np.maximum(level_JR[1:] - level_JR[:-1], 0.0).mean(axis=1)
  # A window rises before its centre is reached.
  delay = 1 + _WINDOW_SAMPLES // (2 * HOP_SAMPLES)
  return np.pad(rise_J, (delay, 0))[: len(level_JR)]


def onset_times(wave_NA: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns the times in seconds of the onsets (3), ascending.

  Args:
    wave_NA: the sound; channels are averaged.
    sample_rate_hz: its rate.

  Raises:
    ValueError: see `onset_strength`.
  """
  strength_J = onset_strength(wave_NA, sample_rate_hz)
  strength_J -= strength_J.min()
  if not strength_J.any():
    return np.zeros(0)
  return _peaks(strength_J / strength_J.max()) * HOP_SAMPLES / RATE_HZ


def _peaks(strength_J: np.ndarray) -> np.ndarray:
  found: list[int] = []
  for j, value in enumerate(strength_J):
    is_after_peak = bool(found) and j == found[-1] + 1
    is_largest = value == strength_J[max(0, j - _MAX_BEFORE) : j + 1].max()
    mean = strength_J[max(0, j - _MEAN_BEFORE) : j + _MEAN_AFTER + 1].mean()
    if is_largest and value >= mean + _THRESHOLD and not is_after_peak:
      found.append(j)
  return np.array(found, int)


def motion(source: frames_lib.FrameSource) -> np.ndarray:
  """Returns the optical flow of a video as motion_L (1), in pixels.

  Args:
    source: the video; all frames of its duration are read, at its own rate.
  """
  num_frames = round(source.duration_s * source.fps)
  mean_L = optical_flow.mean_magnitudes(source.frames_at_fps(source.fps, num_frames))
  return np.concatenate([mean_L[:1], mean_L])


def motion_peaks(motion_L: np.ndarray, fps: float) -> np.ndarray:
  """Returns the times in seconds of the peaks of motion (2), ascending.

  Args:
    motion_L: of `motion`.
    fps: frame rate of the video.
  """
  inner_L = motion_L[1:-1]
  is_peak_L = (motion_L[:-2] < inner_L) & (inner_L > motion_L[2:]) & (inner_L >= MIN_MOTION_PIXELS)
  return (np.flatnonzero(is_peak_L) + 1) / fps


def score(onset_s: np.ndarray, peak_s: np.ndarray, fps: float) -> float:
  """Returns AV-Align (4), 0 to 1.

  Args:
    onset_s: times of the onsets of the sound, ascending.
    peak_s: times of the peaks of motion, ascending.
    fps: frame rate of the video.
  """
  free_s, num_matched = list(peak_s), 0
  for time_s in onset_s:
    near = next((s for s in free_s if s - 1.0 / fps < time_s < s + 1.0 / fps), None)
    if near is not None:
      free_s.remove(near)
      num_matched += 1
  num_all = len(onset_s) + len(peak_s) - num_matched
  return num_matched / num_all if num_all else 0.0
