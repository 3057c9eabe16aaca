"""Shards of object stores on this machine, shared by its processes.

ArrayRecord reads files of this machine. A shard of an object store is downloaded when one of its records is
first read, and its SHA-256 is compared with that of the manifest. It gets its final name, which is the
SHA-256, when it is whole: a shard that was replaced has another name, and an interrupted download has none.

The folder is `v2a/records` in XDG_CACHE_HOME or ~/.cache, or `records` in V2A_CACHE if that is set; without a
home folder, or where V2A_CACHE is empty, it is in the folder of temporary files. Where the shards in it
exceed V2A_RECORDS_CACHE_GB (200), those that were opened least recently are deleted. Training reads records
in random order from all shards, so a limit below their total size makes it download them again and again.
"""

from collections.abc import Generator
import contextlib
import fcntl
import logging
import math
import os
import pathlib
import tempfile

from v2a import cache_folder
from v2a import files
from v2a import flags
from v2a import storage

SIZE_VARIABLE = 'V2A_RECORDS_CACHE_GB'
DEFAULT_GB = 200.0
_SUFFIX = '.array_record'
_LOCK_DIGITS = 2  # of the digest: shards that share them are downloaded one after the other
_deleted: set[str] = set()  # digests of shards that this process deleted
_has_warned = False


def folder() -> pathlib.Path:
  """Returns the folder, see the module. Raises ValueError if V2A_CACHE names an unknown home folder."""
  return (
    cache_folder.find('records') or pathlib.Path(tempfile.gettempdir()) / f'v2a-{os.getuid()}' / 'records'
  )


def max_bytes() -> float:
  """Returns how many bytes the shards may have. Raises ValueError where V2A_RECORDS_CACHE_GB is no number."""
  text = os.environ.get(SIZE_VARIABLE, '')
  try:
    return 1e9 * (flags.parse_number(float, text, 0, is_open=True) if text else DEFAULT_GB)
  except ValueError as error:
    raise ValueError(f'{SIZE_VARIABLE}: {error}.') from None


def fetch(path: storage.Path, sha256: str, num_bytes: int) -> pathlib.Path:
  """Returns the file of a shard on this machine, downloaded if it is not there.

  Args:
    path: of the shard, in an object store.
    sha256: of its content, as hexadecimal digits.
    num_bytes: of the shard.

  Raises:
    OSError: it could not be downloaded or written.
    ValueError: its content is not that of the manifest.
  """
  file = folder() / f'{sha256}{_SUFFIX}'
  with contextlib.suppress(FileNotFoundError):
    os.utime(file)  # the time of its last use
    return file
  file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
  with _locked(file.parent / f'{sha256[:_LOCK_DIGITS]}.lock'):
    if not file.exists():  # else another process or thread has downloaded it meanwhile
      _make_room(file, num_bytes)
      _download(path, file, sha256)
  return file


def discard_damaged(file: pathlib.Path, sha256: str) -> None:
  """Deletes the file of a shard if its content is no longer what was downloaded."""
  with contextlib.suppress(FileNotFoundError):
    if files.sha256(file) != sha256:
      file.unlink()


def _download(path: storage.Path, file: pathlib.Path, sha256: str) -> None:
  # The same name for all: a lock is held, and what a killed process left is replaced.
  partial = file.with_name(f'.{sha256}.partial')
  try:
    with files.renamed_errors(partial, file):
      storage.download(path, partial)
      if files.sha256(partial) != sha256:
        raise ValueError(f'{path} has changed since it was written: its SHA-256 is not that of the manifest.')
      partial.rename(file)
  finally:
    partial.unlink(missing_ok=True)


def _make_room(file: pathlib.Path, num_bytes: int) -> None:
  """Deletes the files that were used least recently until another one fits."""
  limit = max_bytes()
  if num_bytes > limit:
    raise ValueError(
      f'{SIZE_VARIABLE} must be at least {math.ceil(num_bytes / 1e6) / 1e3:g} for a shard of these records; '
      f'got {limit / 1e9:g}.'
    )
  _warn_if_deleted(file.stem, limit)
  states = []
  for other in file.parent.glob(f'*{_SUFFIX}'):
    with contextlib.suppress(FileNotFoundError):  # another process deletes shards, too
      states.append((other.stat().st_mtime_ns, other.stat().st_size, other))
  total = sum(size for _, size, _ in states)
  for _, size, other in sorted(states):
    if total + num_bytes <= limit:
      return
    other.unlink(missing_ok=True)  # a reader that has it open continues to read
    _deleted.add(other.stem)
    total -= size


def _warn_if_deleted(sha256: str, limit: float) -> None:
  global _has_warned
  if sha256 in _deleted and not _has_warned:
    _has_warned = True
    logging.getLogger(__name__).warning(
      'Records are downloaded again, since all of their shards do not fit into %g GB; '
      'raise %s where there is space.',
      limit / 1e9,
      SIZE_VARIABLE,
    )


@contextlib.contextmanager
def _locked(file: pathlib.Path) -> Generator[None]:
  """Holds a lock between processes and threads, which also ends with the process."""
  descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
  finally:
    os.close(descriptor)
