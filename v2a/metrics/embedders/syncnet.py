"""SyncNet v2: how well the lips of a face and speech go together, for LSE-C and LSE-D.

Chung and Zisserman 2016, "Out of time: automated lip sync in the wild"; the weights `syncnet_v2.model`. As
joonson/syncnet_python takes it: pictures at 25 a second, 224 by 224, blue first, 0 to 255; the mean of the
channels at 16 kHz as whole numbers, 13 cepstral coefficients every 10 ms; a window is 5 pictures (n to n + 4)
or 20 spectra (4 n to 4 n + 19), 1024 features of each. Of F pictures, the fewer of picture and sound, windows
are the first F - 5. With s_n and a_n the features of picture and sound, zero before and after their windows:

  d_k = mean_n |s_n - a_{n+k} + 1e-6|   for k from -15 to 15                                          (1)
  LSE-D = min_k d_k,   LSE-C = median_k d_k - min_k d_k                                               (2)

No face is looked for: the whole picture is scaled to 224 by 224, so that the caller gives crops of faces as
that project cuts them; of whole scenes the figures mean nothing. Its pictures have been through JPEG.
"""

from collections.abc import Iterable
import pathlib

import jax
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames as frames_lib
from v2a.metrics.embedders import waves
from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import spectrograms

NAME = 'syncnet'
VERSION = 1
METRICS = ('lse_c', 'lse_d')
RATE_HZ, FPS, SIZE = 16000, 25, 224
WINDOW_FRAMES, WINDOW_SPECTRA, SPECTRA_A_FRAME, NUM_CEPSTRA = 5, 20, 4, 13
MAX_SHIFT = 15
CHECKPOINT = checkpoints.Checkpoint(
  'syncnet_v2.model',
  'http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model',
  None,
  'MIT',
)
# Convolutions by their place in the sequence, stride and padding, each with its norm and ReLU after it, and
# the size, stride and padding of the pooling that follows.
_LIPS = (
  (0, (1, 2, 2), 0, ((1, 3, 3), (1, 2, 2), 0)),
  (4, (1, 2, 2), (0, 1, 1), ((1, 3, 3), (1, 2, 2), (0, 1, 1))),
  (8, 1, (0, 1, 1), None),
  (11, 1, (0, 1, 1), None),
  (14, 1, (0, 1, 1), ((1, 3, 3), (1, 2, 2), 0)),
  (18, 1, 0, None),
)
_SOUND = (
  (0, 1, 1, None),
  (4, 1, 1, ((3, 3), (1, 2), 0)),
  (8, 1, 1, None),
  (11, 1, 1, None),
  (14, 1, 1, ((3, 3), (2, 2), 0)),
  (18, 1, 0, None),
)
# Windows that go through the network at a time.
_NUM_WINDOWS = 16


def _features(weights: layers.Weights, name: str, x: jax.Array, plan: tuple) -> jax.Array:
  for place, stride, padding, pooling in plan:
    x = layers.convolve(weights, f'netcnn{name}.{place}', x, stride, padding)
    x = jax.nn.relu(layers.batch_norm(weights, f'netcnn{name}.{place + 1}', x))
    if pooling:
      size, step, edge = pooling
      x = layers.pool(x, size, 'max', step, edge)
  return x.reshape(len(x), -1)


def _project(weights: layers.Weights, name: str, x_BF: jax.Array) -> jax.Array:
  x_BF = layers.batch_norm(weights, f'{name}.1', layers.linear(weights, f'{name}.0', x_BF))
  return layers.linear(weights, f'{name}.3', jax.nn.relu(x_BF))


def encode_video(weights: layers.Weights, frame_B3LYX: jax.Array) -> jax.Array:
  """Returns feature_BF of windows of WINDOW_FRAMES pictures, blue first, 0 to 255."""
  return _project(weights, 'netfclip', _features(weights, 'lip', frame_B3LYX, _LIPS))


def encode_audio(weights: layers.Weights, cepstrum_BFJ: jax.Array) -> jax.Array:
  """Returns feature_BF of windows of WINDOW_SPECTRA spectra of NUM_CEPSTRA coefficients."""
  return _project(weights, 'netfcaud', _features(weights, 'aud', cepstrum_BFJ[:, None], _SOUND))


def apply(weights: layers.Weights, frame_B3LYX: jax.Array, cepstrum_BFJ: jax.Array):
  """Returns the features of pictures and of sounds."""
  return encode_video(weights, frame_B3LYX), encode_audio(weights, cepstrum_BFJ)


def resize_frames(shown: Iterable[np.ndarray]) -> np.ndarray:
  """Returns frame_L3YX, blue first, squares of SIZE: whole pictures (uint8, of any size) scaled."""
  made_LYX3 = np.stack([frames_lib.resize_square(picture_YX3, SIZE) for picture_YX3 in shown])
  return made_LYX3[..., ::-1].transpose(0, 3, 1, 2)


def mfcc(wave_N: np.ndarray) -> np.ndarray:
  """Returns cepstrum_FJ of a mono wave at RATE_HZ, full scale 1, rounded to 16 bits."""
  return spectrograms.mfcc(np.clip(np.rint(wave_N * 32768.0), -32768, 32767)).T.astype(np.float32)


def offset_distances(seen_NF: np.ndarray, heard_NF: np.ndarray) -> np.ndarray:
  """Returns distance_NG of eq. 1 before its mean: of window n of the picture from window n + k of the sound.

  Args:
    seen_NF, heard_NF: features of the same windows.

  Returns:
    One column for each k from -MAX_SHIFT to MAX_SHIFT.
  """
  padded_NF = np.pad(heard_NF, ((MAX_SHIFT, MAX_SHIFT), (0, 0)))
  shifted = (padded_NF[first : first + len(seen_NF)] for first in range(2 * MAX_SHIFT + 1))
  return np.stack([np.linalg.norm(seen_NF - each_NF + 1e-6, axis=1) for each_NF in shifted], axis=1)


class SyncNet(embedder_lib.Embedder):
  """SyncNet under syncnet_python's protocol; see the module."""

  name, reads, metrics = NAME, ('wave', 'pictures'), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._encode_video, self._encode_audio = jax.jit(encode_video), jax.jit(encode_audio)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns distance_NG, see `distances`.

    Raises:
      Refusal: the clip has not one window.
    """
    wave_N = waves.mono(clip.wave_NA, clip.sample_rate_hz, RATE_HZ, is_centred=False)
    num_frames = min(int(clip.pictures.duration_s * FPS + 1e-6), len(wave_N) * FPS // RATE_HZ)
    # One picture more than a window needs: the reference stops one before the last.
    num_windows = num_frames - WINDOW_FRAMES
    if num_windows < 1:
      needed_s = (WINDOW_FRAMES + 1) / FPS
      raise embedder_lib.UnsupportedClipError(
        f'SyncNet needs {needed_s:.2f} s of sound and picture; a clip has {num_frames / FPS:.2f} s'
      )
    frame_L3YX, cepstrum_FJ = resize_frames(clip.pictures.frames_at_fps(FPS, num_frames)), mfcc(wave_N)
    seen, heard = [], []
    for first in range(0, num_windows, _NUM_WINDOWS):
      # The last part has windows twice, so that all are of one size and nothing is compiled again.
      window_N = np.minimum(np.arange(first, first + _NUM_WINDOWS), num_windows - 1)
      frames = [frame_L3YX[n : n + WINDOW_FRAMES].swapaxes(0, 1) for n in window_N]
      spectra = [cepstrum_FJ[:, SPECTRA_A_FRAME * n :][:, :WINDOW_SPECTRA] for n in window_N]
      seen.append(np.asarray(self._encode_video(self._weights, np.stack(frames).astype(np.float32))))
      heard.append(np.asarray(self._encode_audio(self._weights, np.stack(spectra))))
    seen_NF, heard_NF = (np.concatenate(found)[:num_windows] for found in (seen, heard))
    return {'distance_NG': offset_distances(seen_NF, heard_NF)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns LSE-C (more is better) and LSE-D (less is better) of eq. 2."""
    mean_G = arrays['distance_NG'].mean(axis=0)
    return {'lse_c': float(np.median(mean_G) - mean_G.min()), 'lse_d': float(mean_G.min())}


def load(path: pathlib.Path) -> SyncNet:
  """Returns the network with the weights of a file."""
  inputs = (
    jax.ShapeDtypeStruct((1, 3, WINDOW_FRAMES, SIZE, SIZE), np.float32),
    jax.ShapeDtypeStruct((1, NUM_CEPSTRA, WINDOW_SPECTRA), np.float32),
  )
  weights = layers.load(path, apply, inputs)
  return SyncNet(weights, checkpoints.embedder_digest(NAME, VERSION, {path: CHECKPOINT}))
