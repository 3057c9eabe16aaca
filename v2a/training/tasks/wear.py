"""Wear: what age and cheap cameras do to a picture, drawn anew each time that a clip is trained on.

Rendered or recorded damage is the same at every visit, and a model learns it by heart. What is drawn here
moves nothing that makes a sound: colour goes, pictures are held, the light flickers, the frame shakes, grain
dances.
"""

import dataclasses

import numpy as np

_GREY_3 = np.float32([0.3, 0.59, 0.11])
_TABLE = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Wear:
  """What happens to one clip; zero is nothing.

  Attributes:
    is_grey: whether colour is lost.
    shown_fps: pictures a second that are really shown, each held until the next; 0 for all.
    flicker: standard deviation of a picture's brightness, relative.
    contrast: factor of the distance from middle grey.
    shake: largest shift of a picture, as a share of its size.
    grain: standard deviation of the noise of each pixel, relative to white.
    scratches: share of pictures that a bright line runs through, and of those with a speck.
  """

  is_grey: bool
  shown_fps: float
  flicker: float
  contrast: float
  shake: float
  grain: float
  scratches: float


def draw(rng: np.random.Generator) -> Wear:
  """Returns wear of a random strength: each kind is there in half of the cases, and never above its most."""
  severity, is_there_K = rng.random(), rng.random(7) < 0.5

  def upto(kind: int, most: float) -> float:
    return float(is_there_K[kind] * severity * rng.random() * most)

  return Wear(bool(is_there_K[0]), float(is_there_K[1] * rng.uniform(12, 24)), upto(2, 0.15),
              1 + upto(3, 0.4) * rng.choice((-1, 1)), upto(4, 0.03), upto(5, 0.12), upto(6, 0.8))


def apply(wear: Wear, frame_LYX3: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
  """Returns the worn picture.

  Args:
    wear: see `draw`.
    frame_LYX3: uint8 frames, frame k at k / fps.
    fps: frames a second.
    rng: of the noise.
  """
  L, size = frame_LYX3.shape[:2]
  shown_L = np.arange(L)
  if wear.shown_fps and wear.shown_fps < fps:
    # Between two frames of the grid nothing is known: the nearest stands for the picture shown.
    phase = rng.random()
    slot_L = np.floor(shown_L * wear.shown_fps / fps + phase)
    shown_L = np.clip(np.round((slot_L - phase) * fps / wear.shown_fps), 0, L - 1).astype(int)
  # Held pictures are the same picture, with the same damage: it is drawn a frame, then held.
  pixels_LYX3 = frame_LYX3.astype(np.float32) / 255
  if wear.is_grey:
    pixels_LYX3 = np.repeat((pixels_LYX3 @ _GREY_3)[..., None], 3, axis=-1)
  pixels_LYX3 = 0.5 + wear.contrast * (pixels_LYX3 - 0.5)
  if wear.shake:
    for frame, shift in enumerate(np.round(rng.uniform(-1, 1, (L, 2)) * wear.shake * size).astype(int)):
      pixels_LYX3[frame] = np.roll(pixels_LYX3[frame], shift, axis=(0, 1))
  if wear.flicker:
    pixels_LYX3 *= 1 + wear.flicker * rng.standard_normal((L, 1, 1, 1), np.float32)
  if wear.grain:
    pixels_LYX3 += wear.grain * _grain(rng, pixels_LYX3.shape)
  if wear.scratches:
    _scratch(pixels_LYX3, wear.scratches, rng)
  pixels_LYX3 = np.clip(255 * pixels_LYX3 + 0.5, 0, 255)
  return pixels_LYX3.astype(np.uint8)[shown_L]


def _scratch(pixels_LYX3: np.ndarray, share: float, rng: np.random.Generator) -> None:
  """Draws lines that stay about where they are, and specks of dust anywhere; in place."""
  L, Y, X, _ = pixels_LYX3.shape
  thickness = max(1, round(X / 90))
  for middle in rng.random(2):
    for frame in np.flatnonzero(rng.random(L) < share):
      x = int(X * (middle + 0.02 * rng.random())) % X
      pixels_LYX3[frame, :, x:x + thickness] += rng.uniform(0.2, 0.5)
  for frame in np.flatnonzero(rng.random(L) < share):
    y, x = rng.integers(0, Y), rng.integers(0, X)
    pixels_LYX3[frame, y:y + 2 * thickness, x:x + 2 * thickness] = rng.choice((0.05, 0.95))


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
  """Returns grey noise of unit variance: each frame a random piece of one table, since drawing it is slow."""
  L, Y, X, _ = shape
  start_L = rng.integers(0, len(_TABLE) - Y * X, L)
  return np.stack([_TABLE[start:start + Y * X].reshape(Y, X, 1) for start in start_L])
