"""Several processes as one training, joined by jax.distributed."""

import socket

import jax

# Machines of a pod import at very different speeds when they start cold.
_JOIN_TIMEOUT_S = 1800


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
  """Joins this process to the others; must come before anything touches a device.

  Args:
    coordinator: HOST:PORT of process 0; 'auto' where JAX finds out by itself (Slurm, TPU, GKE); None for one
      process alone.
    num_processes: of all together; None where `coordinator` is 'auto'.
    process_id: 0 .. num_processes - 1; None likewise.

  Raises:
    ValueError: the three do not go together, or the host has no address.
  """
  if coordinator in (None, 'auto'):
    if num_processes is not None or process_id is not None:
      raise ValueError('--num-processes and --process-id go with --coordinator HOST:PORT.')
    if coordinator == 'auto':
      jax.distributed.initialize(initialization_timeout=_JOIN_TIMEOUT_S)
    return
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise ValueError(f'--coordinator must be auto or HOST:PORT; got {coordinator!r}.')
  if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
    raise ValueError(f'--coordinator {coordinator} wants --num-processes N and --process-id 0..N-1; got '
                     f'{num_processes} and {process_id}.')
  try:
    socket.getaddrinfo(host, int(port))
  except socket.gaierror as error:
    raise ValueError(f'--coordinator: the host {host!r} does not resolve ({error.strerror}).') from error
  jax.distributed.initialize(coordinator, num_processes, process_id, initialization_timeout=_JOIN_TIMEOUT_S)
