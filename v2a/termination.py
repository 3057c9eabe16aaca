"""SIGTERM and SIGHUP as exceptions, so that what is half-written is removed on the way out.

Ctrl-C raises KeyboardInterrupt anyway.
"""

from collections.abc import Generator
import contextlib
import signal
import threading
import time

# Others than SIGINT that ask a program to end; Windows has no SIGHUP.
SIGNALS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name))
# Whoever signals a process and then its group (timeout, srun) signals it twice; the second shall not
# interrupt the cleaning up. After this long, a further signal is another request.
_ONCE_WITHIN_S = 10.0


class Terminated(SystemExit):
  """A signal asks to end; exit code 128 + its number (143 for SIGTERM, 129 for SIGHUP)."""

  def __init__(self, number: int):
    super().__init__(128 + number)
    self.exit_code = 128 + number
    self.name = signal.Signals(number).name


@contextlib.contextmanager
def raise_on_signals() -> Generator[None]:
  """Lets SIGTERM and SIGHUP raise Terminated in the main thread meanwhile, see `install_handlers`.

  In other threads than the main one nothing is changed, since Python does not allow it.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  previous = install_handlers()
  try:
    yield
  finally:
    for number, handler in previous.items():
      # None: a handler that Python did not install, and cannot.
      if handler is not None:
        signal.signal(number, handler)


def install_handlers() -> dict:
  """Lets SIGTERM and SIGHUP raise Terminated from now on; one that is ignored stays so (nohup).

  Returns:
    The handlers of before, by the signal's number.
  """
  since_s: list[float] = []

  def stop(number: int, frame) -> None:
    del frame
    now_s = time.monotonic()
    if since_s and now_s - since_s[0] < _ONCE_WITHIN_S:
      return
    since_s[:] = [now_s]
    raise Terminated(number)

  previous = {number: signal.getsignal(number) for number in SIGNALS}
  for number, handler in previous.items():
    if handler is not signal.SIG_IGN:
      signal.signal(number, stop)
  return previous
