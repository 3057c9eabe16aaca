"""Augmentation: frames of training clips are degraded at random, differently in every epoch.

A degradation that is rendered or recorded is the same in every epoch, and a model can memorize it.
Augmentation removes color, repeats frames, changes exposure and contrast, adds flicker, blur, vignetting,
camera shake, grain, scratches and blocks of compression, inverts brightness, and crops a little. What makes a
sound stays in the frames, and about where it was.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from v2a import degradations

_BLOCK = 16  # pixels of a block of JPEG, whose colors have half the resolution
_MAX_HEIGHT = (
  65_535 // 2
)  # of an image that is split into parts of equal length; JPEG has at most 65,535 rows
_NOISE_N = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Degradations of one clip; a value of zero is none.

  Attributes:
    is_grey: whether color is removed.
    source_fps: frames a second that are kept, each repeated until the next; 0 for all.
    flicker: standard deviation of the relative brightness of a frame.
    contrast: factor of the distance from middle grey.
    shake: largest shift of a frame, as a share of its size.
    grain: standard deviation of the noise of each pixel, relative to white.
    scratches: share of frames with a bright line (for each of two lines), and of frames with a speck.
    exposure: factor of the brightness.
    blur: standard deviation of a Gaussian, as a share of the size of a frame.
    vignette: share of the brightness that is lost in the middle of a side; twice that in a corner.
    is_negative: whether brightness is inverted.
    compression: 0 for none, 1 for that of JPEG at its lowest quality.
    crop: share of height and width that is cut off; the rest is enlarged to the size of the frames.
    crop_y, crop_x: share of what is cut off that is above and left.
  """

  is_grey: bool
  source_fps: float
  flicker: float
  contrast: float
  shake: float
  grain: float
  scratches: float
  exposure: float
  blur: float
  vignette: float
  is_negative: bool
  compression: float
  crop: float
  crop_y: float
  crop_x: float


# Leaves frames unchanged.
IDENTITY = Augmentation(False, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, False, 0.0, 0.0, 0.5, 0.5)


def random_augmentation(rng: np.random.Generator) -> Augmentation:
  """Returns degradations of random strength: each kind with probability 1/2, inversion with 1/20."""
  severity, is_used_K = rng.random(), rng.random(12) < 0.5

  def strength(kind: int, maximum: float) -> float:
    return float(is_used_K[kind] * severity * rng.random() * maximum)

  return Augmentation(
    is_grey=bool(is_used_K[0]),
    source_fps=float(is_used_K[1] * rng.uniform(10, 24)),
    flicker=strength(2, 0.15),
    contrast=1 + strength(3, 0.4) * rng.choice((-1, 1)),
    shake=strength(4, 0.04),
    grain=strength(5, 0.12),
    scratches=strength(6, 0.8),
    exposure=float(np.exp(is_used_K[7] * rng.uniform(np.log(0.4), np.log(1.3)))),
    blur=strength(8, 0.02),
    vignette=strength(9, 0.3),
    is_negative=bool(rng.random() < 0.05),
    compression=strength(10, 0.98),
    crop=strength(11, 0.2),
    crop_y=float(rng.random()) if is_used_K[11] else 0.5,
    crop_x=float(rng.random()) if is_used_K[11] else 0.5,
  )


def apply(
  augmentation: Augmentation, frame_LYX3: np.ndarray, fps: float, rng: np.random.Generator
) -> np.ndarray:
  """Returns degraded frames, uint8.

  Args:
    augmentation: see `random_augmentation`.
    frame_LYX3: uint8 frames, frame k at k / fps.
    fps: frames a second.
    rng: of the noise.
  """
  num_frames, size = frame_LYX3.shape[:2]
  # Before anything else is sampled. A repeated frame is degraded once and then repeated.
  source_L = _source_frames(num_frames, augmentation.source_fps, fps, rng)
  pixels_LYX3 = _cropped(frame_LYX3.astype(np.float32) / 255, augmentation)
  if augmentation.is_grey:
    pixels_LYX3 = degradations.remove_color(pixels_LYX3)
  if augmentation.is_negative:
    pixels_LYX3 = 1 - pixels_LYX3
  pixels_LYX3 = augmentation.exposure * (0.5 + augmentation.contrast * (pixels_LYX3 - 0.5))
  if augmentation.blur:
    pixels_LYX3 = degradations.blur(pixels_LYX3, augmentation.blur * size)
  if augmentation.shake:
    offset_L2 = np.round(rng.uniform(-1, 1, (num_frames, 2)) * augmentation.shake * size).astype(int)
    degradations.shift(pixels_LYX3, offset_L2)
  if augmentation.flicker:
    pixels_LYX3 *= 1 + augmentation.flicker * rng.standard_normal((num_frames, 1, 1, 1), np.float32)
  if augmentation.grain:
    start_L = rng.integers(0, len(_NOISE_N) - size * size, num_frames)
    pixels_LYX3 += augmentation.grain * degradations.grain(_NOISE_N, start_L, size, size)[..., None]
  if augmentation.scratches:
    _scratch(pixels_LYX3, augmentation.scratches, rng)
  if augmentation.vignette:
    pixels_LYX3 *= degradations.vignette_gain(size, augmentation.vignette)[..., None]
  pixels_LYX3 = np.clip(255 * pixels_LYX3 + 0.5, 0, 255)
  return _compressed(pixels_LYX3.astype(np.uint8), augmentation.compression)[source_L]


def _cropped(pixels_LYX3: np.ndarray, augmentation: Augmentation) -> np.ndarray:
  """Returns a part of each frame, enlarged to its size by linear interpolation."""
  if not augmentation.crop:
    return pixels_LYX3
  size = pixels_LYX3.shape[1]
  for axis, share in ((1, augmentation.crop_y), (2, augmentation.crop_x)):
    # The centre of pixel k is at k + 1/2.
    position_N = augmentation.crop * share * size + (np.arange(size) + 0.5) * (1 - augmentation.crop) - 0.5
    position_N = np.clip(position_N, 0, size - 1)
    first_N = np.minimum(position_N.astype(int), size - 2)
    weight = (position_N - first_N).astype(np.float32).reshape(-1, *[1] * (3 - axis))
    before, after = (np.take(pixels_LYX3, first_N + offset, axis) for offset in (0, 1))
    pixels_LYX3 = before + weight * (after - before)
  return pixels_LYX3


def _compressed(frame_LYX3: np.ndarray, strength: float) -> np.ndarray:
  """Returns frames after a round trip through JPEG.

  Its blocks are those of the intra frames of all video codecs; H.264 takes ten times as long.
  """
  if not strength:
    return frame_LYX3
  size = frame_LYX3.shape[1]
  # Frames in one column are one image, which is ten times as fast; padded, so that no block is in two frames.
  padding = -size % _BLOCK
  padded_LYX3 = np.pad(frame_LYX3, ((0, 0), (0, padding), (0, padding), (0, 0)), 'edge')
  parts, num_rows = [], padded_LYX3.shape[0] * padded_LYX3.shape[1]
  for part_LYX3 in np.array_split(padded_LYX3, num_rows // _MAX_HEIGHT + 1):
    file = io.BytesIO()
    column_YX3 = part_LYX3.reshape(-1, *part_LYX3.shape[2:])
    Image.fromarray(column_YX3).save(file, 'JPEG', quality=round(50 * (1 - strength)))
    with Image.open(file) as image:
      parts.append(np.asarray(image).reshape(part_LYX3.shape))
  return np.concatenate(parts)[:, :size, :size]


def _source_frames(num_frames: int, source_fps: float, fps: float, rng: np.random.Generator) -> np.ndarray:
  """Returns the index of the frame to show in place of each frame, at a lower frame rate."""
  index_L = np.arange(num_frames)
  if not source_fps or source_fps >= fps:
    return index_L
  # Frames between those of the clip are not known: the nearest one is used.
  phase = rng.random()
  slot_L = np.floor(index_L * source_fps / fps + phase)
  return np.clip(np.round((slot_L - phase) * fps / source_fps), 0, num_frames - 1).astype(int)


def _scratch(pixels_LYX3: np.ndarray, share: float, rng: np.random.Generator) -> None:
  """Adds lines near two fixed positions, and specks anywhere; in place."""
  num_frames, height, width, _ = pixels_LYX3.shape
  for position in rng.random(2):
    for frame in np.flatnonzero(rng.random(num_frames) < share):
      x = int(width * (position + 0.02 * rng.random())) % width
      degradations.add_line(pixels_LYX3[frame], x, rng.uniform(0.2, 0.5))
  for frame in np.flatnonzero(rng.random(num_frames) < share):
    y, x = rng.integers(0, height), rng.integers(0, width)
    degradations.add_speck(pixels_LYX3[frame], y, x, rng.choice((0.05, 0.95)))
