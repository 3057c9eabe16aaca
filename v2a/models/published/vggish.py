"""VGGish audio features (Hershey et al. 2017, arXiv 1609.09430): 128 for each 0.96 s.

"CNN architectures for large-scale audio classification", with the weights of harritaylor/torchvggish. The
front end frames 16 kHz mono into windows of 25 ms every 10 ms (periodic Hann, 512-point FFT, magnitudes), 64
mel bands from 125 to 7500 Hz, log(x + 0.01); examples of 96 frames without overlap, an incomplete last one
dropped. The features are those of the last layer without its ReLU, PCA and quantisation.
"""

import pathlib

import jax
import numpy as np

from v2a import mel
from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import spectrograms

RATE_HZ = 16000
EXAMPLE_FRAMES, NUM_MELS = 96, 64
CHECKPOINT = checkpoints.Checkpoint(
  'vggish-10086976.pth',
  'https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth',
  # By torch.hub's convention, the file name holds the first digits.
  'sha256:10086976',
  'Apache-2.0',
)
INPUTS = (jax.ShapeDtypeStruct((1, EXAMPLE_FRAMES, NUM_MELS), np.float32),)
# Indices of the convolutions in `features`; None is a max pooling of 2 by 2.
_FEATURES = (0, None, 3, None, 6, 8, None, 11, 13, None)


def log_mel_examples(wave_N: np.ndarray) -> np.ndarray:
  """Returns example_BJR: log-mel spectrograms of EXAMPLE_FRAMES frames each.

  Args:
    wave_N: mono waveform at RATE_HZ.
  """
  frame_JN = spectrograms.frames(np.asarray(wave_N, np.float64), 400, 160)
  magnitude_JF = np.abs(np.fft.rfft(frame_JN * spectrograms.hann(400, is_periodic=True), 512))
  matrix_FR = mel.filterbank(RATE_HZ, 512, NUM_MELS, 125.0, 7500.0, scale='htk', is_linear_in_mel=True)
  mel_JR = np.log(magnitude_JF @ matrix_FR + 0.01)
  num = len(mel_JR) // EXAMPLE_FRAMES
  return mel_JR[: num * EXAMPLE_FRAMES].reshape(num, EXAMPLE_FRAMES, NUM_MELS)


def apply(weights: layers.Weights, example_BJR: jax.Array) -> jax.Array:
  """Returns feature_BF: 128 features of each example, before the published last ReLU."""
  x_BOJR = example_BJR[:, None]
  for index in _FEATURES:
    if index is None:
      x_BOJR = layers.pool(x_BOJR, 2, 'max')
    else:
      x_BOJR = jax.nn.relu(layers.convolve(weights, f'features.{index}', x_BOJR, padding=1))
  # Flattened with the channels last, the layout of the original TensorFlow network.
  x_BF = x_BOJR.transpose(0, 2, 3, 1).reshape(len(x_BOJR), -1)
  for index in (0, 2):
    x_BF = jax.nn.relu(layers.linear(weights, f'embeddings.{index}', x_BF))
  return layers.linear(weights, 'embeddings.4', x_BF)


def load_weights(path: pathlib.Path) -> layers.Weights:
  """Returns the weights that `apply` reads from a file.

  Raises:
    ValueError: the file does not hold this network.
  """
  return layers.load(path, apply, INPUTS, ignored=('pproc.',))
