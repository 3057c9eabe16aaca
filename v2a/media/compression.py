"""Compression artefacts: frames encoded by x264 in memory and decoded again."""

import io

import av
import numpy as np

# The constant rate factor of x264 runs from 0 (lossless) to 51.
MAX_CRF = 51


def h264_round_trip(frame_LYX3: np.ndarray, fps: float, crf: int) -> np.ndarray:
  """Returns the frames after a round trip through H.264.

  Args:
    frame_LYX3: uint8 RGB; height and width must be even, because chroma is stored at half resolution (4:2:0).
    fps: frames a second.
    crf: x264's constant rate factor, 0 to MAX_CRF; higher is smaller and worse, the default of x264 is 23.

  Raises:
    ValueError: crf is out of range, or H.264 cannot encode frames of this size or type.
  """
  if not 0 <= crf <= MAX_CRF:
    raise ValueError(f'crf must lie in 0..{MAX_CRF}; got {crf}.')
  num_frames, height, width = frame_LYX3.shape[:3]
  if frame_LYX3.dtype != np.uint8 or not num_frames or height % 2 or width % 2:
    raise ValueError(f'wanted uint8 frames of even size; got {frame_LYX3.dtype} of {frame_LYX3.shape}.')
  buffer = io.BytesIO()
  with av.open(buffer, 'w', format='mp4') as out:
    stream = out.add_stream('libx264', rate=round(fps))
    stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
    # x264's assembly reads uninitialised memory next to small frames (32 pixels and less), which makes the
    # output non-deterministic.
    stream.options = {'crf': str(crf), 'preset': 'medium', 'threads': '1', 'x264-params': 'asm=0'}
    for frame_YX3 in frame_LYX3:
      out.mux(stream.encode(av.VideoFrame.from_ndarray(frame_YX3, format='rgb24')))
    out.mux(stream.encode(None))
  buffer.seek(0)
  with av.open(buffer, 'r') as source:
    decoded = [frame.to_ndarray(format='rgb24') for frame in source.decode(video=0)]
  return np.stack(decoded)
