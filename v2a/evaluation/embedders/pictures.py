"""Which pictures the published networks take, and how they are scaled: what their front ends share."""

import numpy as np
import PIL.Image


def on_screen(frame_LYX3: np.ndarray, fps: float, wanted_fps: float, num_frames: int) -> np.ndarray:
  """Returns the pictures that FFmpeg's filter `fps` takes: l is the last one whose time rounds to l or less.

  Times are counted in pictures of the result, halves rounded up; the last picture stays as long as needed.

  Args:
    frame_LYX3: at `fps`.
    fps: rate of the pictures.
    wanted_fps: rate of the result.
    num_frames: of the result.
  """
  index_L = np.ceil((np.arange(num_frames) + 0.5) * fps / wanted_fps - 1e-6).astype(int) - 1
  return frame_LYX3[np.minimum(index_L, len(frame_LYX3) - 1)]


def shorten(picture_YX3: np.ndarray, size: int) -> PIL.Image.Image:
  """Returns a picture whose shorter side is `size`, bicubic, smoothed where it shrinks."""
  height, width = picture_YX3.shape[:2]
  sides = (size, size * height // width) if width <= height else (size * width // height, size)
  return PIL.Image.fromarray(picture_YX3).resize(sides, PIL.Image.BICUBIC)


def stretch(picture_YX3: np.ndarray, size: int) -> np.ndarray:
  """Returns a picture of `size` by `size`, uint8, bilinear between four pixels as OpenCV scales by default.

  Nothing is smoothed where a picture shrinks, which Pillow's resize would do.
  """
  picture_YX3 = picture_YX3.astype(np.float32)
  for axis in (0, 1):
    num = picture_YX3.shape[axis]
    place_N = np.clip((np.arange(size) + 0.5) * num / size - 0.5, 0, num - 1)
    below_N = np.floor(place_N).astype(int)
    shape = [1, 1, 1]
    shape[axis] = size
    share = (place_N - below_N).reshape(shape).astype(np.float32)
    above = np.take(picture_YX3, np.minimum(below_N + 1, num - 1), axis)
    picture_YX3 = np.take(picture_YX3, below_N, axis) * (1 - share) + above * share
  return np.floor(picture_YX3 + 0.5).astype(np.uint8)
