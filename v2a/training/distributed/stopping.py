"""Stopping on a signal, before the same step in all processes; and exiting when storage fails."""

import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

STORAGE_EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h
# Interval in which JAX's preemption service polls for SIGTERM.
_POLL_INTERVAL_S = 1.0


class Interrupted(SystemExit):
  """A signal stopped training, whose state was saved; exit code 128 + signal (143: SIGTERM, 130: Ctrl-C)."""

  def __init__(self, signal_number: int):
    super().__init__(128 + signal_number)


class StorageError(SystemExit):
  """A file could not be read or written after training had begun; exit code STORAGE_EXIT_CODE.

  The input was checked before, so storage is the cause: a restart resumes from the last complete checkpoint.
  """

  def __init__(self):
    super().__init__(STORAGE_EXIT_CODE)


class Signals:
  """Receives SIGTERM and SIGINT while it is open.

  A single process stops before its next step, and a second signal has its previous effect. With several
  processes, the one that receives the signal notifies the others, and all stop before the same step: JAX's
  preemption service, which handles SIGTERM itself, determines the next step that none of them has begun. If
  there is none, since the last step is done, the signal is ignored.
  """

  def __init__(self):
    """Raises RuntimeError if several processes run without JAX's preemption service."""
    self._received = None
    self._previous = {}
    self._is_first = True
    self._is_shared = jax.process_count() > 1
    if self._is_shared and not jax.config.values['jax_enable_preemption_service']:
      raise RuntimeError(
        "Stopping several processes together requires JAX's preemption service; it is turned off "
        '(jax_enable_preemption_service).'
      )

  def __enter__(self) -> 'Signals':
    if threading.current_thread() is not threading.main_thread():
      return self  # only the main thread may install handlers
    numbers = (signal.SIGINT,) if self._is_shared else (signal.SIGTERM, signal.SIGINT)
    self._previous = {number: signal.signal(number, self._receive) for number in numbers}
    return self

  def __exit__(self, error_type, error, traceback) -> None:
    self._restore()
    if self._is_shared and error is None and threading.current_thread() is threading.main_thread():
      # Training is done. A process that noticed a signal after another had exited would wait for it, and both
      # would fail: so new signals are ignored, and earlier ones are noticed while all processes still run.
      signal.signal(signal.SIGTERM, signal.SIG_IGN)
      time.sleep(2 * _POLL_INTERVAL_S)

  def _restore(self) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _receive(self, number: int, frame) -> None:
    del frame
    self._received = number
    self._restore()
    if self._is_shared:
      signal.raise_signal(signal.SIGTERM)  # handled by the preemption service

  def stop_signal(self, step: int) -> int | None:
    """Returns the signal that stops training before a step, or None; to be called before every step."""
    if not self._is_shared:
      return self._received
    # Signals before the first call are agreed on for step 1, whatever the first step of a resumed run.
    steps = (1, step) if self._is_first and step > 1 else (step,)
    self._is_first = False
    is_reached = [multihost_utils.reached_preemption_sync_point(each) for each in steps]
    return (self._received or signal.SIGTERM) if True in is_reached else None
