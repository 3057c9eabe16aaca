"""HTS-AT against a plain NumPy implementation window by window, and against torch's bicubic interpolation."""

import jax
import numpy as np
from scipy import special

from tests.models.published import clap_weights
from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import htsat
from v2a.models.published import layers

# Of torch 2.13.0: torch.nn.functional.interpolate, bicubic, align_corners.
INTERPOLATED = (1.0, -1.3702623, -1.4642854, 2.6683683, 3.6231778, 0.80539155, 1.1822162, 3.0)
RNG = np.random.default_rng(0)


def norm(weights, name, x):
  """Returns x normalised over its last axis."""
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  return x * weights[f'{name}.weight'] + weights[f'{name}.bias']


def linear(weights, name, x):
  """Returns x through a linear layer with a bias."""
  return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def windowed_attention(weights, name, x_YXF, shift):
  """Returns attention within windows of 8 by 8 patches, shifted by `shift` patches."""
  table_SH = weights[f'{name}.relative_position_bias_table']
  qkv_YXF = linear(weights, f'{name}.qkv', x_YXF)
  window_Y = (np.arange(len(x_YXF)) + shift) // 8
  out_YXF = np.zeros_like(x_YXF)
  for top in range(window_Y.max() + 1):
    for left in range(window_Y.max() + 1):
      rows, columns = np.nonzero((window_Y[:, None] == top) & (window_Y == left))
      offset_QS = [position[:, None] - position + 7 for position in (rows, columns)]
      bias_QSH = table_SH[offset_QS[0] * 15 + offset_QS[1]]
      parts = [part.reshape(len(rows), -1, 2) for part in np.split(qkv_YXF[rows, columns], 3, axis=1)]
      score_QSH = np.einsum('qhe,she->qsh', *parts[:2]) / np.sqrt(2) + bias_QSH
      out_QHE = np.einsum('qsh,she->qhe', special.softmax(score_QSH, axis=1), parts[2])
      out_YXF[rows, columns] = out_QHE.reshape(len(rows), -1)
  return linear(weights, f'{name}.proj', out_YXF)


def expected_features(weights, image_YX, depths):
  """Returns feature_F of an image, for two features in each head."""
  x_YXPF = image_YX.reshape(len(image_YX) // 4, 4, -1, 4).swapaxes(1, 2)
  x_YXF = np.einsum('yxpq,fpq->yxf', x_YXPF, weights['patch_embed.proj.weight'][:, 0])
  x_YXF = norm(weights, 'patch_embed.norm', x_YXF + weights['patch_embed.proj.bias'])
  for stage, depth in enumerate(depths):
    for i in range(depth):
      name = f'layers.{stage}.blocks.{i}'
      shift = 4 if i % 2 and len(x_YXF) > 8 else 0
      x_YXF = x_YXF + windowed_attention(
        weights, f'{name}.attn', norm(weights, f'{name}.norm1', x_YXF), shift
      )
      x = linear(weights, f'{name}.mlp.fc1', norm(weights, f'{name}.norm2', x_YXF))
      x_YXF = x_YXF + linear(weights, f'{name}.mlp.fc2', x * 0.5 * (1 + special.erf(x / np.sqrt(2))))
    if stage + 1 < len(depths):
      name = f'layers.{stage}.downsample'
      corners = [x_YXF[row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
      x_YXF = norm(weights, f'{name}.norm', np.concatenate(corners, axis=2))
      x_YXF = x_YXF @ weights[f'{name}.reduction.weight'].T
  return norm(weights, 'norm', x_YXF).mean(axis=(0, 1))


def test_features_equal_a_plain_implementation():
  depths = (2, 2)
  shapes = clap_weights.htsat_shapes(8, depths, num_patches=16)
  weights = clap_weights.weights(
    {k: v for k, v in shapes.items() if k.startswith(('patch', 'layers', 'norm'))}
  )
  # Small values, so that the epsilon of the norms matters.
  for part in ('weight', 'bias'):
    weights[f'patch_embed.proj.{part}'] *= 0.01
  image_BYX = RNG.standard_normal((2, 64, 64)).astype(np.float32)
  found_BF = jax.jit(htsat.encode_image)(weights, image_BYX)
  float64_weights = {name: value.astype(np.float64) for name, value in weights.items()}
  expected_BF = [
    expected_features(float64_weights, image_YX, depths) for image_YX in image_BYX.astype(np.float64)
  ]
  np.testing.assert_allclose(found_BF, expected_BF, atol=2e-5)


def test_spectrogram_image_stacks_four_normalised_pieces():
  stft = 'spectrogram_extractor.stft.conv_'
  shapes = {
    f'{stft}real.weight': (5, 1, 8),
    f'{stft}imag.weight': (5, 1, 8),
    'logmel_extractor.melW': (5, 64),
  }
  shapes |= {f'bn0.{name}': (64,) for name in ('weight', 'bias', 'running_mean', 'running_var')}
  weights = reference.weights(shapes)
  frame_BJN = RNG.standard_normal((1, 1024, 8)).astype(np.float32)
  # Silent frames are at the floor of the power.
  frame_BJN[0, 7:300] = 0.0
  found_YX = np.asarray(htsat.spectrogram_image(weights, frame_BJN))[0]
  parts = [frame_BJN[0] @ weights[f'{stft}{part}.weight'][:, 0].T for part in ('real', 'imag')]
  mel_JR = (parts[0] ** 2 + parts[1] ** 2) @ weights['logmel_extractor.melW']
  level_JR = 10 * np.log10(np.maximum(mel_JR, 1e-10)) - weights['bn0.running_mean']
  level_JR = (
    level_JR / np.sqrt(weights['bn0.running_var'] + 1e-5) * weights['bn0.weight'] + weights['bn0.bias']
  )
  assert found_YX.shape == (256, 256) and level_JR.min() < -50
  for piece in range(4):
    np.testing.assert_allclose(found_YX[64 * piece :][:64], level_JR[256 * piece :][:256].T, atol=2e-3)


def test_interpolation_equals_torch():
  found_N = htsat.interpolation_matrix(5, 8) @ np.array([1.0, -2.0, 4.0, 0.5, 3.0])
  np.testing.assert_allclose(found_N, INTERPOLATED, atol=1e-5)
  np.testing.assert_array_equal(htsat.interpolation_matrix(6, 6), np.eye(6))


def test_all_weights_of_the_published_tiny_model_are_read():
  shapes = specs.shapes('laion_htsat_tiny')
  assert shapes == clap_weights.htsat_shapes(96, (2, 2, 6, 2))
  inputs = (jax.ShapeDtypeStruct((1, htsat.NUM_FRAMES, htsat.WINDOW_SAMPLES), np.float32),)
  read = layers.check_shapes(htsat.apply, reference.structs(shapes), inputs, 'spec', ignored=htsat.IGNORED)
  assert {key.split('.')[0] for key in set(shapes) - read} == {'bn0', 'tscam_conv', 'head'}
