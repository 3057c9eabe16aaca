"""HTS-AT against its definition spelled out window by window, and against torch's cubic."""

import jax
import numpy as np
from scipy import special

from tests.models.published import clap_weights
from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import htsat
from v2a.models.published import layers

# Made with torch 2.13.0: torch.nn.functional.interpolate, bicubic, align_corners.
STRETCHED = (1.0, -1.3702623, -1.4642854, 2.6683683, 3.6231778, 0.80539155, 1.1822162, 3.0)
RNG = np.random.default_rng(0)


def norm(weights, name, x):
  """Returns x normalised over its last axis."""
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  return x * weights[f'{name}.weight'] + weights[f'{name}.bias']


def linear(weights, name, x):
  """Returns x through a linear layer with a bias."""
  return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']


def seen(weights, name, x_YXF, move):
  """Returns what each patch takes of those in its window, whose borders lie `move` patches before eights."""
  table_SH = weights[f'{name}.relative_position_bias_table']
  qkv_YXF = linear(weights, f'{name}.qkv', x_YXF)
  window_Y = (np.arange(len(x_YXF)) + move) // 8
  taken_YXF = np.zeros_like(x_YXF)
  for top in range(window_Y.max() + 1):
    for left in range(window_Y.max() + 1):
      rows, columns = np.nonzero((window_Y[:, None] == top) & (window_Y == left))
      away_QS = [place[:, None] - place + 7 for place in (rows, columns)]
      bias_QSH = table_SH[away_QS[0] * 15 + away_QS[1]]
      parts = [part.reshape(len(rows), -1, 2) for part in np.split(qkv_YXF[rows, columns], 3, axis=1)]
      score_QSH = np.einsum('qhe,she->qsh', *parts[:2]) / np.sqrt(2) + bias_QSH
      taken_QHE = np.einsum('qsh,she->qhe', special.softmax(score_QSH, axis=1), parts[2])
      taken_YXF[rows, columns] = taken_QHE.reshape(len(rows), -1)
  return linear(weights, f'{name}.proj', taken_YXF)


def known_features(weights, picture_YX, depths):
  """Returns feature_F of a picture, two features a head."""
  x_YXPF = picture_YX.reshape(len(picture_YX) // 4, 4, -1, 4).swapaxes(1, 2)
  x_YXF = np.einsum('yxpq,fpq->yxf', x_YXPF, weights['patch_embed.proj.weight'][:, 0])
  x_YXF = norm(weights, 'patch_embed.norm', x_YXF + weights['patch_embed.proj.bias'])
  for stage, depth in enumerate(depths):
    for i in range(depth):
      name = f'layers.{stage}.blocks.{i}'
      move = 4 if i % 2 and len(x_YXF) > 8 else 0
      x_YXF = x_YXF + seen(weights, f'{name}.attn', norm(weights, f'{name}.norm1', x_YXF), move)
      x = linear(weights, f'{name}.mlp.fc1', norm(weights, f'{name}.norm2', x_YXF))
      x_YXF = x_YXF + linear(weights, f'{name}.mlp.fc2', x * 0.5 * (1 + special.erf(x / np.sqrt(2))))
    if stage + 1 < len(depths):
      name = f'layers.{stage}.downsample'
      corners = [x_YXF[row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
      x_YXF = norm(weights, f'{name}.norm', np.concatenate(corners, axis=2))
      x_YXF = x_YXF @ weights[f'{name}.reduction.weight'].T
  return norm(weights, 'norm', x_YXF).mean(axis=(0, 1))


def test_features_against_windows_one_by_one():
  depths = (2, 2)
  sizes = clap_weights.htsat_shapes(8, depths, num_patches=16)
  weights = clap_weights.weights(
    {k: v for k, v in sizes.items() if k.startswith(('patch', 'layers', 'norm'))}
  )
  # Small enough for the norms' epsilon to tell.
  for part in ('weight', 'bias'):
    weights[f'patch_embed.proj.{part}'] *= 0.01
  picture_BYX = RNG.standard_normal((2, 64, 64)).astype(np.float32)
  found_BF = jax.jit(htsat.encode_image)(weights, picture_BYX)
  wide = {name: value.astype(np.float64) for name, value in weights.items()}
  known_BF = [known_features(wide, picture_YX, depths) for picture_YX in picture_BYX.astype(np.float64)]
  np.testing.assert_allclose(found_BF, known_BF, atol=2e-5)


def test_pieces_lie_below_each_other_and_bands_are_normalised():
  stft = 'spectrogram_extractor.stft.conv_'
  shapes = {
    f'{stft}real.weight': (5, 1, 8),
    f'{stft}imag.weight': (5, 1, 8),
    'logmel_extractor.melW': (5, 64),
  }
  shapes |= {f'bn0.{name}': (64,) for name in ('weight', 'bias', 'running_mean', 'running_var')}
  weights = reference.weights(shapes)
  frame_BJN = RNG.standard_normal((1, 1024, 8)).astype(np.float32)
  # Some frames are silent: the floor is that of the power.
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


def test_stretching_is_torchs_cubic():
  found_N = htsat.interpolation_matrix(5, 8) @ np.array([1.0, -2.0, 4.0, 0.5, 3.0])
  np.testing.assert_allclose(found_N, STRETCHED, atol=1e-5)
  np.testing.assert_array_equal(htsat.interpolation_matrix(6, 6), np.eye(6))


def test_every_weight_of_the_smaller_published_file_is_read():
  shapes = specs.shapes('laion_htsat_tiny')
  assert shapes == clap_weights.htsat_shapes(96, (2, 2, 6, 2))
  structs = {key: jax.ShapeDtypeStruct(shape, np.float32) for key, shape in shapes.items()}
  inputs = (jax.ShapeDtypeStruct((1, htsat.NUM_FRAMES, htsat.WINDOW_SAMPLES), np.float32),)
  read = layers.check(htsat.apply, structs, inputs, 'spec', ignored=htsat.IGNORED)
  assert {key.split('.')[0] for key in set(shapes) - read} == {'bn0', 'tscam_conv', 'head'}
