"""Backgrounds: random gradients, a floor, and silent objects."""

import colorsys
import functools

import numpy as np

from v2a.synthetic import canvas as canvases
from v2a.synthetic import random_streams


def color(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
  """Returns red, green and blue of a hue, saturation and value in 0..1."""
  return colorsys.hsv_to_rgb(hue % 1, saturation, value)


class Backdrop:
  """A static background, rendered once for each size, with at most one silent moving object.

  Attributes:
    floor: y of the edge of the floor in frame heights, or None.
  """

  def __init__(
    self,
    rng: np.random.Generator,
    floor: float | None = None,
    is_busy: bool = True,
    value: tuple[float, float] = (0.3, 0.85),
  ):
    """Samples colours and objects.

    Args:
      rng: source of colours and objects.
      floor: y of the edge of the floor in frame heights; None for no floor.
      is_busy: whether there may be silent objects: up to four at rest, and one that moves with probability
        0.25.
      value: range of the brightness (HSV value) of the upper edge, 0..1.
    """
    self.floor = floor
    hue = rng.random()
    bright = rng.uniform(*value)
    self._top = color(hue, rng.uniform(0.1, 0.5), bright)
    self._bottom = color(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.1, 0.5), bright * rng.uniform(0.7, 1.1))
    self._slant = rng.uniform(-0.4, 0.4)
    self._floor_color = color(rng.random(), rng.uniform(0.1, 0.4), bright * rng.uniform(0.45, 0.8))
    self._objects = [self._random_object(rng) for _ in range(int(rng.integers(0, 5)) if is_busy else 0)]
    self._mover = self._random_object(rng) if is_busy and rng.random() < 0.25 else None
    self._drift = rng.uniform(0.02, 0.07) * random_streams.pick(rng, (-1, 1))
    self._static = functools.lru_cache(maxsize=2)(self._render_static)

  @property
  def brightness(self) -> float:
    """Luma of the middle of the background, 0..1."""
    return float(np.dot((0.3, 0.59, 0.11), np.add(self._top, self._bottom)) / 2)

  def _random_object(self, rng) -> dict:
    return {
      'kind': random_streams.pick(rng, ('disc', 'box', 'stripe')),
      'x': rng.random(),
      'y': rng.uniform(0.05, 0.65),
      'size': rng.uniform(0.04, 0.2),
      'aspect': rng.uniform(0.6, 1.6),
      'alpha': rng.uniform(0.25, 0.6),
      'color': color(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.25, 0.9)),
    }

  def _render_object(self, canvas, item, x):
    size, alpha = item['size'], item['alpha']
    if item['kind'] == 'disc':
      canvas.ellipse(x, item['y'], size, size * item['aspect'], item['color'], alpha, 0.02)
    elif item['kind'] == 'box':
      canvas.box(x, item['y'], size, size * item['aspect'], item['color'], alpha, corner=0.01)
    else:
      canvas.box(x, 0.5, size * 0.3, 0.6, item['color'], 0.5 * alpha, softness=0.02)

  def _render_static(self, size: int) -> np.ndarray:
    canvas = canvases.Canvas(1, size)
    grid = canvas.centre_X
    ramp = np.clip(grid[:, None] + self._slant * (grid[None, :] - 0.5), 0, 1)
    for channel in range(3):
      top, bottom = self._top[channel], self._bottom[channel]
      canvas.pixels_3LYX[channel, 0] = top + (bottom - top) * ramp
    for item in self._objects:
      self._render_object(canvas, item, item['x'])
    if self.floor is not None:
      rows = np.clip((grid - self.floor) * size + 0.5, 0, 1)
      depth = 1 - 0.35 * np.clip((grid - self.floor) / (1 - self.floor + 1e-6), 0, 1)
      for channel in range(3):
        plane_YX = canvas.pixels_3LYX[channel, 0]
        plane_YX += rows[:, None] * (self._floor_color[channel] * depth[:, None] - plane_YX)
    return canvas.pixels_3LYX[:, 0]

  def freeze(self) -> None:
    """Removes the moving object."""
    self._mover = None

  def render(self, time_L: np.ndarray, size: int) -> canvases.Canvas:
    """Returns a canvas with the background at the given times."""
    canvas = canvases.Canvas(len(time_L), size, self._static(size))
    if self._mover is not None:
      x_L = (self._mover['x'] + self._drift * time_L + 0.3) % 1.6 - 0.3
      item = dict(self._mover, y=min(self._mover['y'], 0.4))
      self._render_object(canvas, item, x_L)
    return canvas
