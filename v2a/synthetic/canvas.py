"""Rasterization by signed distance functions, all frames of a clip at once.

Positions and lengths are in frame widths, x to the right and y down, with (0, 0) in the upper left corner.
Every parameter of a shape is a number or one value per frame. Coverage falls off over one pixel
(anti-aliasing), so that sub-pixel motion is visible. Only the window that a shape touches in any of the
frames is computed.
"""

from collections.abc import Sequence

import numpy as np

PerFrame = float | np.ndarray  # a number, or one value per frame


def _column(value) -> np.ndarray:
  """Reshapes a number, or one value per frame, to broadcast over (frame, row, column)."""
  return np.asarray(value, np.float32).reshape(-1, 1, 1)


class Canvas:
  """Frames being rasterized.

  Attributes:
    pixels_3LYX: colours in 0..1, float32.
    size: height and width in pixels.
  """

  def __init__(self, num_frames: int, size: int, background_3YX: np.ndarray | None = None):
    self.size = size
    self.pixels_3LYX = np.zeros((3, num_frames, size, size), np.float32)
    if background_3YX is not None:
      self.pixels_3LYX[:] = background_3YX[:, None]
    self.centre_X = ((np.arange(size) + 0.5) / size).astype(np.float32)

  def select_frames(self, part: slice) -> 'Canvas':
    """Returns a view of some of the frames."""
    view = Canvas.__new__(Canvas)
    view.size, view.centre_X, view.pixels_3LYX = self.size, self.centre_X, self.pixels_3LYX[:, part]
    return view

  def window(self, x: PerFrame, y: PerFrame, reach_x: PerFrame, reach_y: PerFrame) -> tuple[slice, slice]:
    """Returns slices of the rows and columns within reach of the positions in any frame.

    Args:
      x, y: positions in frame widths.
      reach_x, reach_y: reach to either side of them, in frame widths.
    """
    spans = []
    for centre, reach in ((y, reach_y), (x, reach_x)):
      low = (np.min(np.asarray(centre) - reach)) * self.size - 1
      high = (np.max(np.asarray(centre) + reach)) * self.size + 2
      spans.append(slice(int(np.clip(low, 0, self.size)), int(np.clip(high, 0, self.size))))
    return spans[0], spans[1]

  def offsets(self, window: tuple[slice, slice], x: PerFrame, y: PerFrame) -> tuple[np.ndarray, np.ndarray]:
    """Returns the offsets u and v of the pixels of a window from (x, y), broadcastable to (L, Y, X)."""
    rows, columns = window
    return self.centre_X[columns][None, None, :] - _column(x), self.centre_X[rows][None, :, None] - _column(y)

  def coverage(self, distance: np.ndarray, softness: float = 0.0) -> np.ndarray:
    """Returns coverage 0..1 from signed distance; softness widens the edge, in frame widths."""
    width = 1 / self.size + softness
    return np.clip(0.5 - distance / np.float32(width), 0, 1)

  def paint(
    self, window: tuple[slice, slice], cover: np.ndarray, color: Sequence, alpha: PerFrame = 1.0
  ) -> None:
    """Blends a colour (three numbers, or three arrays that broadcast to (L, Y, X)) over the window.

    Args:
      window: slices of rows and columns.
      cover: coverage 0..1 of the pixels of the window, (L, Y, X).
      color: red, green, blue in 0..1.
      alpha: opacity 0..1, a factor of the coverage.
    """
    rows, columns = window
    if not isinstance(alpha, float) or alpha != 1.0:
      cover = cover * _column(alpha)
    for channel in range(3):
      plane = self.pixels_3LYX[channel, :, rows, columns]
      plane += cover * (np.asarray(color[channel], np.float32) - plane)

  def ellipse(
    self,
    x: PerFrame,
    y: PerFrame,
    radius_x: PerFrame,
    radius_y: PerFrame,
    color: Sequence,
    alpha: PerFrame = 1.0,
    softness: float = 0.0,
  ) -> None:
    """Fills an upright ellipse.

    Args:
      x, y: position of its centre, in frame widths.
      radius_x, radius_y: half axes in frame widths.
      color: red, green, blue in 0..1.
      alpha: opacity 0..1.
      softness: width of the edge beyond one pixel, in frame widths.
    """
    window = self.window(x, y, np.max(radius_x) + softness, np.max(radius_y) + softness)
    u, v = self.offsets(window, x, y)
    radius_x, radius_y = _column(np.maximum(radius_x, 1e-4)), _column(np.maximum(radius_y, 1e-4))
    norm = np.sqrt((u / radius_x) ** 2 + (v / radius_y) ** 2)
    self.paint(window, self.coverage((norm - 1) * np.minimum(radius_x, radius_y), softness), color, alpha)

  def disc(
    self,
    x: PerFrame,
    y: PerFrame,
    radius: PerFrame,
    color: Sequence,
    alpha: PerFrame = 1.0,
    softness: float = 0.0,
  ) -> None:
    """Fills a disc.

    Args:
      x, y: position of its centre, in frame widths.
      radius: in frame widths.
      color: red, green, blue in 0..1.
      alpha: opacity 0..1.
      softness: width of the edge beyond one pixel, in frame widths.
    """
    self.ellipse(x, y, radius, radius, color, alpha, softness)

  def box(
    self,
    x: PerFrame,
    y: PerFrame,
    half_x: PerFrame,
    half_y: PerFrame,
    color: Sequence,
    alpha: PerFrame = 1.0,
    angle: PerFrame | None = None,
    corner: float = 0.0,
    softness: float = 0.0,
  ) -> None:
    """Fills a box of half extents, rotated by an angle, with rounded corners.

    Args:
      x, y: position of its centre, in frame widths.
      half_x, half_y: half extents before rotation, in frame widths.
      color: red, green, blue in 0..1.
      alpha: opacity 0..1.
      angle: clockwise rotation in radians; None for none.
      corner: radius of the corners in frame widths, at most the smaller half extent.
      softness: width of the edge beyond one pixel, in frame widths.
    """
    reach_x, reach_y = np.max(half_x) + softness, np.max(half_y) + softness
    if angle is not None:
      reach_x = reach_y = float(np.hypot(reach_x, reach_y))
    window = self.window(x, y, reach_x, reach_y)
    u, v = self.offsets(window, x, y)
    self.paint(
      window, self.coverage(box_distance(u, v, half_x, half_y, angle, corner), softness), color, alpha
    )

  def line(
    self,
    x0: PerFrame,
    y0: PerFrame,
    x1: PerFrame,
    y1: PerFrame,
    radius: PerFrame,
    color: Sequence,
    alpha: PerFrame = 1.0,
    softness: float = 0.0,
  ) -> None:
    """Renders a stroke with round ends from (x0, y0) to (x1, y1).

    Args:
      x0, y0, x1, y1: positions of the two ends, in frame widths.
      radius: half the thickness, and the radius of the ends, in frame widths.
      color: red, green, blue in 0..1.
      alpha: opacity 0..1.
      softness: width of the edge beyond one pixel, in frame widths.
    """
    x0, y0, x1, y1 = (np.atleast_1d(np.asarray(value, np.float32)) for value in (x0, y0, x1, y1))
    reach = np.max(radius) + softness
    rows, columns = self.window(np.concatenate([x0, x1]), np.concatenate([y0, y1]), reach, reach)
    u, v = self.offsets((rows, columns), x0, y0)
    along_x, along_y = _column(x1 - x0), _column(y1 - y0)
    part = np.clip((u * along_x + v * along_y) / (along_x**2 + along_y**2 + 1e-9), 0, 1)
    distance = np.sqrt((u - part * along_x) ** 2 + (v - part * along_y) ** 2) - _column(radius)
    self.paint((rows, columns), self.coverage(distance, softness), color, alpha)

  def stamp(
    self, frame_G: np.ndarray, x_G: PerFrame, y_G: PerFrame, tile_GYX: np.ndarray, color: Sequence
  ) -> None:
    """Blends small tiles, tile g into frame frame_G[g] around (x_G[g], y_G[g]).

    Args:
      frame_G: frame indices.
      x_G, y_G: centres in frame widths.
      tile_GYX: coverage 0..1 of the pixels around the centre pixel, of odd height and width.
      color: red, green, blue in 0..1.
    """
    high, wide = tile_GYX.shape[1:]
    rows = (
      np.floor(np.asarray(y_G) * self.size).astype(np.int64)[:, None, None]
      + (np.arange(high) - high // 2)[:, None]
    )
    columns = (
      np.floor(np.asarray(x_G) * self.size).astype(np.int64)[:, None, None] + np.arange(wide) - wide // 2
    )
    tile_GYX = tile_GYX * ((rows >= 0) & (rows < self.size) & (columns >= 0) & (columns < self.size))
    rows, columns = np.clip(rows, 0, self.size - 1), np.clip(columns, 0, self.size - 1)
    frames = np.asarray(frame_G)[:, None, None]
    for channel in range(3):
      plane = self.pixels_3LYX[channel]
      old = plane[frames, rows, columns]
      plane[frames, rows, columns] = old + tile_GYX * (np.float32(color[channel]) - old)

  def frames(self) -> np.ndarray:
    """Returns frame_LYX3, uint8."""
    scaled_3LYX = np.clip(self.pixels_3LYX * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(scaled_3LYX, 0, -1))


def box_distance(
  u: PerFrame,
  v: PerFrame,
  half_x: PerFrame,
  half_y: PerFrame,
  angle: PerFrame | None = None,
  corner: float = 0.0,
) -> np.ndarray:
  """Returns signed distances to a box in frame widths, negative inside.

  Args:
    u, v: offsets from the centre, in frame widths.
    half_x, half_y: half extents before rotation, in frame widths.
    angle: clockwise rotation in radians; None for none.
    corner: radius of the corners in frame widths, at most the smaller half extent.
  """
  if angle is not None:
    cosine, sine = _column(np.cos(angle)), _column(np.sin(angle))
    u, v = u * cosine + v * sine, v * cosine - u * sine
  over_x = np.abs(u) - _column(half_x) + corner
  over_y = np.abs(v) - _column(half_y) + corner
  outside = np.sqrt(np.maximum(over_x, 0) ** 2 + np.maximum(over_y, 0) ** 2)
  return outside + np.minimum(np.maximum(over_x, over_y), 0) - corner
