"""The Debian packages with recordings: their pinned versions, and how their files come to this machine.

`apt-get download` fetches the version that the user's distribution has, and checks it by the signatures of
the distribution; it needs no root and installs nothing. Where there is no apt, the user puts the files into a
folder; the pages of packages of the distributions have them.

Pinned are the bytes of Debian 12. A file that claims a pinned version, and did not come from apt, must have
these bytes. Ubuntu rebuilds packages under the same versions, so its files need `accept_rebuilt` if they come
from a folder. Other versions are accepted: licences are read from the package itself (`sounds`), and version
and SHA-256 are recorded.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from data_pipelines.recordings import deb
from v2a import files


@dataclasses.dataclass(frozen=True)
class Pin:
  """The version of a package that this module was tested with.

  Attributes:
    version: of Debian 12.
    sha256: of the file.
    num_bytes: of the file.
  """

  version: str
  sha256: str
  num_bytes: int


PINS = {
  'sonic-pi-samples': Pin(
    '3.2.2~repack-8', '25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d', 21_882_696
  ),
  'fluid-soundfont-gm': Pin(
    '3.1-5.3', '6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e', 119_610_208
  ),
  'fluid-soundfont-gs': Pin(
    '3.1-5.3', 'f9c5b171ce1cd6c05c5dd65e2ada61c0951ef491f1c67d077aaecd6c9d6ef3e4', 2_474_996
  ),
  'openttd-opensfx': Pin(
    '1.0.3-2', '2898b4677a3caccc4abc08fb4cf83319047b5a04729291deb5c77a8cd713c006', 9_895_076
  ),
  'hydrogen-drumkits': Pin(
    '2017.09.19~dfsg-1', '6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4', 142_675_622
  ),
}


@dataclasses.dataclass(frozen=True)
class Package:
  """A package on this machine.

  Attributes:
    name: a key of PINS.
    path: the file.
    version: as its control file says.
    sha256: of the file.
  """

  name: str
  path: pathlib.Path
  version: str
  sha256: str

  @property
  def is_pinned(self) -> bool:
    """Whether these are the bytes of the pinned version."""
    return self.sha256 == PINS[self.name].sha256


def find(name: str, folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the file of a package in a folder, or None.

  Raises:
    ValueError: there are several.
  """
  found = sorted(folder.glob(f'{name}_*.deb'))
  if len(found) > 1:
    raise ValueError(f'{folder}: has several files of {name}: {", ".join(path.name for path in found)}.')
  return found[0] if found else None


def of_folder(names: Sequence[str], folder: pathlib.Path, accept_rebuilt: bool) -> list[Package]:
  """Returns packages that the user has put into a folder.

  Args:
    names: of the packages.
    folder: with files as apt names them, NAME_VERSION_all.deb.
    accept_rebuilt: whether a pinned version may have other bytes.

  Raises:
    FileNotFoundError: one is not there.
    ValueError: a file is another package, or has a pinned version and not its bytes.
    OSError: a file cannot be read.
  """
  paths = {name: find(name, folder) for name in names}
  missing = [f'{name}_*.deb' for name, path in paths.items() if path is None]
  if missing:
    raise FileNotFoundError(f'{folder}: has no {", ".join(missing)}.')
  found = [open_package(name, path) for name, path in paths.items() if path is not None]
  for package in found:
    if package.version == PINS[package.name].version and not package.is_pinned and not accept_rebuilt:
      raise ValueError(
        f'{package.path}: SHA-256 {package.sha256} is not that of {package.name} {package.version} in '
        f'Debian, {PINS[package.name].sha256}; --accept-rebuilt accepts the file of another distribution.'
      )
  return found


def fetch(names: Sequence[str], folder: pathlib.Path) -> list[Package]:
  """Returns packages after fetching by apt-get those that are not in a folder; each file is whole.

  Raises:
    ValueError: there is no apt-get.
    OSError: a package cannot be fetched, or does not fit on the disk.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    if find(name, folder) is None:
      _check_space(name, folder)
      print(f'fetching {name}, about {PINS[name].num_bytes / 1e6:.0f} MB', file=sys.stderr, flush=True)
      _download(name, folder)
  found = []
  for name in names:
    path = find(name, folder)
    assert path is not None
    found.append(open_package(name, path))
  return found


def open_package(name: str, path: pathlib.Path) -> Package:
  """Returns a package after reading its control file.

  Raises:
    ValueError: it is another package, or none.
    OSError: it cannot be read.
  """
  control = deb.control(path)
  if control.get('Package') != name:
    raise ValueError(f'{path}: is the package {control.get("Package")!r}; wanted {name}.')
  return Package(name, path, control.get('Version', ''), files.sha256(path))


def _check_space(name: str, folder: pathlib.Path) -> None:
  free = shutil.disk_usage(folder).free
  if free < 2 * PINS[name].num_bytes:
    raise OSError(
      f'{folder}: {free / 1e6:.0f} MB are free; {name} needs {2 * PINS[name].num_bytes / 1e6:.0f} MB.'
    )


def _download(name: str, folder: pathlib.Path) -> None:
  """Fetches a package into a temporary folder, then renames it into the folder."""
  program = shutil.which('apt-get')
  if program is None:
    raise ValueError(
      'there is no apt-get on this machine: put the packages '
      f'{", ".join(PINS)} of Debian into a folder, and name it by --packages.'
    )
  with tempfile.TemporaryDirectory(prefix='.fetch-', dir=folder) as temporary:
    run = subprocess.run(
      [program, '-q', 'download', name],
      cwd=temporary,
      env=os.environ | {'LC_ALL': 'C'},
      capture_output=True,
      text=True,
      check=False,
    )
    path = find(name, pathlib.Path(temporary))
    if run.returncode or path is None:
      errors = [line for line in run.stderr.splitlines() if line.startswith('E: ')] or run.stderr.splitlines()
      reason = errors[-1].removeprefix('E: ') if errors else f'exit code {run.returncode}'
      raise OSError(f'{name} cannot be fetched by apt-get ({reason}); `apt-get update` may be needed.')
    path.rename(folder / path.name)
