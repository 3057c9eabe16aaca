"""Inputs of parity tests that other frameworks can reproduce: weights of given shapes, and a waveform."""

import jax
import numpy as np

Shapes = dict[str, tuple[int, ...]]


def structs(shapes: Shapes) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns float32 arrays without values for `layers.check_shapes`."""
  return {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}


def num_parameters(shapes: Shapes) -> int:
  """Returns the number of values in all tensors."""
  return sum(int(np.prod(shape)) for shape in shapes.values())


def narrow(shapes: Shapes, widths: dict[int, int], stack: str, depth: int) -> Shapes:
  """Returns the shapes of a smaller network of the same architecture.

  Args:
    shapes: of the published network.
    widths: maps each size of an axis to the size that replaces it.
    stack: prefix of the names of stacked blocks, before their index.
    depth: number of blocks that remain.
  """
  narrowed = {}
  for name, shape in shapes.items():
    index = name.removeprefix(stack).split('.')[0] if name.startswith(stack) else '0'
    if int(index) < depth:
      narrowed[name] = tuple(widths.get(size, size) for size in shape)
  return narrowed


def weights(shapes: Shapes) -> dict[str, np.ndarray]:
  """Returns float32 weights made of sines, in the range of a usual initialisation.

  Value i of a tensor in C order is, with v = sin(0.37 i + length of the name):

    matrices and kernels        v sqrt(2 / inputs)
    biases and other vectors    0.01 v
    scales of norms             1 + 0.1 v
    running variances           1 + 0.5 v
    mel matrices                |v|
  """
  return {name: _tensor(name, shape) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
  size = int(np.prod(shape))
  v_N = np.empty(size, np.float32)
  # In chunks, since the float64 phases of a large tensor need much memory.
  for first in range(0, size, 1 << 22):
    index_N = np.arange(first, min(first + (1 << 22), size), dtype=np.float64)
    v_N[first : first + len(index_N)] = np.sin(0.37 * index_N + len(name))
  if name.endswith('melW'):
    v_N = np.abs(v_N)
  elif name.endswith('running_var'):
    v_N = 1 + 0.5 * v_N
  elif len(shape) > 1:
    v_N *= np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
  elif name.endswith('weight'):
    v_N = 1 + 0.1 * v_N
  else:
    v_N *= np.float32(0.01)
  return v_N.reshape(shape)


def wave(num_samples: int, num_channels: int = 1, sample_rate_hz: int = 16000) -> np.ndarray:
  """Returns wave_NA, float32: a chirp and a tone in each channel, and a click in all."""
  time_N1 = np.arange(num_samples)[:, None] / sample_rate_hz
  channel_A = np.arange(num_channels)
  wave_NA = 0.4 * np.sin(2 * np.pi * (220 + 60 * channel_A) * time_N1 * (1 + 0.3 * time_N1))
  wave_NA += 0.1 * np.sin(2 * np.pi * 3100 * time_N1 + channel_A)
  wave_NA[num_samples // 3] += 0.4
  return wave_NA.astype(np.float32)
