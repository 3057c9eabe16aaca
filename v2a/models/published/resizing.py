"""Image resizing in the preprocessing of published networks: torchvision's bicubic, OpenCV's bilinear."""

import numpy as np
import PIL.Image


def resize_short_side(image_YX3: np.ndarray, size: int) -> PIL.Image.Image:
  """Returns an image (uint8) whose shorter side is `size`: bicubic, with antialiasing where it shrinks."""
  height, width = image_YX3.shape[:2]
  sides = (size, size * height // width) if width <= height else (size * width // height, size)
  return PIL.Image.fromarray(image_YX3).resize(sides, PIL.Image.Resampling.BICUBIC)


def resize_square(image_YX3: np.ndarray, size: int) -> np.ndarray:
  """Returns an image (uint8) of `size` by `size`: bilinear without antialiasing, OpenCV's default.

  Pillow's bilinear filter would average where an image shrinks.
  """
  image_YX3 = image_YX3.astype(np.float32)
  for axis in (0, 1):
    num = image_YX3.shape[axis]
    position_N = np.clip((np.arange(size) + 0.5) * num / size - 0.5, 0, num - 1)
    lower_N = np.floor(position_N).astype(int)
    shape = [1, 1, 1]
    shape[axis] = size
    fraction = (position_N - lower_N).reshape(shape).astype(np.float32)
    upper = np.take(image_YX3, np.minimum(lower_N + 1, num - 1), axis)
    image_YX3 = np.take(image_YX3, lower_N, axis) * (1 - fraction) + upper * fraction
  return np.floor(image_YX3 + 0.5).astype(np.uint8)
