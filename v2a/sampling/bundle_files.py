"""Bundles on disk: written as one folder of float16 weights, and extended by further generators."""

from collections.abc import Generator
import contextlib
import os
import pathlib
import shutil

from v2a import file_names
from v2a import files
from v2a import weights
from v2a.config import files as files_lib
from v2a.data import records
from v2a.ood import detector
from v2a.sampling import bundle
from v2a.sampling import samplers
from v2a.synthetic import record_ids


def save(model: bundle.Bundle, path: str | pathlib.Path) -> None:
  """Writes a model as a bundle of float16 weights that `load` reads.

  Raises:
    FileExistsError: the folder is there already.
  """
  path = pathlib.Path(path)
  if os.path.lexists(path):
    raise FileExistsError(f'{path} exists already; a bundle is written to a new folder.')
  with _written(model, path) as partial:
    partial.rename(path)


def save_codec(export: weights.Export, path: str | pathlib.Path) -> None:
  """Writes a codec by itself, with float16 weights; `weights.load_export` reads it.

  It keeps the name of the packaged codec whose trunk it was initialized from, which ranking needs.

  Raises:
    FileExistsError: the folder is there already.
    ValueError: the model is no codec.
  """
  path = pathlib.Path(path)
  if export.config.task != 'codec':
    raise ValueError(f'{export.folder} must be a codec; got a model of task {export.config.task!r}.')
  if os.path.lexists(path):
    raise FileExistsError(f'{path} exists already; a codec is written to a new folder.')
  trunk = pathlib.PurePath(export.config.init_from.codec).name
  partial = files.partial_path(path)
  try:
    _write_part(export, partial, trunk if trunk and weights.is_packaged(trunk) else '')
    partial.rename(path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def is_bundle(path: str | pathlib.Path) -> bool:
  """Whether a folder is a bundle."""
  return bool(_bundled(pathlib.Path(path)).keys() & samplers.GENERATORS.keys())


def extend(path: str | pathlib.Path, model: bundle.Bundle) -> None:
  """Adds the parts of a model that a bundle lacks; nothing in it is replaced.

  Raises:
    FileExistsError: the bundle has another model of one part.
    ValueError: the generators of both do not belong together.
  """
  path = pathlib.Path(path)
  with _written(model, path) as partial:
    _move_missing(partial, path)


def _bundled(path: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns the folders of the parts of a bundle."""
  return {part: path / part for part in bundle.PART_BUILDERS if (path / part / weights.WEIGHTS).is_file()}


def _move_missing(partial: pathlib.Path, path: pathlib.Path) -> None:
  there, written = _bundled(path), _bundled(partial)
  for part in written:
    if os.path.lexists(path / part) and not _is_same(path / part, partial / part):
      raise FileExistsError(
        f'{path / part} exists already and is another model; wanted the same, or a new folder.'
      )
  whole = bundle.Bundle(file_names.printable(path.resolve().name), bundle.Exports(written | there))
  for name in whole.generator_names:
    whole.generator(name)  # raises where clip or codec are not those of the others
  # Generators last: one without its codec would be no model.
  missing = sorted(set(written) - set(there), key=lambda part: part in samplers.GENERATORS)
  moved = []
  try:
    for part in missing:
      written[part].rename(path / part)
      moved.append(part)
  except OSError:
    for part in reversed(moved):
      shutil.rmtree(path / part, ignore_errors=True)
    raise


def _is_same(folder: pathlib.Path, other: pathlib.Path) -> bool:
  """Whether all files of `other` are in a folder, with the same content."""
  return all(
    (folder / file.name).is_file() and files.sha256(folder / file.name) == files.sha256(file)
    for file in other.iterdir()
  )


@contextlib.contextmanager
def _written(model: bundle.Bundle, path: pathlib.Path) -> Generator[pathlib.Path]:
  """Writes a model to a temporary bundle in the folder of a path; what is not moved is removed."""
  partial = files.partial_path(path)
  try:
    _write(model, partial)
    yield partial
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _write(model: bundle.Bundle, partial: pathlib.Path) -> None:
  for part, export in model.exports.items():
    _write_part(export, partial / part)
    found = model.ood_detector(part) if part in samplers.GENERATORS else None
    if found is not None:
      detector.save(found, partial / part / detector.FILE)


def _write_part(export: weights.Export, folder: pathlib.Path, trunk: str = '') -> None:
  """Writes one part, without the paths of the models that it was initialized from.

  Args:
    export: the part.
    folder: that is written.
    trunk: name of the packaged codec that a codec was initialized from.
  """
  c = files_lib.loads(files_lib.dumps(export.config)).unlock()
  c.init_from.update(dict.fromkeys(c.init_from, ''))  # a bundle is whole; paths of a machine mean nothing
  c.init_from.codec = trunk
  is_here = [(pathlib.Path(path) / records.MANIFEST).is_file() for path in c.data.train]
  if not c.data.synthetic_seeds and all(is_here):
    c.data.synthetic_seeds = tuple(record_ids.seeds(records.sample_ids(c.data.train)))
  weights.export(export.arrays, folder, c.lock(), 'float16', export.about)
