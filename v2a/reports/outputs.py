"""Which files a run of `v2a generate` writes, and which existing files it may replace.

For an input NAME, sample i: NAME.i.mp4 (or another video suffix), NAME.i.wav, NAME.png and the manifest
NAME.json. A file counts as written by v2a only if a manifest beside it names it and it is unchanged
(`v2a.manifests`).

Rules: an input or a file that v2a did not write is never replaced. Files that it wrote are replaced by the
same request (the number of samples may differ), by another request only with `overwrite`; samples of the
earlier run that the new one lacks are removed with it.
"""

from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Mapping
import contextlib
import json
import os
import pathlib
import shutil
import stat
import unicodedata

from v2a import file_names
from v2a import files
from v2a import manifests
from v2a.media import write

PROMPT_NAME = 'soundtrack'
# What is appended to a stem is at most `.999.webm`, and a name has at most 255 bytes.
MAX_STEM_BYTES = 255 - len('.999.webm')
_HINT = 'choose another --output'
_NUM_NAMED = 3  # files in a message


def stems(paths: Iterable[pathlib.Path | None], folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns where the files of each input go, without endings; equal names are numbered from the second.

  Names that differ by case alone are equal, since some file systems take them for one.

  Args:
    paths: of the inputs; None is a prompt alone.
    folder: of the outputs.
  """
  used, found = set(), []
  for path in paths:
    base = PROMPT_NAME if path is None else path.stem
    name, number = file_names.file_name(base, MAX_STEM_BYTES), 1
    while _folded(name) in used:
      number += 1
      name = file_names.file_name(base, MAX_STEM_BYTES - len(f'-{number}')) + f'-{number}'
    used.add(_folded(name))
    found.append(folder / name)
  return found


def planned(name: str, num_samples: int) -> list[str]:
  """Returns every name that the outputs of a stem's name may get, the manifest first.

  Which suffix a video gets is known only once it is written.
  """
  suffixes = ('.wav', *write.CONTAINERS)
  samples = [f'{name}.{index}{suffix}' for index in range(num_samples) for suffix in suffixes]
  return [f'{name}.json', f'{name}.png', *samples]


class OverwriteGuard:
  """Checks before any work, and again before files are renamed, what the outputs of a run may replace."""

  def __init__(self, inputs: Iterable[pathlib.Path | None], num_samples: int, overwrite: bool = False):
    """Records the inputs, which are never replaced.

    Args:
      inputs: of the whole run; None is a prompt alone.
      num_samples: for each input.
      overwrite: whether outputs of other requests may be replaced.
    """
    self._num_samples, self._overwrite = num_samples, overwrite
    self._inputs = {_identity(path): path for path in inputs if path and os.path.exists(path)}

  def check(
    self, stem: pathlib.Path, source: pathlib.Path | None, request: Mapping, sha256: str | None = None
  ) -> list[pathlib.Path]:
    """Returns the files of an earlier run that the outputs of one input replace.

    Args:
      stem: folder and name of the outputs, without endings.
      source: the input.
      request: what is known of it, by the keys of `manifests.request_fields`; what is missing is not
        compared.
      sha256: of the input; None reads it, where it is needed.

    Raises:
      FileExistsError: a file is in the way that may not be replaced.
    """
    self.check_files([stem])
    path = stem.with_name(f'{stem.name}.json')
    earlier = manifests.read(path)
    if earlier is None:
      return []
    if not self._overwrite:
      self._check_request(path, earlier, source, request, sha256)
    own = self._written_by_v2a(path, earlier)
    return [each for each, is_unchanged in own.values() if is_unchanged and each.is_file()]

  def check_files(self, stems: Iterable[pathlib.Path]) -> None:
    """Raises FileExistsError where files are in the way that no request may replace, whatever it is.

    Args:
      stems: folder and name of the outputs of each input, without endings.
    """
    foreign = []
    for stem in stems:
      manifest = stem.with_name(f'{stem.name}.json')
      own = self._written_by_v2a(manifest, manifests.read(manifest))
      paths = [stem.with_name(name) for name in planned(stem.name, self._num_samples)]
      foreign += [path for path in paths if self._is_foreign(path, own)]
    if foreign:
      named = ', '.join(map(str, foreign[:_NUM_NAMED]))
      if len(foreign) > _NUM_NAMED:
        named += f' and {len(foreign) - _NUM_NAMED} more'
      verbs = 'exists and is' if len(foreign) == 1 else f'these {len(foreign)} files exist and are'
      raise FileExistsError(f'{named}: {verbs} not what an earlier run wrote; {_HINT}.')

  def _written_by_v2a(self, path: pathlib.Path, earlier: dict | None) -> dict:
    """Returns (path, whether it is unchanged) of a manifest and its files, by the identity of the file."""
    found = {}
    # `manifests.read` has checked the manifest itself.
    digests = {} if earlier is None else {**earlier['files'], path.name: None}
    for name, digest in digests.items():
      file = path.with_name(name)
      if file.is_file() and not file.is_symlink() and _identity(file) not in self._inputs:
        is_unchanged = digest is None or files.fingerprint(file).sha256 == digest
        found[_identity(file)] = file, is_unchanged
    return found

  def _is_foreign(self, path: pathlib.Path, own: dict) -> bool:
    """Returns whether a file is there that no earlier run wrote; raises FileExistsError for other clashes."""
    if not os.path.lexists(path):
      return False
    if path.exists() and _identity(path) in self._inputs:
      raise FileExistsError(f'{path}: is an input of this run, and an output would replace it; {_HINT}.')
    if not stat.S_ISREG(path.lstat().st_mode):
      kind = 'a folder' if path.is_dir() and not path.is_symlink() else 'not a regular file'
      raise FileExistsError(f'{path}: is {kind}, where an output belongs; {_HINT}.')
    file, is_unchanged = own.get(_identity(path), (None, False))
    if file is not None and not is_unchanged:
      raise FileExistsError(f'{path}: has changed since an earlier run wrote it; move it, or {_HINT}.')
    return file is None

  def _check_request(self, path, earlier: dict, source, request: Mapping, sha256: str | None) -> None:
    if sha256 is None and source is not None:
      try:
        sha256 = files.fingerprint(source).sha256
      except OSError:  # It will have no outputs, and its own error.
        return
    known = manifests.request_fields(earlier)
    for key, value in file_names.utf8({'input': sha256, **request}).items():
      if known.get(key) != value:
        what = 'the input' if key == 'input' else f'{key} {_quoted(known.get(key))}, now {_quoted(value)}'
        raise FileExistsError(
          f'{path}: holds the outputs of another request ({what}); give --overwrite to replace them, or '
          f'{_HINT}.'
        )


@contextlib.contextmanager
def staging_folder(stem: pathlib.Path) -> Generator[pathlib.Path]:
  """Yields a hidden folder beside the outputs, in which they are written until all are complete.

  Raises:
    OSError: they cannot be written; the error names the folder of the outputs.
  """
  stem.parent.mkdir(parents=True, exist_ok=True)
  folder = files.partial_path(stem)
  try:
    with files.renamed_errors(folder, stem.parent):
      folder.mkdir()
      yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def publish(folder: pathlib.Path, stem: pathlib.Path, earlier: Iterable[pathlib.Path]) -> None:
  """Renames the files of a staging folder to their place, the manifest last, and removes the earlier ones.

  Args:
    folder: see `staging_folder`.
    stem: folder and name of the outputs, without endings.
    earlier: files of an earlier run, see `OverwriteGuard.check`.
  """
  manifest = f'{stem.name}.json'
  new = [path.name for path in folder.iterdir()]
  for name in new:
    if name != manifest:
      (folder / name).replace(stem.with_name(name))
  current = {_identity(path) for path in map(stem.with_name, new) if path.exists()}
  for path in earlier:
    if path.exists() and _identity(path) not in current:
      path.unlink()
  (folder / manifest).replace(stem.with_name(manifest))


def _identity(path: pathlib.Path) -> tuple[int, int]:
  """Returns an identity of a file that does not depend on its name: the same for all links to it."""
  found = path.stat()
  return found.st_dev, found.st_ino


def _folded(name: str) -> str:
  return unicodedata.normalize('NFC', name).casefold()


def _quoted(value) -> str:
  text = 'none' if value is None else file_names.printable(json.dumps(value, ensure_ascii=False))
  return text if len(text) <= 40 else text[:37] + '...'
