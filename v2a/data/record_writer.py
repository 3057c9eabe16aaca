"""Writes folders of records of fixed length, which `records` reads."""

from collections.abc import Callable
from collections.abc import Iterable
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
import struct
import tempfile

from array_record.python import array_record_module

from v2a import clip
from v2a import files
from v2a import storage
from v2a.data import contents as contents_lib
from v2a.data import record_schema
from v2a.data import records

_WRITER_OPTIONS = 'group_size:1,zstd:1'


class Writer:
  """Writes records to a new folder, which appears under its name only when complete.

  ```
  with record_writer.Writer(path, spec, about={'source': 'synthetic', 'seed': 3}) as writer:
    writer.add(record)
  ```
  """

  def __init__(
    self,
    path: str | storage.Path,
    spec: clip.ClipSpec,
    about: dict | None = None,
    records_per_shard: int = 512,
  ):
    """Prepares writing; the folder is created on entering the context.

    Args:
      path: of the folder.
      spec: lengths of every record.
      about: JSON-able notes for the manifest.
      records_per_shard: number of records in each shard but the last.

    Raises:
      FileExistsError: the folder exists.
      OSError: its store cannot be reached.
      ValueError: its path is not UTF-8.
    """
    self.path = records.checked_path(path)
    self._is_remote = storage.is_remote(self.path)
    if storage.exists(self.path):
      is_whole = not self._is_remote or storage.is_file(self.path / records.MANIFEST)
      state = (
        'exists already' if is_whole else f'has files but no {records.MANIFEST}: its writer did not finish'
      )
      raise FileExistsError(f'{self.path} {state}; records are written to a new folder.')
    self._spec = spec
    self._about = dict(about or {})
    self._records_per_shard = records_per_shard
    # Of a store, in the temporary folder of this machine.
    beside = self.path if isinstance(self.path, pathlib.Path) else f'{tempfile.gettempdir()}/v2a-records'
    self._partial = files.partial_path(beside)
    self._shards: list[dict] = []
    self._shard = None
    self._hash = hashlib.sha256()
    self._ids: set[str] = set()
    self.contents = contents_lib.Contents()  # of the records written so far

  def __enter__(self) -> 'Writer':
    self._partial.mkdir(parents=True)
    return self

  def add(self, record: dict) -> None:
    """Appends one record. Raises ValueError if it does not fit the schema or repeats an id."""
    record_schema.validate(record, self._spec)
    if record['id'] in self._ids:
      raise ValueError(f'Record id {record["id"]!r} occurs twice in {self.path}.')
    self._ids.add(record['id'])
    self.contents.add(record)
    data = record_schema.encode(record)
    if self._shard is None or self._shards[-1]['num_records'] == self._records_per_shard:
      self._close_shard()
      name = f'records-{len(self._shards):05d}.array_record'
      self._shard = array_record_module.ArrayRecordWriter(str(self._partial / name), _WRITER_OPTIONS)
      self._shards.append({'name': name, 'num_records': 0})
    self._checked(self._shard.write, data)
    self._shards[-1]['num_records'] += 1
    self._hash.update(struct.pack('<Q', len(data)) + data)

  def _checked(self, work: Callable, *args) -> None:
    """Calls a method of a shard, which raises RuntimeError where its file cannot be written."""
    try:
      work(*args)
    except RuntimeError as error:
      raise OSError(f'{self.path} cannot be written: {error}') from error

  def _close_shard(self) -> None:
    if self._shard is not None:
      self._checked(self._shard.close)
      self._shard = None
      file = self._partial / self._shards[-1]['name']
      self._shards[-1] |= {'num_bytes': file.stat().st_size, 'sha256': files.sha256(file)}
      if self._is_remote:
        storage.upload(file, self.path / file.name)
        file.unlink()

  def __exit__(self, error_type, error, traceback) -> None:
    is_whole = False
    try:
      if error_type is None:
        self._close_shard()
        self._write_manifest()
        is_whole = True
    finally:
      if not is_whole:
        self._shard = None  # closing it could raise another error
        self._remove_uploaded()
      if not is_whole or self._is_remote:
        shutil.rmtree(self._partial, ignore_errors=True)
    if is_whole and not self._is_remote:
      try:
        self._partial.rename(self.path)
      except OSError as fault:
        raise OSError(
          f'{self.path} is there by now ({fault.strerror}); the records are in {self._partial}.'
        ) from fault

  def _remove_uploaded(self) -> None:
    for shard in self._shards if self._is_remote else ():
      with contextlib.suppress(OSError):
        storage.remove(self.path / shard['name'])

  def _write_manifest(self) -> None:
    manifest = {
      'version': record_schema.VERSION,
      'num_records': len(self._ids),
      'hash': self._hash.hexdigest(),
      'spec': dataclasses.asdict(self._spec),
      'about': self._about,
      'contents': self.contents.to_json(),
      'shards': self._shards,
    }
    text = json.dumps(manifest, indent=2) + '\n'
    if self._is_remote:
      storage.write_object(self.path / records.MANIFEST, text.encode(), is_new=True)
    else:
      (self._partial / records.MANIFEST).write_text(text)


def write(
  path: str | storage.Path, items: Iterable[dict], spec: clip.ClipSpec, about: dict | None = None
) -> None:
  """Writes all records of an iterable to a new folder; see `Writer`.

  Args:
    path: of the folder.
    items: the records, written in this order.
    spec: lengths of every record.
    about: JSON-able notes for the manifest.
  """
  with Writer(path, spec, about) as writer:
    for record in items:
      writer.add(record)
