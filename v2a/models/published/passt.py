"""PaSST-S audio transformer (Koutini et al. 2021, arXiv 2110.05069): 768 features, 527 AudioSet classes.

"Efficient training of audio transformers with patchout", the checkpoint `passt_s_swa_p16_128_ap476` as
`hear21passt` runs it on 10 s at 32 kHz: pre-emphasis x_n - 0.97 x_{n-1}; windows of 800 samples every 320
(symmetric Hann, 1024-point FFT, reflected at both ends); power in 128 Kaldi mel bands from 0 to 15000 Hz;
(ln(x + 1e-5) + 4.5) / 5. The features are the mean of both class tokens after the last norm; the logits are
those of the first head.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a import mel
from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import spectrograms

RATE_HZ = 32000
NUM_SAMPLES = 320_000
WINDOW_SAMPLES, HOP_SAMPLES, NUM_FFT, NUM_MELS = 800, 320, 1024, 128
CHECKPOINT = checkpoints.Checkpoint(
  'passt-s-f128-p16-s10-ap.476-swa.pt',
  'https://github.com/kkoutini/PaSST/releases/download/v0.0.1-audioset/passt-s-f128-p16-s10-ap.476-swa.pt',
  'sha256:302903fa8c4aee817b11dc982da0b29aaf8d11a3e722420476d0a12c9db70c2c',
  'Apache-2.0',
)
INPUTS = (jax.ShapeDtypeStruct((1, NUM_MELS, NUM_SAMPLES // HOP_SAMPLES), np.float32),)
# The second head, which was trained by distillation.
IGNORED = ('head_dist.',)
_STRIDE = 10
_HEAD_FEATURES = 64
_EPSILON = 1e-6


def log_mel(wave_N: np.ndarray) -> np.ndarray:
  """Returns mel_RJ, normalised, of a mono waveform of NUM_SAMPLES at RATE_HZ."""
  wave_N = wave_N[1:] - np.float32(0.97) * wave_N[:-1]
  edge = (NUM_FFT - WINDOW_SAMPLES) // 2
  window_N = np.pad(spectrograms.hann(WINDOW_SAMPLES, is_periodic=False), edge)
  frame_JN = spectrograms.frames(np.pad(wave_N, NUM_FFT // 2, mode='reflect'), NUM_FFT, HOP_SAMPLES)
  power_JF = np.abs(np.fft.rfft(frame_JN * window_N)) ** 2
  matrix_FR = mel.filterbank(RATE_HZ, NUM_FFT, NUM_MELS, 0.0, 15000.0, scale='htk', is_linear_in_mel=True)
  return ((np.log(power_JF @ matrix_FR + 1e-5) + 4.5) / 5.0).T


def apply(weights: layers.Weights, mel_BRJ: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns feature_BF and logits_BO.

  Args:
    weights: of PaSST, of any depth and width.
    mel_BRJ: see `log_mel`.
  """
  x_BFRJ = layers.convolve(weights, 'patch_embed.proj', mel_BRJ[:, None], stride=_STRIDE)
  num_steps = x_BFRJ.shape[3]
  position_FRJ = (weights['freq_new_pos_embed'] + weights['time_new_pos_embed'][..., :num_steps])[0]
  x_BFS = (x_BFRJ + position_FRJ[None]).reshape(*x_BFRJ.shape[:2], -1)
  class_1SF = jnp.concatenate([weights['cls_token'], weights['dist_token']], axis=1)
  class_1SF = class_1SF + weights['new_pos_embed']
  class_BSF = jnp.broadcast_to(class_1SF, (len(x_BFS), *class_1SF.shape[1:]))
  x_BSF = jnp.concatenate([class_BSF, x_BFS.swapaxes(1, 2)], axis=1)
  for i in range(layers.count_layers(weights, 'blocks.{}.norm1.weight')):
    x_BSF = layers.block(weights, f'blocks.{i}', x_BSF, x_BSF.shape[2] // _HEAD_FEATURES, _EPSILON)
  x_BSF = layers.layer_norm(weights, 'norm', x_BSF[:, :2], _EPSILON)
  feature_BF = x_BSF.mean(axis=1)
  return feature_BF, layers.linear(weights, 'head.1', layers.layer_norm(weights, 'head.0', feature_BF))


def load_weights(path: pathlib.Path) -> layers.Weights:
  """Returns the weights that `apply` reads from a file.

  Raises:
    ValueError: the file does not hold this network.
  """
  return layers.load(path, apply, INPUTS, ignored=IGNORED)
