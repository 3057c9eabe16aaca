"""What several processes of one training must share: the workdir, the records, the configuration.

Checked at start, since nothing else would notice: each machine would train to the end, and leave a part of
every checkpoint on a disk of its own.
"""

from collections.abc import Callable
import contextlib
import hashlib
import pathlib
import socket
import time
from typing import TypeVar
import uuid

import jax
import numpy as np

from v2a.training.distributed import processes

Value = TypeVar('Value')
_POLL_S = 0.2


def check_workdir(workdir: pathlib.Path, timeout_s: float) -> None:
  """Makes the workdir, and checks that all processes see in it what the others write.

  Args:
    workdir: training folder.
    timeout_s: in which what one process wrote must be seen by the others.

  Raises:
    ValueError: a process does not see it, or cannot write; raised in all of them.
  """
  if jax.process_count() == 1:
    workdir.mkdir(parents=True, exist_ok=True)
    return
  # A name that nobody has looked up before: network file systems remember for a while what is not there.
  token = processes.all_gather(np.frombuffer(uuid.uuid4().bytes, np.uint8))[0].tobytes().hex()
  index, folder, is_new = jax.process_index(), workdir / f'.shared-{token}', not workdir.exists()
  own = folder / str(index)
  try:
    call_on_all_processes('--workdir', lambda: _write(own, token))
    wanted = range(jax.process_count()) if index == 0 else (0,)
    is_seen = _await([folder / str(other) for other in wanted], token, timeout_s)
    is_seen_P = processes.all_gather(np.array([is_seen]))[:, 0]
    if not is_seen_P[1:].all() or not is_seen_P[0]:
      blind = np.flatnonzero(~is_seen_P).tolist()
      raise ValueError(
        f'--workdir {workdir} must be on storage that all processes share; process {blind} of '
        f'{len(is_seen_P)} did not see there in {timeout_s:g} s what the others had written '
        f'(this is process {index}, on {socket.gethostname()}).'
      )
  except ValueError:
    _remove(own)
    if is_new:
      with contextlib.suppress(OSError):
        workdir.rmdir()
    raise
  _remove(own)


def _write(file: pathlib.Path, text: str) -> None:
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(text)


def _remove(file: pathlib.Path) -> None:
  with contextlib.suppress(OSError):
    file.unlink()
    file.parent.rmdir()  # by the last of those that share it


def _await(paths: list[pathlib.Path], text: str, timeout_s: float) -> bool:
  """Whether files with this text are there, or come in time."""
  deadline_s, left = time.monotonic() + timeout_s, list(paths)
  while True:
    left = [path for path in left if not _holds(path, text)]
    if not left or time.monotonic() > deadline_s:
      return not left
    time.sleep(_POLL_S)


def _holds(path: pathlib.Path, text: str) -> bool:
  try:
    return path.read_text() == text
  except OSError:
    return False


def call_on_all_processes(what: str, make: Callable[[], Value]) -> Value:
  """Returns what a function gives in each process; bad input of one is raised in all.

  Else the others would wait for that one until it counts as lost.

  Args:
    what: is made, for those that are not to blame.
    make: may raise ValueError or OSError.
  """
  value, fault = None, None
  try:
    value = make()
  except (ValueError, OSError) as error:
    fault = error
  has_failed_P = processes.all_gather(np.array([fault is not None]))[:, 0]
  if fault is not None:
    raise fault
  if has_failed_P.any():
    raise ValueError(
      f'{what}: process {np.flatnonzero(has_failed_P).tolist()} of {len(has_failed_P)} cannot '
      'use it, and says why.'
    )
  return value


def check_same(what: str, text: str) -> None:
  """Raises ValueError in all processes where a text differs between them.

  Args:
    what: the text stands for.
    text: of any length.
  """
  digest_PN = processes.all_gather(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))
  differs_P = (digest_PN != digest_PN[0]).any(axis=1)
  if differs_P.any():
    raise ValueError(
      f'{what} must be the same in all processes; process {np.flatnonzero(differs_P).tolist()}'
      f' of {len(differs_P)} and process 0 differ (this is process {jax.process_index()}, on '
      f'{socket.gethostname()}).'
    )
