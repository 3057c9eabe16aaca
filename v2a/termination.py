"""SIGTERM and SIGHUP as exceptions, so that what is half-written is removed on the way out.

Ctrl-C raises KeyboardInterrupt anyway. Python ignores exceptions in finalizers and in callbacks of the
garbage collector, of which JAX has one; a signal that arrives there is sent again.
"""

from collections.abc import Callable
from collections.abc import Generator
import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any
from typing import NoReturn

# Others than SIGINT that ask a program to end; Windows has no SIGHUP.
SIGNALS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name))
# Programs that signal a process and then its group (timeout, srun) signal it twice; the second must not
# interrupt the clean-up. After this long, a further signal is a new request.
_ONCE_WITHIN_S = 10.0
# A signal whose exception was ignored is sent again after this long.
_AGAIN_AFTER_S = 0.05
# Time of the first signal that asked to end.
_since_s: list[float] = []


_EXIT_CODES = tuple(128 + number for number in (signal.SIGINT, *SIGNALS))


class Terminated(SystemExit):
  """A signal asks to end; exit code 128 + its number (143 for SIGTERM, 129 for SIGHUP)."""

  def __init__(self, number: int):
    super().__init__(128 + number)
    self.exit_code = 128 + number
    self.number = number
    self.name = signal.Signals(number).name


@contextlib.contextmanager
def raise_on_signals() -> Generator[None]:
  """Lets SIGTERM and SIGHUP raise Terminated in the main thread meanwhile, see `install_handlers`.

  Their exceptions, and KeyboardInterrupt, are raised again where Python ignores them. In other threads than
  the main one nothing is changed, since Python does not allow it.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  previous, previous_hook = install_handlers(), sys.unraisablehook
  sys.unraisablehook = functools.partial(_handle_unraisable, previous_hook)
  try:
    yield
  finally:
    sys.unraisablehook = previous_hook
    for number, handler in previous.items():
      # None: a handler that Python did not install, and cannot.
      if handler is not None:
        signal.signal(number, handler)


def _handle_unraisable(previous_hook: Callable, unraisable: Any) -> None:
  """Sends a signal again if Python ignored its exception; passes other exceptions to the previous hook."""
  ignored = unraisable.exc_value
  if not isinstance(ignored, KeyboardInterrupt | Terminated):
    previous_hook(unraisable)
    return
  number = ignored.number if isinstance(ignored, Terminated) else signal.SIGINT
  _since_s.clear()
  threading.Thread(target=_send_again, args=(number,), daemon=True).start()


def _send_again(number: int) -> None:
  """Sends a signal to the main thread when it has left the hook, in which exceptions are ignored, too."""
  main_thread = threading.main_thread().ident
  assert main_thread is not None  # it runs
  is_in_hook = True
  while is_in_hook:
    time.sleep(_AGAIN_AFTER_S)
    frame = sys._current_frames().get(main_thread)
    while frame is not None and frame.f_code is not _handle_unraisable.__code__:
      frame = frame.f_back
    is_in_hook = frame is not None
  # A real signal: it interrupts a system call that the main thread waits for.
  signal.pthread_kill(main_thread, number)


def install_handlers() -> dict:
  """Lets SIGTERM and SIGHUP raise Terminated from now on; one that is ignored stays so (nohup).

  Returns:
    The handlers of before, by the signal's number.
  """
  _since_s.clear()

  def stop(number: int, frame) -> None:
    del frame
    now_s = time.monotonic()
    if _since_s and now_s - _since_s[0] < _ONCE_WITHIN_S:
      return
    _since_s[:] = [now_s]
    raise Terminated(number)

  previous = {number: signal.getsignal(number) for number in SIGNALS}
  for number, handler in previous.items():
    if handler is not signal.SIG_IGN:
      signal.signal(number, stop)
  return previous


def exit_program(code: int) -> NoReturn:
  """Ends the program with an exit code; after a signal at once.

  XLA may still compile or run what is not needed any longer. The end of an interpreter waits for its
  threads, for half a minute, and then destroys what they use: some programs ended with a segmentation fault.
  What is half-written was removed when the exception of the signal passed.
  """
  if code in _EXIT_CODES:
    for child in multiprocessing.active_children():
      child.terminate()
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError, ValueError):  # closed, or a pipe without a reader
        stream.flush()
    os._exit(code)
  sys.exit(code)
