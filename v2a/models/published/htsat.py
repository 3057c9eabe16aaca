"""HTS-AT audio transformer (Chen et al. 2022, arXiv 2202.00874), the audio encoder of LAION-CLAP.

"HTS-AT: a hierarchical token-semantic audio transformer": a Swin transformer (Liu et al. 2021, arXiv
2103.14030) on the spectrogram of 10 s. As LAION-AI/CLAP runs it: frames of 1024 samples every 480 at 48
kHz, with the Fourier and mel matrices of the checkpoint; 64 mel bands in decibels of power with a floor of
-100 dB, each normalised by the statistics of the training set; 1001 frames interpolated to 1024 (bicubic),
cut into four pieces of 256 that are stacked to an image of 256 by 256. Patches of 4 by 4; attention within
windows of 8 by 8 patches, shifted by half a window in every other block, with patches from opposite edges
masked; patch merging between stages. The features are the mean over all patches after the last norm.
Depths, widths and numbers of heads are those of the weights (tiny or base).
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
# Classification heads, which the features do not need.
IGNORED = ('tscam_conv.', 'head.')
# The parameter `a` of the cubic kernel, as in torch.
_CUBIC = -0.75


def interpolation_matrix(num: int, num_out: int) -> np.ndarray:
  """Returns matrix_QS of cubic interpolation from `num` to `num_out` values with aligned corners.

  Keys 1981, "Cubic convolution interpolation", with torch's parameter; values beyond the ends repeat those at
  the ends.

  Args:
    num: number of input values, at least 2.
    num_out: number of output values, at least 2.
  """
  # Positions are in single precision in the published code.
  position_Q = np.arange(num_out, dtype=np.float32) * np.float32((num - 1) / (num_out - 1))
  first_Q = np.floor(position_Q).astype(int)
  matrix_QS = np.zeros((num_out, num), np.float32)
  for step in (-1, 0, 1, 2):
    distance_Q = np.abs(position_Q - (first_Q + step)).astype(np.float64)
    near_Q = ((_CUBIC + 2) * distance_Q - (_CUBIC + 3)) * distance_Q**2 + 1
    far_Q = _CUBIC * (((distance_Q - 5) * distance_Q + 8) * distance_Q - 4)
    weight_Q = np.where(distance_Q <= 1, near_Q, far_Q)
    np.add.at(matrix_QS, (np.arange(num_out), np.clip(first_Q + step, 0, num - 1)), weight_Q)
  return matrix_QS


def spectrogram_image(weights: layers.Weights, frame_BJN: jax.Array, prefix: str = '') -> jax.Array:
  """Returns image_BYX: four pieces of the spectrogram stacked in time order, low bands first in each.

  Args:
    weights: of HTS-AT.
    frame_BJN: WINDOW_SAMPLES samples of each frame.
    prefix: of the names of the weights.
  """
  mel_BJR = layers.batch_norm(weights, f'{prefix}bn0', layers.log_mel(weights, frame_BJN, prefix), axis=2)
  size, num_frames, num_mels = mel_BJR.shape
  num_pieces = IMAGE_SIZE // num_mels
  matrix_QS = interpolation_matrix(num_frames, num_pieces * IMAGE_SIZE)
  mel_BRQ = jnp.einsum('QS,BSR->BRQ', matrix_QS, mel_BJR)
  piece_BRGX = mel_BRQ.reshape(size, num_mels, num_pieces, IMAGE_SIZE)
  return piece_BRGX.swapaxes(1, 2).reshape(size, IMAGE_SIZE, IMAGE_SIZE)


def _partition_windows(x_BYXF: jax.Array, side: int) -> jax.Array:
  """Returns x_BSF: windows along the batch axis, the patches of each row by row."""
  size, height, width, features = x_BYXF.shape
  x_BYQXSF = x_BYXF.reshape(size, height // side, side, width // side, side, features)
  return x_BYQXSF.swapaxes(2, 3).reshape(-1, side * side, features)


def _reverse_windows(x_BSF: jax.Array, side: int, shape: tuple[int, ...]) -> jax.Array:
  """Returns x_BYXF of a shape: the inverse of `_partition_windows`."""
  size, height, width, features = shape
  x_BYXQSF = x_BSF.reshape(size, height // side, width // side, side, side, features)
  return x_BYXQSF.swapaxes(2, 3).reshape(shape)


def _block(weights: layers.Weights, name: str, x_BYXF: jax.Array) -> jax.Array:
  """Returns a block of windowed attention; windows are shifted where the weights hold an attention mask."""
  table_SH = weights[f'{name}.attn.relative_position_bias_table']
  index_QS = weights[f'{name}.attn.relative_position_index'].astype(int)
  side = math.isqrt(len(index_QS))
  bias_GHQS = table_SH[index_QS].transpose(2, 0, 1)[None]
  is_shifted = f'{name}.attn_mask' in weights
  shift = side // 2 if is_shifted else 0
  if is_shifted:
    bias_GHQS = bias_GHQS + weights[f'{name}.attn_mask'][:, None]
  x_BSF = _partition_windows(
    jnp.roll(layers.layer_norm(weights, f'{name}.norm1', x_BYXF), (-shift, -shift), (1, 2)), side
  )
  bias_BHQS = jnp.tile(bias_GHQS, (len(x_BSF) // len(bias_GHQS), 1, 1, 1))
  q_BSF, k_BSF, v_BSF = jnp.split(layers.linear(weights, f'{name}.attn.qkv', x_BSF), 3, axis=-1)
  attended_BSF = layers.attention(q_BSF, k_BSF, v_BSF, table_SH.shape[1], bias_BHQS)
  attended_BYXF = _reverse_windows(
    layers.linear(weights, f'{name}.attn.proj', attended_BSF), side, x_BYXF.shape
  )
  x_BYXF = x_BYXF + jnp.roll(attended_BYXF, (shift, shift), (1, 2))
  hidden_BYXF = layers.linear(weights, f'{name}.mlp.fc1', layers.layer_norm(weights, f'{name}.norm2', x_BYXF))
  return x_BYXF + layers.linear(weights, f'{name}.mlp.fc2', jax.nn.gelu(hidden_BYXF, approximate=False))


def _merge(weights: layers.Weights, name: str, x_BYXF: jax.Array) -> jax.Array:
  """Returns merged patches, 2 by 2 to one: features of the left two, upper first, then of the right two."""
  size, height, width, features = x_BYXF.shape
  x_BYQXSF = x_BYXF.reshape(size, height // 2, 2, width // 2, 2, features)
  x_BYXF = x_BYQXSF.transpose(0, 1, 3, 4, 2, 5).reshape(size, height // 2, width // 2, 4 * features)
  return layers.linear(weights, f'{name}.reduction', layers.layer_norm(weights, f'{name}.norm', x_BYXF))


def encode_image(weights: layers.Weights, image_BYX: jax.Array, prefix: str = '') -> jax.Array:
  """Returns feature_BF of images of IMAGE_SIZE, see `spectrogram_image`."""
  embed = f'{prefix}patch_embed'
  x_BFYX = layers.convolve(weights, f'{embed}.proj', image_BYX[:, None], stride=PATCH_SIZE)
  x_BYXF = layers.layer_norm(weights, f'{embed}.norm', x_BFYX.transpose(0, 2, 3, 1))
  for stage in range(layers.count_layers(weights, prefix + 'layers.{}.blocks.0.norm1.weight')):
    name = f'{prefix}layers.{stage}'
    for i in range(layers.count_layers(weights, name + '.blocks.{}.norm1.weight')):
      x_BYXF = _block(weights, f'{name}.blocks.{i}', x_BYXF)
    if f'{name}.downsample.reduction.weight' in weights:
      x_BYXF = _merge(weights, f'{name}.downsample', x_BYXF)
  return layers.layer_norm(weights, f'{prefix}norm', x_BYXF).mean(axis=(1, 2))


def apply(weights: layers.Weights, frame_BJN: jax.Array, prefix: str = '') -> jax.Array:
  """Returns feature_BF of audio frames, see `spectrogram_image`."""
  return encode_image(weights, spectrogram_image(weights, frame_BJN, prefix), prefix)
