"""Reads Debian packages: their control fields and their files, without installing them.

A package is an archive of `ar` with three members: `debian-binary`, `control.tar.*`, `data.tar.*` (deb(5)).
`dpkg-deb` reads it if there, else this module, which needs the standard library only: members compressed by
xz, gzip or not at all, as Debian has them. Ubuntu compresses with Zstandard, which needs `dpkg-deb`.
Nothing is written to the disk, so that no path of a package can leave a folder.
"""

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
import contextlib
import io
import lzma
import pathlib
import shutil
import subprocess
import tarfile
import zlib

_AR_MAGIC = b'!<arch>\n'
_AR_HEADER_BYTES = 60
_DPKG_OPTIONS = {'control': '--ctrl-tarfile', 'data': '--fsys-tarfile'}


def control(path: pathlib.Path) -> dict[str, str]:
  """Returns the fields of a package that have one line: Package, Version, ...

  Raises:
    ValueError: it is no Debian package.
    OSError: it cannot be read.
  """
  for name, content in _members(path, 'control', lambda name: name == 'control'):
    del name
    pairs = (line.partition(':') for line in content.decode('utf-8', 'replace').splitlines())
    return {key: value.strip() for key, sign, value in pairs if sign and not key.startswith(' ')}
  raise ValueError(f'{path}: is no Debian package; it has no control file.')


def files(path: pathlib.Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
  """Yields path (`usr/share/...`) and content of files of a package, in its order.

  Raises:
    ValueError: it is no Debian package.
    OSError: it cannot be read.
  """
  return _members(path, 'data', is_wanted)


def _members(path: pathlib.Path, part: str, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
  """Yields path and content of the regular files in a part of a package."""
  try:
    with _archive(path, part) as archive:
      for member in archive:
        name = member.name.removeprefix('./')
        if member.isfile() and is_wanted(name):
          file = archive.extractfile(member)
          assert file is not None
          yield name, file.read()
  except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
    raise ValueError(f'{path}: is no Debian package, or is not whole ({error}).') from error


@contextlib.contextmanager
def _archive(path: pathlib.Path, part: str) -> Generator[tarfile.TarFile]:
  """Gives the tar archive of a part of a package, 'control' or 'data'."""
  program = shutil.which('dpkg-deb')
  if program is None:
    name, content = _ar_member(path, f'{part}.tar')
    if name.endswith('.zst'):
      raise ValueError(
        f'{path}: is compressed with Zstandard, which is read by dpkg-deb; it is not installed.'
      )
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
      yield archive
    return
  path.stat()  # a missing file is an OSError, not one of dpkg-deb
  command = [program, _DPKG_OPTIONS[part], str(path)]
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
    assert process.stdout is not None
    with tarfile.open(fileobj=process.stdout, mode='r|') as archive:
      yield archive


def _ar_member(path: pathlib.Path, prefix: str) -> tuple[str, bytes]:
  """Returns name and content of the member of an `ar` archive whose name starts with a prefix."""
  with path.open('rb') as file:
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
      raise ValueError(f'{path}: is no Debian package.')
    while len(header := file.read(_AR_HEADER_BYTES)) == _AR_HEADER_BYTES:
      name = header[:16].decode('ascii', 'replace').strip().rstrip('/')
      if not header[48:58].strip().isdigit():
        break
      num_bytes = int(header[48:58])
      if name.startswith(prefix):
        return name, file.read(num_bytes)
      file.seek(num_bytes + num_bytes % 2, 1)
  raise ValueError(f'{path}: is no Debian package, or is not whole; it has no {prefix}.')
