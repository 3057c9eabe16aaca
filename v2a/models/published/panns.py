"""PANNs Cnn14 audio tagger (Kong et al. 2020, arXiv 1912.10211): 2048 features, 527 AudioSet classes.

"PANNs: large-scale pretrained audio neural networks for audio pattern recognition", in the version for 16
kHz. Frames of 512 samples every 160, reflected at both ends; 64 mel bands from 50 to 8000 Hz in decibels of
power with a floor of -100 dB. The Fourier and mel matrices are those of the checkpoint. The features are
taken after the ReLU of fc1, the logits before the sigmoid.
"""

import pathlib

import jax
import numpy as np

from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import spectrograms

RATE_HZ = 16000
WINDOW_SAMPLES, HOP_SAMPLES = 512, 160
# Five poolings by two leave one frame of these.
MIN_FRAMES = 32
CHECKPOINT = checkpoints.Checkpoint(
  'Cnn14_16k_mAP=0.438.pth',
  'https://zenodo.org/record/3987831/files/Cnn14_16k_mAP%3D0.438.pth?download=1',
  'md5:362fc5ff18f1d6ad2f6d464b45893f2c',
  'CC-BY-4.0',
)
INPUTS = (jax.ShapeDtypeStruct((1, MIN_FRAMES, WINDOW_SAMPLES), np.float32),)
_NUM_BLOCKS = 6


def frame(wave_N: np.ndarray) -> np.ndarray:
  """Returns frame_JN: the samples of each frame of a mono waveform at RATE_HZ."""
  padded_N = np.pad(wave_N, WINDOW_SAMPLES // 2, mode='reflect')
  return spectrograms.frames(padded_N, WINDOW_SAMPLES, HOP_SAMPLES)


def apply(weights: layers.Weights, frame_BJN: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns feature_BF and logits_BO.

  Args:
    weights: of Cnn14, for any sample rate.
    frame_BJN: samples of at least MIN_FRAMES frames, see `frame`.
  """
  mel_BJR = layers.log_mel(weights, frame_BJN)
  x_BOJR = layers.batch_norm(weights, 'bn0', mel_BJR, axis=2)[:, None]
  for i in range(1, _NUM_BLOCKS + 1):
    for part in ('1', '2'):
      x_BOJR = layers.convolve(weights, f'conv_block{i}.conv{part}', x_BOJR, padding=1)
      x_BOJR = jax.nn.relu(layers.batch_norm(weights, f'conv_block{i}.bn{part}', x_BOJR))
    x_BOJR = layers.pool(x_BOJR, 2, 'mean') if i < _NUM_BLOCKS else x_BOJR
  x_BOJ = x_BOJR.mean(axis=3)
  feature_BF = jax.nn.relu(layers.linear(weights, 'fc1', x_BOJ.max(axis=2) + x_BOJ.mean(axis=2)))
  return feature_BF, layers.linear(weights, 'fc_audioset', feature_BF)


def load_weights(path: pathlib.Path) -> layers.Weights:
  """Returns the weights that `apply` reads from a file.

  Raises:
    ValueError: the file does not hold this network.
  """
  return layers.load(path, apply, INPUTS, prefix='model.')
