"""What works around defects of JAX and XLA; each names the version in which it was seen."""

import os

# The scheduler for concurrency lets a CPU device run collectives that do not depend on each other in any
# order. Two devices with different orders then wait for each other for ever: seen after a few steps of a
# tiny training over eight devices of a busy machine with two cores (jaxlib 0.10.2).
ORDERED_COLLECTIVES = '--xla_cpu_enable_concurrency_optimized_scheduler=false'


def order_cpu_collectives(num_processes: int = 1) -> None:
  """Lets XLA run collectives in one order where several CPU devices compute together.

  To be called before anything touches a device. A setting of the flag in XLA_FLAGS goes before.

  Args:
    num_processes: processes that compute together.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  has_devices = os.environ.get('JAX_NUM_CPU_DEVICES', '1') != '1' or 'host_platform_device_count' in flags
  if os.environ.get('JAX_PLATFORMS') == 'cpu' and (num_processes > 1 or has_devices):
    os.environ['XLA_FLAGS'] = f'{ORDERED_COLLECTIVES} {flags}'.strip()
