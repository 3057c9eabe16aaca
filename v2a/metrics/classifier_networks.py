"""A small multilayer perceptron on windows of a spectrogram, for NumPy (inference) and JAX (training).

Classifiers must load fast and run without compilation, and must be trained with gradients. The network is
therefore written once over the array module `xp` that the caller passes.

  x_0 = (window - mean) / std, flattened                                                               (1)
  x_i = relu(x_{i-1} weight_i + bias_i)           the last layer without relu                          (2)

An output depends on one window alone, so training computes only the windows that have labels, a tenth of
what a convolution over whole clips would compute.
"""

from typing import Any

import numpy as np

Params = dict[str, np.ndarray]


def init_params(seed: int, window_BSR: np.ndarray, widths: tuple[int, ...]) -> Params:
  """Returns He-normal weights, zero biases, and the mean and standard deviation of the bands.

  Args:
    seed: of the weights.
    window_BSR: training examples, for their shape and statistics.
    widths: number of outputs of each layer.
  """
  rng = np.random.default_rng(seed)
  params = {'mean_R': window_BSR.mean(axis=(0, 1)), 'std_R': window_BSR.std(axis=(0, 1)) + 0.1}
  num_inputs = window_BSR.shape[1] * window_BSR.shape[2]
  for i, width in enumerate(widths):
    weight_IO = np.sqrt(2.0 / num_inputs) * rng.standard_normal((num_inputs, width))
    params[f'weight_{i}_IO'], params[f'bias_{i}_O'] = (
      weight_IO.astype(np.float32),
      np.zeros(width, np.float32),
    )
    num_inputs = width
  return params


def apply(params: Params, window_BSR: Any, xp: Any) -> Any:
  """Returns the outputs of eq. 2 as y_BO; xp is numpy or jax.numpy."""
  window_BSR = (window_BSR - params['mean_R'][None, None]) / params['std_R'][None, None]
  x_BI = window_BSR.reshape(len(window_BSR), -1)
  num_layers = sum(name.startswith('weight_') for name in params)
  for i in range(num_layers):
    x_BI = x_BI @ params[f'weight_{i}_IO'] + params[f'bias_{i}_O'][None]
    if i + 1 < num_layers:
      x_BI = xp.maximum(x_BI, 0.0)
  return x_BI


def windows(mel_JR: np.ndarray, size: int, stride: int = 1) -> np.ndarray:
  """Returns window_BSR: `size` frames centred on every `stride`-th frame; edge frames are repeated."""
  padded_JR = np.pad(mel_JR, ((size // 2, size - 1 - size // 2), (0, 0)), mode='edge')
  return np.lib.stride_tricks.sliding_window_view(padded_JR, size, axis=0)[::stride].swapaxes(1, 2)


def softmax(logits_BO: np.ndarray) -> np.ndarray:
  """Returns probabilities over the last axis."""
  power_BO = np.exp(logits_BO - logits_BO.max(axis=-1, keepdims=True))
  return power_BO / power_BO.sum(axis=-1, keepdims=True)
