"""Operations on frames that degradations are made of: grey, blur, shifts, vignette, grain, scratches.

Augmentation in training (`data.augment`), corruptions of the synthetic set (`synthetic.corruptions`) and
robustness tests (`evaluation.robustness`) combine them; each chooses strengths and random numbers itself.
Frames are float32, with 1 for white unless stated otherwise, and may have an axis of colors at the end.
"""

from collections.abc import Iterable

import numpy as np
import scipy.ndimage

GREY_3 = np.array([0.3, 0.59, 0.11], np.float32)  # weights of red, green and blue in a grey image


def remove_color(frames: np.ndarray, share: float = 1.0) -> np.ndarray:
  """Returns frames without a share of their color; the brightness stays.

  Args:
    frames: with red, green and blue on the last axis, of any rank and scale.
    share: 0 changes nothing, 1 leaves grey.
  """
  return (1 - share) * frames + share * (frames @ GREY_3)[..., None]


def blur(frames: np.ndarray, sigma: float, axes: tuple[int, int] = (1, 2)) -> np.ndarray:
  """Returns frames convolved with a Gaussian; edge pixels are repeated outside.

  Args:
    frames: of any rank and scale.
    sigma: standard deviation in pixels.
    axes: height and width.
  """
  for axis in axes:
    frames = scipy.ndimage.gaussian_filter1d(frames, sigma, axis=axis, mode='nearest')
  return frames


def shift(frames: np.ndarray, offset_L2: np.ndarray) -> None:
  """Shifts frames in place by whole pixels; what leaves at one side enters at the other.

  Args:
    frames: with the axes L, Y, X.
    offset_L2: pixels down and to the right, integers.
  """
  for frame, offset in zip(frames, offset_L2):
    if offset.any():
      frame[:] = np.roll(frame, offset, axis=(0, 1))


def vignette_gain(size: int, strength: float) -> np.ndarray:
  """Returns gain_YX that darkens square frames towards the edges.

  Args:
    size: of the frames in pixels.
    strength: brightness that is lost in the middle of a side, 0..1; twice as much is lost in a corner.
  """
  squared_X = np.linspace(-1, 1, size, dtype=np.float32) ** 2
  return 1 - strength * (squared_X[:, None] + squared_X)


def grain(table_N: np.ndarray, start_L: Iterable[int], height: int, width: int) -> np.ndarray:
  """Returns noise_LYX: for each frame a part of a table, since sampling every pixel is slow.

  Args:
    table_N: noise, longer than any start plus the pixels of a frame.
    start_L: position in the table of the first pixel of each frame.
    height, width: of the frames in pixels.
  """
  return np.stack([table_N[start : start + height * width].reshape(height, width) for start in start_L])


def scratch_width(size: int) -> int:
  """Returns the width of a scratch in pixels, for frames of a size in pixels."""
  return max(1, round(size / 90))


def add_line(frame: np.ndarray, x: int, brightness: float) -> None:
  """Brightens a vertical line of a frame in place, like a scratch along the film.

  Args:
    frame: with the axes Y, X.
    x: left edge of the line in pixels.
    brightness: added to the pixels.
  """
  frame[:, x : x + scratch_width(frame.shape[1])] += brightness


def add_speck(frame: np.ndarray, y: int, x: int, brightness: float) -> None:
  """Sets a small square of a frame in place, like dust on the film.

  Args:
    frame: with the axes Y, X.
    y, x: upper left corner in pixels.
    brightness: of the speck.
  """
  size = 2 * scratch_width(frame.shape[1])
  frame[y : y + size, x : x + size] = brightness
