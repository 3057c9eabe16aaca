import json
import pathlib
import shutil

import numpy as np
import pytest

from v2a import clip
from v2a import records

SPEC = clip.ClipSpec(clip_s=1.0, frame_size=16)


def same(a, b):
  return set(a) == set(b) and all(
      np.array_equal(a[key], b[key]) and type(a[key]) is type(b[key]) for key in records.FIELDS)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('records') / 'a'
  with records.Writer(path, SPEC, {'source': 'fake'}, records_per_shard=3) as writer:
    for seed in range(8):
      writer.add(records.fake(SPEC, seed, 4))
  return path


@pytest.mark.parametrize('sizes', [(0, 0), (4, 0), (4, 3)])
def test_encode_round_trip(sizes):
  record = records.fake(SPEC, 3, *sizes, 300) | {'text': 'Ein Klöppel – 鐘', 'transcript': 'hello "you"\n'}
  again = records.decode(records.encode(record))
  assert same(again, record)
  arrays = [key for key, value in record.items() if isinstance(value, np.ndarray)]
  assert len(arrays) == 6 and all(again[key].dtype == record[key].dtype for key in arrays)
  assert records.encode(again) == records.encode(record)


def test_records_of_before_there_were_codes_open_and_have_none(monkeypatch):
  record = records.fake(SPEC, 3, 4)
  older = {key: wanted for key, wanted in records.FIELDS.items() if key != 'codes_TK'}
  with monkeypatch.context() as context:
    context.setattr(records, 'FIELDS', older)
    context.setattr(records, 'NOT_ENCODED', {})
    data = records.encode({key: record[key] for key in older})
    assert set(records.decode(data)) == set(older)
  assert same(records.decode(data), record) and records.decode(data)['codes_TK'].shape == (0, 0)


def test_fake_is_a_function_of_its_seed():
  assert same(records.fake(SPEC, 5), records.fake(SPEC, 5))
  assert not same(records.fake(SPEC, 5), records.fake(SPEC, 6))


def test_wave_conversion():
  wave_NA = np.array([[0.0], [0.25], [-1.0], [3.0]], np.float32)
  coded_NA = records.wave_to_int16(wave_NA)
  assert coded_NA.dtype == np.int16 and coded_NA[:, 0].tolist() == [0, 8192, -32767, 32767]
  np.testing.assert_allclose(records.wave_to_float(coded_NA), np.clip(wave_NA, -1, 1), atol=2e-5)


@pytest.mark.parametrize(('change', 'message'), [
    ({'text': None}, 'text must be a str; got NoneType'),
    ({'has_video': 1}, 'has_video must be a bool; got int'),
    ({'wave_NA': np.zeros((16000, 2), np.float32)}, 'wave_NA must be an array of int16 .* got float32'),
    ({'wave_NA': [1, 2]}, 'wave_NA must be an array of int16 with 2 axes; got list'),
    ({'wave_NA': np.zeros((15999, 2), np.int16)}, r'wave_NA must have shape \(16000, 2\); got \(15999, 2\)'),
    ({'sync_frame_LYX3': np.zeros((24, 16, 16, 3), np.uint8)}, 'sync_frame_LYX3 must have shape'),
    ({'latent_mean_TC': np.zeros((25, 4), np.float16)}, 'latent_mean_TC has shape'),
    ({'latent_mean_TC': np.zeros((24, 4), np.float16), 'latent_std_TC': np.zeros((24, 4), np.float16)},
     'must have 0 or 25 steps; got 24'),
    ({'codes_TK': np.zeros((24, 4), np.uint16)}, 'codes_TK must have 0 or 25 steps; got 24'),
    ({'codes_TK': np.zeros((25, 4), np.int32)}, 'codes_TK must be an array of uint16 .* got int32'),
    ({'id': ''}, 'must have an id'),
    ({'colour': 'red'}, r"extra \['colour'\]"),
])
def test_validate_says_what_is_wrong(change, message):
  with pytest.raises(ValueError, match=message):
    records.validate(records.fake(SPEC) | change, SPEC)


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda data: data[:-100], 'is cut short'), (lambda data: b'RIFF' + data[4:], 'Not a record'),
    (lambda data: b'', 'Not a record'), (lambda data: data[:8] + b'#' + data[9:], 'damaged header'),
    (lambda data: data.replace(b'"version":1', b'"version":9'), 'another version'),
])
def test_decode_refuses_damage(damage, message):
  with pytest.raises(ValueError, match=message):
    records.decode(damage(records.encode(records.fake(SPEC))))


def test_folder_gives_what_was_written(folder):
  source = records.open(folder)
  assert len(source) == 8 and source.spec == SPEC
  assert len(list(folder.glob('*.array_record'))) == 3
  for index in (7, 0, 3):
    assert same(source[index], records.fake(SPEC, index, 4))
  with pytest.raises(IndexError):
    source[8]


def test_hash_names_the_content(folder, tmp_path):
  items = [records.fake(SPEC, seed, 4) for seed in range(8)]
  assert records.open(folder).hash == records.Memory(items, SPEC).hash
  records.write(tmp_path / 'b', items[::-1], SPEC)
  assert records.open(tmp_path / 'b').hash != records.open(folder).hash


def test_chain_is_one_after_the_other(folder, tmp_path):
  records.write(tmp_path / 'b', [records.fake(SPEC, 20, 4)], SPEC)
  source = records.open(folder, tmp_path / 'b')
  assert len(source) == 9
  assert source[8]['id'] == 'fake/20' and source[7]['id'] == 'fake/7'
  assert source.hash not in (records.open(folder).hash, records.open(tmp_path / 'b').hash)
  records.write(tmp_path / 'c', [], clip.ClipSpec(clip_s=2.0, frame_size=16))
  with pytest.raises(ValueError, match='must share one ClipSpec'):
    records.open(folder, tmp_path / 'c')


def test_a_broken_write_leaves_nothing(tmp_path):
  with pytest.raises(ValueError, match='occurs twice'):
    records.write(tmp_path / 'a', [records.fake(SPEC), records.fake(SPEC)], SPEC)
  assert not list(tmp_path.iterdir())


def test_an_old_folder_is_not_written_over(folder):
  with pytest.raises(FileExistsError, match='exists already'):
    records.Writer(folder, SPEC)


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


@pytest.mark.parametrize('harm', ['cut', 'damaged'])
def test_a_shard_that_breaks_while_it_is_read_is_a_fault_of_the_storage(folder, tmp_path, harm):
  shutil.copytree(folder, tmp_path / 'data')
  shard = next((tmp_path / 'data').glob('*.array_record'))
  opened, content = records.open(tmp_path / 'data'), shard.read_bytes()
  if harm == 'cut':
    shard.write_bytes(b'')
  else:
    with shard.open('r+b') as file:  # the same file, whose middle cannot be made out
      file.seek(len(content) // 8)
      file.write(b'\xff' * (len(content) // 4))
  with pytest.raises(OSError, match='record . of .* cannot be read'):
    for index in range(len(opened)):
      opened[index]


def test_what_has_changed_since_it_was_written_is_found(folder, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(folder, copy)
  records.open(copy).verify()
  shard = copy / 'records-00001.array_record'
  data = bytearray(shard.read_bytes())
  data[len(data) // 2] ^= 1
  shard.write_bytes(data)
  for part in (0, 2):
    records.open(copy).verify(part, 3)  # shares of other processes
  with pytest.raises(ValueError, match='records-00001.array_record is not as it was written'):
    records.open(copy).verify(1, 3)
  shard.write_bytes(data[:-8])
  with pytest.raises(ValueError, match='records-00001.array_record has .* bytes; wanted'):
    records.open(copy)


@pytest.mark.parametrize('method', ['write', 'close'])
def test_a_full_disk_is_one_line_and_leaves_nothing(method, tmp_path, monkeypatch):
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

  monkeypatch.setattr(records.array_record_module, 'ArrayRecordWriter', Full)
  with pytest.raises(OSError, match='new cannot be written: .* No space left'):
    records.write(tmp_path / 'new', [records.fake(SPEC)], SPEC)
  assert not list(tmp_path.iterdir())


def test_records_are_kept_where_their_folder_is_taken_meanwhile(tmp_path):
  with pytest.raises(OSError, match='is there by now .* the records are in') as caught:
    with records.Writer(tmp_path / 'new', SPEC) as writer:
      writer.add(records.fake(SPEC))
      (tmp_path / 'new').write_text('of somebody else')
  kept, = [path for path in tmp_path.iterdir() if path.name != 'new']
  assert str(kept) in str(caught.value) and len(records.open(kept)) == 1
