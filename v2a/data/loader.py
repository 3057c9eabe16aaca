"""Batches of records: the global batch of step s is a pure function of (manifest, seed, s).

Which record row j of step s is, `batch_order` says. The random generator of the row is seeded by
(seed, s, j), and so are segment and caption of media records. Nothing depends on the number of hosts, and
resuming needs no iterator state. A corrupt record is replaced by another, the same one in all processes
(`corrupt_records.FaultTolerantSource`). Each process reads the rows that its devices hold; processes along an
axis of the mesh whose members need the same clips read the same rows.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
import functools
from typing import Protocol

import grain
import jax
import ml_collections
import numpy as np

from v2a import storage
from v2a.config import schema
from v2a.data import batch_order
from v2a.data import fake_records
from v2a.data import media_source
from v2a.data import record_schema
from v2a.data import records
from v2a.data import shards
from v2a.sharding import mesh as mesh_lib

VERIFIED = 'verified_records'  # folder of the workdir, see shards.VerificationCache
# Batches on the devices beside the one in use: of the next step, ready, in transfer.
NUM_PREFETCHED_ON_DEVICE = 3
# Rates and sizes that records must share with the configuration; the task may crop clips.
_SHARED = ('sample_rate_hz', 'num_channels', 'semantic_fps', 'sync_fps', 'frame_size')


class Collator(Protocol):
  """Makes parts of batches; see `training.task.Task`."""

  def collate(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns arrays with a leading axis of clips, by name."""
    ...


def source(c: ml_collections.ConfigDict, fields: Collection[str] = record_schema.ALL) -> records.RecordSource:
  """Returns the training records that a configuration names.

  Args:
    c: the whole configuration.
    fields: what is read of media records, see `Task.record_fields`.

  Raises:
    FileNotFoundError: a folder is not there.
    ValueError: no folder is named, the records do not fit `config.clip`, or are not all there.
  """
  spec = schema.clip_spec(c)
  if c.data.num_fake_records:
    return records.InMemorySource([fake(c, seed) for seed in range(c.data.num_fake_records)], spec)
  folders = c.data.train
  if not folders:
    raise ValueError(
      'config.data.train names no folder of records; create some with data_pipelines, or pass --tiny.'
    )
  found = records.open(*folders, spec=spec, fields=fields, mirror_probability=c.data.mirror_probability)
  for name in _SHARED:
    got, wanted = getattr(found.spec, name), getattr(spec, name)
    if got != wanted:
      raise ValueError(f'config.clip.{name} is {wanted}, but the records of {folders} have {got}.')
  if found.spec.num_samples < spec.num_samples:
    raise ValueError(
      f'config.clip needs {float(spec.duration_s):g} s, but the records of {folders} last '
      f'{float(found.spec.duration_s):g} s.'
    )
  if not len(found):
    raise ValueError(f'there are no records in config.data.train={",".join(folders)}.')
  return found


def verify(
  items: records.RecordSource, workdir: storage.Path, report: Callable[[str], None]
) -> shards.VerificationCache:
  """Checks the digests of shards that were not verified before; with several processes each its share.

  Args:
    items: records in files, or in memory.
    workdir: training folder, where earlier results are read; need not exist.
    report: takes lines of progress.

  Returns:
    The results, to be saved.

  Raises:
    ValueError: a shard has changed since it was written.
  """
  known = shards.VerificationCache(workdir / VERIFIED, jax.process_index())
  found = [shard for folder in items.folders for shard in folder.shards]
  shards.verify(found[jax.process_index() :: jax.process_count()], known, report)
  return known


def fake(c: ml_collections.ConfigDict, seed: int = 0) -> dict:
  """Returns a fake record with the sizes of a configuration."""
  num_codebooks = c.codec.num_codebooks if c.codec.bottleneck == 'rvq' else 0
  return fake_records.make(
    schema.clip_spec(c), seed, c.codec.num_latent_channels, num_codebooks, c.codec.codebook_size
  )


def abstract_batch(
  c: ml_collections.ConfigDict, task: Collator, mesh: jax.sharding.Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns shapes, types and shardings of the global batches of a task.

  Args:
    c: the whole configuration.
    task: makes the batches.
    mesh: over which batches are sharded.
  """
  single, sharding = task.collate([fake(c)], np.random.default_rng(0)), mesh_lib.batch_sharding(mesh)
  shape = lambda value: (c.training.batch_size, *value.shape[1:])
  return {
    name: jax.ShapeDtypeStruct(shape(value), value.dtype, sharding=sharding) for name, value in single.items()
  }


@functools.lru_cache
def local_rows(mesh: jax.sharding.Mesh, batch_size: int) -> tuple[int, ...]:
  """Returns the rows of a global batch that the devices of this process hold, in order.

  Raises:
    ValueError: the batch does not divide over the mesh.
  """
  num_shards = mesh_lib.num_batch_shards(mesh)
  if batch_size % num_shards:
    raise ValueError(
      f'config.training.batch_size must be a multiple of the {num_shards} parts that the mesh '
      f'splits it in; got {batch_size}.'
    )
  indices = mesh_lib.batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
  slices = [index[0] for index in indices if index is not None]
  return tuple(sorted({row for each in slices for row in range(*each.indices(batch_size))}))


def order(c: ml_collections.ConfigDict, items: records.RecordSource, num_shards: int) -> batch_order.Order:
  """Returns which records make the batch of each step.

  Args:
    c: the whole configuration.
    items: the training records.
    num_shards: parts that the mesh splits batches in; with the microbatches, it divides all batch sizes.

  Raises:
    ValueError: the number of weights is not that of the folders, or there are buckets of records that have
      one length.
  """
  data, size = c.data, c.training.batch_size
  if data.weights and len(data.weights) != len(items.folders):
    raise ValueError(
      f'config.data.weights must be one number for each folder of config.data.train={data.train}; got '
      f'{len(data.weights)}.'
    )
  if not data.bucket_s:
    sizes = [len(folder) for folder in items.folders] or [len(items)]
    return batch_order.single(sizes, size, c.seed, data.weights)
  unit = num_shards * c.training.microbatches
  clip_s = float(schema.clip_spec(c).duration_s)
  sizes = [max(1, int(size * clip_s / length_s) // unit) * unit for length_s in data.bucket_s]
  durations_s = [_durations_s(folder) for folder in items.folders]
  return batch_order.by_length(durations_s, data.bucket_s, sizes, c.seed, data.weights)


def _durations_s(folder: records.FolderSource | media_source.MediaSource) -> np.ndarray:
  if not isinstance(folder, media_source.MediaSource):
    raise ValueError(
      'config.data.bucket_s needs media records, which have lengths of their own; '
      f'{folder.path} holds records of one length.'
    )
  return folder.folder.durations_s


class Batches:
  """The batches of a run by step: `batches[step]` holds this process' rows of the global batch."""

  def __init__(
    self,
    task: Collator,
    items: records.RecordSource,
    order: batch_order.Order,
    num_steps: int,
    rows: Callable[[int], Sequence[int]] = range,
  ):
    """Describes the batches; nothing is read yet.

    Args:
      task: turns records into rows of batches.
      items: source of records.
      order: which records make the batch of each step; its seed is that of crops, too.
      num_steps: number of batches.
      rows: size of a global batch -> its rows that are returned, such as `local_rows` of a mesh; all by
        default.
    """
    self._task, self._items, self._order = task, items, order
    self._num_steps, self._rows = num_steps, rows

  def __len__(self) -> int:
    return self._num_steps

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    parts, bucket = [], self._order.bucket(index)
    rows = self._rows(bucket.batch_size)
    for row, position in zip(rows, self._order.records(index, rows), strict=True):
      key = (self._order.seed, index, row)
      rng = np.random.default_rng(key)
      record = self._items.read(position, key, bucket.clip_s)
      parts.append(self._task.collate([record], rng))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def iterate(
  batches: Batches,
  start: int,
  num_threads: int,
  num_prefetched: int,
  put: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]] | None = None,
) -> grain.DatasetIterator[dict]:
  """Yields `batches[start]`, `batches[start + 1]`, ..., read ahead by threads.

  Args:
    batches: of the run.
    start: first step.
    num_threads: number of threads.
    num_prefetched: batches that are ready on the host.
    put: transfers a batch to the devices, while the step before runs; None leaves it on the host.
  """
  dataset = grain.MapDataset.source(batches)[start:]
  options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_prefetched)
  dataset = dataset.to_iter_dataset(options)
  if put is not None:
    dataset = grain.experimental.ThreadPrefetchIterDataset(
      dataset.map(put), prefetch_buffer_size=NUM_PREFETCHED_ON_DEVICE - 2
    )
  return iter(dataset)


def to_devices(
  batch: dict[str, np.ndarray], mesh: jax.sharding.Mesh, batch_sizes: Iterable[int]
) -> dict[str, jax.Array]:
  """Returns the global batch on the mesh.

  Args:
    batch: the rows of `local_rows`.
    mesh: of the devices.
    batch_sizes: sizes that global batches may have; they differ in the number of local rows.
  """
  sharding = mesh_lib.batch_sharding(mesh)
  if jax.process_count() == 1:
    return jax.device_put(batch, sharding)
  num_local = len(next(iter(batch.values())))
  batch_size = next(size for size in batch_sizes if len(local_rows(mesh, size)) == num_local)
  position = {row: index for index, row in enumerate(local_rows(mesh, batch_size))}

  def whole(value: np.ndarray) -> jax.Array:
    shape = (batch_size, *value.shape[1:])

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
      begin, end, _ = (slice(None) if index is None else index[0]).indices(batch_size)
      return value[position[begin] : position[begin] + end - begin]

    return jax.make_array_from_callback(shape, sharding, part)

  return {key: whole(value) for key, value in batch.items()}
