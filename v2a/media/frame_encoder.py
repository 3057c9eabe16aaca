"""Frames of a constant rate as a silent H.264 video."""

from collections.abc import Iterable
from collections.abc import Mapping
import fractions
import os

import av
import numpy as np


def write(
  path: str | os.PathLike,
  frames: Iterable[np.ndarray],
  fps: float,
  options: Mapping[str, str],
  muxer_options: Mapping[str, str] | None = None,
) -> None:
  """Writes a video; the ending of the path is the format.

  Args:
    path: of the file, which is replaced if it exists.
    frames: uint8 RGB of one even size.
    fps: frames per second.
    options: of x264, such as crf and preset.
    muxer_options: of the format, such as movflags.

  Raises:
    ValueError: there are no frames.
  """
  stream = None
  with av.open(os.fspath(path), 'w', options=dict(muxer_options or {})) as container:
    for frame_YX3 in frames:
      if stream is None:
        rate = fractions.Fraction(fps).limit_denominator(1001)
        stream = container.add_stream('libx264', rate=rate, options=dict(options))
        stream.height, stream.width = frame_YX3.shape[:2]
        stream.pix_fmt = 'yuv420p'
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_YX3, format='rgb24')))
    if stream is None:
      raise ValueError(f'{path}: a video needs at least one frame; got none.')
    container.mux(stream.encode(None))
