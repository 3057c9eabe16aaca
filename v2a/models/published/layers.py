"""Layers of published networks, on weights with their published names and layout; loading of such weights.

A network is a function of a flat dictionary of weights under the names of the checkpoint; nothing is renamed
or transposed. Feature maps are (batch, channels, rows, columns), weights (outputs, inputs, ...), as in torch.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from v2a.models.published import torchfile

Weights = Mapping[str, jax.Array]
Sizes = int | Sequence[int]


def linear(weights: Weights, name: str, x: jax.Array) -> jax.Array:
  """Returns x W^T + b over the last axis; b is optional."""
  return add_bias(x @ weights[f'{name}.weight'].T, weights.get(f'{name}.bias'), -1)


def add_bias(x: jax.Array, bias: jax.Array | None, axis: int) -> jax.Array:
  """Returns x plus a vector along one axis; x where the vector is None."""
  return x if bias is None else x + _shaped(bias, x.ndim, axis)


def _shaped(vector: jax.Array, num_axes: int, axis: int) -> jax.Array:
  shape = [1] * num_axes
  shape[axis] = -1
  return vector.reshape(shape)


def convolve(weights: Weights, name: str, x: jax.Array, stride: Sizes = 1, padding: Sizes = 0) -> jax.Array:
  """Returns the convolution (cross-correlation) over all axes after the second, plus an optional bias.

  Args:
    weights: holds NAME.weight and optionally NAME.bias.
    name: of the layer.
    x: (batch, channels, ...).
    stride, padding: one number, or one for each axis.
  """
  kernel = weights[f'{name}.weight']
  num = kernel.ndim - 2
  strides = (stride,) * num if isinstance(stride, int) else stride
  paddings = (padding,) * num if isinstance(padding, int) else padding
  y = jax.lax.conv_general_dilated(x, kernel, strides, [(size, size) for size in paddings])
  return add_bias(y, weights.get(f'{name}.bias'), 1)


def batch_norm(weights: Weights, name: str, x: jax.Array, axis: int = 1) -> jax.Array:
  """Returns x normalised along an axis by the stored running statistics (batch norm in inference).

  Args:
    weights: holds weight, bias, running_mean and running_var under NAME.
    name: of the layer.
    x: (batch, channels, ...) if `axis` is 1.
    axis: of x, along which the statistics are.
  """
  scale = weights[f'{name}.weight'] / jnp.sqrt(weights[f'{name}.running_var'] + 1e-5)
  shift = weights[f'{name}.bias'] - scale * weights[f'{name}.running_mean']
  return add_bias(x * _shaped(scale, x.ndim, axis), shift, axis)


def layer_norm(weights: Weights, name: str, x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
  """Returns x normalised over its last axis.

  Args:
    weights: holds NAME.weight and NAME.bias.
    name: of the layer.
    x: of any rank.
    epsilon: added to the variance.
  """
  x = x - x.mean(axis=-1, keepdims=True)
  x = x * jax.lax.rsqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)
  return add_bias(x * _shaped(weights[f'{name}.weight'], x.ndim, -1), weights[f'{name}.bias'], -1)


def pool(x: jax.Array, size: Sizes, kind: str, stride: Sizes | None = None, padding: Sizes = 0) -> jax.Array:
  """Returns the maximum or mean of windows over the axes after the second.

  Args:
    x: (batch, channels, ...).
    size: of the window, one number or one for each axis; an incomplete last window is dropped.
    kind: 'max' or 'mean'.
    stride: one number or one for each axis; None for that of `size`.
    padding: one number or one for each axis; counts as 0 in a mean, and is ignored by a maximum.
  """
  num = x.ndim - 2
  sizes = (size,) * num if isinstance(size, int) else tuple(size)
  strides = sizes if stride is None else (stride,) * num if isinstance(stride, int) else tuple(stride)
  paddings = (padding,) * num if isinstance(padding, int) else padding
  paddings = [(0, 0), (0, 0), *((size, size) for size in paddings)]
  start, combine = (-jnp.inf, jax.lax.max) if kind == 'max' else (0.0, jax.lax.add)
  y = jax.lax.reduce_window(x, start, combine, (1, 1, *sizes), (1, 1, *strides), paddings)
  return y if kind == 'max' else y / float(np.prod(sizes))


def attention(
  q_BQF: jax.Array, k_BSF: jax.Array, v_BSF: jax.Array, num_heads: int, bias_BHQS: jax.Array | None = None
) -> jax.Array:
  """Returns multi-head attention, the outputs of all heads concatenated.

  Args:
    q_BQF, k_BSF, v_BSF: queries, keys and values.
    num_heads: number of heads.
    bias_BHQS: added to the scores before the softmax; axes may have size 1.
  """

  def heads(x_BSF: jax.Array) -> jax.Array:
    return x_BSF.reshape(*x_BSF.shape[:2], num_heads, -1)

  q_BQHE, k_BSHE, v_BSHE = heads(q_BQF), heads(k_BSF), heads(v_BSF)
  score_BHQS = jnp.einsum('BQHE,BSHE->BHQS', q_BQHE / np.sqrt(q_BQHE.shape[-1]), k_BSHE)
  if bias_BHQS is not None:
    score_BHQS = score_BHQS + bias_BHQS
  out_BQHE = jnp.einsum('BHQS,BSHE->BQHE', jax.nn.softmax(score_BHQS, axis=-1), v_BSHE)
  return out_BQHE.reshape(q_BQF.shape)


def self_attention(weights: Weights, name: str, x_BSF: jax.Array, num_heads: int) -> jax.Array:
  """Returns self-attention with the weights of torch.nn.MultiheadAttention.

  Args:
    weights: hold NAME.in_proj_weight, NAME.in_proj_bias and NAME.out_proj; optionally NAME.bias_k and
      NAME.bias_v, an extra key and value after those of the tokens.
    name: of the layer.
    x_BSF: tokens.
    num_heads: number of heads.
  """
  packed_BSF = add_bias(x_BSF @ weights[f'{name}.in_proj_weight'].T, weights[f'{name}.in_proj_bias'], -1)
  q_BSF, k_BSF, v_BSF = jnp.split(packed_BSF, 3, axis=-1)
  if f'{name}.bias_k' in weights:
    extra = [jnp.broadcast_to(weights[f'{name}.bias_{part}'], k_BSF[:, :1].shape) for part in 'kv']
    k_BSF, v_BSF = (jnp.concatenate(pair, axis=1) for pair in zip((k_BSF, v_BSF), extra))
  return linear(weights, f'{name}.out_proj', attention(q_BSF, k_BSF, v_BSF, num_heads))


def block(weights: Weights, name: str, x_BSF: jax.Array, num_heads: int, epsilon: float) -> jax.Array:
  """Returns a pre-norm transformer block, with the names of timm's vision transformer.

  Args:
    weights: hold NAME.norm1, NAME.attn.qkv, NAME.attn.proj, NAME.norm2, NAME.mlp.fc1 and NAME.mlp.fc2.
    name: of the block.
    x_BSF: tokens.
    num_heads: number of heads.
    epsilon: of the norms.
  """
  normed_BSF = layer_norm(weights, f'{name}.norm1', x_BSF, epsilon)
  q_BSF, k_BSF, v_BSF = jnp.split(linear(weights, f'{name}.attn.qkv', normed_BSF), 3, axis=-1)
  attended_BSF = attention(q_BSF, k_BSF, v_BSF, num_heads)
  x_BSF = x_BSF + linear(weights, f'{name}.attn.proj', attended_BSF)
  hidden_BSF = linear(weights, f'{name}.mlp.fc1', layer_norm(weights, f'{name}.norm2', x_BSF, epsilon))
  return x_BSF + linear(weights, f'{name}.mlp.fc2', jax.nn.gelu(hidden_BSF, approximate=False))


def log_mel(weights: Weights, frame_BJN: jax.Array, prefix: str = '') -> jax.Array:
  """Returns mel_BJR in decibels of power, floor -100: torchlibrosa's Spectrogram and LogmelFilterBank.

  Args:
    weights: hold PREFIXspectrogram_extractor.stft and PREFIXlogmel_extractor.melW.
    frame_BJN: samples of each frame.
    prefix: of the names.
  """
  stft = f'{prefix}spectrogram_extractor.stft.conv_'
  parts = [frame_BJN @ weights[f'{stft}{part}.weight'][:, 0].T for part in ('real', 'imag')]
  power_BJR = (parts[0] ** 2 + parts[1] ** 2) @ weights[f'{prefix}logmel_extractor.melW']
  return 10.0 * jnp.log10(jnp.maximum(power_BJR, 1e-10))


def count_layers(weights: Weights, pattern: str) -> int:
  """Returns the number of layers: for how many of 0, 1, ... in place of '{}' the pattern names a weight."""
  num = 0
  while pattern.format(num) in weights:
    num += 1
  return num


class _Recorder(Mapping):
  """Weights that record the names that are read."""

  def __init__(self, arrays: Mapping[str, jax.Array]):
    self.read: set[str] = set()
    self._arrays = arrays

  def __getitem__(self, name: str) -> jax.Array:
    array = self._arrays[name]
    self.read.add(name)
    return array

  def __contains__(self, name: object) -> bool:
    return name in self._arrays

  def __iter__(self) -> Iterator[str]:
    return iter(self._arrays)

  def __len__(self) -> int:
    return len(self._arrays)


def check_shapes(
  apply: Callable, shapes: Mapping[str, Any], inputs: tuple, source: str, ignored: tuple[str, ...] = ()
) -> set[str]:
  """Evaluates a network on shapes alone and returns the names of the weights that it reads.

  Args:
    apply: (weights, *inputs) to arrays.
    shapes: objects with a shape, by the names of the weights.
    inputs: of the network, likewise.
    source: file or other source of the weights, for error messages.
    ignored: prefixes of the names of weights that the network does not read.

  Raises:
    ValueError: a weight is missing, of a wrong shape, or not read.
  """
  recorders = []

  def run(arrays, *inputs):
    recorders.append(_Recorder(arrays))
    return apply(recorders[-1], *inputs)

  structs = {name: jax.ShapeDtypeStruct(entry.shape, np.float32) for name, entry in shapes.items()}
  try:
    jax.eval_shape(run, structs, *inputs)
  except KeyError as error:
    raise ValueError(f'{source} has no weight {error.args[0]}.') from error
  except TypeError as error:
    raise ValueError(f'the weights of {source} do not fit the network: {error}') from error
  # A counter of training steps in torch's batch norms.
  unread = [
    name for name in shapes if name not in recorders[-1].read and not name.endswith('num_batches_tracked')
  ]
  unread = [name for name in unread if not name.startswith(ignored)]
  if unread:
    raise ValueError(f'{source} has weights that the network does not use: {", ".join(sorted(unread)[:3])}.')
  return recorders[-1].read


def load(
  path: pathlib.Path, apply: Callable, inputs: tuple, prefix: str = '', ignored: tuple[str, ...] = ()
) -> Weights:
  """Returns the weights of a file that a network reads, in float32, on the device.

  Args:
    path: of torch.save or safetensors.
    apply: the network, (weights, *inputs) to arrays.
    inputs: shapes for `check_shapes`.
    prefix: removed from the names in the file; tensors whose names lack it are ignored.
    ignored: prefixes of the names of weights that the network does not read.

  Raises:
    ValueError: the file does not hold this network.
  """
  tensors = {
    name.removeprefix(prefix): tensor
    for name, tensor in torchfile.load(path).items()
    if name.startswith(prefix)
  }
  read = check_shapes(apply, tensors, inputs, str(path), ignored)
  return {name: jnp.asarray(tensors[name].array(), jnp.float32) for name in sorted(read)}
