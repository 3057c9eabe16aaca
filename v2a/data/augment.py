"""Wear: what age and cheap cameras do to a picture, drawn anew each time that a clip is trained on.

Rendered or recorded damage is the same at every visit, and a model learns it by heart. What is drawn here
moves nothing that makes a sound: colour goes, pictures are held, the light is poor or flickers, lenses blur
and darken the corners, the frame shakes, grain dances, a negative is shown.
"""

import dataclasses

import numpy as np
import scipy.ndimage

_GREY_3 = np.array([0.3, 0.59, 0.11], np.float32)
_TABLE = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """What happens to one clip; zero is nothing.

  Attributes:
    is_grey: whether colour is lost.
    source_fps: pictures a second that are really shown, each held until the next; 0 for all.
    flicker: standard deviation of a picture's brightness, relative.
    contrast: factor of the distance from middle grey.
    shake: largest shift of a picture, as a share of its size.
    grain: standard deviation of the noise of each pixel, relative to white.
    scratches: share of pictures that a bright line runs through, and of those with a speck.
    exposure: factor of the brightness.
    blur: standard deviation of a Gaussian, as a share of the picture's size.
    vignette: share of the brightness that is gone in the middle of a side; twice that in a corner.
    is_negative: whether bright is dark and dark is bright.
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


# What leaves a picture as it is.
IDENTITY = Augmentation(False, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, False)


def random_augmentation(rng: np.random.Generator) -> Augmentation:
  """Returns wear of a random strength: a kind is there in half of the cases, a negative in a twentieth."""
  severity, is_there_K = rng.random(), rng.random(10) < 0.5

  def upto(kind: int, most: float) -> float:
    return float(is_there_K[kind] * severity * rng.random() * most)

  return Augmentation(
    is_grey=bool(is_there_K[0]),
    source_fps=float(is_there_K[1] * rng.uniform(10, 24)),
    flicker=upto(2, 0.15),
    contrast=1 + upto(3, 0.4) * rng.choice((-1, 1)),
    shake=upto(4, 0.04),
    grain=upto(5, 0.12),
    scratches=upto(6, 0.8),
    exposure=float(np.exp(is_there_K[7] * rng.uniform(np.log(0.4), np.log(1.3)))),
    blur=upto(8, 0.02),
    vignette=upto(9, 0.3),
    is_negative=bool(rng.random() < 0.05),
  )


def apply(
  augmentation: Augmentation, frame_LYX3: np.ndarray, fps: float, rng: np.random.Generator
) -> np.ndarray:
  """Returns the worn picture.

  Args:
    augmentation: see `random_augmentation`.
    frame_LYX3: uint8 frames, frame k at k / fps.
    fps: frames a second.
    rng: of the noise.
  """
  L, size = frame_LYX3.shape[:2]
  shown_L = np.arange(L)
  if augmentation.source_fps and augmentation.source_fps < fps:
    # Between two frames of the grid nothing is known: the nearest stands for the picture shown.
    phase = rng.random()
    slot_L = np.floor(shown_L * augmentation.source_fps / fps + phase)
    shown_L = np.clip(np.round((slot_L - phase) * fps / augmentation.source_fps), 0, L - 1).astype(int)
  # Held pictures are the same picture, with the same damage: it is drawn a frame, then held.
  pixels_LYX3 = frame_LYX3.astype(np.float32) / 255
  if augmentation.is_grey:
    pixels_LYX3 = np.repeat((pixels_LYX3 @ _GREY_3)[..., None], 3, axis=-1)
  if augmentation.is_negative:
    pixels_LYX3 = 1 - pixels_LYX3
  pixels_LYX3 = augmentation.exposure * (0.5 + augmentation.contrast * (pixels_LYX3 - 0.5))
  if augmentation.blur:
    pixels_LYX3 = scipy.ndimage.gaussian_filter(
      pixels_LYX3, (0, augmentation.blur * size, augmentation.blur * size, 0), mode='nearest'
    )
  if augmentation.shake:
    for frame, shift in enumerate(
      np.round(rng.uniform(-1, 1, (L, 2)) * augmentation.shake * size).astype(int)
    ):
      pixels_LYX3[frame] = np.roll(pixels_LYX3[frame], shift, axis=(0, 1))
  if augmentation.flicker:
    pixels_LYX3 *= 1 + augmentation.flicker * rng.standard_normal((L, 1, 1, 1), np.float32)
  if augmentation.grain:
    pixels_LYX3 += augmentation.grain * _grain(rng, pixels_LYX3.shape)
  if augmentation.scratches:
    _scratch(pixels_LYX3, augmentation.scratches, rng)
  if augmentation.vignette:
    from_middle_X = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    pixels_LYX3 *= (1 - augmentation.vignette * (from_middle_X[:, None] + from_middle_X))[..., None]
  pixels_LYX3 = np.clip(255 * pixels_LYX3 + 0.5, 0, 255)
  return pixels_LYX3.astype(np.uint8)[shown_L]


def _scratch(pixels_LYX3: np.ndarray, share: float, rng: np.random.Generator) -> None:
  """Draws lines that stay about where they are, and specks of dust anywhere; in place."""
  L, Y, X, _ = pixels_LYX3.shape
  thickness = max(1, round(X / 90))
  for middle in rng.random(2):
    for frame in np.flatnonzero(rng.random(L) < share):
      x = int(X * (middle + 0.02 * rng.random())) % X
      pixels_LYX3[frame, :, x : x + thickness] += rng.uniform(0.2, 0.5)
  for frame in np.flatnonzero(rng.random(L) < share):
    y, x = rng.integers(0, Y), rng.integers(0, X)
    pixels_LYX3[frame, y : y + 2 * thickness, x : x + 2 * thickness] = rng.choice((0.05, 0.95))


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
  """Returns grey noise of unit variance: each frame a random piece of one table, since drawing it is slow."""
  L, Y, X, _ = shape
  start_L = rng.integers(0, len(_TABLE) - Y * X, L)
  return np.stack([_TABLE[start : start + Y * X].reshape(Y, X, 1) for start in start_L])
