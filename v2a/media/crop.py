"""Crop boxes: what remains of frames without the bars around their content."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class CropBox:
  """A part of a frame as it is displayed, as shares of its height and width.

  Attributes:
    top, bottom, left, right: edges; (0, 1, 0, 1) is the whole frame.
  """

  top: float = 0.0
  bottom: float = 1.0
  left: float = 0.0
  right: float = 1.0

  def __post_init__(self):
    if not (0 <= self.top < self.bottom <= 1 and 0 <= self.left < self.right <= 1):
      raise ValueError(f'a crop box must have 0 <= top < bottom <= 1, likewise left and right; got {self}.')

  @property
  def bar_share(self) -> float:
    """Share of the area outside the box."""
    return 1.0 - (self.bottom - self.top) * (self.right - self.left)

  def inset(self, height_share: float, width_share: float) -> 'CropBox':
    """Returns a box whose edges inside the frame are moved inwards; those at its sides stay.

    Args:
      height_share, width_share: by which share of the height and the width.
    """
    return CropBox(
      self.top + height_share * (self.top > 0),
      self.bottom - height_share * (self.bottom < 1),
      self.left + width_share * (self.left > 0),
      self.right - width_share * (self.right < 1),
    )

  def apply(self, frame_YX3: np.ndarray) -> np.ndarray:
    """Returns a view of a frame, or of frames with leading axes, inside the box; a pixel at least."""
    height, width = frame_YX3.shape[-3:-1]
    rows, columns = _pixels(self.top, self.bottom, height), _pixels(self.left, self.right, width)
    return frame_YX3[..., rows, columns, :]


def _pixels(low: float, high: float, size: int) -> slice:
  first = min(round(low * size), size - 1)
  return slice(first, max(round(high * size), first + 1))
