"""Workarounds for defects of JAX and XLA; each names the version in which the defect was seen."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import jax

# jaxlib 0.10.2: the concurrency-optimized scheduler lets a CPU device run independent collectives in any
# order. Two devices with different orders then wait for each other forever: seen after a few steps of a tiny
# training over eight devices of a busy machine with two cores.
ORDERED_COLLECTIVES = '--xla_cpu_enable_concurrency_optimized_scheduler=false'

# jax 0.11.2: around matrix products compiled by Triton, XLA stores residuals with time innermost, and
# transposes them back. Compiler options of training steps, by platform.
COMPILER_OPTIONS = {'gpu': {'xla_gpu_enable_triton_gemm': False}}


def order_cpu_collectives(num_processes: int = 1) -> None:
  """Makes XLA run collectives in one order where several CPU devices compute together.

  To be called before JAX initializes its devices. A setting of the flag in XLA_FLAGS takes precedence.

  Args:
    num_processes: processes that compute together.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  has_devices = os.environ.get('JAX_NUM_CPU_DEVICES', '1') != '1' or 'host_platform_device_count' in flags
  if os.environ.get('JAX_PLATFORMS') == 'cpu' and (num_processes > 1 or has_devices):
    os.environ['XLA_FLAGS'] = f'{ORDERED_COLLECTIVES} {flags}'.strip()


def pin_row_major(x: 'jax.Array', platform: str, num_devices: int) -> 'jax.Array':
  """Returns an activation that XLA must store with its last axis innermost.

  jax 0.11.2: on GPUs XLA may store time innermost, and transpose it for every matrix product: 19 % of a step
  of flow_0.6b on an H200 (docs/results/scaling.md). Before jax 0.11, XLA gathers an array with a layout
  constraint on every device, so those versions get none where several devices compute together.

  Args:
    x: any array.
    platform: of the devices: cpu, gpu or tpu; others than gpu return x as it is.
    num_devices: in the mesh.
  """
  import jax  # here, since the module is imported before JAX is needed
  from jax.experimental import layout

  if platform != 'gpu' or (num_devices > 1 and jax.__version_info__ < (0, 11)):
    return x
  return layout.with_layout_constraint(x, layout.Layout(tuple(range(x.ndim))))


def rfft(x: 'jax.Array') -> 'jax.Array':
  """Returns jax.numpy.fft.rfft over the last axis, computed of a matrix.

  jaxlib 0.10.2: the FFT of a CPU takes row-major arrays alone, but the layout of what reads a spectrogram of
  several axes, such as a convolution over a mesh, is that of its gradient, too: INTERNAL: RET_CHECK failure.

  Args:
    x: real, any axes.
  """
  import jax.numpy as jnp

  return jnp.fft.rfft(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


def irfft(x: 'jax.Array', n: int) -> 'jax.Array':
  """Returns jax.numpy.fft.irfft over the last axis, computed of a matrix; see `rfft`.

  Args:
    x: complex, any axes.
    n: length of the last axis of the result.
  """
  import jax.numpy as jnp

  return jnp.fft.irfft(x.reshape(-1, x.shape[-1]), n=n).reshape(*x.shape[:-1], n)
