"""PANNs Cnn14 at 16 kHz: 2048 features and 527 tags of a clip, for FD-PANN, KL and IS.

Kong et al. 2020, "PANNs", arXiv 1912.10211. As hkchengrex/av-benchmark takes it: the mono mix at 16 kHz;
512 bins every 160 samples, mirrored at the ends; 64 mels from 50 to 8000 Hz in decibels of power with a
floor of -100; features after the ReLU of fc1; logits before the sigmoid. The Fourier and mel matrices are
those of the checkpoint.
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

NAME = 'panns'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad', 'kl', 'is')
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
_NUM_BLOCKS = 6


def apply(weights: layers.Weights, frame_BJN: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns features_BF and logits_BO.

  Args:
    weights: of Cnn14, for any rate.
    frame_BJN: samples of each frame, at least MIN_FRAMES frames.
  """
  stft = 'spectrogram_extractor.stft.conv_'
  parts = [frame_BJN @ weights[f'{stft}{part}.weight'][:, 0].T for part in ('real', 'imag')]
  power_BJR = (parts[0] ** 2 + parts[1] ** 2) @ weights['logmel_extractor.melW']
  mel_BJR = 10.0 * jnp.log10(jnp.maximum(power_BJR, 1e-10))
  x_BOJR = layers.batch_norm(weights, 'bn0', mel_BJR, axis=2)[:, None]
  for i in range(1, _NUM_BLOCKS + 1):
    for part in ('1', '2'):
      x_BOJR = layers.convolve(weights, f'conv_block{i}.conv{part}', x_BOJR, padding=1)
      x_BOJR = jax.nn.relu(layers.batch_norm(weights, f'conv_block{i}.bn{part}', x_BOJR))
    x_BOJR = layers.pool(x_BOJR, 2, 'mean') if i < _NUM_BLOCKS else x_BOJR
  x_BOJ = x_BOJR.mean(axis=3)
  features_BF = jax.nn.relu(layers.linear(weights, 'fc1', x_BOJ.max(axis=2) + x_BOJ.mean(axis=2)))
  return features_BF, layers.linear(weights, 'fc_audioset', features_BF)


class Panns(embedder_lib.Embedder):
  """Cnn14 under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('wave',), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._apply = jax.jit(apply)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns one row of features and the logits of 527 tags.

    Raises:
      Refusal: the clip is too short for the network's poolings.
    """
    wave_N = waves.mono(clip.wave_NA, clip.sample_rate_hz, RATE_HZ)
    if len(wave_N) < (MIN_FRAMES - 1) * HOP_SAMPLES:
      raise embedder_lib.UnsupportedClipError(
        f'Cnn14 needs 0.31 s of sound; a clip has {len(wave_N) / RATE_HZ:.3f} s'
      )
    padded_N = np.pad(wave_N, WINDOW_SAMPLES // 2, mode='reflect')
    frame_JN = spectrograms.frames(padded_N, WINDOW_SAMPLES, HOP_SAMPLES)
    row_BF, logits_BO = self._apply(self._weights, jnp.asarray(frame_JN[None]))
    return {embedder_lib.EMBEDDINGS: np.asarray(row_BF), embedder_lib.LOGITS: np.asarray(logits_BO[0])}


def load(path: pathlib.Path) -> Panns:
  """Returns the network with the weights of a file."""
  inputs = (jax.ShapeDtypeStruct((1, MIN_FRAMES, WINDOW_SAMPLES), np.float32),)
  weights = layers.load(path, apply, inputs, prefix='model.')
  return Panns(weights, checkpoints.embedder_digest(NAME, VERSION, {path: CHECKPOINT}))
