"""Paths in the file system and in object stores (gs://, s3://), and what is done with files of the latter.

A path is a `pathlib.Path` or, in an object store, an `etils.epath.Path`; both join and compare alike, and
Orbax takes both. Objects are read and written through fsspec, by the package of the store (s3fs, gcsfs),
which also finds the credentials.

An object store has neither folders nor renames: a folder is the common prefix of names, and an object appears
when its upload is complete, with all of its bytes. So what is uploaded needs no temporary name; an upload
that was interrupted leaves no object. Objects cannot be appended to.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Generator
import contextlib
import importlib
import importlib.util
import logging
import os
import pathlib
import re
import shutil
import tempfile
from typing import TYPE_CHECKING
from typing import Any
import uuid

if TYPE_CHECKING:
  from etils import epath
  import fsspec

  Path = pathlib.Path | epath.Path
else:
  Path = pathlib.PurePath  # which both are; importing epath takes a quarter of a second

# Scheme -> package that reads and writes it through fsspec.
PACKAGES = {'gs': 'gcsfs', 's3': 's3fs'}
# Two letters at least: C:/ is a drive. pathlib makes one slash of two.
_SCHEME = re.compile(r'([A-Za-z][A-Za-z0-9+.-]+):/+')
# Packages whose exceptions are no OSError: clients of the stores, and what they are made of.
_CLIENTS = ('aiobotocore', 'aiohttp', 'asyncio', 'botocore', 'gcsfs', 'google', 'requests', 'urllib3')


def scheme(path: str | os.PathLike) -> str | None:
  """Returns the scheme of a path, in lower case: 's3' of s3://bucket/run; None of a path without one."""
  found = _SCHEME.match(str(path))
  return found[1].lower() if found else None


def is_remote(path: str | os.PathLike) -> bool:
  """Whether a path is in an object store that is read and written here."""
  return scheme(path) in PACKAGES


def check(path: str | os.PathLike, name: str = 'a path') -> None:
  """Raises ValueError where a path is empty, has a scheme that is not read here, or names no bucket."""
  if str(path) == '':
    raise ValueError(f'{name} must be a path; got an empty one.')
  found = _SCHEME.match(str(path))
  if found and scheme(path) not in PACKAGES:
    raise ValueError(
      f'{name} must be a path in the file system, or begin with gs:// or s3://; got {str(path)!r}. Storage '
      f'behind {found[1]}:// is not read or written directly: mount it, or copy the files.'
    )
  if found and not str(path)[found.end() :]:
    raise ValueError(f'{name} must name a bucket; got {str(path)!r}.')


def parse(path: str | os.PathLike, name: str = 'a path') -> Path:
  """Returns the path object of a text: of pathlib, or of epath where it begins with gs:// or s3://.

  Args:
    path: text, or a path object, in which pathlib may have dropped one of two slashes.
    name: of the flag or key that gave it, for errors.

  Raises:
    ValueError: it is empty, has another scheme, or names no bucket.
  """
  check(path, name)
  found = _SCHEME.match(str(path))
  if found is None:
    return pathlib.Path(path)
  from etils import epath

  # TensorFlow, where it is installed, would be used in place of fsspec; it cannot read s3:// by itself.
  os.environ.setdefault('EPATH_USE_TF', 'false')
  return epath.Path(f'{scheme(path)}://{str(path)[found.end() :]}')


def absolute(path: str | os.PathLike) -> Path:
  """Returns an absolute path; epath's own method takes a path with a scheme for a relative one."""
  path = parse(path)
  return path if is_remote(path) else path.resolve()


def exists(path: Path) -> bool:
  """Whether there is a file or folder. Raises OSError where the store cannot be reached."""
  return _call(path, lambda store: store.exists(str(path))) if is_remote(path) else os.path.lexists(path)


def is_file(path: Path) -> bool:
  """Whether there is a file. Raises OSError where the store cannot be reached."""
  return _call(path, lambda store: store.isfile(str(path))) if is_remote(path) else path.is_file()


def size(path: Path) -> int | None:
  """Returns the bytes of a file, None where there is none. Raises as `is_file`."""
  if isinstance(path, pathlib.Path):
    return path.stat().st_size if path.is_file() else None
  return _call(path, lambda store: store.size(str(path))) if is_file(path) else None


def is_folder(path: Path) -> bool:
  """Whether there is a folder: of a store, any object below it. Raises as `is_file`."""
  return _call(path, lambda store: store.isdir(str(path))) if is_remote(path) else path.is_dir()


def make_folder(path: Path) -> None:
  """Creates a folder and its parents; in a store there is nothing to create."""
  if not is_remote(path):
    path.mkdir(parents=True, exist_ok=True)


def read_bytes(path: Path) -> bytes:
  """Returns the content of a file. Raises OSError."""
  return _call(path, lambda store: store.cat_file(str(path))) if is_remote(path) else path.read_bytes()


def read_text(path: Path) -> str:
  """Returns the content of a UTF-8 file. Raises OSError."""
  return read_bytes(path).decode('utf-8')


def write_object(path: Path, data: bytes, is_new: bool = False) -> None:
  """Writes an object of a store, whole or not at all.

  Args:
    path: of the object.
    data: its content.
    is_new: whether there must be no object by that name.

  Raises:
    FileExistsError: there is one.
    OSError: it could not be written.
  """
  mode = 'create' if is_new else 'overwrite'
  _call(path, lambda store: store.pipe_file(str(path), data, mode=mode))


def check_writable(folder: Path) -> None:
  """Writes an object to a folder of a store and deletes it. Raises OSError where that fails."""
  probe = folder / f'.v2a-{uuid.uuid4().hex}'
  write_object(probe, b'')
  remove(probe)


def upload(local: pathlib.Path, path: Path) -> None:
  """Writes an object from a file on this machine, whole or not at all.

  Raises:
    OSError: it could not be written, or has another size than the file.
  """
  _call(path, lambda store: store.put_file(str(local), str(path)))
  got, wanted = size(path), local.stat().st_size
  if got != wanted:
    raise OSError(f'{path} has {got} bytes after its upload; wanted {wanted}.')


def download(path: Path, local: pathlib.Path) -> None:
  """Writes an object to a file on this machine, under a name that the caller renames. Raises OSError."""
  _call(path, lambda store: store.get_file(str(path), str(local)))


@contextlib.contextmanager
def local_file(path: Path) -> Generator[pathlib.Path]:
  """Gives a file on this machine with the content of a file: itself, or a copy that is deleted in the end.

  Raises:
    OSError: it could not be read.
  """
  if isinstance(path, pathlib.Path):
    yield path
    return
  with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
    copy = pathlib.Path(folder) / path.name
    download(path, copy)
    yield copy


def list_files(folder: Path) -> dict[str, dict[str, Any]]:
  """Returns the files below a folder of a store: relative name -> `size` in bytes and more, in order.

  One request for a thousand of them; {} where there is none. Raises OSError.
  """
  found = _call(folder, lambda store: store.find(str(folder), detail=True))
  prefix = str(folder).split('://', 1)[1].rstrip('/') + '/'
  return {name.removeprefix(prefix): about for name, about in sorted(found.items()) if name != prefix}


def list_folder(folder: Path) -> list[Path]:
  """Returns what is directly in a folder, sorted; [] where there is none. Raises OSError."""
  if not is_remote(folder):
    return sorted(folder.iterdir()) if folder.is_dir() else []
  names = sorted({name.split('/')[0] for name in list_files(folder)})
  return [folder / name for name in names]


def upload_folder(local: pathlib.Path, folder: Path, last: Collection[str] = ()) -> None:
  """Writes the files below a folder on this machine to a folder of a store.

  Args:
    local: folder on this machine.
    folder: of the store; other files in it stay.
    last: names of files that are written after all others, in this order.

  Raises:
    OSError: a file could not be written.
  """
  names = [path.relative_to(local).as_posix() for path in sorted(local.rglob('*')) if path.is_file()]
  for name in [*(name for name in names if name not in last), *(name for name in last if name in names)]:
    upload(local / name, folder / name)


def download_folder(folder: Path, local: pathlib.Path) -> None:
  """Writes the files below a folder of a store to a folder on this machine.

  Raises:
    FileNotFoundError: there is none.
    OSError: one could not be read or written.
  """
  names = list(list_files(folder))
  if not names:
    raise FileNotFoundError(f'{folder} holds no files.')
  for name in names:
    (local / name).parent.mkdir(parents=True, exist_ok=True)
    download(folder / name, local / name)


def remove(path: Path) -> None:
  """Deletes a file, where it is there. Raises OSError."""
  if isinstance(path, pathlib.Path):
    path.unlink(missing_ok=True)
    return
  with contextlib.suppress(FileNotFoundError):
    _call(path, lambda store: store.rm_file(str(path)))


def remove_folder(folder: Path) -> None:
  """Deletes a folder with all that is in it. Raises OSError."""
  if isinstance(folder, pathlib.Path):
    shutil.rmtree(folder)
    return
  with contextlib.suppress(FileNotFoundError):
    _call(folder, lambda store: store.rm(str(folder), recursive=True))


@contextlib.contextmanager
def errors_of(path: Path) -> Generator[None]:
  """Lets errors of a store be OSErrors of one line that name the path.

  Raises:
    OSError: the store refused, could not be reached, or has no such object.
  """
  try:
    yield
  except OSError as error:
    if str(path) in str(error):
      raise
    kind = next(
      kind
      for kind in (FileNotFoundError, FileExistsError, PermissionError, OSError)
      if isinstance(error, kind)
    )
    reason = _one_line(error.strerror or str(error) or type(error).__name__)
    # Of a missing object, libraries say its name alone.
    reason = 'does not exist' if str(path).split('://')[-1] in reason else reason
    raise kind(f'{path}: {reason}') from error
  except Exception as error:
    if type(error).__module__.split('.')[0] not in _CLIENTS:
      raise
    raise OSError(f'{path}: {_one_line(str(error) or type(error).__name__)}') from error


def _one_line(text: str) -> str:
  return ' '.join(text.split())


def _call(path: Path, work: Callable[['fsspec.AbstractFileSystem'], Any]) -> Any:
  """Returns the result of a function of the file system that a path is in; see `errors_of`."""
  store = _file_system(str(scheme(path)))
  with errors_of(path):
    return work(store)


def _file_system(name: str) -> 'fsspec.AbstractFileSystem':
  """Returns fsspec's file system of a scheme. Raises ValueError where its package is missing."""
  package = PACKAGES[name]
  if importlib.util.find_spec(package) is None:
    raise ValueError(f"{name}:// needs {package}, which is not installed: pip install 'v2a[{name}]'.")
  import fsspec
  import fsspec.config

  if os.environ.get('V2A_DEBUG') != '1':
    logging.getLogger(package).addHandler(logging.NullHandler())  # else retries print tracebacks to stderr
  # Orbax and epath get the same file systems. Listings are not cached, since other processes write.
  for alias in {'gs': ('gs', 'gcs')}.get(name, (name,)):
    fsspec.config.conf.setdefault(alias, {}).setdefault('use_listings_cache', False)
  return fsspec.filesystem({'gs': 'gcs'}.get(name, name))
