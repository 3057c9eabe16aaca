"""Files of published weights: finding, verifying and downloading them.

Weights are not part of this project and are downloaded only on request. They are searched by their published
file names in one folder (an argument, else the environment variable V2A_WEIGHTS). A file is verified against
the publisher's checksum; a file without a published checksum is not downloaded, and not verified.
"""

from collections.abc import Callable
import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import urllib.error
import urllib.request

from v2a import files

ENV_VARIABLE = 'V2A_WEIGHTS'
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """A published file.

  Attributes:
    file: its path in the folder of weights.
    url: its address at the publisher.
    checksum: 'ALGORITHM:HEX' with md5 or sha256, where HEX may be the first digits only; None if unknown.
    licence: of the weights, as the publisher states it.
  """

  file: str
  url: str
  checksum: str | None
  licence: str

  @property
  def missing_reason(self) -> str:
    """Why a metric is not computed without the file."""
    return f'weights {self.file} missing'


def folder(path: pathlib.Path | str | None = None) -> pathlib.Path | None:
  """Returns the folder of weights: the argument, else V2A_WEIGHTS, else None."""
  path = path or os.environ.get(ENV_VARIABLE)
  return pathlib.Path(path) if path else None


def find(checkpoint: Checkpoint, path: pathlib.Path | str | None = None) -> pathlib.Path | None:
  """Returns the path of a file, or None if it does not exist.

  Args:
    checkpoint: the file.
    path: folder of weights, see `folder`.
  """
  where = folder(path)
  file = where / checkpoint.file if where else None
  return file if file and file.is_file() else None


def digest(path: pathlib.Path, checkpoint: Checkpoint | None = None) -> str:
  """Returns the sha256 of a file, and verifies it.

  Args:
    path: of the file.
    checkpoint: holds the publisher's checksum, if one is known; None verifies nothing.

  Raises:
    ValueError: the file is not the published one.
  """
  checksum = checkpoint.checksum if checkpoint else None
  algorithm, _, expected = (checksum or 'sha256:').partition(':')
  hashes = {name: hashlib.new(name) for name in {'sha256', algorithm}}
  with path.open('rb') as file:
    while chunk := file.read(_CHUNK_BYTES):
      for each in hashes.values():
        each.update(chunk)
  if checkpoint and not hashes[algorithm].hexdigest().startswith(expected):
    raise ValueError(
      f'{path} is not the published file: its {algorithm} is {hashes[algorithm].hexdigest()}, '
      f'expected {expected}. Download it again from {checkpoint.url}.'
    )
  return hashes['sha256'].hexdigest()


def missing_package(package: str, command: str) -> list[str]:
  """Returns a message with the command that installs an optional package if it is missing, else nothing."""
  try:
    importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return [f'package {package} missing ({command})']
  return []


def fetch(
  checkpoint: Checkpoint, path: pathlib.Path | str | None = None, log: Callable[[str], None] | None = None
) -> pathlib.Path:
  """Downloads a file into the folder of weights, verifies it, and returns its path.

  Args:
    checkpoint: the file, with a checksum.
    path: folder of weights, see `folder`; created if it does not exist.
    log: receives a line before and after the download.

  Raises:
    ValueError: there is no folder or no checksum, or the downloaded file is not the published one.
    FileNotFoundError: the file could not be downloaded.
  """
  where = folder(path)
  if where is None:
    raise ValueError(f'no folder of weights is given; set {ENV_VARIABLE}.')
  if checkpoint.checksum is None:
    raise ValueError(
      f'{checkpoint.file} has no published checksum and is not downloaded; '
      f'download it from {checkpoint.url} yourself and put it into {where}.'
    )
  where.mkdir(parents=True, exist_ok=True)
  if log:
    log(f'downloading {checkpoint.url} ({checkpoint.licence})')
  try:
    with files.atomic_write(where / checkpoint.file) as partial:
      with urllib.request.urlopen(checkpoint.url) as source, partial.open('wb') as file:
        shutil.copyfileobj(source, file, _CHUNK_BYTES)
      digest(partial, checkpoint)
  except (urllib.error.URLError, ConnectionError) as error:
    raise FileNotFoundError(f'{checkpoint.url} could not be downloaded: {error}.') from error
  if log:
    log(f'{where / checkpoint.file}: {(where / checkpoint.file).stat().st_size / 1e6:.0f} MB, verified')
  return where / checkpoint.file
