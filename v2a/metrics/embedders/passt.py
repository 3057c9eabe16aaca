"""PaSST-S: 768 features and 527 tags of 10 s, for FD-PaSST, KL and IS.

Koutini et al. 2021, "Efficient training of audio transformers with patchout", arXiv 2110.05069; the network
`passt_s_swa_p16_128_ap476` of `hear21passt`. As hkchengrex/av-benchmark takes it: the mono mix at 32 kHz,
filled up with zeros or cut to 10 s; pre-emphasis x_n - 0.97 x_{n-1}; 800 samples every 320 under a
symmetric Hann window, 1024 bins, mirrored at the ends; 128 Kaldi mels of power from 0 to 15000 Hz; (ln(x +
1e-5) + 4.5) / 5. Features are the mean of both class tokens after the last norm; logits come of the first
head.
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

NAME = 'passt'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad', 'kl', 'is')
RATE_HZ = 32000
NUM_SAMPLES = 320_000
WINDOW_SAMPLES, HOP_SAMPLES, NUM_FFT, NUM_MELS = 800, 320, 1024, 128
CHECKPOINT = checkpoints.Checkpoint(
  'passt-s-f128-p16-s10-ap.476-swa.pt',
  'https://github.com/kkoutini/PaSST/releases/download/v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt',
  'sha256:302903fa8c4aee817b11dc982da0b29aaf8d11a3e722420476d0a12c9db70c2c',
  'Apache-2.0',
)
_STRIDE = 10
_HEAD_FEATURES = 64
_EPSILON = 1e-6


def log_mel(wave_N: np.ndarray) -> np.ndarray:
  """Returns mel_RJ of a mono wave at RATE_HZ, bands first, as the network sees it."""
  wave_N = wave_N[1:] - np.float32(0.97) * wave_N[:-1]
  edge = (NUM_FFT - WINDOW_SAMPLES) // 2
  window_N = np.pad(spectrograms.hann(WINDOW_SAMPLES, is_periodic=False), edge)
  frame_JN = spectrograms.frames(np.pad(wave_N, NUM_FFT // 2, mode='reflect'), NUM_FFT, HOP_SAMPLES)
  power_JF = np.abs(np.fft.rfft(frame_JN * window_N)) ** 2
  matrix_FR = spectrograms.mel_matrix(NUM_FFT, RATE_HZ, NUM_MELS, 0.0, 15000.0, True)
  return ((np.log(power_JF @ matrix_FR + 1e-5) + 4.5) / 5.0).T


def apply(weights: layers.Weights, mel_BRJ: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns features_BF and logits_BO.

  Args:
    weights: of PaSST, of any depth and width.
    mel_BRJ: see log_mel.
  """
  x_BFRJ = layers.convolve(weights, 'patch_embed.proj', mel_BRJ[:, None], stride=_STRIDE)
  num_steps = x_BFRJ.shape[3]
  place_FRJ = (weights['freq_new_pos_embed'] + weights['time_new_pos_embed'][..., :num_steps])[0]
  x_BFS = (x_BFRJ + place_FRJ[None]).reshape(*x_BFRJ.shape[:2], -1)
  class_1SF = (
    jnp.concatenate([weights['cls_token'], weights['dist_token']], axis=1) + weights['new_pos_embed']
  )
  class_BSF = jnp.broadcast_to(class_1SF, (len(x_BFS), *class_1SF.shape[1:]))
  x_BSF = jnp.concatenate([class_BSF, x_BFS.swapaxes(1, 2)], axis=1)
  for i in range(layers.count_layers(weights, 'blocks.{}.norm1.weight')):
    x_BSF = layers.block(weights, f'blocks.{i}', x_BSF, x_BSF.shape[2] // _HEAD_FEATURES, _EPSILON)
  x_BSF = layers.layer_norm(weights, 'norm', x_BSF[:, :2], _EPSILON)
  features_BF = x_BSF.mean(axis=1)
  return features_BF, layers.linear(weights, 'head.1', layers.layer_norm(weights, 'head.0', features_BF))


class Passt(embedder_lib.Embedder):
  """PaSST-S under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('wave',), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._apply = jax.jit(apply)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns one row of features and the logits of 527 tags."""
    wave_N = waves.mono(clip.wave_NA, clip.sample_rate_hz, RATE_HZ)[:NUM_SAMPLES]
    mel_RJ = log_mel(np.pad(wave_N, (0, NUM_SAMPLES - len(wave_N))))
    row_BF, logits_BO = self._apply(self._weights, jnp.asarray(mel_RJ[None], jnp.float32))
    return {embedder_lib.EMBEDDINGS: np.asarray(row_BF), embedder_lib.LOGITS: np.asarray(logits_BO[0])}


def load(path: pathlib.Path) -> Passt:
  """Returns the network with the weights of a file."""
  inputs = (jax.ShapeDtypeStruct((1, NUM_MELS, NUM_SAMPLES // HOP_SAMPLES), np.float32),)
  # The second head, of the distillation, is not asked.
  weights = layers.load(path, apply, inputs, ignored=('head_dist.',))
  return Passt(weights, checkpoints.embedder_digest(NAME, VERSION, {path: CHECKPOINT}))
