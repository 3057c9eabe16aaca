"""Checks that all processes of a training share the workdir, the records and the configuration.

Without them, machines whose workdirs differ would train to the end, each with a part of every checkpoint on
its own disk.
"""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import hashlib
import pathlib
import socket
import time
from typing import TypeVar
import uuid

import jax
import numpy as np

from v2a import storage
from v2a.training.distributed import processes

Value = TypeVar('Value')
_POLL_S = 0.2


def check_workdir(workdir: storage.Path, timeout_s: float) -> None:
  """Creates the workdir, and checks that files of each process are visible to the others.

  Args:
    workdir: training folder.
    timeout_s: time in which a file of one process must become visible to the others.

  Raises:
    ValueError: a process does not see it, or cannot write; raised in all processes.
  """
  if jax.process_count() == 1:
    storage.make_folder(workdir)
    return
  # A new name: network file systems cache for a while that a file does not exist.
  token = processes.all_gather(np.frombuffer(uuid.uuid4().bytes, np.uint8))[0].tobytes().hex()
  index, folder, is_new = jax.process_index(), workdir / f'.shared-{token}', not storage.exists(workdir)
  own = folder / str(index)
  try:
    call_on_all_processes('--workdir', lambda: _write(own, token))
    others = range(jax.process_count()) if index == 0 else (0,)
    is_seen = _wait_for([folder / str(other) for other in others], token, timeout_s)
    is_seen_P = processes.all_gather(np.array([is_seen]))[:, 0]
    if not is_seen_P[1:].all() or not is_seen_P[0]:
      failed = np.flatnonzero(~is_seen_P).tolist()
      raise ValueError(
        f'--workdir {workdir} must be on storage that all processes share; process {failed} of '
        f'{len(is_seen_P)} did not see the files of the others within {timeout_s:g} s '
        f'(this is process {index}, on {socket.gethostname()}).'
      )
  except ValueError:
    _remove(own)
    if is_new and isinstance(workdir, pathlib.Path):
      with contextlib.suppress(OSError):
        workdir.rmdir()
    raise
  _remove(own)


def _write(file: storage.Path, text: str) -> None:
  if not isinstance(file, pathlib.Path):
    storage.write_object(file, text.encode())
    return
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(text)


def _remove(file: storage.Path) -> None:
  with contextlib.suppress(OSError):
    if not isinstance(file, pathlib.Path):
      storage.remove(file)
      return
    file.unlink()
    file.parent.rmdir()  # succeeds for the last process


def _wait_for(paths: Sequence[storage.Path], text: str, timeout_s: float) -> bool:
  """Whether all files have this text before the timeout."""
  deadline_s, missing = time.monotonic() + timeout_s, list(paths)
  while True:
    missing = [path for path in missing if not _has_text(path, text)]
    if not missing or time.monotonic() > deadline_s:
      return not missing
    time.sleep(_POLL_S)


def _has_text(path: storage.Path, text: str) -> bool:
  try:
    return storage.read_text(path) == text
  except OSError:
    return False


def call_on_all_processes(source: str, function: Callable[[], Value]) -> Value:
  """Returns the result of a function in each process; bad input of one process is raised in all.

  Otherwise the others would wait for that process until it counts as lost.

  Args:
    source: what the function reads, for the message of processes in which it did not fail.
    function: may raise ValueError or OSError.

  Raises:
    ValueError: the function failed in another process.
  """
  try:
    value = function()
  except (ValueError, OSError):
    _has_failed(True)
    raise
  has_failed_P = _has_failed(False)
  if has_failed_P.any():
    raise ValueError(
      f'{source}: process {np.flatnonzero(has_failed_P).tolist()} of {len(has_failed_P)} cannot '
      'use it; see its message.'
    )
  return value


def _has_failed(own: bool) -> np.ndarray:
  """Returns has_failed_P, given whether this process failed; all must call it."""
  return processes.all_gather(np.array([own]))[:, 0]


def check_same(name: str, text: str) -> None:
  """Raises ValueError in all processes if a text differs between them.

  Args:
    name: what the text describes, for the message.
    text: of any length.
  """
  digest_PN = processes.all_gather(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))
  differs_P = (digest_PN != digest_PN[0]).any(axis=1)
  if differs_P.any():
    raise ValueError(
      f'{name} must be the same in all processes; process {np.flatnonzero(differs_P).tolist()}'
      f' of {len(differs_P)} and process 0 differ (this is process {jax.process_index()}, on '
      f'{socket.gethostname()}).'
    )
