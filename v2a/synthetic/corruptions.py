"""Visual corruptions: archive film and degraded video; they change the frames, never the audio."""

import dataclasses

import numpy as np
import scipy.fft

from v2a import degradations
from v2a.synthetic import random_streams

CORRUPTIONS = ('clean', 'archive', 'degraded')
WEIGHTS = (50, 27, 23)  # sampling weights of CORRUPTIONS
_QUANT_YX = 8.0 + 6.0 * (
  np.arange(8)[:, None] + np.arange(8)[None, :]
)  # grows with frequency, like the quantization table of JPEG


@dataclasses.dataclass(frozen=True)
class Corruption:
  """A visual corruption and its severity, 0..1."""

  name: str
  severity: float

  def source_times(self, streams: random_streams.RandomStreams, time_L: np.ndarray) -> np.ndarray:
    """Returns the source time of each frame: judder of archive film, frozen frames of degraded video."""
    rng = streams.rng('look times')
    if self.name == 'archive':
      rate_hz = rng.uniform(16, 18)
      return np.floor(time_L * rate_hz + 1e-6) / rate_hz
    if self.name == 'degraded':
      slot_s = 0.04
      length = int(time_L.max() / slot_s) + 2
      start_S = rng.random(length) < 0.02 + 0.03 * self.severity
      left_S = rng.integers(1, 2 + int(4 * self.severity), length)
      source_S = np.arange(length)
      for slot in np.flatnonzero(start_S):
        source_S[slot : slot + 1 + left_S[slot]] = source_S[slot]
      slot_L = (time_L / slot_s + 1e-6).astype(np.int64)
      return np.where(source_S[slot_L] == slot_L, time_L, source_S[slot_L] * slot_s)
    return time_L

  def apply(
    self, streams: random_streams.RandomStreams, source_time_L: np.ndarray, pixels_3LYX: np.ndarray
  ) -> np.ndarray:
    """Returns corrupted pixels; random numbers depend on the source time, not on the frame rate."""
    if self.name == 'archive':
      return _archive(streams, self.severity, source_time_L, pixels_3LYX)
    if self.name == 'degraded':
      return _degrade(streams, self.severity, source_time_L, pixels_3LYX)
    return pixels_3LYX


def random_corruption(streams: random_streams.RandomStreams, name: str | None) -> Corruption:
  """Samples a corruption, or the severity of a given one."""
  rng = streams.rng('look')
  name = name or random_streams.pick(rng, CORRUPTIONS, WEIGHTS)
  return Corruption(
    name, 0.0 if name == 'clean' else round(float(streams.rng('severity').uniform(0.15, 1.0)), 4)
  )


def _per_time(streams, name: str, source_time_L: np.ndarray, count: int) -> np.ndarray:
  """Returns `count` uniform random numbers per frame, equal for frames of equal source time."""
  table = streams.rng(name).random((4099, count), dtype=np.float32)
  return table[np.round(source_time_L * 1000).astype(np.int64) % 4099]


def _grain(streams, name: str, source_time_L: np.ndarray, size: int) -> np.ndarray:
  """Returns noise of unit variance (L, Y, X), equal for frames of equal source time."""
  rng = streams.rng(name)
  stored = rng.standard_normal((3, size * size + 8191), dtype=np.float32)
  start_L2 = (_per_time(streams, name + ' start', source_time_L, 2) * (3, 8191)).astype(np.int64)
  row_L, start_L = start_L2.T
  return degradations.grain(stored.reshape(-1), row_L * stored.shape[1] + start_L, size, size)


def _archive(streams, severity, source_time_L, pixels_3LYX):
  size = pixels_3LYX.shape[-1]
  gray_LYX = np.tensordot(degradations.GREY_3, pixels_3LYX, axes=1)
  gray_LYX = degradations.blur(gray_LYX, size * (0.004 + 0.011 * severity))
  weave_L2 = (_per_time(streams, 'weave', source_time_L, 2) - 0.5) * (0.05 * severity * size)
  degradations.shift(gray_LYX, np.round(weave_L2).astype(int))
  flicker_L = 1 + 0.3 * severity * (_per_time(streams, 'flicker', source_time_L, 1)[:, 0] - 0.5)
  gray_LYX = 0.5 + (gray_LYX - 0.45) * (1.05 + 0.25 * severity)
  gray_LYX *= flicker_L[:, None, None]
  gray_LYX += (0.02 + 0.06 * severity) * _grain(streams, 'grain', source_time_L, size)
  _scratch(streams, severity, source_time_L, gray_LYX)
  gray_LYX *= degradations.vignette_gain(size, 0.25 * severity)
  warm = (1.0, 0.96, 0.88) if streams.rng('warm').random() < 0.4 else (1.0, 1.0, 1.0)
  return np.stack([gray_LYX * np.float32(share) for share in warm])


def _scratch(streams, severity, source_time_L, gray_LYX):
  size = gray_LYX.shape[-1]
  random_LS = _per_time(streams, 'scratches', source_time_L, 12)
  lines = streams.rng('lines').random(3)
  for frame, row in enumerate(random_LS):
    for number in range(3):
      if row[number] < 0.5 * severity:
        column = int(size * (lines[number] + 0.02 * (row[number + 3] - 0.5))) % size
        degradations.add_line(gray_LYX[frame], column, 0.3 + 0.2 * row[number + 6])
    for number in range(2):
      if row[9 + number] < 0.6 * severity:
        y, x = int(97 * row[number] * size) % size, int(89 * row[number + 3] * size) % size
        degradations.add_speck(gray_LYX[frame], y, x, 0.05 if number else 0.95)


def _degrade(streams, severity, source_time_L, pixels_3LYX):
  size = pixels_3LYX.shape[-1]
  pixels_3LYX = pixels_3LYX + (0.01 + 0.045 * severity) * _grain(streams, 'sensor', source_time_L, size)
  sigma = size * 0.009 * severity
  if sigma > 0.15:
    pixels_3LYX = degradations.blur(pixels_3LYX, sigma, axes=(2, 3))
  # As in JPEG and MPEG, the DCT coefficients of every block of 8 by 8 pixels are quantized.
  whole = -(-size // 8) * 8
  padded = np.pad(pixels_3LYX, ((0, 0), (0, 0), (0, whole - size), (0, whole - size)), mode='edge')
  blocks = padded.reshape(3, len(source_time_L), whole // 8, 8, whole // 8, 8)
  spectrum = scipy.fft.dctn(blocks, axes=(3, 5), norm='ortho')
  step = (_QUANT_YX * (0.3 + 2.2 * severity) / 255).astype(np.float32)[:, None, :]
  spectrum = np.round(spectrum / step) * step
  blocks = scipy.fft.idctn(spectrum, axes=(3, 5), norm='ortho')
  return blocks.reshape(3, len(source_time_L), whole, whole)[:, :, :size, :size].astype(np.float32)
