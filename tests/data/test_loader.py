import itertools

import numpy as np
import pytest

from tests.training import toy
from v2a import clip
from v2a.config import files
from v2a.config import schema
from v2a.data import batch_order
from v2a.data import corrupt_records
from v2a.data import fake_records
from v2a.data import loader
from v2a.data import record_writer
from v2a.data import records
from v2a.data import shards
from v2a.sharding import mesh as mesh_lib

SPEC = clip.ClipSpec(clip_s=1.0, frame_size=16)


class Names:
  """Prepares the names of the records, and a random number each."""

  def collate(self, items, rng):
    return {
      'id_B': np.array([record['id'] for record in items]),
      'random_B': np.array([rng.random() for _ in items]),
    }


@pytest.fixture(scope='module')
def items():
  return records.InMemorySource([fake_records.make(SPEC, seed) for seed in range(10)], SPEC)


def batches(items, seed=0, **arguments):
  return loader.Batches(Names(), items, batch_order.single([len(items)], 4, seed), 20, **arguments)


def test_every_epoch_holds_every_record_once_in_another_order(items):
  ids = list(itertools.chain.from_iterable(batches(items)[step]['id_B'] for step in range(10)))
  epochs = [ids[start : start + 10] for start in range(0, 40, 10)]
  assert all(len(set(epoch)) == 10 for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) == 4
  assert epochs[0] != sorted(epochs[0])


def test_a_batch_is_a_function_of_seed_and_step(items):
  first = batches(items)
  for step in (7, 0):
    again = batches(items)[step]
    assert all(np.array_equal(first[step][key], again[key]) for key in again)
  assert not np.array_equal(first[0]['id_B'], batches(items, seed=1)[0]['id_B'])
  random_N = np.concatenate([first[step]['random_B'] for step in range(20)])
  assert len(np.unique(random_N)) == len(random_N)


@pytest.mark.parametrize('num_processes', [2, 4])
def test_batches_do_not_depend_on_the_number_of_hosts(items, num_processes):
  whole, size = batches(items)[3], 4 // num_processes
  parts = [
    batches(items, rows=lambda count, i=i: range(i * size, (i + 1) * size))[3] for i in range(num_processes)
  ]
  for key, value in whole.items():
    assert np.array_equal(np.concatenate([part[key] for part in parts]), value)


@pytest.mark.parametrize('sizes', [{'data': 8}, {'data': 2, 'tensor': 4}, {'fsdp': 2, 'context': 4}])
def test_batches_are_on_the_mesh_in_order(sizes):
  mesh = mesh_lib.make(sizes)
  assert loader.local_rows(mesh, 16) == tuple(range(16))  # one process holds them all
  batch = {'x_B3': np.arange(48).reshape(16, 3)}
  placed = loader.to_devices(batch, mesh, [16])['x_B3']
  np.testing.assert_array_equal(placed, batch['x_B3'])
  assert placed.sharding == mesh_lib.batch_sharding(mesh)
  with pytest.raises(ValueError, match='multiple of the'):
    loader.local_rows(mesh, 15)


@pytest.mark.parametrize('start', [0, 5, 19])
def test_iteration_may_start_at_any_step(items, start):
  sequence = batches(items)
  got = list(loader.iterate(sequence, start, 2, 3))
  assert len(got) == 20 - start
  for step, batch in enumerate(got, start):
    assert np.array_equal(batch['id_B'], sequence[step]['id_B'])


def test_an_error_in_a_thread_is_raised_in_the_loop(items):
  task = Names()
  task.collate = lambda items, rng: {}['missing']
  with pytest.raises(KeyError, match='missing'):
    next(loader.iterate(loader.Batches(task, items, batch_order.single([len(items)], 4, 0), 20), 0, 2, 2))


def test_source(tmp_path):
  c = toy.configuration()
  assert len(loader.source(c)) == 16
  c = files.override(c, ['--config.data.num_fake_records=0'])
  with pytest.raises(ValueError, match='config.data.train names no folder'):
    loader.source(c)
  spec = schema.clip_spec(c)
  record_writer.write(tmp_path / 'a', [fake_records.make(spec)], spec)
  c = files.override(c, [f'--config.data.train={tmp_path / "a"}'])
  assert len(loader.source(c)) == 1
  shard = tmp_path / 'a' / 'records-00000.array_record'
  data = shard.read_bytes()
  shard.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
  with pytest.raises(ValueError, match='has changed since it was written'):
    loader.verify(loader.source(c), tmp_path / 'run', print)
  shard.write_bytes(data)
  with pytest.raises(ValueError, match='config.clip.num_channels is 1, but the records'):
    loader.source(files.override(c, ['--config.clip.num_channels=1']))
  with pytest.raises(ValueError, match='clip needs 9 s, but the records'):
    loader.source(files.override(c, ['--config.clip.clip_s=9']))
  record_writer.write(tmp_path / 'b', [], spec)
  with pytest.raises(ValueError, match='there are no records in config.data.train'):
    loader.source(files.override(c, [f'--config.data.train={tmp_path / "b"}']))


def test_each_process_verifies_its_share_of_the_shards(tmp_path, monkeypatch):
  with record_writer.Writer(tmp_path / 'data', SPEC, {}, records_per_shard=1) as writer:
    for seed in range(5):
      writer.add(fake_records.make(SPEC, seed))
  hashed, digest = [], shards.files.sha256
  monkeypatch.setattr(shards.files, 'sha256', lambda path: hashed.append(path.name) or digest(path))
  monkeypatch.setattr(loader.jax, 'process_count', lambda: 2)
  for process in range(2):
    monkeypatch.setattr(loader.jax, 'process_index', lambda process=process: process)
    loader.verify(records.open(tmp_path / 'data'), tmp_path / 'run', print)
  assert sorted(hashed) == [f'records-{shard:05d}.array_record' for shard in range(5)]


@pytest.fixture
def damaged(tmp_path):
  """Twenty records in shards of two, of which records 4, 5 and 14 cannot be read."""
  with record_writer.Writer(tmp_path / 'data', SPEC, {}, records_per_shard=2) as writer:
    for seed in range(20):
      writer.add(fake_records.make(SPEC, seed))
  for shard, shares in ((2, (0.1, 0.4)), (7, (0.1,))):
    path = tmp_path / 'data' / f'records-{shard:05d}.array_record'
    data = bytearray(path.read_bytes())
    for share in shares:
      data[int(share * len(data))] ^= 1
    path.write_bytes(data)
  return records.open(tmp_path / 'data')


def test_corrupt_records_are_replaced_by_others(damaged):
  reported = []
  items = corrupt_records.FaultTolerantSource(damaged, 0.2, reported.append)
  ids = [items[k]['id'] for k in range(20)]
  assert [k for k in range(20) if ids[k] != f'fake/{k}'] == [4, 5, 14]
  assert items.num_corrupt == len(reported) == 3 and '3 of at most 4 so far' in reported[-1]
  # In any order, in any process.
  again = corrupt_records.FaultTolerantSource(damaged, 0.2)
  assert [again[k]['id'] for k in reversed(range(20))] == ids[::-1]
  assert (items.hash, items.spec, len(items)) == (damaged.hash, damaged.spec, 20)


@pytest.mark.parametrize('num_processes', [2, 4])
def test_replacements_do_not_depend_on_the_number_of_hosts(damaged, num_processes):
  whole, size = batches(corrupt_records.FaultTolerantSource(damaged, 0.2)), 4 // num_processes
  parts = [
    batches(
      corrupt_records.FaultTolerantSource(damaged, 0.2),
      rows=lambda count, i=i: range(i * size, (i + 1) * size),
    )
    for i in range(num_processes)
  ]
  for step in range(10):
    assert np.array_equal(np.concatenate([part[step]['id_B'] for part in parts]), whole[step]['id_B'])


def test_too_many_corrupt_records_are_an_error(damaged):
  items = corrupt_records.FaultTolerantSource(damaged, 0.1)
  with pytest.raises(
    shards.CorruptRecordError, match='corrupt record 3 of 20; wanted at most 2 .*max_corrupt'
  ):
    [items[k] for k in range(20)]
