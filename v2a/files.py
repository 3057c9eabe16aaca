"""Writing and identifying files: atomic writes, digests, and marks of what v2a wrote.

A file is whole or not there: it is written under a temporary name in its folder, then renamed. One in an
object store is written on this machine, then uploaded (`v2a.storage`).
"""

from collections.abc import Generator
import contextlib
import dataclasses
import errno
import functools
import hashlib
import os
import pathlib
import stat
import tempfile
import uuid
import zipfile

from v2a import file_names
from v2a import storage

# Whatever v2a writes to a place of the user's choice, and may replace, holds this text near its begin.
MARK = 'Written by v2a'
_MARK_WITHIN_BYTES = 4096
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# A name on a file system has at most 255 bytes; this leaves room for the rest of a temporary name.
_NAME_BYTES = 80


def check_local(name: str, path: str | storage.Path) -> None:
  """Raises ValueError where a path is empty, or has a scheme, such as gs:// or s3://.

  Without this, `gs://bucket/run` would be a folder `gs:` in the working directory, and an empty path, such as
  of a variable of the shell that is not set, the working directory itself.

  Args:
    name: of the flag or key that gave the path.
    path: pathlib has dropped one of the two slashes already.
  """
  if str(path) == '':
    raise ValueError(f'{name} must be a path; got an empty one.')
  if scheme := storage.scheme(path):
    raise ValueError(
      f'{name} must be a path in the file system; got {str(path)!r}. Storage behind '
      f'{scheme}:// is not read or written directly here: mount it, or copy the files.'
    )


def partial_path(path: str | pathlib.Path, suffix: str = '') -> pathlib.Path:
  """Returns a new hidden name in the folder of a path: that of the path, cut, and a random number."""
  path = pathlib.Path(path)
  name = file_names.truncate(path.name, _NAME_BYTES)
  return path.absolute().with_name(f'.{name}.{uuid.uuid4().hex[:8]}.partial{suffix}')


@contextlib.contextmanager
def atomic_write(path: str | storage.Path) -> Generator[pathlib.Path]:
  """Gives a new name in the folder of a file; renames it to the file on success and removes it on failure.

  Every writer has a name of its own, so that two may write one file at once: the last one's stays. Of a file
  in an object store the name is in the temporary folder of this machine; it is uploaded on success.

  Args:
    path: of the file, whose folder is there. Its suffix is kept, by which libraries tell formats.

  Raises:
    OSError: it cannot be written; named is the file, not the temporary name.
  """
  if storage.is_remote(path):
    with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
      partial = pathlib.Path(folder) / storage.parse(path).name
      yield partial
      storage.upload(partial, storage.parse(path))
    return
  path = pathlib.Path(path)
  partial = partial_path(path.with_suffix(''), path.suffix)
  try:
    with renamed_errors(partial, path):
      yield partial
      partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


@contextlib.contextmanager
def renamed_errors(partial: pathlib.Path, path: pathlib.Path) -> Generator[None]:
  """Lets an OSError about a temporary file or folder, or about a full disk, name what it stands for.

  A library that meets a full disk, or a file that grows too large, does not say which file that was.
  """
  try:
    yield
  except OSError as error:
    named = None if error.filename is None else os.fsdecode(os.fspath(error.filename))
    is_of_partial = named is not None and pathlib.Path(named.removeprefix('file:')).is_relative_to(partial)
    if is_of_partial or (named is None and error.errno in _NO_SPACE):
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def write_text(path: str | storage.Path, text: str) -> None:
  """Writes UTF-8 text, see `atomic_write`; other bytes of file names are escaped (`file_names.utf8`)."""
  text = file_names.utf8(text)
  if storage.is_remote(path):
    storage.write_object(storage.parse(path), text.encode())
    return
  with atomic_write(path) as partial:
    partial.write_text(text, encoding='utf-8')


def append_text(path: storage.Path, text: str) -> None:
  """Appends UTF-8 text to a small file; one in an object store is rewritten, by one process at a time."""
  if not isinstance(path, pathlib.Path):
    storage.write_object(path, (storage.read_bytes(path) if storage.exists(path) else b'') + text.encode())
    return
  with path.open('a', encoding='utf-8') as file:
    file.write(text)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
  """The content of a file when it was read.

  Attributes:
    path: of the file.
    sha256: of its content, as hexadecimal digits.
    state: device, inode, size and time of change before it was read.
  """

  path: pathlib.Path
  sha256: str
  state: tuple[int, ...]

  def check(self) -> None:
    """Raises ValueError where the file has changed since; its state tells, it is not read again."""
    try:
      is_same = _state(self.path) == self.state
    except OSError:
      is_same = False
    if not is_same:
      raise ValueError(f'{self.path}: changed while it was read; nothing was written for it.')


def sha256(path: pathlib.Path) -> str:
  """Returns the digest of a file's content as hexadecimal digits."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def fingerprint(path: str | pathlib.Path) -> Fingerprint:
  """Returns what identifies the content of a file. Raises OSError where it cannot be read."""
  path = pathlib.Path(path)
  state = _state(path)
  return Fingerprint(path, _sha256(path, state), state)


def check_replaceable(*paths: pathlib.Path) -> None:
  """Raises FileExistsError where a path is taken by anything but a file that v2a wrote.

  Such a file holds MARK near its begin; a NumPy archive holds notes by the name `about`.
  """
  for path in paths:
    if os.path.lexists(path) and not (stat.S_ISREG(path.lstat().st_mode) and _is_marked(path)):
      raise FileExistsError(f'{path}: exists and was not written by v2a; nothing is overwritten.')


def check_new(*paths: storage.Path) -> None:
  """Raises FileExistsError where a path is taken."""
  for path in paths:
    if storage.exists(path):
      raise FileExistsError(f'{path}: exists already; nothing is overwritten.')


def _is_marked(path: pathlib.Path) -> bool:
  if path.suffix == '.npz' and zipfile.is_zipfile(path):
    with zipfile.ZipFile(path) as archive:
      return 'about.npy' in archive.namelist()
  with path.open('rb') as file:
    return MARK.encode() in file.read(_MARK_WITHIN_BYTES)


def _state(path: pathlib.Path) -> tuple[int, ...]:
  found = path.stat()
  return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _sha256(path: pathlib.Path, state: tuple[int, ...]) -> str:
  """Returns the digest of a file in a state; large files are read once for all that ask."""
  del state  # part of the key of the cache
  return sha256(path)
