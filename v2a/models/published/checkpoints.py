"""Weights of published networks: where they lie, whether they are the published ones, and how to get them.

Weights are never part of this project and never fetched unasked. They are looked for by their published
file names in one folder (an argument, else the environment variable V2A_WEIGHTS). A file is checked against
the publisher's checksum where there is one; where there is none, nothing is fetched, and the folder's owner
vouches for the file.
"""

from collections.abc import Callable
from collections.abc import Mapping
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
  """One published file.

  Attributes:
    file: its name in the folder.
    url: where its publisher keeps it.
    checksum: 'ALGORITHM:HEX' with md5 or sha256, of which the first digits may do; None where none is known.
    licence: of the weights, as their publisher states it.
  """

  file: str
  url: str
  checksum: str | None
  licence: str

  @property
  def reason(self) -> str:
    """Why a figure is not computed without the file."""
    return f'weights {self.file} missing'


def folder(path: pathlib.Path | str | None = None) -> pathlib.Path | None:
  """Returns the folder of weights: the argument, else that of V2A_WEIGHTS, else None."""
  path = path or os.environ.get(ENV_VARIABLE)
  return pathlib.Path(path) if path else None


def find(checkpoint: Checkpoint, path: pathlib.Path | str | None = None) -> pathlib.Path | None:
  """Returns where a file lies, or None.

  Args:
    checkpoint: what is looked for.
    path: folder of weights, see `folder`.
  """
  where = folder(path)
  file = where / checkpoint.file if where else None
  return file if file and file.is_file() else None


def digest(path: pathlib.Path, checkpoint: Checkpoint | None = None) -> str:
  """Returns the sha256 of a file, after checking it against the publisher's checksum where there is one.

  Raises:
    ValueError: the file is not the published one.
  """
  algorithm, _, wanted = (checkpoint.checksum or '').partition(':') if checkpoint else ('', '', '')
  hashes = {name: hashlib.new(name) for name in {'sha256', algorithm} - {''}}
  with path.open('rb') as file:
    while chunk := file.read(_CHUNK_BYTES):
      for found in hashes.values():
        found.update(chunk)
  if wanted and not hashes[algorithm].hexdigest().startswith(wanted):
    raise ValueError(
      f'{path} is not the published file: its {algorithm} is {hashes[algorithm].hexdigest()}, '
      f'wanted {wanted}. Fetch it anew from {checkpoint.url}.'
    )
  return hashes['sha256'].hexdigest()


def missing_package(package: str, command: str) -> list[str]:
  """Returns nothing, or that an optional package is missing, and the command that gets it."""
  try:
    importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return [f'package {package} missing ({command})']
  return []


def embedder_digest(name: str, version: int, paths: Mapping[pathlib.Path, Checkpoint | None]) -> str:
  """Returns the digest of an embedder: of its name, the version of its code, and its checked files."""
  parts = [name, str(version), *(digest(path, checkpoint) for path, checkpoint in paths.items())]
  return hashlib.sha256(' '.join(parts).encode()).hexdigest()


def fetch(
  checkpoint: Checkpoint, path: pathlib.Path | str | None = None, say: Callable[[str], None] | None = None
) -> pathlib.Path:
  """Downloads a file into the folder of weights, checks it, and returns where it lies.

  Args:
    checkpoint: with a checksum.
    path: folder of weights, see `folder`; made where it is absent.
    say: receives a line before and after.

  Raises:
    ValueError: no folder, no checksum to check against, or the file that came is not the published one.
    FileNotFoundError: the file could not be downloaded.
  """
  where = folder(path)
  if where is None:
    raise ValueError(f'weights need a folder: name one, or set {ENV_VARIABLE}.')
  if checkpoint.checksum is None:
    raise ValueError(
      f'{checkpoint.file} has no published checksum and is not fetched; '
      f'get it from {checkpoint.url} yourself and put it into {where}.'
    )
  where.mkdir(parents=True, exist_ok=True)
  if say:
    say(f'fetching {checkpoint.url} ({checkpoint.licence})')
  try:
    with files.atomic_write(where / checkpoint.file) as partial:
      with urllib.request.urlopen(checkpoint.url) as source, partial.open('wb') as file:
        shutil.copyfileobj(source, file, _CHUNK_BYTES)
      digest(partial, checkpoint)
  except (urllib.error.URLError, ConnectionError) as error:
    raise FileNotFoundError(f'{checkpoint.url} could not be fetched: {error}.') from error
  if say:
    say(f'{where / checkpoint.file}: {(where / checkpoint.file).stat().st_size / 1e6:.0f} MB, as published')
  return where / checkpoint.file
