"""Batches of records: the global batch of step s is a pure function of (manifest, seed, s).

Row j of step s is record order(s * batch_size + j), where `order` is a new permutation of the whole source in
each epoch. The random generator of the row is seeded by (seed, s, j), and so are segment and caption of
media records. Nothing depends on the number of hosts,
and resuming needs no iterator state. A corrupt record is replaced by another, the same one in all processes
(`corrupt_records.FaultTolerantSource`). Each process reads the rows that its devices hold; processes along an
axis of the mesh whose members need the same clips read the same rows.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Protocol

import grain
import jax
import ml_collections
import numpy as np

from v2a import storage
from v2a.config import schema
from v2a.data import fake_records
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


def source(c: ml_collections.ConfigDict, split: str = 'train') -> records.RecordSource:
  """Returns the records that a configuration names.

  Args:
    c: the whole configuration.
    split: 'train' or 'validation'.

  Raises:
    FileNotFoundError: a folder is not there.
    ValueError: no folder is named, the records do not fit `config.clip`, or are not all there.
  """
  spec = schema.clip_spec(c)
  if split == 'train' and c.data.num_fake_records:
    return records.InMemorySource([fake(c, seed) for seed in range(c.data.num_fake_records)], spec)
  folders = c.data[split]
  if not folders:
    raise ValueError(
      f'config.data.{split} names no folder of records; create some with data_pipelines, or pass --tiny.'
    )
  found = records.open(*folders, spec=spec)
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
    raise ValueError(f'{folders} hold no records.')
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


class Batches:
  """The batches of a run by step: `batches[step]` holds this process' rows of the global batch."""

  def __init__(
    self,
    task: Collator,
    items: records.RecordSource,
    batch_size: int,
    num_steps: int,
    seed: int,
    rows: Sequence[int] | None = None,
  ):
    """Describes the batches; nothing is read yet.

    Args:
      task: turns records into rows of batches.
      items: source of records.
      batch_size: of the global batch.
      num_steps: number of batches.
      seed: of the order of records, and of crops.
      rows: rows of the global batch to return; None for all.
    """
    self._task = task
    self._items = items
    self._order = grain.MapDataset.range(len(items)).seed(seed).shuffle().repeat()
    self._batch_size = batch_size
    self._num_steps = num_steps
    self._seed = seed
    self._rows = range(batch_size) if rows is None else rows

  def __len__(self) -> int:
    return self._num_steps

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    parts = []
    for row in self._rows:
      key = (self._seed, index, row)
      rng = np.random.default_rng(key)
      position = self._order[index * self._batch_size + row]
      assert position is not None  # nothing is filtered out
      record = self._items.read(int(position), key)
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
  batch: dict[str, np.ndarray], mesh: jax.sharding.Mesh, batch_size: int
) -> dict[str, jax.Array]:
  """Returns the global batch on the mesh.

  Args:
    batch: the rows of `local_rows`.
    mesh: of the devices.
    batch_size: rows of the global batch.
  """
  sharding = mesh_lib.batch_sharding(mesh)
  if jax.process_count() == 1:
    return jax.device_put(batch, sharding)
  position = {row: index for index, row in enumerate(local_rows(mesh, batch_size))}

  def whole(value: np.ndarray) -> jax.Array:
    shape = (batch_size, *value.shape[1:])

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
      begin, end, _ = (slice(None) if index is None else index[0]).indices(batch_size)
      return value[position[begin] : position[begin] + end - begin]

    return jax.make_array_from_callback(shape, sharding, part)

  return {key: whole(value) for key, value in batch.items()}
