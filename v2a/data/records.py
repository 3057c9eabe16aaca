"""Folders of records on disk: random access; `record_writer` writes them.

A folder holds shards (ArrayRecord files) and `manifest.json`. The manifest's hash is the SHA-256 of all
encoded records in order: two folders with one hash hold the same data. The manifest also has size and SHA-256
of every shard, by which `shards.verify` finds what has changed since.

A folder may be in an object store (`v2a.storage`). There it is complete when its manifest is written, which
is last; its shards are written on this machine first, one at a time, and read by way of `shard_cache`.
"""

import abc
import bisect
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import hashlib
import itertools
import struct
from typing import Protocol

import numpy as np

from v2a import clip
from v2a import file_names
from v2a import storage
from v2a.data import caption_choice
from v2a.data import contents as contents_lib
from v2a.data import manifest_file
from v2a.data import media_folder
from v2a.data import media_source
from v2a.data import record_schema
from v2a.data import shards

Key = caption_choice.Key  # seed, step, position in the batch
MANIFEST = 'manifest.json'
_NUM_COUNTED = 512  # records counted of a folder whose manifest has no contents
_NUM_SAMPLED_IDS = 64  # at least, of a folder that has as many


class RecordSource(Protocol):
  """Random access to records: `len(source)`, `source[3]`.

  Attributes:
    spec: ClipSpec of all records.
    hash: SHA-256 of the content.
    folders: of the records; () if they are in memory.
  """

  spec: clip.ClipSpec
  hash: str

  @property
  def folders(self) -> tuple['FolderSource | media_source.MediaSource', ...]:
    """See the class."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> dict: ...

  def read(self, index: int, key: Key, clip_s: float | None = None) -> dict:
    """Returns a record; what is random in it is a function of seed, step and position in the batch.

    Args:
      index: of the record.
      key: seed, step and position.
      clip_s: length to which media records are padded or cut; None for that of `spec`.
    """
    ...


class _FixedSource(abc.ABC):
  """Records in which nothing is random, and whose length is that of `spec`."""

  @abc.abstractmethod
  def __getitem__(self, index: int) -> dict: ...

  def read(self, index: int, key: Key, clip_s: float | None = None) -> dict:
    """Returns a record; nothing is random in it, and its length is that of `spec`.

    Args:
      index: of the record.
      key: seed, step and position in the batch.
      clip_s: length of media records; None for that of `spec`.
    """
    del key, clip_s
    return self[index]


class FolderSource(_FixedSource):
  """Random access to the records of one folder: `len(folder)`, `folder[3]`.

  Attributes:
    path: of the folder.
    manifest: content of manifest.json.
    spec: ClipSpec of all records.
    hash: SHA-256 of the content.
    shards: files of the folder, in order.
    codecs: bottleneck -> path and digest (weights.codec_digest) of the codec that encoded the records; {} if
      the manifest does not have them.
    notes: lines to log; none.
  """

  notes: Sequence[str] = ()

  def __init__(self, path: str | storage.Path):
    self.path = checked_path(path)
    self.manifest = _read_manifest(self.path)
    self.spec = clip.ClipSpec(**self.manifest['spec'])
    self.hash = self.manifest['hash']
    self.codecs = self.manifest.get('about', {}).get('codecs', {})
    self.shards = shards.from_manifest(self.path, self.manifest['shards'])
    shards.check_present(self.path, self.shards)
    self._ends = list(itertools.accumulate(shard.num_records for shard in self.shards))
    num_held = self._ends[-1] if self._ends else 0
    if num_held != len(self):
      raise ValueError(f'{self.path} holds {num_held} records in its shards; {MANIFEST} says {len(self)}.')

  @property
  def folders(self) -> tuple['FolderSource', ...]:
    """This folder."""
    return (self,)

  def __len__(self) -> int:
    return self.manifest['num_records']

  def __getitem__(self, index: int) -> dict:
    """Returns a record. Raises CorruptRecordError if it has changed, and OSError if the storage fails."""
    if not 0 <= index < len(self):
      raise IndexError(f'Record {index} of {self.path}, which has {len(self)}.')
    which = bisect.bisect_right(self._ends, index)
    shard, position = self.shards[which], index - (self._ends[which - 1] if which else 0)
    data = shard.read(position)
    try:
      return record_schema.decode(data)
    except (ValueError, KeyError) as error:
      raise shards.CorruptRecordError(f'record {position} of {shard.path} is corrupt: {error}') from error


class InMemorySource(_FixedSource):
  """Records held in memory."""

  folders: tuple['FolderSource | media_source.MediaSource', ...] = ()

  def __init__(self, items: Sequence[dict], spec: clip.ClipSpec):
    self._data = [record_schema.encode(record) for record in items]
    for record in items:
      record_schema.validate(record, spec)
    self.spec = spec
    digest = hashlib.sha256()
    for data in self._data:
      digest.update(struct.pack('<Q', len(data)) + data)
    self.hash = digest.hexdigest()

  def __len__(self) -> int:
    return len(self._data)

  def __getitem__(self, index: int) -> dict:
    if not 0 <= index < len(self):
      raise IndexError(f'Record {index} of {len(self)}.')
    return record_schema.decode(self._data[index])


class ConcatSource:
  """Concatenation of several sources."""

  def __init__(self, sources: Sequence[RecordSource]):
    if not sources:
      raise ValueError('At least one source of records is required; got none.')
    self.spec = sources[0].spec
    for source in sources:
      if source.spec != self.spec:
        raise ValueError(f'Records of one source must share one ClipSpec; got {self.spec} and {source.spec}.')
    self.sources = tuple(sources)
    self._ends = list(itertools.accumulate(len(source) for source in sources))
    self.hash = hashlib.sha256(' '.join(source.hash for source in sources).encode()).hexdigest()
    if len(sources) == 1:
      self.hash = sources[0].hash

  @property
  def folders(self) -> tuple[FolderSource | media_source.MediaSource, ...]:
    """The folders of all sources, in order."""
    return tuple(folder for source in self.sources for folder in source.folders)

  @property
  def shards(self) -> list[shards.Shard]:
    """The shards of all folders, in order."""
    return [shard for folder in self.folders for shard in folder.shards]

  def __len__(self) -> int:
    return self._ends[-1]

  def __getitem__(self, index: int) -> dict:
    source, position = self._locate(index)
    return source[position]

  def read(self, index: int, key: Key, clip_s: float | None = None) -> dict:
    """Returns a record, see `RecordSource.read`.

    Args:
      index: of the record.
      key: seed, step and position in the batch.
      clip_s: length of media records; None for that of `spec`.
    """
    source, position = self._locate(index)
    return source.read(position, key, clip_s)

  def _locate(self, index: int) -> tuple[RecordSource, int]:
    """Returns the source of a record, and its index there."""
    if not 0 <= index < len(self):
      raise IndexError(f'Record {index} of {len(self)}.')
    which = bisect.bisect_right(self._ends, index)
    return self.sources[which], index - (self._ends[which - 1] if which else 0)


def open(
  *paths: str | storage.Path,
  spec: clip.ClipSpec | None = None,
  fields: Collection[str] = record_schema.ALL,
  mirror_probability: float = 0.0,
) -> ConcatSource:
  """Opens one or several folders of records as one source.

  Args:
    *paths: folders of records, or of media records.
    spec: lengths and rates at which media records are read; other records have their own.
    fields: what is read of media records, see `record_schema.FIELDS`; other records are read whole.
    mirror_probability: share of media records that are mirrored, see `media_source`.

  Returns:
    Their concatenation.

  Raises:
    FileNotFoundError: a folder or its manifest does not exist.
    ValueError: a manifest is damaged, the folders differ in ClipSpec, media records are read without one, or
      others are to be mirrored.
  """
  return ConcatSource([_open(path, spec, fields, mirror_probability) for path in paths])


def _open(
  path: str | storage.Path, spec: clip.ClipSpec | None, fields: Collection[str], mirror_probability: float
) -> 'FolderSource | media_source.MediaSource':
  if not media_folder.is_media_folder(path):
    if splits := media_folder.splits_of_set(path):
      raise ValueError(f'{path} is a data set; wanted the records of a split of it: {", ".join(splits)}.')
    if mirror_probability:
      raise ValueError(f'config.data.mirror_probability is for media records; {path} holds other records.')
    return FolderSource(path)
  if spec is None:
    raise ValueError(f'{path} holds media records; wanted records of one length, with frames and waveforms.')
  return media_source.MediaSource(path, spec, fields, mirror_probability)


def sample_indices(num_records: int, count: int, seed: int) -> list[int]:
  """Returns up to `count` different indices of records, spread at random over all, in order.

  Args:
    num_records: number of records to sample from.
    count: how many indices; all if there are no more records.
    seed: the same seed gives the same indices.
  """
  if count >= num_records:
    return list(range(num_records))
  return sorted(np.random.default_rng((seed, 0x5A3B)).choice(num_records, count, replace=False).tolist())


def contents(source: RecordSource) -> contents_lib.Contents:
  """Returns statistics of a source, of a sample of records where a manifest does not have them.

  If no record of the sample has audio, all records are counted.
  """
  if isinstance(source, ConcatSource):
    return sum(map(contents, source.sources), contents_lib.Contents())
  if isinstance(source, media_source.MediaSource):
    return source.contents()
  if isinstance(source, FolderSource) and 'contents' in source.manifest:
    return contents_lib.Contents.from_json(source.manifest['contents'])
  for indices in (sample_indices(len(source), _NUM_COUNTED, 0), range(len(source))):
    found = contents_lib.Contents()
    for index in indices:
      with contextlib.suppress(shards.CorruptRecordError):
        found.add(source[index])
    if found.num_with_audio:
      break
  return found


def sample_ids(paths: Iterable[str | storage.Path]) -> list[str]:
  """Returns ids of records at even distances in each of several folders."""
  ids = []
  for path in paths:
    if media_folder.is_media_folder(path):
      folder = media_folder.MediaFolder(path)
      ids += [folder[index].id for index in _even_indices(len(folder))]
    else:
      source = open(path)
      ids += [source[index]['id'] for index in _even_indices(len(source))]
  return ids


def _even_indices(num_records: int) -> range:
  return range(0, num_records, max(1, num_records // _NUM_SAMPLED_IDS))


def checked_path(path: str | storage.Path) -> storage.Path:
  """Returns the path of a folder of records.

  Raises:
    ValueError: ArrayRecord cannot open it.
  """
  if file_names.utf8(str(path)) != str(path):
    raise ValueError(
      f'{file_names.printable(str(path))}: the path of records must be UTF-8; got other bytes.'
    )
  return storage.parse(path, 'the folder of records')


def _read_manifest(path: storage.Path) -> dict:
  """Returns the manifest of a folder of records; see `manifest_file.read` for the errors."""
  keys, kind = ('num_records', 'hash', 'spec', 'shards'), ('version', record_schema.VERSION)
  return manifest_file.read(path / MANIFEST, f'{path} is no folder of records', kind, keys)
