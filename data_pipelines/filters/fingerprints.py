"""Fingerprints of a clip that survive encoding, scaling, level changes and small cuts.

Frames: a perceptual hash every 0.5 s, of the mean of the frames within a second, so that a shift in time
changes little. 64 bits: the signs, relative to their median, of the 64 lowest DCT coefficients of the luma at
32 x 32 pixels, without its mean (Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions").

Sound: landmarks, pairs of spectral peaks with their frequencies and distance in time (Wang 2003, "An
industrial-strength audio search algorithm"), which depend neither on level nor on where the clip begins. A
MinHash (Broder 1997) of 128 values stands for the set of landmarks: the share of equal values estimates the
Jaccard similarity of two sets.

A clip of 10 s has 0.7 kB.
"""

import dataclasses

import numpy as np
from scipy import fft
from scipy import ndimage

from data_pipelines import decoded
from v2a.metrics import spectra

FRAME_HOP_S = 0.5
_FRAME_WINDOW_S = 1.0
_SIDE, _NUM_BITS = 32, 64
# A frame whose luma has a smaller standard deviation (of 255) has no content to compare: black, white, fades.
_MIN_CONTRAST = 6.0
NUM_SOUND_HASHES = 128
# Fewer landmarks than this identify no sound.
_MIN_LANDMARKS = 20
_RATE_HZ, _WINDOW, _HOP = 8000, 1024, 128
# A peak is the largest value within this many bins (240 Hz) and frames (0.6 s).
_PEAK_BINS, _PEAK_FRAMES, _PEAK_RANGE_DB = 31, 37, 40.0
# Pairs with the next peaks in time; lags count in steps of eight frames (0.13 s), bins in steps of two.
_NUM_NEXT, _MIN_LAG, _MAX_LAG, _MAX_BINS, _LAG_STEP = 14, 2, 80, 96, 8


@dataclasses.dataclass(frozen=True)
class Fingerprint:
  """Of one clip.

  Attributes:
    frame_hash_M: uint64, every FRAME_HOP_S; frames without content are left out with their time.
    frame_index_M: uint16, the time of each hash in FRAME_HOP_S.
    sound_hash_S: uint32, NUM_SOUND_HASHES values; empty for a sound with too few landmarks.
  """

  frame_hash_M: np.ndarray
  frame_index_M: np.ndarray
  sound_hash_S: np.ndarray

  def to_json(self) -> dict[str, list[int]]:
    """Returns the fingerprint as values of JSON."""
    return {
      'frame_hash': self.frame_hash_M.tolist(),
      'frame_index': self.frame_index_M.tolist(),
      'sound_hash': self.sound_hash_S.tolist(),
    }

  @classmethod
  def from_json(cls, values: dict[str, list[int]]) -> 'Fingerprint':
    """Returns the fingerprint of `to_json`."""
    return cls(
      np.array(values['frame_hash'], np.uint64),
      np.array(values['frame_index'], np.uint16),
      np.array(values['sound_hash'], np.uint32),
    )


def make(clip: decoded.DecodedClip) -> Fingerprint:
  """Returns the fingerprint of a clip; parts that it lacks are empty."""
  hash_M, index_M = frame_hashes(clip.frame_MYX3)
  sound_S = sound_hashes(landmarks(clip.wave_NA, clip.sample_rate_hz)) if clip.has_audio else _NO_SOUND
  return Fingerprint(hash_M, index_M, sound_S)


_NO_SOUND = np.zeros(0, np.uint32)


def frame_hashes(frame_MYX3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the hashes of frames at FRAMES_PER_S and their times, see Fingerprint.

  Args:
    frame_MYX3: uint8 RGB.
  """
  if not len(frame_MYX3):
    return np.zeros(0, np.uint64), np.zeros(0, np.uint16)
  small_MYX = np.stack([_thumbnail(frame_YX3) for frame_YX3 in frame_MYX3])
  hop, half = round(FRAME_HOP_S * decoded.FRAMES_PER_S), round(_FRAME_WINDOW_S * decoded.FRAMES_PER_S / 2)
  centres = range(0, len(small_MYX), hop)
  mean_MYX = np.stack([small_MYX[max(0, k - half) : k + half].mean(axis=0) for k in centres])
  coefficient_MYX = fft.dctn(mean_MYX, axes=(1, 2), norm='ortho')
  order = sorted(((y, x) for y in range(_SIDE) for x in range(_SIDE)), key=lambda yx: (sum(yx), yx))
  rows, columns = zip(*order[1 : 1 + _NUM_BITS])
  low_MF = coefficient_MYX[:, rows, columns]
  bit_MF = low_MF > np.median(low_MF, axis=1, keepdims=True)
  hash_M = (bit_MF.astype(np.uint64) << np.arange(_NUM_BITS, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
  has_content_M = mean_MYX.std(axis=(1, 2)) >= _MIN_CONTRAST
  return hash_M[has_content_M], np.flatnonzero(has_content_M).astype(np.uint16)


def _thumbnail(frame_YX3: np.ndarray) -> np.ndarray:
  """Returns the luma at 32 x 32 pixels by area averaging, whatever the size of the frame."""
  luma_YX = frame_YX3.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
  for _ in range(2):
    size = len(luma_YX)
    # Integrals at the edges of the cells, linear in between.
    total = np.concatenate([np.zeros_like(luma_YX[:1]), luma_YX.cumsum(axis=0, dtype=np.float64)])
    edge = np.linspace(0, size, _SIDE + 1)
    low = np.minimum(edge.astype(int), size - 1)
    part = (edge - low)[:, None]
    at_edge = total[low] * (1 - part) + total[low + 1] * part
    luma_YX = (np.diff(at_edge, axis=0) * (_SIDE / size)).T
  return luma_YX


def landmarks(wave_NA: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns the distinct landmarks of a sound as uint32, ascending: both frequencies and the time between.

  Args:
    wave_NA: the sound.
    sample_rate_hz: its rate.
  """
  if len(wave_NA) < sample_rate_hz or not np.isfinite(wave_NA).all():
    return np.zeros(0, np.uint32)
  mono_NA = wave_NA.mean(axis=1, keepdims=True)
  mono_N = spectra.resample(mono_NA, sample_rate_hz, _RATE_HZ)[:, 0]
  db_JF = 20 * np.log10(np.abs(spectra.stft(mono_N, _WINDOW, _HOP)) + 1e-7)
  is_peak_JF = db_JF == ndimage.maximum_filter(db_JF, (_PEAK_FRAMES, _PEAK_BINS))
  is_peak_JF &= db_JF > max(db_JF.max() - _PEAK_RANGE_DB, -100.0)
  is_peak_JF[:, :4] = False
  frame_N, bin_N = np.nonzero(is_peak_JF)
  found = []
  for step in range(1, _NUM_NEXT + 1):
    lag_N = frame_N[step:] - frame_N[:-step]
    change_N = bin_N[step:] - bin_N[:-step]
    is_pair_N = (lag_N >= _MIN_LAG) & (lag_N <= _MAX_LAG) & (np.abs(change_N) <= _MAX_BINS)
    low_N, lag_N, change_N = bin_N[:-step][is_pair_N], lag_N[is_pair_N], change_N[is_pair_N]
    found.append(((low_N // 2) << 14) | ((change_N // 2 + _MAX_BINS) << 6) | (lag_N // _LAG_STEP))
  return np.unique(np.concatenate(found)).astype(np.uint32)


def sound_hashes(landmark_N: np.ndarray) -> np.ndarray:
  """Returns the MinHash of a set of landmarks; empty if they are too few."""
  if len(landmark_N) < _MIN_LANDMARKS:
    return _NO_SOUND
  rng = np.random.default_rng(0x5EED)
  scale_S = rng.integers(1, 1 << 31, NUM_SOUND_HASHES, dtype=np.uint64) * 2 + 1
  offset_S = rng.integers(0, 1 << 62, NUM_SOUND_HASHES, dtype=np.uint64)
  # Multiply-shift hashing of 32 bits to the 32 upper bits of 64.
  mixed_NS = (landmark_N.astype(np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)) ^ offset_S
  mixed_NS ^= mixed_NS >> np.uint64(29)
  return ((mixed_NS * scale_S * np.uint64(0xBF58476D1CE4E5B9)) >> np.uint64(32)).min(axis=0).astype(np.uint32)
