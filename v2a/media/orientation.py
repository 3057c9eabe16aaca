"""Orientation: quarter turns and mirrors that players apply to the coded picture.

Phones store the picture as the sensor saw it, with a matrix beside it (ISO 14496-12, 6.2.2; JPEG: EXIF):

  x' = a x + c y,   y' = b x + d y                                          (1)

with x to the right and y down. Only the signs matter here; angles are rounded to quarter turns.
"""

import dataclasses
import math
import struct

import av
import numpy as np


@dataclasses.dataclass(frozen=True)
class Orientation:
  """How to lay out a coded picture for showing.

  Attributes:
    is_sideways: rows and columns change places (before mirroring).
    is_mirrored_x: columns are reversed.
    is_mirrored_y: rows are reversed.
  """

  is_sideways: bool = False
  is_mirrored_x: bool = False
  is_mirrored_y: bool = False

  @property
  def rotation_deg(self) -> int:
    """Clockwise turn: 0, 90, 180 or 270; of a mirrored picture the turn that follows a left-right mirror."""
    if self.is_sideways:
      return 90 if not self.is_mirrored_y else 270
    return 180 if self.is_mirrored_y else 0

  def apply(self, frame_YX3: np.ndarray) -> np.ndarray:
    """Returns the picture as shown."""
    if self.is_sideways:
      frame_YX3 = frame_YX3.transpose(1, 0, 2)
    step_y, step_x = -1 if self.is_mirrored_y else 1, -1 if self.is_mirrored_x else 1
    return frame_YX3[::step_y, ::step_x]


UPRIGHT = Orientation()
# Clockwise turn -> orientation.
_TURNS = {
  0: UPRIGHT,
  90: Orientation(True, True, False),
  180: Orientation(False, True, True),
  270: Orientation(True, False, True),
}


# What PNG decodes to. PyAV frees the name of an ICC profile twice where all notes beside a frame are read.
_PNG_FORMATS = ('rgb24', 'rgba', 'rgb48be', 'rgba64be', 'pal8', 'gray', 'gray16be', 'ya8', 'ya16be', 'monob')


def from_frame(frame: av.VideoFrame) -> Orientation:
  """Returns the orientation that a decoded frame carries (eq. 1)."""
  if frame.format.name in _PNG_FORMATS:
    return _TURNS[round(-frame.rotation / 90) * 90 % 360]
  try:
    data = frame.side_data.get('DISPLAYMATRIX')
  except ValueError:
    # PyAV refuses all notes beside a frame where it does not know one (EXIF); it still tells the turn.
    return _TURNS[round(-frame.rotation / 90) * 90 % 360]
  if data is None:
    return UPRIGHT
  a, b, _, c, d = struct.unpack_from('=5i', bytes(data))
  if math.hypot(b, c) > math.hypot(a, d):
    return Orientation(True, c < 0, b < 0)
  return Orientation(False, a < 0, d < 0)
