"""Ends a training that hangs: in a step, in the input, in a save, in an evaluation.

It does not cover joining other processes, verifying records and shutting down, nor C code that holds the GIL,
since the watchdog is a Python thread.
"""

import faulthandler
import os
import sys
import threading
import time

from v2a.training import console

EXIT_CODE = 42  # see launch/exit_codes.py; the launcher may restart the training


class Watchdog:
  """Exits the process if `reset` is not called within a time limit.

  Heartbeats of the cluster do not show that a process hangs, since a thread of their own sends them; only the
  training loop knows that steps end. The stacks of all threads are written to stderr first, to show where it
  hangs.

  ```
  with watchdog.Watchdog(limit_s) as dog:
    for step in steps:
      work()
      dog.reset()
  ```
  """

  def __init__(self, limit_s: float):
    """Args: limit_s: time limit of one piece of work; 0 for none."""
    self._limit_s = limit_s
    self._reset_at_s = time.monotonic()
    self._closed = threading.Event()
    self._thread = threading.Thread(target=self._watch, name='watchdog', daemon=True)

  def __enter__(self) -> 'Watchdog':
    self.reset()
    if self._limit_s:
      self._thread.start()
    return self

  def __exit__(self, error_type, error, traceback) -> None:
    self._closed.set()

  def reset(self) -> None:
    """Restarts the time limit, after a piece of work."""
    self._reset_at_s = time.monotonic()

  def _watch(self) -> None:
    while not self._closed.wait(min(1.0, self._limit_s / 4)):
      waited_s = time.monotonic() - self._reset_at_s
      if waited_s > self._limit_s:
        console.error(
          f'v2a: no progress for {waited_s:.0f} s (config.training.watchdog_s='
          f'{self._limit_s:g}); stacks of all threads follow.'
        )
        if sys.__stderr__ is not None:
          faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        # Not sys.exit: it would wait for the hanging threads.
        os._exit(EXIT_CODE)
