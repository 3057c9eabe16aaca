"""Training over several processes, joined by jax.distributed."""

import atexit
from collections.abc import Generator
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

# A process without a heartbeat for so long counts as lost, and the others exit. A thread outside Python sends
# heartbeats, however busy Python is.
_HEARTBEAT_TIMEOUT_S = 20
_INITIALIZATION_TIMEOUT_S = 1800  # machines of a pod import at very different speeds after a cold start
_SHUTDOWN_TIMEOUT_S = 30  # a process that exits with an error waits for the others, which may hang


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
  """Joins this process to the others; must be called before any use of a device.

  Args:
    coordinator: HOST:PORT of process 0; 'auto' if JAX detects it (Slurm, TPU, GKE); None for one process.
    num_processes: number of processes; None if `coordinator` is 'auto' or None.
    process_id: 0 .. num_processes - 1; None likewise.

  Raises:
    ValueError: the arguments do not fit together, or the host has no address.
  """
  if coordinator in (None, 'auto'):
    if num_processes is not None or process_id is not None:
      raise ValueError('--num-processes and --process-id go with --coordinator HOST:PORT.')
    if coordinator == 'auto':
      _initialize(None, None, None)
    return
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise ValueError(f'--coordinator must be auto or HOST:PORT; got {coordinator!r}.')
  if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
    raise ValueError(
      f'--coordinator {coordinator} requires --num-processes N and --process-id 0..N-1; got '
      f'{num_processes} and {process_id}.'
    )
  try:
    socket.getaddrinfo(host, int(port))
  except socket.gaierror as error:
    raise ValueError(f'--coordinator: the host {host!r} does not resolve ({error.strerror}).') from error
  workarounds.order_cpu_collectives(num_processes)
  _initialize(coordinator, num_processes, process_id)


def _initialize(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
  jax.distributed.initialize(
    coordinator,
    num_processes,
    process_id,
    initialization_timeout=_INITIALIZATION_TIMEOUT_S,
    heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT_S,
    shutdown_timeout_seconds=_SHUTDOWN_TIMEOUT_S,
  )


def broadcast_from_process_0(number: int) -> int:
  """Returns the number of process 0 in all processes; all must call it, and it waits for their devices."""
  if jax.process_count() == 1:
    return number
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def all_gather(value: np.ndarray) -> np.ndarray:
  """Returns the arrays of all processes, stacked; all must call it."""
  return multihost_utils.process_allgather(value) if jax.process_count() > 1 else value[None]


@contextlib.contextmanager
def exit_on_own_error() -> Generator[None]:
  """Makes each of several processes exit with the code of its own error, not of another process' error.

  When a process dies, a collective of the others may fail at once, as if they had a bug (code 1). So they
  wait until the missing heartbeat is noticed, when JAX ends them (SIGABRT, 134). If no process was lost, the
  error is raised after that time.

  The process that failed exits immediately. Otherwise JAX would wait at exit for the other processes, which
  wait for this one, and end it with 134, after which it would be restarted.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError:
    if jax.process_count() > 1:
      time.sleep(1.5 * _HEARTBEAT_TIMEOUT_S)
    raise
  except stopping.StorageError:
    if jax.process_count() > 1:
      atexit.register(_exit_now, stopping.STORAGE_EXIT_CODE)
    raise
  except Exception as error:
    if jax.process_count() > 1:
      is_bad_input = isinstance(error, (ValueError, OSError, MemoryError))
      atexit.register(_exit_now, 2 if is_bad_input else 1)  # see launch/exit_codes.py
    raise


def _exit_now(code: int) -> None:
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError):
      stream.flush()
  os._exit(code)
