"""VGGish: 128 features of every 0.96 s, for FD-VGG (FAD).

Hershey et al. 2017, "CNN architectures for large-scale audio classification", arXiv 1609.09430, in the
weights of harritaylor/torchvggish. As hkchengrex/av-benchmark takes it (four readings of "FAD" are in use):
the mono mix at 16 kHz; windows of 25 ms every 10 ms, periodic Hann, 512 bins of magnitude, 64 mels from 125
to 7500 Hz, log(x + 0.01); examples of 96 frames that do not overlap, an incomplete last one dropped; the
last layer without its ReLU, no PCA, no quantisation. All rows of all clips are one set.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import waves
from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import spectrograms

NAME = 'vggish'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad')
RATE_HZ = 16000
EXAMPLE_FRAMES, NUM_MELS = 96, 64
CHECKPOINT = checkpoints.Checkpoint(
  'vggish-10086976.pth',
  'https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth',
  # torch.hub's habit: the first digits are in the file's name.
  'sha256:10086976',
  'Apache-2.0',
)
# Convolutions by their place in the sequence; None is a pooling of 2 by 2.
_FEATURES = (0, None, 3, None, 6, 8, None, 11, 13, None)


def examples(wave_N: np.ndarray) -> np.ndarray:
  """Returns log mels as example_BJR, 96 frames of 64 bands each.

  Args:
    wave_N: mono at RATE_HZ.
  """
  frame_JN = spectrograms.frames(np.asarray(wave_N, np.float64), 400, 160)
  level_JF = np.abs(np.fft.rfft(frame_JN * spectrograms.hann(400, is_periodic=True), 512))
  matrix_FR = spectrograms.mel_matrix(512, RATE_HZ, NUM_MELS, 125.0, 7500.0, True)
  mel_JR = np.log(level_JF @ matrix_FR + 0.01)
  num = len(mel_JR) // EXAMPLE_FRAMES
  return mel_JR[: num * EXAMPLE_FRAMES].reshape(num, EXAMPLE_FRAMES, NUM_MELS)


def apply(weights: layers.Weights, example_BJR: jax.Array) -> jax.Array:
  """Returns row_BF, 128 features of every example, before the published last ReLU."""
  x_BOJR = example_BJR[:, None]
  for place in _FEATURES:
    if place is None:
      x_BOJR = layers.pool(x_BOJR, 2, 'max')
    else:
      x_BOJR = jax.nn.relu(layers.convolve(weights, f'features.{place}', x_BOJR, padding=1))
  # Channels last before they are flattened, as the network of TensorFlow had them.
  x_BF = x_BOJR.transpose(0, 2, 3, 1).reshape(len(x_BOJR), -1)
  for place in (0, 2):
    x_BF = jax.nn.relu(layers.linear(weights, f'embeddings.{place}', x_BF))
  return layers.linear(weights, 'embeddings.4', x_BF)


class Vggish(embedder_lib.Embedder):
  """VGGish under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('wave',), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._apply = jax.jit(apply)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns a row of features for every 0.96 s.

    Raises:
      Refusal: the clip is shorter than that.
    """
    example_BJR = examples(waves.mono(clip.wave_NA, clip.sample_rate_hz, RATE_HZ))
    if not len(example_BJR):
      length_s = len(clip.wave_NA) / clip.sample_rate_hz
      raise embedder_lib.UnsupportedClipError(f'VGGish needs 0.975 s of sound; a clip has {length_s:.3f} s')
    return {
      embedder_lib.EMBEDDINGS: np.asarray(self._apply(self._weights, jnp.asarray(example_BJR, jnp.float32)))
    }


def load(path: pathlib.Path) -> Vggish:
  """Returns the network with the weights of a file."""
  inputs = (jax.ShapeDtypeStruct((1, EXAMPLE_FRAMES, NUM_MELS), np.float32),)
  weights = layers.load(path, apply, inputs, ignored=('pproc.',))
  return Vggish(weights, checkpoints.embedder_digest(NAME, VERSION, {path: CHECKPOINT}))
