"""The layers of published networks, on weights by their published names and in their published layout.

A network here is a function of a flat dictionary of weights, so that what a checkpoint names is what the
code reads; nothing is renamed or transposed on the way. Maps are (batch, channels, rows, columns), weights
(outputs, inputs, ...), as torch has them.
"""

from collections.abc import Callable
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from v2a.models.published import torchfile

Weights = Mapping[str, jax.Array]


def linear(weights: Weights, name: str, x: jax.Array) -> jax.Array:
  """Returns x W^T + b over the last axis; without b where the weights have none."""
  return add_bias(x @ weights[f'{name}.weight'].T, weights.get(f'{name}.bias'), -1)


def add_bias(x: jax.Array, bias: jax.Array | None, axis: int) -> jax.Array:
  """Returns x plus a vector along one axis, or x where the vector is None."""
  return x if bias is None else x + _shaped(bias, x.ndim, axis)


def _shaped(vector: jax.Array, num_axes: int, axis: int) -> jax.Array:
  shape = [1] * num_axes
  shape[axis] = -1
  return vector.reshape(shape)


def convolve(weights: Weights, name: str, x: jax.Array, stride=1, padding=0) -> jax.Array:
  """Returns the cross-correlation over all axes after the second, plus the bias where there is one.

  Args:
    weights: holds NAME.weight and maybe NAME.bias.
    name: of the layer.
    x: (batch, channels, ...).
    stride, padding: one number, or one an axis.
  """
  kernel = weights[f'{name}.weight']
  num = kernel.ndim - 2
  strides = (stride,) * num if isinstance(stride, int) else stride
  paddings = (padding,) * num if isinstance(padding, int) else padding
  y = jax.lax.conv_general_dilated(x, kernel, strides, [(size, size) for size in paddings])
  return add_bias(y, weights.get(f'{name}.bias'), 1)


def batch_norm(weights: Weights, name: str, x: jax.Array, axis: int = 1) -> jax.Array:
  """Returns x normalised along an axis by the statistics that training left."""
  scale = weights[f'{name}.weight'] / jnp.sqrt(weights[f'{name}.running_var'] + 1e-5)
  shift = weights[f'{name}.bias'] - scale * weights[f'{name}.running_mean']
  return add_bias(x * _shaped(scale, x.ndim, axis), shift, axis)


def layer_norm(weights: Weights, name: str, x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
  """Returns x normalised over its last axis."""
  x = x - x.mean(axis=-1, keepdims=True)
  x = x * jax.lax.rsqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)
  return add_bias(x * _shaped(weights[f'{name}.weight'], x.ndim, -1), weights[f'{name}.bias'], -1)


def pool(x: jax.Array, size, kind: str, stride=None, padding=0) -> jax.Array:
  """Returns the largest value ('max') or the mean ('mean') of windows over the axes after the second.

  Args:
    x: (batch, channels, ...).
    size: of the window, one number or one an axis; an incomplete last window is dropped.
    kind: 'max' or 'mean'.
    stride: as `size`, which it is by default.
    padding: as `size`; never the largest value, and 0 in a mean.
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
  """Returns what every query takes of the values, heads side by side in the features.

  Args:
    q_BQF, k_BSF, v_BSF: queries, keys and values.
    num_heads: of them.
    bias_BHQS: added to the scores before the softmax; an axis may have size 1.
  """

  def heads(x_BSF: jax.Array) -> jax.Array:
    return x_BSF.reshape(*x_BSF.shape[:2], num_heads, -1)

  q_BQHE, k_BSHE, v_BSHE = heads(q_BQF), heads(k_BSF), heads(v_BSF)
  score_BHQS = jnp.einsum('BQHE,BSHE->BHQS', q_BQHE / np.sqrt(q_BQHE.shape[-1]), k_BSHE)
  if bias_BHQS is not None:
    score_BHQS = score_BHQS + bias_BHQS
  taken_BQHE = jnp.einsum('BHQS,BSHE->BQHE', jax.nn.softmax(score_BHQS, axis=-1), v_BSHE)
  return taken_BQHE.reshape(q_BQF.shape)


def self_attention(weights: Weights, name: str, x_BSF: jax.Array, num_heads: int) -> jax.Array:
  """Returns torch.nn.MultiheadAttention of tokens with themselves.

  Args:
    weights: hold NAME.in_proj_weight, NAME.in_proj_bias and NAME.out_proj, and, for one more key and value
      after those of the tokens, NAME.bias_k and NAME.bias_v.
    name: of the layer.
    x_BSF: tokens.
    num_heads: of the attention.
  """
  packed_BSF = add_bias(x_BSF @ weights[f'{name}.in_proj_weight'].T, weights[f'{name}.in_proj_bias'], -1)
  q_BSF, k_BSF, v_BSF = jnp.split(packed_BSF, 3, axis=-1)
  if f'{name}.bias_k' in weights:
    more = [jnp.broadcast_to(weights[f'{name}.bias_{part}'], k_BSF[:, :1].shape) for part in 'kv']
    k_BSF, v_BSF = (jnp.concatenate(pair, axis=1) for pair in zip((k_BSF, v_BSF), more))
  return linear(weights, f'{name}.out_proj', attention(q_BSF, k_BSF, v_BSF, num_heads))


def block(weights: Weights, name: str, x_BSF: jax.Array, num_heads: int, epsilon: float) -> jax.Array:
  """Returns a transformer block with its norms first, in the names of timm's vision transformer.

  Args:
    weights: hold NAME.norm1, NAME.attn.qkv, NAME.attn.proj, NAME.norm2, NAME.mlp.fc1 and NAME.mlp.fc2.
    name: of the block.
    x_BSF: tokens.
    num_heads: of the attention.
    epsilon: of the norms.
  """
  normed_BSF = layer_norm(weights, f'{name}.norm1', x_BSF, epsilon)
  taken_BSF = attention(*jnp.split(linear(weights, f'{name}.attn.qkv', normed_BSF), 3, axis=-1), num_heads)
  x_BSF = x_BSF + linear(weights, f'{name}.attn.proj', taken_BSF)
  hidden_BSF = linear(weights, f'{name}.mlp.fc1', layer_norm(weights, f'{name}.norm2', x_BSF, epsilon))
  return x_BSF + linear(weights, f'{name}.mlp.fc2', jax.nn.gelu(hidden_BSF, approximate=False))


def count_layers(weights: Weights, pattern: str) -> int:
  """Returns how many numbers 0, 1, ... in place of '{}' make the name of a weight."""
  num = 0
  while pattern.format(num) in weights:
    num += 1
  return num


class _Recorder(dict):
  """Weights that remember which of them were read."""

  def __init__(self, arrays: Mapping, source: str):
    super().__init__(arrays)
    self.read: set[str] = set()
    self._source = source

  def __getitem__(self, name: str):
    if name not in self:
      raise ValueError(f'{self._source} has no weight {name}.')
    self.read.add(name)
    return super().__getitem__(name)

  def get(self, name: str, default=None):
    return self[name] if name in self else default


def check(
  apply: Callable, shapes: Mapping, inputs: tuple, source: str, ignored: tuple[str, ...] = ()
) -> set[str]:
  """Runs a network on shapes alone and returns the names of the weights that it read.

  Args:
    apply: (weights, *inputs) to arrays.
    shapes: anything with shapes and dtypes, by the names of the weights.
    inputs: of the network, likewise.
    source: what holds the weights, for errors.
    ignored: beginnings of names that it may leave unread.

  Raises:
    ValueError: a weight is missing, of another shape, or unread.
  """
  recorders = []

  def run(arrays, *inputs):
    recorders.append(_Recorder(arrays, source))
    return apply(recorders[-1], *inputs)

  structs = {name: jax.ShapeDtypeStruct(entry.shape, np.float32) for name, entry in shapes.items()}
  try:
    jax.eval_shape(run, structs, *inputs)
  except TypeError as error:
    raise ValueError(f'the weights of {source} do not fit the network: {error}') from error
  # torch counts the steps of its batch norms.
  unread = [
    name for name in shapes if name not in recorders[-1].read and not name.endswith('num_batches_tracked')
  ]
  unread = [name for name in unread if not name.startswith(ignored)]
  if unread:
    raise ValueError(f'{source} has weights that the network does not know: {", ".join(sorted(unread)[:3])}.')
  return recorders[-1].read


def load(path, apply: Callable, inputs: tuple, prefix: str = '', ignored: tuple[str, ...] = ()) -> Weights:
  """Returns the float32 weights of a file that a network reads, on the device.

  Args:
    path: of torch.save or safetensors.
    apply: the network, (weights, *inputs) to arrays.
    inputs: shapes for `check`.
    prefix: of the names in the file that the network's names lack; what lacks it in the file is left out.
    ignored: beginnings of names that the network leaves unread.

  Raises:
    ValueError: the file does not hold this network.
  """
  tensors = {
    name.removeprefix(prefix): tensor
    for name, tensor in torchfile.load(path).items()
    if name.startswith(prefix)
  }
  read = check(apply, tensors, inputs, str(path), ignored)
  return {name: jnp.asarray(tensors[name].array(), jnp.float32) for name in sorted(read)}
