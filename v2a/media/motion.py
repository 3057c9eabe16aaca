"""Motion curve of a video: mean absolute difference between consecutive frames, over pixels and channels.

  m_l = mean |f_l - f_(l-1)|,   m_0 = 0                                                   (1)

In grey levels (0 to 255). Computed frame by frame, so that memory does not grow with the length of the video.
"""

import numpy as np

from v2a import shapes


def curve(frame_LYX3: np.ndarray, frame_index_L: np.ndarray | None = None) -> np.ndarray:
  """Returns motion_L of eq. 1, in grey levels, float64.

  Args:
    frame_LYX3: at least one frame, values 0 to 255.
    frame_index_L: indices of the frames to use, in order; None for all frames.

  Raises:
    ValueError: there are no frames, or the shape is wrong.
  """
  shapes.check(frame_LYX3=frame_LYX3)
  if not frame_LYX3.size:
    raise ValueError(f'motion needs at least one frame; got shape {frame_LYX3.shape}.')
  used_L = np.arange(len(frame_LYX3)) if frame_index_L is None else frame_index_L
  motion_L = np.zeros(len(used_L))
  for index in range(1, len(used_L)):
    frame_YX3, previous_YX3 = frame_LYX3[used_L[index]], frame_LYX3[used_L[index - 1]]
    # float32 represents differences of integers exactly; their sum needs float64.
    change_YX3 = np.subtract(frame_YX3, previous_YX3, dtype=np.float32)
    motion_L[index] = np.abs(change_YX3).mean(dtype=np.float64)
  return motion_L
