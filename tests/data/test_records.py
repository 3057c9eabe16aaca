from concurrent import futures
import json
import pathlib
import re
import shutil
import subprocess
import sys

from array_record.python import array_record_module
import numpy as np
import pytest

from v2a import clip
from v2a import files
from v2a.data import fake_records
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.data import records
from v2a.data import shards

SPEC = clip.ClipSpec(clip_s=1.0, frame_size=16)


def same(a, b):
  return set(a) == set(b) and all(
    np.array_equal(a[key], b[key]) and type(a[key]) is type(b[key]) for key in record_schema.FIELDS
  )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('records') / 'a'
  with record_writer.Writer(path, SPEC, {'source': 'fake'}, records_per_shard=3) as writer:
    for seed in range(8):
      writer.add(fake_records.make(SPEC, seed, 4))
  return path


@pytest.mark.parametrize('sizes', [(0, 0), (4, 0), (4, 3)])
def test_encode_round_trip(sizes):
  record = fake_records.make(SPEC, 3, *sizes, 300) | {
    'text': 'Ein Klöppel – 鐘',
    'transcript': 'hello "you"\n',
  }
  again = record_schema.decode(record_schema.encode(record))
  assert same(again, record)
  arrays = [key for key, value in record.items() if isinstance(value, np.ndarray)]
  assert len(arrays) == 6 and all(again[key].dtype == record[key].dtype for key in arrays)
  assert record_schema.encode(again) == record_schema.encode(record)


def test_records_older_than_codes_have_none(monkeypatch):
  record = fake_records.make(SPEC, 3, 4)
  older = {key: wanted for key, wanted in record_schema.FIELDS.items() if key != 'codes_TK'}
  with monkeypatch.context() as context:
    context.setattr(record_schema, 'FIELDS', older)
    context.setattr(record_schema, 'NOT_ENCODED', {})
    data = record_schema.encode({key: record[key] for key in older})
    assert set(record_schema.decode(data)) == set(older)
  assert same(record_schema.decode(data), record) and record_schema.decode(data)['codes_TK'].shape == (0, 0)


def test_records_older_than_padding_have_none(monkeypatch):
  record = fake_records.make(SPEC, 3, 4)
  older = {key: wanted for key, wanted in record_schema.FIELDS.items() if key != 'num_valid_samples'}
  data = record_schema.encode(record | {'num_valid_samples': 9})
  assert record_schema.decode(data)['num_valid_samples'] == 9
  with monkeypatch.context() as context:
    context.setattr(record_schema, 'FIELDS', older)
    context.setattr(record_schema, 'validate', lambda record: None)
    data = record_schema.encode({key: record[key] for key in older})
  assert (
    same(record_schema.decode(data), record)
    and record_schema.decode(data)['num_valid_samples'] == SPEC.num_samples
  )


def test_fake_records_are_a_function_of_the_seed():
  assert same(fake_records.make(SPEC, 5), fake_records.make(SPEC, 5))
  assert not same(fake_records.make(SPEC, 5), fake_records.make(SPEC, 6))


def test_wave_conversion():
  wave_NA = np.array([[0.0], [0.25], [-1.0], [3.0]], np.float32)
  coded_NA = record_schema.wave_to_int16(wave_NA)
  assert coded_NA.dtype == np.int16 and coded_NA[:, 0].tolist() == [0, 8192, -32767, 32767]
  np.testing.assert_allclose(record_schema.wave_to_float(coded_NA), np.clip(wave_NA, -1, 1), atol=2e-5)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'text': None}, 'text must be a str; got NoneType'),
    ({'has_video': 1}, 'has_video must be a bool; got int'),
    ({'wave_NA': np.zeros((16000, 2), np.float32)}, 'wave_NA must be an array of int16 .* got float32'),
    ({'wave_NA': [1, 2]}, 'wave_NA must be an array of int16 with 2 axes; got list'),
    ({'wave_NA': np.zeros((15999, 2), np.int16)}, r'wave_NA must have shape \(16000, 2\); got \(15999, 2\)'),
    ({'sync_frame_LYX3': np.zeros((24, 16, 16, 3), np.uint8)}, 'sync_frame_LYX3 must have shape'),
    ({'latent_mean_TC': np.zeros((25, 4), np.float16)}, 'latent_mean_TC has shape'),
    (
      {'latent_mean_TC': np.zeros((24, 4), np.float16), 'latent_std_TC': np.zeros((24, 4), np.float16)},
      'must have 0 or 25 steps; got 24',
    ),
    ({'codes_TK': np.zeros((24, 4), np.uint16)}, 'codes_TK must have 0 or 25 steps; got 24'),
    ({'codes_TK': np.zeros((25, 4), np.int32)}, 'codes_TK must be an array of uint16 .* got int32'),
    ({'num_valid_samples': 16001}, r'num_valid_samples must be in 0..16000, .* got 16001'),
    ({'num_valid_samples': 3.0}, 'num_valid_samples must be a int; got float'),
    ({'id': ''}, 'must have an id'),
    ({'colour': 'red'}, r"extra \['colour'\]"),
  ],
)
def test_validate_says_what_is_wrong(change, message):
  with pytest.raises(ValueError, match=message):
    record_schema.validate(fake_records.make(SPEC) | change, SPEC)


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda data: data[:-100], 'is cut short'),
    (lambda data: b'RIFF' + data[4:], 'Not a record'),
    (lambda data: b'', 'Not a record'),
    (lambda data: data[:8] + b'#' + data[9:], 'damaged header'),
    (lambda data: data.replace(b'"version":1', b'"version":9'), 'another version'),
  ],
)
def test_decode_refuses_damaged_bytes(damage, message):
  with pytest.raises(ValueError, match=message):
    record_schema.decode(damage(record_schema.encode(fake_records.make(SPEC))))


def test_a_folder_holds_the_written_records(folder):
  source = records.open(folder)
  assert len(source) == 8 and source.spec == SPEC
  assert len(list(folder.glob('*.array_record'))) == 3
  for index in (7, 0, 3):
    assert same(source[index], fake_records.make(SPEC, index, 4))
  with pytest.raises(IndexError):
    source[8]


def test_the_hash_is_of_the_content(folder, tmp_path):
  items = [fake_records.make(SPEC, seed, 4) for seed in range(8)]
  assert records.open(folder).hash == records.InMemorySource(items, SPEC).hash
  record_writer.write(tmp_path / 'b', items[::-1], SPEC)
  assert records.open(tmp_path / 'b').hash != records.open(folder).hash


def test_several_folders_are_concatenated(folder, tmp_path):
  record_writer.write(tmp_path / 'b', [fake_records.make(SPEC, 20, 4)], SPEC)
  source = records.open(folder, tmp_path / 'b')
  assert len(source) == 9
  assert source[8]['id'] == 'fake/20' and source[7]['id'] == 'fake/7'
  assert source.hash not in (records.open(folder).hash, records.open(tmp_path / 'b').hash)
  record_writer.write(tmp_path / 'c', [], clip.ClipSpec(clip_s=2.0, frame_size=16))
  with pytest.raises(ValueError, match='must share one ClipSpec'):
    records.open(folder, tmp_path / 'c')


def test_a_failed_write_leaves_no_files(tmp_path):
  with pytest.raises(ValueError, match='occurs twice'):
    record_writer.write(tmp_path / 'a', [fake_records.make(SPEC), fake_records.make(SPEC)], SPEC)
  assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(folder):
  with pytest.raises(FileExistsError, match='exists already'):
    record_writer.Writer(folder, SPEC)


def test_open_says_what_is_missing(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match='is no folder of records'):
    records.open(tmp_path)
  manifest = json.loads((folder / records.MANIFEST).read_text())
  (tmp_path / records.MANIFEST).write_text(json.dumps(manifest))
  with pytest.raises(FileNotFoundError, match='is missing, though'):
    records.open(tmp_path)
  (tmp_path / records.MANIFEST).write_text('{')
  with pytest.raises(ValueError, match='is no JSON'):
    records.open(tmp_path)
  (tmp_path / records.MANIFEST).write_text(json.dumps(manifest | {'version': 7}))
  with pytest.raises(ValueError, match='must be a manifest of version 1'):
    records.open(tmp_path)


@pytest.mark.parametrize('harm', ['cut', 'damaged', 'written so'])
def test_a_record_that_has_changed_is_corrupt(folder, tmp_path, harm):
  shutil.copytree(folder, tmp_path / 'data')
  shard = tmp_path / 'data' / 'records-00000.array_record'
  opened, content = records.open(tmp_path / 'data'), shard.read_bytes()
  if harm == 'cut':
    shard.write_bytes(b'')
  elif harm == 'damaged':
    with shard.open('r+b') as file:  # the same file, whose middle cannot be made out
      file.seek(len(content) // 8)
      file.write(b'\xff' * (len(content) // 4))
  else:
    writer = array_record_module.ArrayRecordWriter(str(shard), 'group_size:1')
    for _ in range(3):
      writer.write(b'not a record')
    writer.close()
  with pytest.raises(shards.CorruptRecordError, match='record 0 of .*records-00000.array_record is corrupt'):
    opened[0]
  assert opened[3]['id'] == 'fake/3', 'the other shards are read as before'


@pytest.mark.parametrize('harm', ['gone', 'unreadable'])
def test_failing_storage_is_no_corrupt_record(folder, tmp_path, harm):
  shutil.copytree(folder, tmp_path / 'data')
  shard = tmp_path / 'data' / 'records-00000.array_record'
  opened = records.open(tmp_path / 'data')
  shard.unlink()
  if harm == 'unreadable':
    shard.mkdir()  # its bytes cannot be read; root reads whatever the mode forbids
  with pytest.raises(OSError):
    opened[0]


def test_a_temporary_failure_is_retried(folder, monkeypatch):
  shard, read = records.open(folder).shards[0], shards.Shard._read
  attempts = []

  def fail_once(self, position):
    attempts.append(position)
    if len(attempts) == 1:
      raise RuntimeError('read() failed: Stale file handle')
    return read(self, position)

  monkeypatch.setattr(shards.Shard, '_read', fail_once)
  assert record_schema.decode(shard.read(1))['id'] == 'fake/1' and attempts == [1, 1]


MANY = """
import os, pathlib, resource, sys
from v2a.data import records, shards
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
opened = records.open(sys.argv[1])
assert [opened[k]['id'] for k in range(len(opened))] == [f'fake/{k}' for k in range(200)]
print(len(shards._OPEN), shards.max_open(), len(os.listdir('/proc/self/fd')))
"""


def test_more_shards_than_files_may_be_open(tmp_path):
  with record_writer.Writer(tmp_path / 'data', SPEC, {}, records_per_shard=1) as writer:
    for seed in range(200):
      writer.add(fake_records.make(SPEC, seed))
  run = subprocess.run([sys.executable, '-c', MANY, str(tmp_path / 'data')], capture_output=True, text=True)
  assert run.returncode == 0, run.stderr
  num_open, most, num_files = map(int, run.stdout.split())
  assert num_open == most == 16 and num_files < 40


def test_threads_share_the_open_shards(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, 'max_open', lambda: 2)
  with record_writer.Writer(tmp_path / 'data', SPEC, {}, records_per_shard=1) as writer:
    for seed in range(8):
      writer.add(fake_records.make(SPEC, seed))
  opened = records.open(tmp_path / 'data')
  with futures.ThreadPoolExecutor(8) as pool:
    ids = list(pool.map(lambda k: opened[k % 8]['id'], range(400)))
  assert ids == [f'fake/{k % 8}' for k in range(400)] and len(shards._OPEN) <= 2


def test_samples_are_spread_over_all_records():
  found = records.sample_indices(10_000, 100, 3)
  assert found == records.sample_indices(10_000, 100, 3) == sorted(set(found)) and len(found) == 100
  assert min(found) < 500 and max(found) > 9500 and abs(np.mean(found) - 5000) < 1000
  assert found != records.sample_indices(10_000, 100, 4)
  assert records.sample_indices(7, 100, 3) == list(range(7))


def test_verification_finds_a_changed_shard(folder, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(folder, copy)
  shards.verify(records.open(copy).shards)
  shard = copy / 'records-00001.array_record'
  data = bytearray(shard.read_bytes())
  data[len(data) // 2] ^= 1
  shard.write_bytes(data)
  for part in (0, 2):
    shards.verify(records.open(copy).shards[part::3])  # shares of other processes
  with pytest.raises(ValueError, match='records-00001.array_record has changed since it was written'):
    shards.verify(records.open(copy).shards[1::3])
  shard.write_bytes(data[:-8])
  with pytest.raises(ValueError, match='records-00001.array_record has .* bytes; wanted'):
    records.open(copy)


@pytest.mark.parametrize('method', ['write', 'close'])
def test_a_full_disk_is_a_one_line_error_and_leaves_no_files(method, tmp_path, monkeypatch):
  class Full:
    def __init__(self, path, options):
      pathlib.Path(path).touch()

    def write(self, data):
      self._fail_in('write')

    def close(self):
      self._fail_in('close')

    def _fail_in(self, name):
      if name == method:
        raise RuntimeError('write() failed: No space left on device')

  monkeypatch.setattr(record_writer.array_record_module, 'ArrayRecordWriter', Full)
  with pytest.raises(OSError, match='new cannot be written: .* No space left'):
    record_writer.write(tmp_path / 'new', [fake_records.make(SPEC)], SPEC)
  assert not list(tmp_path.iterdir())


def test_records_are_not_deleted_if_their_folder_appears_meanwhile(tmp_path):
  with pytest.raises(OSError, match='is there by now .* the records are in') as caught:
    with record_writer.Writer(tmp_path / 'new', SPEC) as writer:
      writer.add(fake_records.make(SPEC))
      (tmp_path / 'new').write_text('another file')
  (partial,) = [path for path in tmp_path.iterdir() if path.name != 'new']
  assert str(partial) in str(caught.value) and len(records.open(partial)) == 1


def test_a_shard_is_verified_once(folder, tmp_path, monkeypatch):
  shutil.copytree(folder, tmp_path / 'data')
  hashed, digest = [], files.sha256
  monkeypatch.setattr(files, 'sha256', lambda path: hashed.append(path.name) or digest(path))
  opened, notes, reported = records.open(tmp_path / 'data'), tmp_path / 'notes', []
  for process in range(2):  # two processes, each its share
    known = shards.VerificationCache(notes, process)
    shards.verify(opened.shards[process::2], known, reported.append)
    known.save()
  names = [f'records-0000{index}.array_record' for index in range(3)]
  assert sorted(hashed) == names, 'no shard is read by two'
  assert len(reported) == 2 and reported[0].startswith('Verified 2 shards of records')
  hashed.clear()
  shards.verify(
    opened.shards, shards.VerificationCache(notes, 0), reported.append
  )  # as one process, after a restart
  assert not hashed and len(reported) == 2
  (tmp_path / 'data' / names[1]).touch()
  shards.verify(opened.shards, shards.VerificationCache(notes, 0))
  assert hashed == [names[1]]
  (notes / '0.json').write_text('{"torn')
  hashed.clear()
  shards.verify(opened.shards, shards.VerificationCache(notes, 0))
  assert names[0] in hashed


def test_verification_reports_progress(folder, monkeypatch):
  monkeypatch.setattr(shards, '_REPORT_EVERY_S', -1.0)
  reported = []
  shards.verify(records.open(folder).shards, None, reported.append)
  assert re.match(r'Verifying records: 1 of 3 shards, .* of .* GB, about \d+ s left', reported[1])
