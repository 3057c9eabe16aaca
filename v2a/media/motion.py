"""How much a picture moves: the mean absolute difference of a frame to the one before, over all its colours.

  m_l = mean |f_l - f_(l-1)|,   m_0 = 0                                                   (1)

In grey levels of f, 0 to 255, and frame by frame, so that long films cost no memory.
"""

import numpy as np

from v2a import shapes


def curve(frame_LYX3: np.ndarray, shown_L: np.ndarray | None = None) -> np.ndarray:
  """Returns motion_L of eq. 1, in grey levels, float64.

  Args:
    frame_LYX3: at least one frame, values 0 to 255.
    shown_L: which of them make the film, in order; None for all as they come.

  Raises:
    ValueError: no frames, or another shape.
  """
  shapes.check(frame_LYX3=frame_LYX3)
  if not frame_LYX3.size:
    raise ValueError(f'motion needs pictures; got the shape {frame_LYX3.shape}.')
  shown_L = range(len(frame_LYX3)) if shown_L is None else shown_L
  motion_L = np.zeros(len(shown_L))
  for index in range(1, len(shown_L)):
    frame_YX3, before_YX3 = frame_LYX3[shown_L[index]], frame_LYX3[shown_L[index - 1]]
    # float32 holds the differences of whole numbers exactly; their sum wants float64.
    change_YX3 = np.subtract(frame_YX3, before_YX3, dtype=np.float32)
    motion_L[index] = np.abs(change_YX3).mean(dtype=np.float64)
  return motion_L
