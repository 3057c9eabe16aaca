"""Shards: ArrayRecord files of a folder of records, with random access and a bounded number of open files.

A shard is opened when one of its records is read. All folders of a process share one cache of open shards; of
more than `max_open` the least recently used one is dropped, and closed once no thread reads it.

A shard in an object store is downloaded first (`shard_cache`), which checks its digest.

If a record cannot be read although all bytes of its shard can, it is corrupt, and reading it again does not
help (`CorruptRecordError`). Otherwise the storage fails, which may be temporary (OSError).
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import functools
import json
import pathlib
import resource
import threading
import time

from array_record.python import array_record_module

from v2a import files
from v2a import input_errors
from v2a import storage
from v2a.data import shard_cache

_MAX_OPEN = 1024
_SHARE_OF_DESCRIPTORS = 4  # shards may use 1 / this of the file descriptors; sockets and logs need some, too
# Records are read at random: the next record of the file is not needed next.
_READER_OPTIONS = 'readahead_buffer_size:0'
_REPORT_EVERY_S = 10.0
_MANIFEST = 'manifest.json'


class CorruptRecordError(ValueError):
  """A record has other bytes than were written; reading it again does not help."""


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of records.

  Attributes:
    path: of the file.
    num_records: number of records in it.
    num_bytes, sha256: of the file as it was written; None in older folders, of which none is in a store.
  """

  path: storage.Path
  num_records: int
  num_bytes: int | None = None
  sha256: str | None = None

  def check_present(self) -> None:
    """Raises FileNotFoundError where the file is missing, and ValueError where it has another size."""
    self.check_size(storage.size(self.path))

  def check_size(self, got: int | None) -> None:
    """Compares the size of the file with that of the manifest.

    Args:
      got: in bytes; None where there is no file.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it has another size.
    """
    if got is None:
      raise FileNotFoundError(f'{self.path} is missing, though the manifest beside it names it.')
    if self.num_bytes not in (None, got):
      raise ValueError(f'{self.path} has {got} bytes; wanted {self.num_bytes}, says the manifest beside it.')

  def read(self, position: int) -> bytes:
    """Returns the bytes of a record.

    Raises:
      CorruptRecordError: the file does not hold it.
      OSError: the storage fails.
    """
    try:
      return self._read(position)
    except RuntimeError as error:  # raised by ArrayRecord for everything, including failing storage
      if input_errors.is_out_of_memory(error):
        raise
      _OPEN.drop(self.path)  # its reader may have stored a temporary failure
      self._check_readable()
    try:
      return self._read(position)
    except RuntimeError as error:
      raise CorruptRecordError(f'record {position} of {self.path} is corrupt: {error}') from error

  def local_path(self) -> pathlib.Path:
    """Returns the file on this machine. Raises OSError or ValueError, see `shard_cache.fetch`."""
    if isinstance(self.path, pathlib.Path):
      return self.path
    assert self.sha256 is not None and self.num_bytes is not None, 'records.open refuses such folders'
    return shard_cache.fetch(self.path, self.sha256, self.num_bytes)

  def _check_readable(self) -> None:
    """Raises OSError if the file cannot be read; deletes a damaged copy of a shard in an object store."""
    path = self.local_path()
    if not path.exists() and path.with_name(_MANIFEST).exists():
      raise FileNotFoundError(f'{path} is missing, though the manifest beside it names it.')
    digest = _digest(path, path.stat().st_mtime_ns)
    if path != self.path and digest != self.sha256:
      shard_cache.discard_damaged(path, str(self.sha256))

  def close(self) -> None:
    """Lets the next record be read from the file that has the path then, where the file is replaced."""
    _OPEN.drop(self.path)

  def _read(self, position: int) -> bytes:
    data = _OPEN.get(self).read([position])[0]
    if not data:
      raise RuntimeError('it is empty')
    return data


class _OpenShards:
  """Readers of the most recently used shards, shared by threads."""

  def __init__(self):
    self._readers: collections.OrderedDict[storage.Path, object] = collections.OrderedDict()
    self._lock = threading.Lock()

  def get(self, shard: Shard):
    """Returns the reader of a shard."""
    path = shard.path
    with self._lock:
      if path in self._readers:
        self._readers.move_to_end(path)
        return self._readers[path]
    file = shard.local_path()  # not under the lock: others are read while one is downloaded
    with self._lock:
      if path in self._readers:  # opened meanwhile by another thread; none opens a shard several times
        return self._readers[path]
      while len(self._readers) >= max_open():
        # Not closed here: a thread may be reading. It is closed with the last reference.
        self._readers.popitem(last=False)
      reader = self._readers[path] = array_record_module.ArrayRecordReader(str(file), _READER_OPTIONS)
      return reader

  def drop(self, path: storage.Path) -> None:
    """Drops the reader of a shard, which may have cached bytes of a file that has changed."""
    with self._lock:
      self._readers.pop(path, None)

  def __len__(self) -> int:
    return len(self._readers)


_OPEN = _OpenShards()


def max_open() -> int:
  """Returns how many shards may be open at once: a part of the file descriptors of this process."""
  limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
  if limit == resource.RLIM_INFINITY:
    return _MAX_OPEN
  return max(1, min(_MAX_OPEN, limit // _SHARE_OF_DESCRIPTORS))


@functools.lru_cache(maxsize=4096)
def _digest(path: pathlib.Path, mtime_ns: int) -> str:
  """Returns the SHA-256 of a file; cached, since each corrupt record of it asks. Raises OSError."""
  del mtime_ns  # part of the cache's key
  return files.sha256(path)


class VerificationCache:
  """Shards whose digest was verified: path -> size, modification time and digest.

  Stored in files, so that a restart does not read unchanged shards again. Each process writes its own file,
  and reads those of all.
  """

  def __init__(self, folder: storage.Path | None = None, process: int = 0):
    """Reads earlier results.

    Args:
      folder: of the files; need not exist. None stores nothing.
      process: index of this process.
    """
    self._file = None if folder is None else folder / f'{process}.json'
    self._own: dict[str, list] = {}
    if self._file is not None and storage.is_file(self._file):
      self._own = self._read(self._file)
    self._all = dict(self._own)
    for file in () if folder is None else storage.list_folder(folder):
      if file.suffix == '.json':
        self._all |= self._read(file)

  @staticmethod
  def _read(file: storage.Path) -> dict[str, list]:
    try:
      found = json.loads(storage.read_text(file))
    except (OSError, ValueError):
      return {}  # incomplete or deleted: the shards are read again
    return found if isinstance(found, dict) else {}

  def has(self, shard: Shard) -> bool:
    """Whether the shard was verified and has not changed since."""
    return self._all.get(str(shard.path.absolute())) == self._state(shard)

  def add(self, shard: Shard) -> None:
    """Adds a verified shard."""
    self._own[str(shard.path.absolute())] = self._state(shard)

  @staticmethod
  def _state(shard: Shard) -> list:
    found = shard.local_path().stat()
    return [found.st_size, found.st_mtime_ns, shard.sha256]

  def save(self) -> None:
    """Writes the file."""
    if self._file and self._own:
      storage.make_folder(self._file.parent)
      files.write_text(self._file, json.dumps(self._own))


def verify(
  wanted: Iterable[Shard], known: VerificationCache | None = None, report: Callable[[str], None] | None = None
) -> None:
  """Checks the digests of shards.

  Args:
    wanted: shards; those without a digest are skipped, and those in object stores, whose digests are checked
      when they are downloaded.
    known: shards that were verified before and are skipped; the others are added.
    report: takes a line every few seconds, and one at the end if any shard was read.

  Raises:
    ValueError: a shard has changed since it was written.
  """
  known = known or VerificationCache()
  is_local = lambda shard: isinstance(shard.path, pathlib.Path)
  left = [shard for shard in wanted if shard.sha256 and is_local(shard) and not known.has(shard)]
  sizes = [shard.local_path().stat().st_size for shard in left]
  total, done, begin_s = sum(sizes), 0, time.monotonic()
  reported_s = begin_s
  for count, (shard, size) in enumerate(zip(left, sizes)):
    now_s = time.monotonic()
    if now_s - reported_s > _REPORT_EVERY_S:
      reported_s = now_s
      known.save()
      if report:
        left_s = (now_s - begin_s) * (total - done) / max(done, 1)
        report(
          f'Verifying records: {count} of {len(left)} shards, {done / 1e9:.3g} of {total / 1e9:.3g} GB, '
          f'about {left_s:.0f} s left.'
        )
    if files.sha256(shard.local_path()) != shard.sha256:
      raise ValueError(
        f'{shard.path} has changed since it was written: its SHA-256 is not that of the manifest. '
        'Restore it, or skip its corrupt records with config.data.verify=false and '
        'config.data.max_corrupt_record_share.'
      )
    known.add(shard)
    done += size
  if left and report:
    report(
      f'Verified {len(left)} shards of records, {total / 1e9:.3g} GB, in {time.monotonic() - begin_s:.0f} s.'
    )


def from_manifest(folder: storage.Path, entries: Iterable[Mapping]) -> list[Shard]:
  """Returns the shards of a folder by the list `shards` of its manifest; their files are not looked for.

  Raises:
    ValueError: the folder is in an object store, and the manifest has no digests.
  """
  found = [
    Shard(folder / entry['name'], entry['num_records'], entry.get('num_bytes'), entry.get('sha256'))
    for entry in entries
  ]
  for shard in found if storage.is_remote(folder) else ():
    if shard.sha256 is None or shard.num_bytes is None:
      raise ValueError(f'{folder}: wanted SHA-256 and size of {shard.path.name} in the manifest; got none.')
  return found


def check_present(folder: storage.Path, wanted: Iterable[Shard]) -> None:
  """Checks that the files of all shards of a folder are there and have the right sizes.

  Raises:
    FileNotFoundError: one is missing.
    ValueError: one has another size.
  """
  if not storage.is_remote(folder):
    for shard in wanted:
      shard.check_present()
    return
  listed = storage.list_files(folder)  # one request for a thousand files
  for shard in wanted:
    shard.check_size(listed.get(shard.path.name, {}).get('size'))
