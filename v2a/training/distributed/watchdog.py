"""Ends a training that hangs: in a step, in the input, in a save, in an evaluation.

Not while it joins other processes, verifies its records or leaves, and not where C code holds on to Python's
lock, since the watchdog is a thread of Python.
"""

import faulthandler
import os
import sys
import threading
import time

from v2a.training import console

EXIT_CODE = 42  # the table in README.md; whatever started the training may start it again


class Watchdog:
  """Leaves the process when nothing has been done for too long.

  A process that sleeps or waits is alive to every heartbeat of the cluster, since a thread of its own sends
  those; that steps come to their end only training itself can tell. The stacks of all threads go to stderr
  first, for they show what it waited for.

  ```
  with watchdog.Watchdog(limit_s) as dog:
    for step in steps:
      work()
      dog.done()
  ```
  """

  def __init__(self, limit_s: float):
    """Args: limit_s: how long one piece of work may take; 0 for any time."""
    self._limit_s = limit_s
    self._done_s = time.monotonic()
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
    """Says that a piece of work is done; the next has the whole limit."""
    self._done_s = time.monotonic()

  def _watch(self) -> None:
    while not self._closed.wait(min(1.0, self._limit_s / 4)):
      waited_s = time.monotonic() - self._done_s
      if waited_s > self._limit_s:
        console.error(
          f'v2a: nothing was done for {waited_s:.0f} s (config.training.watchdog_s='
          f'{self._limit_s:g}); stacks of all threads follow.'
        )
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        # Not sys.exit: it would wait for the threads that hang.
        os._exit(EXIT_CODE)
