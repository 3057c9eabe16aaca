"""The one record schema: names, types, encoding, and folders of records on disk.

A record is one training clip: a dict with exactly the keys of `FIELDS`. Its bytes are

  b'V2AR' | header length, uint32 little endian | header, JSON | arrays, each padded to 8 bytes    (1)

Arrays are stored raw, so that decoding is a view and costs nothing; the ArrayRecord file around
them compresses (zstd, level 1). A folder of records holds shards and `manifest.json`, whose hash is
the SHA-256 of all encoded records in order: two folders with one hash hold the same data. It also holds
size and SHA-256 of every shard's file, by which `shards.verify` finds what has changed since.

Time of all media in seconds; t=0 is the presentation time of the first frame that is shown.
Sample k of the wave is at k / sample_rate_hz, frame k at k / fps.
"""

import bisect
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import pathlib
import re
import shutil
import struct
from typing import Protocol

from array_record.python import array_record_module
import numpy as np

from v2a import clip
from v2a import file_names
from v2a import files
from v2a.data import contents as contents_lib
from v2a.data import shards

CorruptRecordError = shards.CorruptRecordError

VERSION = 1
_NUM_COUNTED = 512  # of a folder whose manifest does not tell what it holds
MANIFEST = 'manifest.json'

# Key -> type: an array's NumPy dtype and rank, or a Python type.
FIELDS = {
  'id': str,  # unique within a folder
  'wave_NA': (np.dtype('int16'), 2),  # full scale at 32767
  'semantic_frame_MYX3': (np.dtype('uint8'), 4),  # RGB at clip.semantic_fps
  'sync_frame_LYX3': (np.dtype('uint8'), 4),  # RGB at clip.sync_fps
  'text': str,  # annotation of the sound, or ''
  'transcript': str,  # words that are spoken, or ''
  'truth': str,  # JSON of ground truth where the clip was rendered, or ''
  'has_video': bool,  # False: frames are zeros and mean nothing
  'has_audio': bool,  # False: the wave is silence and means nothing
  'num_valid_samples': int,  # of the wave, from its start; what follows is padding, as the frames there are
  'latent_mean_TC': (np.dtype('float16'), 2),  # codec posterior; shape (0, 0) where not encoded yet
  'latent_std_TC': (np.dtype('float16'), 2),
  'codes_TK': (np.dtype('uint16'), 2),  # of a codec with codes; shape (0, 0) where not encoded yet
}
_BY_CODECS = ('latent_mean_TC', 'latent_std_TC', 'codes_TK')
# What codecs add later. Older records lack some of it, and open as if it were empty.
NOT_ENCODED = {key: np.zeros((0, 0), FIELDS[key][0]) for key in _BY_CODECS}

_WORLD_ID = re.compile(r'world/(\d+)/')
_MAGIC = b'V2AR'
_ALIGNMENT = 8
_WRITER_OPTIONS = 'group_size:1,zstd:1'


def wave_to_int16(wave_NA: np.ndarray) -> np.ndarray:
  """Returns a float wave in [-1, 1] as int16; values outside are clipped."""
  return np.round(np.clip(wave_NA, -1.0, 1.0) * 32767.0).astype(np.int16)


def wave_to_float(wave_NA: np.ndarray) -> np.ndarray:
  """Returns an int16 wave as float32 in [-1, 1]."""
  return wave_NA.astype(np.float32) / 32767.0


def validate(record: dict, spec: clip.ClipSpec | None = None) -> None:
  """Checks a record against the schema, and its lengths against a ClipSpec where one is given.

  Raises:
    ValueError: naming the record, the field, what was got and what was wanted.
  """
  name = f'record {record.get("id", "without id")!r}'
  if set(record) != set(FIELDS):
    missing, extra = sorted(set(FIELDS) - set(record)), sorted(set(record) - set(FIELDS))
    raise ValueError(
      f'{name} must have exactly the keys of v2a.data.records.FIELDS; missing {missing}, extra {extra}.'
    )
  for key, wanted in FIELDS.items():
    value = record[key]
    if isinstance(wanted, type):
      if type(value) is not wanted:
        raise ValueError(f'{name}: {key} must be a {wanted.__name__}; got {type(value).__name__}.')
      continue
    dtype, rank = wanted
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != rank:
      got = f'{value.dtype} of shape {value.shape}' if isinstance(value, np.ndarray) else type(value).__name__
      raise ValueError(f'{name}: {key} must be an array of {dtype} with {rank} axes; got {got}.')
  if not record['id']:
    raise ValueError('A record must have an id; got an empty one.')
  mean, std = record['latent_mean_TC'].shape, record['latent_std_TC'].shape
  if mean != std:
    raise ValueError(f'{name}: latent_mean_TC has shape {mean}, but latent_std_TC has {std}.')
  if spec is not None:
    _check_lengths(name, record, spec)
  if not 0 <= record['num_valid_samples'] <= len(record['wave_NA']):
    raise ValueError(
      f'{name}: num_valid_samples must be in 0..{len(record["wave_NA"])}, the length of '
      f'wave_NA; got {record["num_valid_samples"]}.'
    )


def _check_lengths(name: str, record: dict, spec: clip.ClipSpec) -> None:
  size = spec.frame_size
  wanted = {
    'wave_NA': (spec.num_samples, spec.num_channels),
    'semantic_frame_MYX3': (spec.num_semantic_frames, size, size, 3),
    'sync_frame_LYX3': (spec.num_sync_frames, size, size, 3),
  }
  for key, shape in wanted.items():
    if record[key].shape != shape:
      raise ValueError(f'{name}: {key} must have shape {shape}; got {record[key].shape}. Wanted by {spec}.')
  for key in NOT_ENCODED:
    num_steps = record[key].shape[0]
    if num_steps not in (0, spec.num_latents):
      raise ValueError(f'{name}: {key} must have 0 or {spec.num_latents} steps; got {num_steps}.')


def encode(record: dict) -> bytes:
  """Returns a valid record as bytes (eq. 1). Equal records give equal bytes."""
  validate(record)
  header, chunks, offset = {'version': VERSION}, [], 0
  for key, wanted in FIELDS.items():
    if isinstance(wanted, type):
      header[key] = record[key]
      continue
    data = np.ascontiguousarray(record[key]).tobytes()
    padding = -len(data) % _ALIGNMENT
    header[key] = [offset, list(record[key].shape)]
    chunks.append(data + bytes(padding))
    offset += len(data) + padding
  text = json.dumps(header, ensure_ascii=False, separators=(',', ':')).encode()
  text += b' ' * (-(len(text) + len(_MAGIC) + 4) % _ALIGNMENT)
  return b''.join([_MAGIC, struct.pack('<I', len(text)), text, *chunks])


def decode(data: bytes) -> dict:
  """Returns the record of `encode`'s bytes; its arrays are read-only views of them.

  Raises:
    ValueError: the bytes are no record, are cut short, or have another version.
  """
  start = len(_MAGIC) + 4
  if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
    raise ValueError(f'Not a record: wanted bytes that begin with {_MAGIC!r}; got {bytes(data[:8])!r}.')
  (length,) = struct.unpack('<I', data[len(_MAGIC) : start])
  try:
    header = json.loads(data[start : start + length])
  except ValueError as error:
    raise ValueError(f'A record has a damaged header: {error}.') from error
  if header.pop('version', None) != VERSION:
    raise ValueError(f'A record was written by another version of the schema; wanted {VERSION}.')
  record = {}
  for key, wanted in FIELDS.items():
    if key == 'num_valid_samples':
      # Records of before there was such a field are whole. The wave stands before it in FIELDS.
      record[key] = header.get(key, len(record['wave_NA']))
      continue
    if isinstance(wanted, type):
      record[key] = header[key]
      continue
    if key in NOT_ENCODED and key not in header:
      record[key] = NOT_ENCODED[key]
      continue
    offset, shape = header[key]
    count = math.prod(shape)
    end = start + length + offset + count * wanted[0].itemsize
    if end > len(data):
      raise ValueError(
        f'Record {header["id"]!r} is cut short: {key} ends at byte {end}, but it has {len(data)}.'
      )
    record[key] = np.frombuffer(data, wanted[0], count, start + length + offset).reshape(shape)
  return record


def fake(
  spec: clip.ClipSpec,
  seed: int = 0,
  num_latent_channels: int = 0,
  num_codebooks: int = 0,
  codebook_size: int = 2,
) -> dict:
  """Returns a made-up record: a square crosses the picture while a chirp follows its height.

  Args:
    spec: lengths.
    seed: equal seeds give equal records.
    num_latent_channels: channels of random latents, 0 for none.
    num_codebooks, codebook_size: of random codes, 0 books for none.
  """
  rng = np.random.default_rng((seed, 0xFA4E))
  start_hz, end_hz = rng.uniform(100, 0.2 * spec.sample_rate_hz, 2)
  t_N = np.arange(spec.num_samples) / spec.sample_rate_hz
  phase_N = 2 * np.pi * (start_hz * t_N + (end_hz - start_hz) * t_N**2 / (2 * float(spec.duration_s)))
  gain_A = rng.uniform(0.2, 0.6, spec.num_channels)
  encoded = dict(NOT_ENCODED)
  if num_latent_channels:
    latent_TC = rng.standard_normal((spec.num_latents, num_latent_channels)).astype(np.float16)
    encoded |= {'latent_mean_TC': latent_TC, 'latent_std_TC': np.full_like(latent_TC, 0.1)}
  colour = rng.integers(64, 256, 3)
  if num_codebooks:
    encoded['codes_TK'] = rng.integers(0, codebook_size, (spec.num_latents, num_codebooks), np.uint16)
  return {
    'id': f'fake/{seed}',
    'wave_NA': wave_to_int16(np.sin(phase_N)[:, None] * gain_A),
    'semantic_frame_MYX3': _fake_frames(spec.num_semantic_frames, spec.frame_size, colour),
    'sync_frame_LYX3': _fake_frames(spec.num_sync_frames, spec.frame_size, colour),
    'text': f'a tone from {start_hz:.0f} to {end_hz:.0f} hertz',
    'transcript': '',
    'truth': '',
    'has_video': True,
    'has_audio': True,
    'num_valid_samples': spec.num_samples,
    **encoded,
  }


def _fake_frames(num_frames: int, size: int, colour: np.ndarray) -> np.ndarray:
  frame_LYX3 = np.zeros((num_frames, size, size, 3), np.uint8)
  side = max(1, size // 4)
  for index in range(num_frames):
    left = index * (size - side) // max(1, num_frames - 1)
    frame_LYX3[index, left : left + side, left : left + side] = colour
  return frame_LYX3


class Writer:
  """Writes records to a new folder, which appears under its name only when complete.

  ```
  with records.Writer(path, spec, about={'source': 'world', 'seed': 3}) as writer:
    writer.add(record)
  ```
  """

  def __init__(
    self,
    path: str | pathlib.Path,
    spec: clip.ClipSpec,
    about: dict | None = None,
    records_per_shard: int = 512,
  ):
    """Args: path: folder to make. spec: lengths of every record. about: JSON-able notes for the manifest.

    Raises:
      FileExistsError: the folder is there already.
      ValueError: its path is no UTF-8.
    """
    self.path = _checked(path)
    if self.path.exists():
      raise FileExistsError(f'{self.path} exists already; records are written to a new folder.')
    self._spec = spec
    self._about = dict(about or {})
    self._records_per_shard = records_per_shard
    self._partial = files.partial_path(self.path)
    self._shards: list[dict] = []
    self._shard = None
    self._hash = hashlib.sha256()
    self._ids: set[str] = set()
    self.contents = contents_lib.Contents()  # of the records that were added

  def __enter__(self) -> 'Writer':
    self._partial.mkdir(parents=True)
    return self

  def add(self, record: dict) -> None:
    """Appends one record. Raises ValueError where it breaks the schema or repeats an id."""
    validate(record, self._spec)
    if record['id'] in self._ids:
      raise ValueError(f'Record id {record["id"]!r} occurs twice in {self.path}.')
    self._ids.add(record['id'])
    self.contents.add(record)
    data = encode(record)
    if self._shard is None or self._shards[-1]['num_records'] == self._records_per_shard:
      self._close_shard()
      name = f'records-{len(self._shards):05d}.array_record'
      self._shard = array_record_module.ArrayRecordWriter(str(self._partial / name), _WRITER_OPTIONS)
      self._shards.append({'name': name, 'num_records': 0})
    self._checked(self._shard.write, data)
    self._shards[-1]['num_records'] += 1
    self._hash.update(struct.pack('<Q', len(data)) + data)

  def _checked(self, work: Callable, *args) -> None:
    """Calls a method of a shard, whose faults are those of its file (a full disk)."""
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

  def __exit__(self, error_type, error, traceback) -> None:
    is_whole = False
    try:
      if error_type is None:
        self._close_shard()
        self._write_manifest()
        is_whole = True
    finally:
      if not is_whole:
        self._shard = None  # to close it is not worth another error
        shutil.rmtree(self._partial, ignore_errors=True)
    if is_whole:
      try:
        self._partial.rename(self.path)
      except OSError as fault:
        raise OSError(
          f'{self.path} is there by now ({fault.strerror}); the records are in {self._partial}.'
        ) from fault

  def _write_manifest(self) -> None:
    manifest = {
      'version': VERSION,
      'num_records': len(self._ids),
      'hash': self._hash.hexdigest(),
      'spec': dataclasses.asdict(self._spec),
      'about': self._about,
      'contents': self.contents.to_json(),
      'shards': self._shards,
    }
    (self._partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')


def _checked(path: str | pathlib.Path) -> pathlib.Path:
  """Returns the path of a folder of records. Raises ValueError where ArrayRecord cannot open it."""
  files.check_local('the folder of records', path)
  if file_names.utf8(str(path)) != str(path):
    raise ValueError(
      f'{file_names.printable(str(path))}: the path of records must be UTF-8; got other bytes.'
    )
  return pathlib.Path(path)


def write(
  path: str | pathlib.Path, items: Iterable[dict], spec: clip.ClipSpec, about: dict | None = None
) -> None:
  """Writes all records of an iterable to a new folder; see `Writer`."""
  with Writer(path, spec, about) as writer:
    for record in items:
      writer.add(record)


class RecordSource(Protocol):
  """Random access to records: `len(source)`, `source[3]`.

  Attributes:
    spec: ClipSpec of all records.
    hash: identifies the content.
    folders: that the records are in; () where they are in memory.
  """

  spec: clip.ClipSpec
  hash: str

  @property
  def folders(self) -> tuple['FolderSource', ...]:
    """See the class."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> dict: ...


class FolderSource:
  """Random access to the records of one folder: `len(folder)`, `folder[3]`.

  Attributes:
    path: where it lies.
    manifest: the dict of manifest.json.
    spec: ClipSpec of all its records.
    hash: identifies the content.
    shards: its files, in order.
    codecs: of the codecs that have encoded them, by bottleneck: a dict of path and digest
      (weights.codec_digest); {} where it was not noted.
  """

  def __init__(self, path: str | pathlib.Path):
    self.path = _checked(path)
    self.manifest = _read_manifest(self.path)
    self.spec = clip.ClipSpec(**self.manifest['spec'])
    self.hash = self.manifest['hash']
    self.codecs = self.manifest.get('about', {}).get('codecs', {})
    self.shards = shards.from_manifest(self.path, self.manifest['shards'])
    for shard in self.shards:
      shard.check_present()
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
    """Raises CorruptError where a record is not as it was written, and OSError where the storage fails."""
    if not 0 <= index < len(self):
      raise IndexError(f'Record {index} of {self.path}, which has {len(self)}.')
    which = bisect.bisect_right(self._ends, index)
    shard, position = self.shards[which], index - (self._ends[which - 1] if which else 0)
    data = shard.read(position)
    try:
      return decode(data)
    except (ValueError, KeyError) as error:
      raise CorruptRecordError(f'record {position} of {shard.path} is corrupt: {error}') from error


class InMemorySource:
  """Records held in memory."""

  folders: tuple[FolderSource, ...] = ()

  def __init__(self, items: Sequence[dict], spec: clip.ClipSpec):
    self._data = [encode(record) for record in items]
    for record in items:
      validate(record, spec)
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
    return decode(self._data[index])


class ConcatSource:
  """Several sources one after the other."""

  def __init__(self, sources: Sequence[RecordSource]):
    if not sources:
      raise ValueError('At least one source of records is wanted; got none.')
    self.spec = sources[0].spec
    for source in sources:
      if source.spec != self.spec:
        raise ValueError(
          f'Records chained together must share one ClipSpec; got {self.spec} and {source.spec}.'
        )
    self.sources = tuple(sources)
    self._ends = list(itertools.accumulate(len(source) for source in sources))
    self.hash = hashlib.sha256(' '.join(source.hash for source in sources).encode()).hexdigest()
    if len(sources) == 1:
      self.hash = sources[0].hash

  @property
  def folders(self) -> tuple[FolderSource, ...]:
    """The folders of all sources, in order."""
    return tuple(folder for source in self.sources for folder in source.folders)

  @property
  def shards(self) -> list[shards.Shard]:
    """The shards of all folders, in order."""
    return [shard for folder in self.folders for shard in folder.shards]

  def __len__(self) -> int:
    return self._ends[-1]

  def __getitem__(self, index: int) -> dict:
    if not 0 <= index < len(self):
      raise IndexError(f'Record {index} of {len(self)}.')
    which = bisect.bisect_right(self._ends, index)
    return self.sources[which][index - (self._ends[which - 1] if which else 0)]


def open(*paths: str | pathlib.Path) -> ConcatSource:
  """Opens one or several folders of records as one source.

  Raises:
    FileNotFoundError: a folder or its manifest is not there.
    ValueError: a manifest is damaged, or the folders differ in ClipSpec.
  """
  return ConcatSource([FolderSource(path) for path in paths])


def sample_indices(num_records: int, count: int, seed: int) -> list[int]:
  """Returns up to `count` different indices of records, spread at random over all, in order."""
  if count >= num_records:
    return list(range(num_records))
  return sorted(np.random.default_rng((seed, 0x5A3B)).choice(num_records, count, replace=False).tolist())


def contents(source: RecordSource) -> contents_lib.Contents:
  """Returns what a source holds. Of folders whose manifest does not tell, a sample is counted.

  All of such a folder where nothing in the sample has sound, since it may hold little.
  """
  if isinstance(source, ConcatSource):
    return sum(map(contents, source.sources), contents_lib.Contents())
  if isinstance(source, FolderSource) and 'contents' in source.manifest:
    return contents_lib.Contents.from_json(source.manifest['contents'])
  for indices in (sample_indices(len(source), _NUM_COUNTED, 0), range(len(source))):
    found = contents_lib.Contents()
    for index in indices:
      with contextlib.suppress(CorruptRecordError):
        found.add(source[index])
    if found.num_with_audio:
      break
  return found


def synthetic_seeds(paths: Iterable[str | pathlib.Path]) -> list[int]:
  """Returns the seeds of the procedural world that clips of folders are of, by the ids of some of them."""
  seeds = set()
  for path in paths:
    source = open(path)
    for k in range(0, len(source), max(1, len(source) // 64)):
      match = _WORLD_ID.match(source[k]['id'])
      seeds |= {int(match.group(1))} if match else set()
  return sorted(seeds)


def _read_manifest(path: pathlib.Path) -> dict:
  file = path / MANIFEST
  if not file.is_file():
    raise FileNotFoundError(f'{path} is no folder of records: {file} does not exist.')
  try:
    manifest = json.loads(file.read_text())
  except ValueError as error:
    raise ValueError(f'{file} is no JSON: {error}.') from error
  if not isinstance(manifest, dict) or manifest.get('version') != VERSION:
    raise ValueError(f'{file} must be a manifest of version {VERSION}; got {str(manifest)[:80]}.')
  missing = [key for key in ('num_records', 'hash', 'spec', 'shards') if key not in manifest]
  if missing:
    raise ValueError(f'{file} lacks {missing}.')
  return manifest
