"""Several processes as one training, joined by jax.distributed."""

import atexit
from collections.abc import Iterator
import contextlib
import os
import socket
import sys
import time

import jax
from jax.experimental import multihost_utils
import numpy as np

from v2a import workarounds
from v2a.training.distributed import stopping

# After so long without a sign of life a process counts as lost, and the others leave. Signs are sent by a
# thread of their own, however busy Python is.
_LOST_AFTER_S = 20
# Machines of a pod import at very different speeds when they start cold.
# One that leaves with a fault waits for the others at its end, which they may never reach.
_PATIENCE = {
  'initialization_timeout': 1800,
  'heartbeat_timeout_seconds': _LOST_AFTER_S,
  'shutdown_timeout_seconds': 30,
}


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
      jax.distributed.initialize(**_PATIENCE)
    return
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise ValueError(f'--coordinator must be auto or HOST:PORT; got {coordinator!r}.')
  if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
    raise ValueError(
      f'--coordinator {coordinator} wants --num-processes N and --process-id 0..N-1; got '
      f'{num_processes} and {process_id}.'
    )
  try:
    socket.getaddrinfo(host, int(port))
  except socket.gaierror as error:
    raise ValueError(f'--coordinator: the host {host!r} does not resolve ({error.strerror}).') from error
  workarounds.order_cpu_collectives(num_processes)
  jax.distributed.initialize(coordinator, num_processes, process_id, **_PATIENCE)


def broadcast_from_process_0(number: int) -> int:
  """Returns what process 0 gives, in all processes; each must ask, and waits for what its devices are at."""
  if jax.process_count() == 1:
    return number
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def all_gather(value: np.ndarray) -> np.ndarray:
  """Returns the arrays of all processes, stacked; each must ask."""
  return multihost_utils.process_allgather(value) if jax.process_count() > 1 else value[None]


@contextlib.contextmanager
def exit_on_own_error() -> Iterator[None]:
  """Lets a process of several leave by what befell itself.

  When a process dies, a collective of the others may fail at once, which looks like a bug of theirs (code 1).
  So they wait until the loss is found out, when JAX ends them (SIGABRT, 134). Where nobody was lost, the
  fault is raised after that.

  The one that fails leaves at once. At its end JAX would wait for the others, who wait for it, and end it by
  134, after which it would be started again.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError:
    if jax.process_count() > 1:
      time.sleep(1.5 * _LOST_AFTER_S)
    raise
  except stopping.StorageError as fault:
    if jax.process_count() > 1:
      atexit.register(_leave, fault.code)
    raise
  except Exception as error:
    if jax.process_count() > 1:
      is_bad_input = isinstance(error, (ValueError, OSError, MemoryError))
      atexit.register(_leave, 2 if is_bad_input else 1)  # the table in README.md
    raise


def _leave(code: int) -> None:
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError):
      stream.flush()
  os._exit(code)
