"""HTS-AT: features of 10 s of sound, the audio half of LAION-CLAP.

Chen et al. 2022, "HTS-AT: a hierarchical token-semantic audio transformer", arXiv 2202.00874: a Swin
transformer (Liu et al. 2021, arXiv 2103.14030) whose picture is a spectrogram. As LAION-AI/CLAP runs it:
1024 samples of 48 kHz every 480 under the Fourier and mel matrices of the checkpoint, 64 mels in decibels of
power with a floor of -100, each normalised over the training set; 1001 frames stretched to 1024 (cubic), cut
into four pieces of 256, laid below each other: a picture of 256 by 256. Patches of 4 by 4; blocks of
attention within windows of 8 by 8 patches, every other one moved by half a window, where patches that were
no neighbours do not see each other; between stages four patches become one. The features are the mean over
all patches after the last norm. Depths, widths and heads are those of the weights (tiny and base).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from v2a.models.published import layers

RATE_HZ = 48000
NUM_SAMPLES = 480_000
WINDOW_SAMPLES, HOP_SAMPLES = 1024, 480
NUM_FRAMES = NUM_SAMPLES // HOP_SAMPLES + 1
IMAGE_SIZE, PATCH_SIZE = 256, 4
# What tags sounds, and is not asked for features.
IGNORED = ('tscam_conv.', 'head.')
# Steepness of the cubic at its neighbours: torch's own.
_CUBIC = -0.75


def interpolation_matrix(num: int, wanted: int) -> np.ndarray:
  """Returns matrix_QS that takes `num` values to `wanted` by cubic convolution, ends upon ends.

  Keys 1981, "Cubic convolution interpolation", with torch's parameter; values beyond the ends are those of
  the ends.

  Args:
    num: values given, at least 2.
    wanted: values made, at least 2.
  """
  # In single precision, where the published code has its places.
  place_Q = np.arange(wanted, dtype=np.float32) * np.float32((num - 1) / (wanted - 1))
  first_Q = np.floor(place_Q).astype(int)
  matrix_QS = np.zeros((wanted, num), np.float32)
  for step in (-1, 0, 1, 2):
    away_Q = np.abs(place_Q - (first_Q + step)).astype(np.float64)
    near_Q = ((_CUBIC + 2) * away_Q - (_CUBIC + 3)) * away_Q**2 + 1
    far_Q = _CUBIC * (((away_Q - 5) * away_Q + 8) * away_Q - 4)
    weight_Q = np.where(away_Q <= 1, near_Q, far_Q)
    np.add.at(matrix_QS, (np.arange(wanted), np.clip(first_Q + step, 0, num - 1)), weight_Q)
  return matrix_QS


def spectrogram_image(weights: layers.Weights, frame_BJN: jax.Array, prefix: str = '') -> jax.Array:
  """Returns picture_BYX, four pieces of the spectrogram below each other, low bands first in each.

  Args:
    weights: of HTS-AT.
    frame_BJN: WINDOW_SAMPLES samples of each frame.
    prefix: of the names of the weights.
  """
  stft = f'{prefix}spectrogram_extractor.stft.conv_'
  parts = [frame_BJN @ weights[f'{stft}{part}.weight'][:, 0].T for part in ('real', 'imag')]
  power_BJR = (parts[0] ** 2 + parts[1] ** 2) @ weights[f'{prefix}logmel_extractor.melW']
  mel_BJR = 10.0 * jnp.log10(jnp.maximum(power_BJR, 1e-10))
  mel_BJR = layers.batch_norm(weights, f'{prefix}bn0', mel_BJR, axis=2)
  size, num_frames, num_mels = mel_BJR.shape
  num_pieces = IMAGE_SIZE // num_mels
  matrix_QS = interpolation_matrix(num_frames, num_pieces * IMAGE_SIZE)
  mel_BRQ = jnp.einsum('QS,BSR->BRQ', matrix_QS, mel_BJR)
  piece_BRGX = mel_BRQ.reshape(size, num_mels, num_pieces, IMAGE_SIZE)
  return piece_BRGX.swapaxes(1, 2).reshape(size, IMAGE_SIZE, IMAGE_SIZE)


def _windows(x_BYXF: jax.Array, side: int) -> jax.Array:
  """Returns x_BSF: the patches of every window, window by window, row by row in each."""
  size, height, width, features = x_BYXF.shape
  x_BYQXSF = x_BYXF.reshape(size, height // side, side, width // side, side, features)
  return x_BYQXSF.swapaxes(2, 3).reshape(-1, side * side, features)


def _joined(x_BSF: jax.Array, side: int, shape: tuple[int, ...]) -> jax.Array:
  """Returns x_BYXF of that shape: what _windows took apart."""
  size, height, width, features = shape
  x_BYXQSF = x_BSF.reshape(size, height // side, width // side, side, side, features)
  return x_BYXQSF.swapaxes(2, 3).reshape(shape)


def _block(weights: layers.Weights, name: str, x_BYXF: jax.Array) -> jax.Array:
  """Returns a block of attention within windows; they are moved where the weights have a mask for it."""
  table_SH = weights[f'{name}.attn.relative_position_bias_table']
  index_QS = weights[f'{name}.attn.relative_position_index'].astype(int)
  side = math.isqrt(len(index_QS))
  bias_GHQS = table_SH[index_QS].transpose(2, 0, 1)[None]
  is_moved = f'{name}.attn_mask' in weights
  move = side // 2 if is_moved else 0
  if is_moved:
    bias_GHQS = bias_GHQS + weights[f'{name}.attn_mask'][:, None]
  x_BSF = _windows(
    jnp.roll(layers.layer_norm(weights, f'{name}.norm1', x_BYXF), (-move, -move), (1, 2)), side
  )
  bias_BHQS = jnp.tile(bias_GHQS, (len(x_BSF) // len(bias_GHQS), 1, 1, 1))
  parts = jnp.split(layers.linear(weights, f'{name}.attn.qkv', x_BSF), 3, axis=-1)
  taken_BSF = layers.attention(*parts, table_SH.shape[1], bias_BHQS)
  taken_BYXF = _joined(layers.linear(weights, f'{name}.attn.proj', taken_BSF), side, x_BYXF.shape)
  x_BYXF = x_BYXF + jnp.roll(taken_BYXF, (move, move), (1, 2))
  hidden_BYXF = layers.linear(weights, f'{name}.mlp.fc1', layers.layer_norm(weights, f'{name}.norm2', x_BYXF))
  return x_BYXF + layers.linear(weights, f'{name}.mlp.fc2', jax.nn.gelu(hidden_BYXF, approximate=False))


def _merge(weights: layers.Weights, name: str, x_BYXF: jax.Array) -> jax.Array:
  """Returns one patch for four: first the left two, upper before lower, then the right two."""
  size, height, width, features = x_BYXF.shape
  x_BYQXSF = x_BYXF.reshape(size, height // 2, 2, width // 2, 2, features)
  x_BYXF = x_BYQXSF.transpose(0, 1, 3, 4, 2, 5).reshape(size, height // 2, width // 2, 4 * features)
  return layers.linear(weights, f'{name}.reduction', layers.layer_norm(weights, f'{name}.norm', x_BYXF))


def encode_image(weights: layers.Weights, picture_BYX: jax.Array, prefix: str = '') -> jax.Array:
  """Returns feature_BF of pictures of PICTURE_SIZE, see `picture`."""
  embed = f'{prefix}patch_embed'
  x_BFYX = layers.convolve(weights, f'{embed}.proj', picture_BYX[:, None], stride=PATCH_SIZE)
  x_BYXF = layers.layer_norm(weights, f'{embed}.norm', x_BFYX.transpose(0, 2, 3, 1))
  for stage in range(layers.count_layers(weights, prefix + 'layers.{}.blocks.0.norm1.weight')):
    name = f'{prefix}layers.{stage}'
    for i in range(layers.count_layers(weights, name + '.blocks.{}.norm1.weight')):
      x_BYXF = _block(weights, f'{name}.blocks.{i}', x_BYXF)
    if f'{name}.downsample.reduction.weight' in weights:
      x_BYXF = _merge(weights, f'{name}.downsample', x_BYXF)
  return layers.layer_norm(weights, f'{prefix}norm', x_BYXF).mean(axis=(1, 2))


def apply(weights: layers.Weights, frame_BJN: jax.Array, prefix: str = '') -> jax.Array:
  """Returns feature_BF of frames, see `picture`."""
  return encode_image(weights, spectrogram_image(weights, frame_BJN, prefix), prefix)
