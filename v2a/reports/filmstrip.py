"""A film strip: frames side by side on the time axis, each cropped to its cell and never stretched."""

import numpy as np
from PIL import Image

from v2a import shapes


def cut(frame_YX3: np.ndarray, ratio: float) -> np.ndarray:
  """Crops rows or columns evenly on both sides, so that width over height changes by a ratio.

  Args:
    frame_YX3: a frame.
    ratio: wanted over present width per height; below 1 crops columns, above 1 rows.

  Returns:
    A view of the frame.
  """
  rows, columns = frame_YX3.shape[:2]
  if ratio < 1.0:
    off = min(int(columns * (1.0 - ratio) / 2), (columns - 1) // 2)
    return frame_YX3[:, off : columns - off]
  off = min(int(rows * (1.0 - 1.0 / ratio) / 2), (rows - 1) // 2)
  return frame_YX3[off : rows - off]


def strip(thumbnail_MYX3: np.ndarray, aspect: float, num_rows: int, num_columns: int) -> np.ndarray:
  """Returns strip_YX3 of a size; frame of cell i is the one at the middle of the cell's span of time.

  Args:
    thumbnail_MYX3: frames evenly spread over the clip, resized to any shape, uint8.
    aspect: width over height that the frames had.
    num_rows: height of the strip in pixels.
    num_columns: width of the strip in pixels, at least one.
  """
  shapes.check(thumbnail_MYX3=thumbnail_MYX3)
  num_frames = len(thumbnail_MYX3)
  num_cells = min(num_frames, max(1, round(num_columns / (num_rows * aspect))))
  edges = np.linspace(0, num_columns, num_cells + 1).round().astype(int)
  cells = []
  for cell in range(num_cells):
    frame_YX3 = thumbnail_MYX3[int((cell + 0.5) * num_frames / num_cells)]
    width = int(edges[cell + 1] - edges[cell])
    cropped_YX3 = cut(frame_YX3, width / num_rows / aspect)
    cells.append(np.asarray(Image.fromarray(cropped_YX3).resize((width, num_rows))))
  return np.concatenate(cells, axis=1)
