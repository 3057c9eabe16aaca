"""Columns of media records: what an encoder computed of each clip, stored beside the records.

  folder/columns/latents/manifest.json               of which records, by which encoder; written last
  folder/columns/latents/records-00012.array_record  one row per record of the shard of that name

A row is a map of MessagePack,

  {'version': 1, 'id': ..., 'arrays': {name: {'dtype', 'shape', 'data'}}, 'values': {...}}

whose arrays are little endian and whose values are those of JSON. Rows and records are joined by position,
and their ids are compared. Another encoder replaces its column alone; records and other columns are not
touched.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import json
import pathlib
import tempfile
from typing import Any

from array_record.python import array_record_module
import msgpack
import numpy as np

from v2a import files
from v2a import storage
from v2a.data import manifest_file
from v2a.data import media_folder
from v2a.data import shards

COLUMNS = 'columns'
MANIFEST, SETTINGS = 'manifest.json', 'settings.json'
FORMAT = 'v2a column 1'
VERSION = 1
_WRITER_OPTIONS = 'group_size:1,zstd:1'


@dataclasses.dataclass(frozen=True)
class Row:
  """What a column holds of a record.

  Attributes:
    id: of the record.
    arrays: by name.
    values: of JSON, by name.
  """

  id: str
  arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def path_of(folder: media_folder.MediaFolder, name: str) -> storage.Path:
  """Returns the folder of a column."""
  return folder.path / COLUMNS / name


class Column:
  """Random access to the rows of a column.

  Attributes:
    name: such as 'latents'.
    about: what computed it.
    hash: SHA-256 of the digests of its shards: two columns with one hash hold the same rows.
  """

  def __init__(self, folder: media_folder.MediaFolder, name: str):
    """Opens a column.

    Raises:
      FileNotFoundError: the folder has no such column, or it was not finished.
      ValueError: it is of other records.
    """
    path = path_of(folder, name)
    absent = f'{folder.path} has no finished column {name!r}'
    manifest = manifest_file.read(path / MANIFEST, absent, ('format', FORMAT), ('records', 'about', 'shards'))
    if manifest['records'] != folder.hash:
      raise ValueError(f'{path} is a column of other records than those of {folder.path}; encode them again.')
    self.name, self.about = name, manifest['about']
    self._folder, self._shards = folder, shards.from_manifest(path, manifest['shards'])
    for shard in self._shards:
      shard.close()  # it may be of a column that was replaced since
    digests = ' '.join(str(shard.sha256) for shard in self._shards)
    self.hash = hashlib.sha256(digests.encode()).hexdigest()

  def read(self, shard: int, position: int, record_id: str | None = None) -> Row:
    """Returns the row of a record.

    Args:
      shard: index of its shard.
      position: of the record in the shard.
      record_id: its id, which is compared; None where it is not known.

    Raises:
      CorruptRecordError: the row is corrupt, or belongs to another record.
      OSError: the storage fails.
    """
    found = self._shards[shard]
    try:
      row = decode_row(found.read(position))
    except ValueError as error:
      raise shards.CorruptRecordError(f'row {position} of {found.path} is corrupt: {error}') from error
    if record_id not in (None, row.id):
      raise shards.CorruptRecordError(
        f'row {position} of {found.path} belongs to record {row.id!r}; wanted {record_id!r}.'
      )
    return row

  def verify(self, ids: Sequence[str] | None = None) -> None:
    """Rereads all shards, and all rows where the ids of the records are given.

    Args:
      ids: of the records, in order, with which those of the rows are compared.

    Raises:
      FileNotFoundError: a shard is missing.
      ValueError: a shard or a row has changed, or belongs to another record.
    """
    for shard in self._shards:
      shard.check_present()
    shards.verify(self._shards)
    for index, record_id in enumerate(ids or ()):
      self.read(*self._folder.locate(index), record_id)


def names(folder: media_folder.MediaFolder) -> list[str]:
  """Returns the names of the finished columns of a folder."""
  return [
    path.name for path in storage.list_folder(folder.path / COLUMNS) if storage.is_file(path / MANIFEST)
  ]


def replace(folder: media_folder.MediaFolder, name: str, new: str) -> None:
  """Puts a finished column in the place of another one, or where there is none; `new` is gone then.

  After an interruption at any point one of both is there whole, and calling this again completes it.

  Args:
    folder: of the media records.
    name: of the column that is replaced.
    new: of the column that replaces it.

  Raises:
    OSError: the storage fails.
  """
  source, target = path_of(folder, new), path_of(folder, name)
  old = path_of(folder, f'{name}.old')
  if isinstance(source, pathlib.Path) and isinstance(target, pathlib.Path):
    if target.exists():
      if old.exists():
        storage.remove_folder(old)
      target.rename(old)
    source.rename(target)
    if old.exists():
      storage.remove_folder(old)
    return
  with tempfile.TemporaryDirectory(prefix='v2a-') as copy:  # a store has no renames
    storage.download_folder(source, pathlib.Path(copy))
    storage.remove_folder(target)
    storage.upload_folder(pathlib.Path(copy), target, last=(MANIFEST,))
  storage.remove_folder(source)


class Writer:
  """Writes a column shard by shard; one that was interrupted continues after its last whole shard.

  ```
  writer = feature_columns.Writer(folder, 'latents', {'digest': ...})
  for shard in writer.missing():
    writer.write(shard, rows)
  writer.finish()
  ```
  """

  def __init__(self, folder: media_folder.MediaFolder, name: str, about: Mapping[str, Any]):
    """Begins or continues a column.

    Args:
      folder: of the media records.
      name: of the column.
      about: what computes it, as values of JSON; 'digest' identifies it.

    Raises:
      FileExistsError: the column is there, of another encoder.
    """
    self._folder, self.path, self._about = folder, path_of(folder, name), dict(about)
    wanted = {'records': folder.hash, **about}
    wanted.pop('path', None)  # the same encoder may lie elsewhere
    settings = self.path / SETTINGS
    self._states: dict[int, dict[str, Any]] = {}  # size and digest of the shards that were written here
    if storage.exists(settings):
      found = json.loads(storage.read_text(settings))
      if found != wanted:
        raise FileExistsError(
          f'{self.path} was computed by another encoder, or of other records; delete that folder, or choose '
          'to replace it.'
        )
    else:
      storage.make_folder(self.path)
      files.write_text(settings, json.dumps(wanted, indent=2) + '\n')

  def remove_partials(self) -> None:
    """Deletes what a process that was killed has left; while no other process writes the column."""
    if isinstance(self.path, pathlib.Path):
      for partial in self.path.glob('.*.partial*'):
        partial.unlink()

  def missing(self) -> list[int]:
    """Returns the indices of the shards that are not written yet."""
    there = {path.name for path in storage.list_folder(self.path)}
    return [index for index in range(len(self._folder.shards)) if self._shard(index).name not in there]

  def _shard(self, index: int) -> storage.Path:
    return self.path / self._folder.shards[index].path.name

  def write(self, index: int, rows: Iterable[Row]) -> None:
    """Writes a shard; the file appears under its name when it is complete.

    Args:
      index: of the shard.
      rows: of its records, in their order.

    Raises:
      OSError: the file cannot be written.
      ValueError: the number of rows is not that of the records.
    """
    path, wanted, count = self._shard(index), self._folder.shards[index].num_records, 0
    with files.atomic_write(path) as partial:
      writer = array_record_module.ArrayRecordWriter(str(partial), _WRITER_OPTIONS)
      try:
        for row in rows:
          writer.write(encode_row(row))
          count += 1
        writer.close()
      except RuntimeError as error:
        raise OSError(f'{path} cannot be written: {error}') from error
      if count != wanted:
        raise ValueError(f'{path}: wanted {wanted} rows, one per record; got {count}.')
      state = {'num_bytes': partial.stat().st_size, 'sha256': files.sha256(partial)}
    self._states[index] = state

  def finish(self, found: Mapping[str, Any] | None = None) -> None:
    """Writes the manifest; without it the column is not read.

    Args:
      found: further values of `about`, which are known in the end.
    """
    entries = []
    for index, shard in enumerate(self._folder.shards):
      path = self._shard(index)
      if index not in self._states:  # written before an interruption
        with storage.local_file(path) as file:
          self._states[index] = {'num_bytes': file.stat().st_size, 'sha256': files.sha256(file)}
      entries.append({'name': path.name, 'num_records': shard.num_records, **self._states[index]})
    manifest = {
      'format': FORMAT,
      'records': self._folder.hash,
      'about': {**self._about, **(found or {})},
      'shards': entries,
    }
    files.write_text(self.path / MANIFEST, json.dumps(manifest, indent=2) + '\n')


def encode_row(row: Row) -> bytes:
  """Returns a row as MessagePack. Equal rows give equal bytes."""
  packed = {}
  for name, array in sorted(row.arrays.items()):
    little = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
    packed[name] = {'dtype': array.dtype.name, 'shape': list(array.shape), 'data': little.tobytes()}
  values = dict(sorted(row.values.items()))
  return msgpack.packb(
    {'version': VERSION, 'id': row.id, 'arrays': packed, 'values': values}, use_bin_type=True
  )


def decode_row(data: bytes) -> Row:
  """Returns the row of `encode_row`; its arrays are read-only views of the bytes.

  Raises:
    ValueError: the bytes are no row, or of another version.
  """
  try:
    found: Any = msgpack.unpackb(data, raw=False)
    if found['version'] != VERSION:
      raise ValueError(f'version {found["version"]!r}; wanted {VERSION}')
    arrays = {
      name: np.frombuffer(each['data'], np.dtype(each['dtype']).newbyteorder('<')).reshape(each['shape'])
      for name, each in found['arrays'].items()
    }
    return Row(found['id'], arrays, found['values'])
  except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
    raise ValueError(f'it is no row of a column ({error})') from error
