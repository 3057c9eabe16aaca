"""Orientation: quarter turns and mirrors that players apply to the coded frame.

Phones store frames as the sensor recorded them, together with a matrix (ISO 14496-12, 6.2.2; JPEG: EXIF):

  x' = a x + c y,   y' = b x + d y                                          (1)

with x to the right and y down. Only the signs are used; angles are rounded to quarter turns.
"""

import dataclasses
import math
import struct

import av
import numpy as np


@dataclasses.dataclass(frozen=True)
class Orientation:
  """How to orient a coded frame for display.

  Attributes:
    is_sideways: rows and columns are swapped (before mirroring).
    is_mirrored_x: columns are reversed.
    is_mirrored_y: rows are reversed.
  """

  is_sideways: bool = False
  is_mirrored_x: bool = False
  is_mirrored_y: bool = False

  @property
  def rotation_deg(self) -> int:
    """Clockwise rotation: 0, 90, 180 or 270; for mirrored frames, the rotation after a left-right mirror."""
    if self.is_sideways:
      return 90 if not self.is_mirrored_y else 270
    return 180 if self.is_mirrored_y else 0

  def apply(self, frame_YX3: np.ndarray) -> np.ndarray:
    """Returns the frame as displayed."""
    if self.is_sideways:
      frame_YX3 = frame_YX3.transpose(1, 0, 2)
    step_y, step_x = -1 if self.is_mirrored_y else 1, -1 if self.is_mirrored_x else 1
    return frame_YX3[::step_y, ::step_x]


UPRIGHT = Orientation()
# Clockwise rotation -> orientation.
_BY_ROTATION_DEG = {
  0: UPRIGHT,
  90: Orientation(True, True, False),
  180: Orientation(False, True, True),
  270: Orientation(True, False, True),
}


# Pixel formats of decoded PNG. PyAV frees the name of an ICC profile twice if all side data of a frame are
# read.
_PNG_FORMATS = ('rgb24', 'rgba', 'rgb48be', 'rgba64be', 'pal8', 'gray', 'gray16be', 'ya8', 'ya16be', 'monob')


def from_frame(frame: av.VideoFrame) -> Orientation:
  """Returns the orientation in the side data of a decoded frame (eq. 1)."""
  if frame.format.name in _PNG_FORMATS:
    return _BY_ROTATION_DEG[round(-frame.rotation / 90) * 90 % 360]
  try:
    data = frame.side_data.get('DISPLAYMATRIX')
  except ValueError:
    # PyAV raises for all side data if it does not know one kind (EXIF); the rotation is still available.
    return _BY_ROTATION_DEG[round(-frame.rotation / 90) * 90 % 360]
  if data is None:
    return UPRIGHT
  a, b, _, c, d = struct.unpack_from('=5i', bytes(data))
  if math.hypot(b, c) > math.hypot(a, d):
    return Orientation(True, c < 0, b < 0)
  return Orientation(False, a < 0, d < 0)
