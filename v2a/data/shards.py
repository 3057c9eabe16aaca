"""Shards: ArrayRecord files of a folder of records, read at random with a bounded number of open files.

A shard is opened when a record of it is asked for. All folders of a process share one cache of open shards;
of more than `max_open` the one that was used longest ago is dropped, and closed once no thread reads it.

A record that cannot be read is one of two things. Where the system reads all bytes of its shard, it is
corrupt, and another attempt would end the same (`CorruptRecordError`). Where it does not, the storage
fails, which may pass (OSError).
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

_MAX_OPEN = 1024
_SHARE_OF_DESCRIPTORS = 4  # one in so many may be a shard: sockets, logs and checkpoints want some, too
# Records are read at random: what follows a record in its file is not wanted next.
_READER_OPTIONS = 'readahead_buffer_size:0'
_REPORT_EVERY_S = 10.0


class CorruptRecordError(ValueError):
  """A record whose bytes are not those that were written; reading it again does not help."""


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of records.

  Attributes:
    path: of the file.
    num_records: that it holds.
    num_bytes, sha256: of the file as it was written; None in folders of before.
  """

  path: pathlib.Path
  num_records: int
  num_bytes: int | None = None
  sha256: str | None = None

  def check_present(self) -> None:
    """Raises FileNotFoundError where the file is missing, and ValueError where it has another size."""
    if not self.path.is_file():
      raise FileNotFoundError(f'{self.path} is missing, though the manifest beside it names it.')
    got = self.path.stat().st_size
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
    except RuntimeError as error:  # whatever befalls ArrayRecord, a disk that fails included
      if input_errors.is_out_of_memory(error):
        raise
      _OPEN.drop(self.path)  # its reader may hold on to what has passed
      _check_readable(self.path, self.path.stat().st_mtime_ns)
    try:
      return self._read(position)
    except RuntimeError as error:
      raise CorruptRecordError(f'record {position} of {self.path} is corrupt: {error}') from error

  def _read(self, position: int) -> bytes:
    data = _OPEN.get(self.path).read([position])[0]
    if not data:
      raise RuntimeError('it is empty')
    return data


class _OpenShards:
  """Readers of the shards that were used last; threads share them."""

  def __init__(self):
    self._readers: collections.OrderedDict[pathlib.Path, object] = collections.OrderedDict()
    self._lock = threading.Lock()

  def get(self, path: pathlib.Path):
    """Returns the reader of a shard."""
    with self._lock:
      if path in self._readers:
        self._readers.move_to_end(path)
        return self._readers[path]
      while len(self._readers) >= max_open():
        # Not closed here: a thread may be reading. The last one that lets go of it closes it.
        self._readers.popitem(last=False)
      # Under the lock, or threads would open one shard several times.
      reader = self._readers[path] = array_record_module.ArrayRecordReader(str(path), _READER_OPTIONS)
      return reader

  def drop(self, path: pathlib.Path) -> None:
    """Forgets a reader, which may hold what it has read of a file that has changed."""
    with self._lock:
      self._readers.pop(path, None)

  def __len__(self) -> int:
    return len(self._readers)


_OPEN = _OpenShards()


def max_open() -> int:
  """Returns how many shards may be open at once: a part of what the system allows this process."""
  limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
  if limit == resource.RLIM_INFINITY:
    return _MAX_OPEN
  return max(1, min(_MAX_OPEN, limit // _SHARE_OF_DESCRIPTORS))


@functools.lru_cache(maxsize=4096)
def _check_readable(path: pathlib.Path, mtime_ns: int) -> None:
  """Raises OSError where the system does not read a file; asked once, not for every corrupt record of it."""
  del mtime_ns  # part of the key of the cache
  files.sha256(path)


class VerificationCache:
  """What is known of shards that were read whole: path -> size, time of change and digest.

  Kept in a file, so that a restart reads no shard again that has not changed since. Of several processes each
  keeps a file of its own, and reads those of all.
  """

  def __init__(self, folder: pathlib.Path | None = None, process: int = 0):
    """Args: folder: holds the files; need not be there. None keeps nothing. process: number of this one."""
    self._file = folder / f'{process}.json' if folder else None
    self._own: dict[str, list] = self._read(self._file) if self._file and self._file.is_file() else {}
    self._all = dict(self._own)
    for file in sorted(folder.glob('*.json')) if folder else ():
      self._all |= self._read(file)

  @staticmethod
  def _read(file: pathlib.Path) -> dict[str, list]:
    try:
      found = json.loads(file.read_text())
    except (OSError, ValueError):
      return {}  # torn or gone: the shards are read again
    return found if isinstance(found, dict) else {}

  def has(self, shard: Shard) -> bool:
    """Whether the shard was verified and has not changed since."""
    return self._all.get(str(shard.path.absolute())) == self._state(shard)

  def add(self, shard: Shard) -> None:
    """Notes a shard that was verified."""
    self._own[str(shard.path.absolute())] = self._state(shard)

  @staticmethod
  def _state(shard: Shard) -> list:
    found = shard.path.stat()
    return [found.st_size, found.st_mtime_ns, shard.sha256]

  def save(self) -> None:
    """Writes the file."""
    if self._file and self._own:
      self._file.parent.mkdir(parents=True, exist_ok=True)
      files.write_text(self._file, json.dumps(self._own))


def verify(
  wanted: Iterable[Shard], known: VerificationCache | None = None, report: Callable[[str], None] | None = None
) -> None:
  """Reads shards whole, but for those that are known to be as they were written.

  Args:
    wanted: shards; those without a digest are left out.
    known: shards that need not be read; those that were read are added.
    report: is given a line every few seconds, and one at the end where anything was read.

  Raises:
    ValueError: a shard has changed since it was written.
  """
  known = known or VerificationCache()
  left = [shard for shard in wanted if shard.sha256 and not known.has(shard)]
  sizes = [shard.path.stat().st_size for shard in left]
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
    if files.sha256(shard.path) != shard.sha256:
      raise ValueError(
        f'{shard.path} is not as it was written: its SHA-256 is not that of the manifest. '
        'Restore it, or go without its corrupt records by config.data.verify=false and '
        'config.data.max_corrupt_record_share.'
      )
    known.add(shard)
    done += size
  if left and report:
    report(
      f'Verified {len(left)} shards of records, {total / 1e9:.3g} GB, in {time.monotonic() - begin_s:.0f} s.'
    )


def from_manifest(folder: pathlib.Path, entries: Iterable[Mapping]) -> list[Shard]:
  """Returns the shards of a folder by the list `shards` of its manifest."""
  return [
    Shard(folder / entry['name'], entry['num_records'], entry.get('num_bytes'), entry.get('sha256'))
    for entry in entries
  ]
