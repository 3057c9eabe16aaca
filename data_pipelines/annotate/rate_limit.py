"""A limit of requests per minute and at once, shared by all threads and processes of a machine.

The state is a folder of small files under advisory locks, which the operating system releases when a process
ends, however it ends. `slot-K` is locked while request K of at most `concurrency` runs. `turns` holds two
times: the earliest of the next request, and that before which an endpoint that answered 429 wants none.
"""

from collections.abc import Generator
import contextlib
import fcntl
import os
import pathlib
import struct
import time

_POLL_S = 0.02
_STATE = struct.Struct('<dd')


class RateLimit:
  """A limit, see the module.

  Args:
    folder: of the state; limits of the same folder are one.
    requests_per_minute: sent evenly over the minute; None does not limit them.
    concurrency: most requests at once.
  """

  def __init__(self, folder: pathlib.Path, requests_per_minute: float | None, concurrency: int):
    self.folder = pathlib.Path(folder)
    self.concurrency = concurrency
    self.interval_s = 60.0 / requests_per_minute if requests_per_minute else 0.0

  @contextlib.contextmanager
  def request(self) -> Generator[None]:
    """Waits until a request may be sent, and holds a slot while it runs."""
    self._make_folder()
    with self._slot():
      self._wait_for_turn()
      yield

  def postpone(self, delay_s: float) -> None:
    """Lets no request of any process start for a time."""
    self._make_folder()
    with self._state() as file:
      next_s, blocked_until_s = _read(file)
      _write(file, next_s, max(blocked_until_s, time.time() + delay_s))

  def _make_folder(self) -> None:
    """Makes the folder; its name is known, so in a folder of all users it may belong to another user.

    Raises:
      PermissionError: it is.
    """
    self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if self.folder.is_symlink() or self.folder.stat().st_uid != os.getuid():
      raise PermissionError(f'{self.folder}: belongs to another user; remove it, or set TMPDIR.')

  @contextlib.contextmanager
  def _slot(self) -> Generator[None]:
    while True:
      for index in range(self.concurrency):
        with open(self.folder / f'slot-{index}', 'ab') as file:
          try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
          except BlockingIOError:
            continue
          yield
          return
      time.sleep(_POLL_S)

  def _wait_for_turn(self) -> None:
    with self._state() as file:
      next_s, blocked_until_s = _read(file)
      turn_s = max(time.time(), next_s)
      _write(file, turn_s + self.interval_s, blocked_until_s)
    while (delay_s := max(turn_s, blocked_until_s) - time.time()) > 0:
      time.sleep(delay_s)
      with self._state() as file:
        _, blocked_until_s = _read(file)

  @contextlib.contextmanager
  def _state(self) -> Generator[int]:
    file = os.open(self.folder / 'turns', os.O_RDWR | os.O_CREAT, 0o600)
    try:
      fcntl.flock(file, fcntl.LOCK_EX)
      yield file
    finally:
      os.close(file)


def _read(file: int) -> tuple[float, float]:
  content = os.pread(file, _STATE.size, 0)
  return _STATE.unpack(content) if len(content) == _STATE.size else (0.0, 0.0)


def _write(file: int, next_s: float, blocked_until_s: float) -> None:
  os.pwrite(file, _STATE.pack(next_s, blocked_until_s), 0)
