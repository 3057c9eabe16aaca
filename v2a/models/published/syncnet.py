"""SyncNet lip-sync model (Chung and Zisserman 2016), "Out of time: automated lip sync in the wild".

The checkpoint `syncnet_v2.model` as joonson/syncnet_python runs it: video at 25 frames per second, 224 by
224, BGR, 0 to 255; audio at 16 kHz in 16 bits, 13 cepstral coefficients every 10 ms. Each window of 5
frames (n to n + 4) and of 20 cepstra (4 n to 4 n + 19) gives 1024 features. With v_n and a_n the features
of video and audio, zero before the first and after the last window:

  d_nk = |v_n - a_{n+k} + 1e-6|   for k from -15 to 15                                                (1)
"""

from collections.abc import Iterable
import pathlib

import jax
import numpy as np

from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import resizing
from v2a.models.published import spectrograms

RATE_HZ, FPS, SIZE = 16000, 25, 224
WINDOW_FRAMES, WINDOW_CEPSTRA, CEPSTRA_PER_FRAME, NUM_COEFFICIENTS = 5, 20, 4, 13
MAX_OFFSET_FRAMES = 15
CHECKPOINT = checkpoints.Checkpoint(
  'syncnet_v2.model',
  'http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model',
  None,
  'MIT',
)
INPUTS = (
  jax.ShapeDtypeStruct((1, 3, WINDOW_FRAMES, SIZE, SIZE), np.float32),
  jax.ShapeDtypeStruct((1, NUM_COEFFICIENTS, WINDOW_CEPSTRA), np.float32),
)
# Convolutions: index in the sequence, stride and padding, each followed by its batch norm and a ReLU, and
# size, stride and padding of the max pooling after it.
_VIDEO_LAYERS = (
  (0, (1, 2, 2), 0, ((1, 3, 3), (1, 2, 2), 0)),
  (4, (1, 2, 2), (0, 1, 1), ((1, 3, 3), (1, 2, 2), (0, 1, 1))),
  (8, 1, (0, 1, 1), None),
  (11, 1, (0, 1, 1), None),
  (14, 1, (0, 1, 1), ((1, 3, 3), (1, 2, 2), 0)),
  (18, 1, 0, None),
)
_AUDIO_LAYERS = (
  (0, 1, 1, None),
  (4, 1, 1, ((3, 3), (1, 2), 0)),
  (8, 1, 1, None),
  (11, 1, 1, None),
  (14, 1, 1, ((3, 3), (2, 2), 0)),
  (18, 1, 0, None),
)


def _convolutions(weights: layers.Weights, name: str, x: jax.Array, specs: tuple) -> jax.Array:
  for index, stride, padding, pooling in specs:
    x = layers.convolve(weights, f'netcnn{name}.{index}', x, stride, padding)
    x = jax.nn.relu(layers.batch_norm(weights, f'netcnn{name}.{index + 1}', x))
    if pooling:
      pool_size, pool_stride, pool_padding = pooling
      x = layers.pool(x, pool_size, 'max', pool_stride, pool_padding)
  return x.reshape(len(x), -1)


def _project(weights: layers.Weights, name: str, x_BF: jax.Array) -> jax.Array:
  x_BF = layers.batch_norm(weights, f'{name}.1', layers.linear(weights, f'{name}.0', x_BF))
  return layers.linear(weights, f'{name}.3', jax.nn.relu(x_BF))


def encode_video(weights: layers.Weights, frame_B3LYX: jax.Array) -> jax.Array:
  """Returns feature_BF of windows of WINDOW_FRAMES frames, BGR, 0 to 255."""
  return _project(weights, 'netfclip', _convolutions(weights, 'lip', frame_B3LYX, _VIDEO_LAYERS))


def encode_audio(weights: layers.Weights, cepstrum_BFJ: jax.Array) -> jax.Array:
  """Returns feature_BF of windows of WINDOW_CEPSTRA cepstra of NUM_COEFFICIENTS each."""
  return _project(weights, 'netfcaud', _convolutions(weights, 'aud', cepstrum_BFJ[:, None], _AUDIO_LAYERS))


def apply(
  weights: layers.Weights, frame_B3LYX: jax.Array, cepstrum_BFJ: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns feature_BF of video and of audio."""
  return encode_video(weights, frame_B3LYX), encode_audio(weights, cepstrum_BFJ)


def resize_frames(images: Iterable[np.ndarray]) -> np.ndarray:
  """Returns frame_L3YX, BGR: whole frames (uint8 RGB, any size) resized to SIZE by SIZE."""
  frame_LYX3 = np.stack([resizing.resize_square(image_YX3, SIZE) for image_YX3 in images])
  return frame_LYX3[..., ::-1].transpose(0, 3, 1, 2)


def mfcc(wave_N: np.ndarray) -> np.ndarray:
  """Returns cepstrum_FJ of a mono waveform at RATE_HZ, full scale 1, which is rounded to 16 bits."""
  return spectrograms.mfcc(np.clip(np.rint(wave_N * 32768.0), -32768, 32767)).T.astype(np.float32)


def offset_distances(video_NF: np.ndarray, audio_NF: np.ndarray) -> np.ndarray:
  """Returns distance_NG of eq. 1: from video window n to audio window n + k.

  Args:
    video_NF, audio_NF: features of the same windows.

  Returns:
    One column for each k from -MAX_OFFSET_FRAMES to MAX_OFFSET_FRAMES.
  """
  padded_NF = np.pad(audio_NF, ((MAX_OFFSET_FRAMES, MAX_OFFSET_FRAMES), (0, 0)))
  shifted = (padded_NF[first : first + len(video_NF)] for first in range(2 * MAX_OFFSET_FRAMES + 1))
  return np.stack([np.linalg.norm(video_NF - each_NF + 1e-6, axis=1) for each_NF in shifted], axis=1)


def load_weights(path: pathlib.Path) -> layers.Weights:
  """Returns the weights that `apply` reads from a file.

  Raises:
    ValueError: the file does not hold this network.
  """
  return layers.load(path, apply, INPUTS)
