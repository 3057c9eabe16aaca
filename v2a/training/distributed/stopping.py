"""Stopping on a signal, in the same step in all processes; and leaving where storage fails."""

import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

# JAX's preemption service looks every second whether SIGTERM came.
_NOTICED_AFTER_S = 1.0


class Interrupted(SystemExit):
  """A signal ended training after it was saved; exit code 128 + signal (143 for SIGTERM, 130 for Ctrl-C)."""

  def __init__(self, signal_number: int):
    super().__init__(128 + signal_number)


class StorageError(SystemExit):
  """A file could not be read or written once training had begun; exit code 75 (EX_TEMPFAIL of sysexits.h).

  What was asked for has been found good by then, so it is the storage that failed: another start goes on from
  the last checkpoint that is whole.
  """

  def __init__(self):
    super().__init__(75)


class Signals:
  """Receives SIGTERM and SIGINT while it is open.

  One process stops before its next step, and a second signal acts as it would have without us. Of several,
  the one that is signalled tells the others, and all stop before the same step: JAX's preemption service,
  which listens for SIGTERM itself, finds the next one that none of them has begun. Where there is none, since
  the last is done, the signal is ignored.
  """

  def __init__(self):
    """Raises RuntimeError where several processes run without JAX's preemption service."""
    self._received = None
    self._previous = {}
    self._is_first = True
    self._is_shared = jax.process_count() > 1
    if self._is_shared and not jax.config.jax_enable_preemption_service:
      raise RuntimeError(
        "Several processes stop together by JAX's preemption service; it is turned off "
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
      # Training is done. Who notices a signal when another has left already waits for that one, and both end
      # by a fault: so there are no more signals, and those that came are noticed while all are here.
      signal.signal(signal.SIGTERM, signal.SIG_IGN)
      time.sleep(2 * _NOTICED_AFTER_S)

  def _restore(self) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _receive(self, number: int, frame) -> None:
    del frame
    self._received = number
    self._restore()
    if self._is_shared:
      signal.raise_signal(signal.SIGTERM)  # which the preemption service passes on

  def stop_signal(self, step: int) -> int | None:
    """Returns the signal for which training is to stop before a step, or None; to be asked at every step."""
    if not self._is_shared:
      return self._received
    # What came before anyone had asked is agreed on for step 1, however far a resumed run has got.
    steps = (1, step) if self._is_first and step > 1 else (step,)
    self._is_first = False
    is_asked = [multihost_utils.reached_preemption_sync_point(each) for each in steps]
    return (self._received or signal.SIGTERM) if True in is_asked else None
