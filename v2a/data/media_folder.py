"""Folders of media records, on disk or in an object store: manifest, random access, verification.

  folder/manifest.json                 format, number of records, shards with bytes, SHA-256 and ids
  folder/records-00012.array_record    a shard

Opening reads the manifest alone: a set of 10,000 shards opens in a second, and a file that is missing or has
another size is found when it is read, or by `verify`, which rereads everything.
"""

import bisect
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import functools
import hashlib
import itertools
import json
from typing import Any

import numpy as np

from v2a import files
from v2a import storage
from v2a.data import manifest_file
from v2a.data import media_records
from v2a.data import shards

MANIFEST = 'manifest.json'
FORMAT = 'v2a media records 1'


class MediaFolder:
  """Random access to the media records of a folder: `len(folder)`, `folder[3]`.

  Attributes:
    path: of the folder.
    manifest: content of manifest.json.
    shards: files of the folder, in order.
    hash: SHA-256 of the digests of all shards: two folders with one hash hold the same records.
  """

  def __init__(self, path: str | storage.Path):
    """Reads the manifest.

    Raises:
      FileNotFoundError: the folder has no manifest.
      ValueError: it is none of media records.
    """
    self.path = storage.parse(path, 'the folder of media records')
    self.manifest = read_manifest(self.path)
    self.shards = shards.from_manifest(self.path, self.manifest['shards'])
    self.hash = self.manifest['hash']
    self._ends = list(itertools.accumulate(shard.num_records for shard in self.shards))
    if len(self) != self.manifest['num_records']:
      raise ValueError(
        f'{self.path / MANIFEST} was changed: it says {self.manifest["num_records"]} records, its shards '
        f'have {len(self)}.'
      )

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: int) -> media_records.MediaRecord:
    """Returns a record.

    Raises:
      CorruptRecordError: it has changed since it was written.
      OSError: the storage fails.
    """
    which, position = self.locate(index)
    shard = self.shards[which]
    data = shard.read(position)
    try:
      return media_records.MediaRecord.from_bytes(data)
    except ValueError as error:
      raise shards.CorruptRecordError(f'record {position} of {shard.path} is corrupt: {error}') from error

  @functools.cached_property
  def durations_s(self) -> np.ndarray:
    """Durations of all records, float32. Raises ValueError if the manifest lacks them."""
    try:
      found = [duration_s for entry in self.manifest['shards'] for duration_s in entry['durations_s']]
    except KeyError as error:
      raise ValueError(f'{self.path / MANIFEST} has no durations of records; build the set again.') from error
    return np.array(found, np.float32)

  def locate(self, index: int) -> tuple[int, int]:
    """Returns the index of the shard of a record, and its position there. Raises IndexError."""
    if not 0 <= index < len(self):
      raise IndexError(f'Record {index} of {self.path}, which has {len(self)}.')
    which = bisect.bisect_right(self._ends, index)
    return which, index - (self._ends[which - 1] if which else 0)

  def indices(self, shard: int) -> range:
    """Returns the indices of the records of a shard."""
    return range(self._ends[shard - 1] if shard else 0, self._ends[shard])


def check_shard(folder: MediaFolder, shard: int) -> None:
  """Compares the ids of the first and last record of a shard with those of the manifest.

  Raises:
    CorruptRecordError: one cannot be read.
    OSError: the storage fails.
    ValueError: one has another id: the shard was replaced.
  """
  indices, entry = folder.indices(shard), folder.manifest['shards'][shard]
  for key, index in (('first_id', indices[0]), ('last_id', indices[-1])):
    found = folder[index].id
    if found != entry.get(key, found):
      raise ValueError(
        f'{folder.shards[shard].path} was replaced: its {key} is {found!r}, {MANIFEST} says {entry[key]!r}. '
        'Build the data set with --resume.'
      )


def is_media_folder(path: str | storage.Path) -> bool:
  """Returns whether the manifest of a folder is one of media records."""
  return _content(path).get('format') == FORMAT


def splits_of_set(path: str | storage.Path) -> list[str]:
  """Returns the folders of media records in the folder of a data set; none in other folders."""
  return [str(storage.parse(path) / split) for split in _content(path).get('splits', ())]


def _content(path: str | storage.Path) -> Mapping[str, Any]:
  """Returns what the manifest of a folder of any kind holds; empty if it cannot be read."""
  try:
    found = json.loads(storage.read_text(storage.parse(path) / MANIFEST))
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def read_manifest(path: storage.Path) -> dict[str, Any]:
  """Returns the manifest of a folder of media records.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is another one.
  """
  keys, kind = ('hash', 'shards', 'num_records'), ('format', FORMAT)
  return manifest_file.read(path / MANIFEST, f'{path} is no folder of media records', kind, keys)


def write_manifest(
  path: storage.Path, entries: Iterable[Mapping[str, Any]], about: Mapping[str, Any]
) -> dict[str, Any]:
  """Writes the manifest of a folder whose shards are there, and returns its content.

  Args:
    path: of the folder.
    entries: name, num_records, num_bytes, sha256, first_id, last_id and durations_s of each shard, in order.
    about: further values.
  """
  found = [dict(entry) for entry in entries]
  digest = hashlib.sha256(' '.join(entry['sha256'] for entry in found).encode()).hexdigest()
  num_records = sum(entry['num_records'] for entry in found)
  manifest = {'format': FORMAT, 'num_records': num_records, 'hash': digest, **about, 'shards': found}
  files.write_text(path / MANIFEST, json.dumps(manifest, indent=2) + '\n')
  return manifest


def verify(folder: MediaFolder, report: Callable[[str], None] | None = None) -> list[str]:
  """Rereads all shards and records of a folder, and returns the ids of the records, in order.

  Args:
    folder: to verify.
    report: takes lines of progress.

  Raises:
    FileNotFoundError: a shard is missing.
    ValueError: a shard or a record has changed, an id occurs twice.
  """
  for shard in folder.shards:
    shard.check_present()
  shards.verify(folder.shards, report=report)
  seen: dict[str, None] = {}
  for index in range(len(folder)):
    name = folder[index].id
    if name in seen:
      raise ValueError(f'{folder.path}: the id {name!r} occurs twice.')
    seen[name] = None
  return list(seen)
