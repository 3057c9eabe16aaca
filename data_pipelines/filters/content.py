"""Likelihoods of speech, music and noise by signal analysis, without learned weights: weak, see below.

Of the mono mix at 16 kHz, where it is less than 40 dB below its loudest frame:

  speech  voiced pitch that glides by 3 to 60 cents in 10 ms (speech melody, unlike held notes), times the
          share of the modulation of 64 mel bands at 2 to 8 Hz (syllables; Houtgast and Steeneken 1985)
  music   share of the energy in partials that stay on one frequency for at least 0.26 s (held notes)
  noise   spectral flatness within bands of 500 Hz (-2.5 dB for Gaussian noise of any colour), of the median
          frame, less where the modulation at 2 to 8 Hz is strong

each mapped linearly to 0 to 1; they are no probabilities. Other voices (cries, coughs) count as speech in
part, hums and whale song as music, drums without notes hardly. Area under the ROC curve, each against all
others:

                                           speech   music   noise
  37 real clips, which also set the scales   0.94    0.89    0.99    (8, 8 and 6 of the kind)
  32 synthetic clips, which set nothing      0.93    0.88    1.00    (4, 8 and 8)
"""

import dataclasses

import numpy as np
from scipy import ndimage

from data_pipelines import decoded
from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import memo
from v2a.metrics import curves
from v2a.metrics import spectra

_MIN_S = 1.0
_ACTIVE_DB, _SILENT_DB = 40.0, -70.0
_MODULATION_S, _HOP_S = 2.0, 1.0
_LOW_PITCH_HZ, _HIGH_PITCH_HZ = 70.0, 400.0
_VOICED = 0.5  # periodicity of a voiced frame
_GLIDE_CENTS = (3.0, 60.0)
_PARTIAL_WINDOW, _PARTIAL_HOP, _PARTIAL_FRAMES = 2048, 512, 8
_PARTIAL_DB = 10.0  # above the median of its neighbourhood
_PARTIAL_BINS = slice(10, 640)  # 78 to 5000 Hz
# 125 to 7600 Hz, since lossy codecs remove what is above.
_FLAT_BINS, _FLAT_BAND_BINS = slice(4, 244), 16
TOO_SHORT = f'the sound is shorter than {_MIN_S:g} s'
SILENT = 'the sound is silent'


@dataclasses.dataclass(frozen=True)
class Features:
  """What the likelihoods are computed from.

  Attributes:
    glide_share: share of the active frames with voiced pitch that glides.
    modulation_share: share of 2 to 8 Hz in the modulation from 0.5 to 25 Hz.
    held_share: share of the energy in held partials.
    flatness_db: flatness within bands, weighted by their amplitude, of the median active frame.
  """

  glide_share: float
  modulation_share: float
  held_share: float
  flatness_db: float


def features(wave_NA: np.ndarray, sample_rate_hz: int) -> Features | str:
  """Returns the features of a sound, or why it has none.

  Args:
    wave_NA: the sound.
    sample_rate_hz: its rate.
  """
  if len(wave_NA) < _MIN_S * sample_rate_hz:
    return TOO_SHORT
  mono_N = spectra.resample(wave_NA, sample_rate_hz).mean(axis=1)
  power_JF = np.abs(spectra.stft(mono_N)) ** 2
  level_J = 10 * np.log10(power_JF.sum(axis=1) + 1e-12)
  is_active_J = level_J > max(level_J.max() - _ACTIVE_DB, _SILENT_DB)
  if not is_active_J.any():
    return SILENT
  return Features(
    _glide_share(mono_N, is_active_J),
    _modulation_share(np.sqrt(power_JF @ spectra.mel_matrix())),
    _held_share(mono_N),
    float(10 * np.log10(np.median(_flatness(power_JF[is_active_J])))),
  )


def _flatness(power_JF: np.ndarray) -> np.ndarray:
  band_JFS = power_JF[:, _FLAT_BINS].reshape(len(power_JF), -1, _FLAT_BAND_BINS) + 1e-14
  mean_JF = band_JFS.mean(axis=2)
  flatness_JF = np.exp(np.log(band_JFS).mean(axis=2)) / mean_JF
  weight_JF = np.sqrt(mean_JF)
  return (flatness_JF * weight_JF).sum(axis=1) / weight_JF.sum(axis=1)


def _glide_share(mono_N: np.ndarray, is_active_J: np.ndarray) -> float:
  num = min(len(mono_N) // spectra.HOP_SAMPLES, len(is_active_J))
  pitch_J, clarity_J = curves.pitch(mono_N[:, None], num, _LOW_PITCH_HZ, _HIGH_PITCH_HZ)
  is_voiced_J = (clarity_J > _VOICED) & is_active_J[:num]
  glide_J = 1200 * np.abs(np.diff(np.log2(np.maximum(pitch_J, 1.0))))
  is_gliding_J = (
    is_voiced_J[1:] & is_voiced_J[:-1] & (glide_J > _GLIDE_CENTS[0]) & (glide_J < _GLIDE_CENTS[1])
  )
  return float(is_gliding_J.sum() / is_active_J.sum())


def _modulation_share(level_JR: np.ndarray) -> float:
  rate_hz = spectra.RATE_HZ / spectra.HOP_SAMPLES
  width, hop = min(len(level_JR), round(_MODULATION_S * rate_hz)), round(_HOP_S * rate_hz)
  window_J = np.hanning(width)[:, None]
  power_F = np.zeros(width // 2 + 1)
  for start in range(0, len(level_JR) - width + 1, hop):
    part_JR = level_JR[start : start + width]
    power_F += (np.abs(np.fft.rfft((part_JR - part_JR.mean(axis=0)) * window_J, axis=0)) ** 2).sum(axis=1)
  hz_F = np.fft.rfftfreq(width, 1 / rate_hz)
  syllables = power_F[(hz_F >= 2) & (hz_F <= 8)].sum()
  return float(syllables / max(power_F[(hz_F >= 0.5) & (hz_F <= 25)].sum(), 1e-30))


def _held_share(mono_N: np.ndarray) -> float:
  power_JF = np.abs(spectra.stft(mono_N, _PARTIAL_WINDOW, _PARTIAL_HOP)[:, _PARTIAL_BINS]) ** 2
  db_JF = 10 * np.log10(power_JF + 1e-14)
  is_peak_JF = db_JF == ndimage.maximum_filter(db_JF, (1, 5))
  is_peak_JF &= db_JF > ndimage.median_filter(db_JF, (1, 31)) + _PARTIAL_DB
  near_JF = ndimage.maximum_filter(is_peak_JF.view(np.uint8), (1, 3))
  # A partial is held in frame j if it is there in all of the last frames; it may move by a bin at a time.
  num = len(near_JF) - _PARTIAL_FRAMES + 1
  if num < 1:
    return 0.0
  is_held_JF = np.logical_and.reduce([near_JF[k : k + num] > 0 for k in range(_PARTIAL_FRAMES)])
  used_JF = power_JF[_PARTIAL_FRAMES - 1 :]
  return float(used_JF[is_held_JF].sum() / max(used_JF.sum(), 1e-30))


def _unit(value: float, low: float, high: float) -> float:
  return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def speech_likelihood(found: Features) -> float:
  """Returns the likelihood of speech, 0 to 1; see the module."""
  return (_unit(found.glide_share, 0.0, 0.15) * _unit(found.modulation_share, 0.2, 0.45)) ** 0.5


def music_likelihood(found: Features) -> float:
  """Returns the likelihood of music, 0 to 1; see the module."""
  return _unit(found.held_share, 0.0, 0.25)


def noise_likelihood(found: Features) -> float:
  """Returns the likelihood that there is only noise, 0 to 1; see the module."""
  return _unit(found.flatness_db, -4.5, -2.7) * _unit(-found.modulation_share, -0.7, -0.35)


@memo.of_last_clip
def _of_clip(clip: decoded.DecodedClip) -> Features | str:
  return features(clip.wave_NA, clip.sample_rate_hz)


def measure_speech(clip: decoded.DecodedClip) -> float | str:
  """Returns the likelihood of speech of a clip."""
  found = _of_clip(clip)
  return found if isinstance(found, str) else speech_likelihood(found)


def measure_music(clip: decoded.DecodedClip) -> float | str:
  """Returns the likelihood of music of a clip."""
  found = _of_clip(clip)
  return found if isinstance(found, str) else music_likelihood(found)


def measure_noise(clip: decoded.DecodedClip) -> float | str:
  """Returns the likelihood of noise of a clip."""
  found = _of_clip(clip)
  return found if isinstance(found, str) else noise_likelihood(found)


FILTERS: tuple[filter_lib.Filter, ...] = tuple(
  filter_lib.FunctionFilter(
    name, '', f'likelihood of {description}, 0 to 1; weak', function, needs_audio=True
  )
  for name, description, function in (
    ('speech', 'speech', measure_speech),
    ('music', 'music with held notes', measure_music),
    ('noise', 'noise alone', measure_noise),
  )
)
