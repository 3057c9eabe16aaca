"""Backgrounds: random gradients, a floor, things that stand around and make no sound."""

import colorsys
import functools

import numpy as np

from v2a.synthetic import canvas as canvases
from v2a.synthetic import random_streams


def color(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
  """Returns red, green and blue of a hue, saturation and value in 0..1."""
  return colorsys.hsv_to_rgb(hue % 1, saturation, value)


class Backdrop:
  """A still background, drawn once for each size, and at most one silent thing that drifts.

  Attributes:
    floor: height of the floor's edge, or None.
  """

  def __init__(self, rng, floor: float | None = None, is_busy: bool = True, value=(0.3, 0.85)):
    self.floor = floor
    hue = rng.random()
    bright = rng.uniform(*value)
    self._top = color(hue, rng.uniform(0.1, 0.5), bright)
    self._bottom = color(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.1, 0.5), bright * rng.uniform(0.7, 1.1))
    self._slant = rng.uniform(-0.4, 0.4)
    self._floor_color = color(rng.random(), rng.uniform(0.1, 0.4), bright * rng.uniform(0.45, 0.8))
    self._things = [self._thing(rng) for _ in range(int(rng.integers(0, 5)) if is_busy else 0)]
    self._drifter = self._thing(rng) if is_busy and rng.random() < 0.25 else None
    self._drift = rng.uniform(0.02, 0.07) * random_streams.pick(rng, (-1, 1))
    self._still = functools.lru_cache(maxsize=2)(self._draw_still)

  @property
  def brightness(self) -> float:
    """Luma of the middle of the background, 0..1."""
    return float(np.dot((0.3, 0.59, 0.11), np.add(self._top, self._bottom)) / 2)

  def _thing(self, rng) -> dict:
    return {
      'kind': random_streams.pick(rng, ('disc', 'box', 'stripe')),
      'x': rng.random(),
      'y': rng.uniform(0.05, 0.65),
      'size': rng.uniform(0.04, 0.2),
      'aspect': rng.uniform(0.6, 1.6),
      'alpha': rng.uniform(0.25, 0.6),
      'color': color(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.25, 0.9)),
    }

  def _draw_thing(self, canvas, thing, x):
    size, alpha = thing['size'], thing['alpha']
    if thing['kind'] == 'disc':
      canvas.ellipse(x, thing['y'], size, size * thing['aspect'], thing['color'], alpha, 0.02)
    elif thing['kind'] == 'box':
      canvas.box(x, thing['y'], size, size * thing['aspect'], thing['color'], alpha, corner=0.01)
    else:
      canvas.box(x, 0.5, size * 0.3, 0.6, thing['color'], 0.5 * alpha, softness=0.02)

  def _draw_still(self, size: int) -> np.ndarray:
    canvas = canvases.Canvas(1, size)
    grid = canvas.centre_X
    ramp = np.clip(grid[:, None] + self._slant * (grid[None, :] - 0.5), 0, 1)
    for channel in range(3):
      top, bottom = self._top[channel], self._bottom[channel]
      canvas.pixels_3LYX[channel, 0] = top + (bottom - top) * ramp
    for thing in self._things:
      self._draw_thing(canvas, thing, thing['x'])
    if self.floor is not None:
      rows = np.clip((grid - self.floor) * size + 0.5, 0, 1)
      depth = 1 - 0.35 * np.clip((grid - self.floor) / (1 - self.floor + 1e-6), 0, 1)
      for channel in range(3):
        plane_YX = canvas.pixels_3LYX[channel, 0]
        plane_YX += rows[:, None] * (self._floor_color[channel] * depth[:, None] - plane_YX)
    return canvas.pixels_3LYX[:, 0]

  def freeze(self):
    """Stops everything that drifts."""
    self._drifter = None

  def render(self, time_L: np.ndarray, size: int) -> canvases.Canvas:
    """Returns a canvas that shows the background at the given times."""
    canvas = canvases.Canvas(len(time_L), size, self._still(size))
    if self._drifter is not None:
      x_L = (self._drifter['x'] + self._drift * time_L + 0.3) % 1.6 - 0.3
      thing = dict(self._drifter, y=min(self._drifter['y'], 0.4))
      self._draw_thing(canvas, thing, x_L)
    return canvas
