"""Inputs of parity tests that any framework can reproduce: weights of given shapes, and a waveform."""

import numpy as np


def narrow(
  sizes: dict[str, tuple[int, ...]], widths: dict[int, int], stack: str, depth: int
) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of a network of the same kind that runs in no time.

  Args:
    sizes: of the published network.
    widths: by a published width, the one that takes its place wherever it stands.
    stack: what the names of stacked blocks begin with, before their number.
    depth: how many blocks are left.
  """
  found = {}
  for name, shape in sizes.items():
    number = name.removeprefix(stack).split('.')[0] if name.startswith(stack) else '0'
    if int(number) < depth:
      found[name] = tuple(widths.get(size, size) for size in shape)
  return found


def weights(sizes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """Returns float32 weights made of sines, of the size that a network is initialised with.

  Value i of a tensor is v = sin(0.37 i + length of the name), i counting in the order of C:

    matrices and kernels        v sqrt(2 / inputs)
    biases and other vectors    0.01 v
    scales of norms             1 + 0.1 v
    running variances           1 + 0.5 v
  """
  return {name: _tensor(name, shape) for name, shape in sizes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
  size = int(np.prod(shape))
  v_N = np.empty(size, np.float32)
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
  """Returns a sound of two gliding tones and a click as wave_NA, float32."""
  time_N1 = np.arange(num_samples)[:, None] / sample_rate_hz
  channel_A = np.arange(num_channels)
  wave_NA = 0.4 * np.sin(2 * np.pi * (220 + 60 * channel_A) * time_N1 * (1 + 0.3 * time_N1))
  wave_NA += 0.1 * np.sin(2 * np.pi * 3100 * time_N1 + channel_A)
  wave_NA[num_samples // 3] += 0.4
  return wave_NA.astype(np.float32)
