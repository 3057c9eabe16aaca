"""Folders of records in object stores, against servers on this machine."""

from concurrent import futures
import json
import subprocess
import sys

from array_record.python import array_record_module
import numpy as np
import pytest

from v2a import clip
from v2a import files
from v2a import storage
from v2a.data import fake_records
from v2a.data import feature_columns
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.data import records
from v2a.data import shard_cache
from v2a.data import shards

SPEC = clip.ClipSpec(clip_s=1.0, frame_size=16)
ITEMS = [fake_records.make(SPEC, seed, 4) for seed in range(8)]

pytestmark = pytest.mark.stores


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """The folder of downloaded shards, empty, and the names of files as they are downloaded."""
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr(shards, '_OPEN', shards._OpenShards())
  return tmp_path / 'cache' / 'records'


@pytest.fixture
def downloads(monkeypatch):
  """The names of files as they are downloaded."""
  names, download = [], storage.download
  monkeypatch.setattr(
    storage, 'download', lambda path, local: (names.append(path.name), download(path, local))
  )
  return names


def write(path, num=8):
  with record_writer.Writer(path, SPEC, {'source': 'fake'}, records_per_shard=3) as writer:
    for item in ITEMS[:num]:
      writer.add(item)


def is_same(record, item):
  return record_schema.encode(record) == record_schema.encode(item)


def cached(folder):
  return sorted(path.name for path in folder.glob('*.array_record'))


def test_records_are_those_of_a_local_folder(bucket, tmp_path, cache, downloads):
  write(tmp_path / 'local')
  write(bucket / 'sets' / 'a')
  names = [f'records-{k:05d}.array_record' for k in range(3)]
  assert list(storage.list_files(bucket / 'sets' / 'a')) == ['manifest.json', *names]
  source, local = records.open(str(bucket / 'sets' / 'a')), records.open(tmp_path / 'local')
  assert (len(source), source.hash, source.spec) == (8, local.hash, SPEC) and not cache.exists()
  assert is_same(source[4], ITEMS[4]) and downloads == names[1:2]
  assert all(is_same(source[k], ITEMS[k]) for k in range(8)) and sorted(downloads) == names
  assert cached(cache) == sorted(f'{shard.sha256}.array_record' for shard in source.shards)
  assert records.contents(source) == records.contents(local)


def test_a_writer_that_fails_leaves_nothing(bucket, tmp_path, monkeypatch):
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'scratch'))
  with (
    pytest.raises(ValueError, match='occurs twice'),
    record_writer.Writer(bucket / 'a', SPEC, {}, 3) as writer,
  ):
    for item in (*ITEMS[:7], ITEMS[0]):
      writer.add(item)
  assert storage.list_files(bucket / 'a') == {} and not list((tmp_path / 'scratch').iterdir())
  write(bucket / 'a')
  assert not list((tmp_path / 'scratch').iterdir())
  with pytest.raises(FileExistsError, match='/a exists already; records are written to a new folder'):
    record_writer.Writer(bucket / 'a', SPEC)


def test_a_writer_that_is_killed_leaves_no_folder_of_records(s3):
  code = (
    'import os, signal, sys\n'
    'from tests.data import test_remote_records as test\n'
    'from v2a.data import record_writer\n'
    'with record_writer.Writer(sys.argv[1], test.SPEC, {}, 3) as writer:\n'
    '  for item in test.ITEMS[:5]:\n'
    '    writer.add(item)\n'
    '  os.kill(os.getpid(), signal.SIGKILL)\n'
  )
  assert subprocess.run([sys.executable, '-c', code, str(s3 / 'a')]).returncode == -9
  assert list(storage.list_files(s3 / 'a')) == ['records-00000.array_record']
  with pytest.raises(FileNotFoundError, match='is no folder of records: .*manifest.json does not exist'):
    records.open(s3 / 'a')
  with pytest.raises(FileExistsError, match='has files but no manifest.json: its writer did not finish'):
    record_writer.Writer(s3 / 'a', SPEC)


def test_of_two_writers_the_second_is_refused(s3):
  with pytest.raises(FileExistsError, match='manifest.json'), record_writer.Writer(s3 / 'a', SPEC) as writer:
    writer.add(ITEMS[0])
    storage.write_object(s3 / 'a' / records.MANIFEST, b'{}')
  assert storage.read_bytes(s3 / 'a' / records.MANIFEST) == b'{}'


def test_shards_that_are_missing_or_cut_are_found_when_the_folder_is_opened(bucket):
  write(bucket / 'a')
  shard = records.open(bucket / 'a').shards[1]
  storage.write_object(shard.path, storage.read_bytes(shard.path)[:-1])
  with pytest.raises(
    ValueError, match=rf'/records-00001.array_record has {shard.num_bytes - 1} bytes; wanted'
  ):
    records.open(bucket / 'a')
  storage.remove(shard.path)
  with pytest.raises(FileNotFoundError, match='/records-00001.array_record is missing'):
    records.open(bucket / 'a')


def test_a_shard_that_was_replaced_is_refused(bucket, cache):
  write(bucket / 'a')
  shard = records.open(bucket / 'a').shards[1]
  data = bytearray(storage.read_bytes(shard.path))
  data[len(data) // 2] ^= 1
  storage.write_object(shard.path, bytes(data))
  source = records.open(bucket / 'a')
  assert is_same(source[0], ITEMS[0])
  with pytest.raises(
    ValueError, match='/records-00001.array_record has changed since it was written'
  ) as raised:
    source[4]
  assert not isinstance(raised.value, shards.CorruptRecordError)
  assert cached(cache) == [f'{source.shards[0].sha256}.array_record']


def test_a_manifest_without_digests_is_refused(s3):
  write(s3 / 'a')
  manifest = json.loads(storage.read_text(s3 / 'a' / records.MANIFEST))
  del manifest['shards'][0]['sha256']
  storage.write_object(s3 / 'a' / records.MANIFEST, json.dumps(manifest).encode())
  with pytest.raises(
    ValueError, match='/a: wanted SHA-256 and size of records-00000.array_record in the manifest'
  ):
    records.open(s3 / 'a')


def test_a_half_download_has_no_final_name(s3, cache, monkeypatch):
  write(s3 / 'a')
  source, download = records.open(s3 / 'a'), storage.download

  def fail(path, local):
    local.write_bytes(storage.read_bytes(path)[:100])
    raise OSError('connection lost')

  with monkeypatch.context() as patch:
    patch.setattr(storage, 'download', fail)
    with pytest.raises(OSError, match='connection lost'):
      source[0]
  assert cached(cache) == [] and not list(cache.glob('.*'))
  # A process that was killed leaves its file.
  (cache / f'.{source.shards[0].sha256}.partial').write_bytes(b'half')
  monkeypatch.setattr(storage, 'download', download)
  assert is_same(source[0], ITEMS[0]) and not list(cache.glob('.*'))


def test_a_damaged_copy_is_downloaded_again(s3, cache, downloads):
  write(s3 / 'a')
  source = records.open(s3 / 'a')
  assert is_same(source[0], ITEMS[0])
  (file,) = cache.glob('*.array_record')
  file.write_bytes(bytes(file.stat().st_size))
  shards._OPEN.drop(source.shards[0].path)
  assert is_same(source[0], ITEMS[0]) and downloads == ['records-00000.array_record'] * 2


def test_threads_and_processes_download_each_shard_once(s3, cache, downloads):
  write(s3 / 'a')
  source = records.open(s3 / 'a')
  with futures.ThreadPoolExecutor(8) as pool:
    assert all(is_same(record, ITEMS[0]) for record in pool.map(lambda _: source[0], range(32)))
  assert downloads == ['records-00000.array_record']
  for file in cache.glob('*.array_record'):
    file.unlink()
  code = (
    'import sys\n'
    'from v2a import storage\n'
    'from v2a.data import records\n'
    'download, names = storage.download, []\n'
    'storage.download = lambda path, local: (names.append(path.name), download(path, local))\n'
    'source = records.open(sys.argv[1])\n'
    'print(sum(source[k]["has_audio"] for k in range(8)), *names)\n'
  )
  argv = [sys.executable, '-c', code, str(s3 / 'a')]
  running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
  words = [process.communicate()[0].split() for process in running]
  num_with_audio = sum(item['has_audio'] for item in ITEMS)
  assert [int(each[0]) for each in words] == [num_with_audio] * 2
  assert sorted(words[0][1:] + words[1][1:]) == [f'records-{k:05d}.array_record' for k in range(3)]


def test_the_cache_is_bounded(s3, cache, downloads, monkeypatch, caplog):
  write(s3 / 'a')
  source = records.open(s3 / 'a')
  sizes = [shard.num_bytes for shard in source.shards]
  limit = sizes[0] + sizes[1]  # of three
  monkeypatch.setenv(shard_cache.SIZE_VARIABLE, f'{limit / 1e9:.9f}')
  monkeypatch.setattr(shard_cache, '_has_warned', False)
  for _ in range(2):
    for k in range(8):
      assert is_same(source[k], ITEMS[k])
      assert sum(file.stat().st_size for file in cache.glob('*.array_record')) <= limit
  assert len(downloads) == 3 and not caplog.records  # readers that are open stay so
  monkeypatch.setattr(shards, '_OPEN', shards._OpenShards())
  assert all(is_same(source[k], ITEMS[k]) for k in range(8))
  (line,) = [record.getMessage() for record in caplog.records]
  assert line.startswith('Records are downloaded again') and len(downloads) > 3
  monkeypatch.setenv(shard_cache.SIZE_VARIABLE, '0.000001')
  monkeypatch.setattr(shards, '_OPEN', shards._OpenShards())
  for file in cache.glob('*.array_record'):
    file.unlink()
  with pytest.raises(ValueError, match='V2A_RECORDS_CACHE_GB must be at least 0.0.* got 1e-06'):
    source[0]
  monkeypatch.setenv(shard_cache.SIZE_VARIABLE, 'much')
  with pytest.raises(ValueError, match="V2A_RECORDS_CACHE_GB: wanted a number above 0; got 'much'"):
    source[0]


def test_verification_leaves_shards_of_stores_to_their_download(s3, downloads):
  write(s3 / 'a')
  lines = []
  shards.verify(records.open(s3 / 'a').shards, report=lines.append)
  assert downloads == [] and lines == []


def test_a_folder_of_media_records(bucket, tmp_path, cache, downloads):
  items, entries = [media_records.MediaRecord(name, 'group', 2.5, audio=b'flac') for name in 'abcd'], []
  for index in range(2):
    name = f'records-{index:05d}.array_record'
    with files.atomic_write(bucket / 'train' / name) as partial:
      writer = array_record_module.ArrayRecordWriter(str(partial), 'group_size:1,uncompressed')
      for item in items[2 * index : 2 * index + 2]:
        writer.write(item.to_bytes())
      writer.close()
      state = {'num_bytes': partial.stat().st_size, 'sha256': files.sha256(partial)}
    entries.append({'name': name, 'num_records': 2, 'first_id': 'a', 'last_id': 'b', **state})
  media_folder.write_manifest(bucket / 'train', entries, {})
  assert media_folder.is_media_folder(bucket / 'train') and not media_folder.is_media_folder(bucket / 'test')
  folder = media_folder.MediaFolder(str(bucket / 'train'))
  assert folder[3] == items[3] and downloads == [entries[1]['name']]
  assert media_folder.verify(folder) == ['a', 'b', 'c', 'd']
  column, about = feature_columns.Writer(folder, 'latents', {'digest': 'd'}), {'digest': 'd'}
  row = lambda item: feature_columns.Row(item.id, {'x': np.full(2, ord(item.id))})
  rows = [[row(item) for item in items[k : k + 2]] for k in (0, 2)]
  column.write(0, rows[0])
  assert feature_columns.names(folder) == []
  resumed = feature_columns.Writer(folder, 'latents', about)
  assert resumed.missing() == [1]
  resumed.write(1, rows[1])
  resumed.finish()
  assert feature_columns.names(folder) == ['latents']
  found = feature_columns.Column(folder, 'latents')
  assert found.about == about and found.read(1, 1, 'd').arrays['x'].tolist() == [100, 100]
  found.verify()
  with pytest.raises(FileExistsError, match='was computed by another encoder'):
    feature_columns.Writer(folder, 'latents', {'digest': 'e'})
  storage.remove(bucket / 'train' / entries[0]['name'])
  with pytest.raises(FileNotFoundError, match='records-00000.array_record is missing'):
    media_folder.verify(media_folder.MediaFolder(bucket / 'train'))
