"""Paths in the file system and in object stores, against servers on this machine."""

import pathlib

import pytest

from v2a import files
from v2a import flags
from v2a import storage


@pytest.mark.parametrize('text', ['runs/a', '/runs/a:b', 'C:/runs', 'a b/gs:', '12:30/x', './x:y'])
def test_paths_of_the_file_system(text):
  path = storage.parse(text)
  assert path == pathlib.Path(text) and isinstance(path, pathlib.Path) and not storage.is_remote(path)


@pytest.mark.parametrize('text', ['s3://bucket/run', pathlib.Path('s3://bucket/run'), 'S3://bucket//run/'])
def test_paths_of_stores(text):
  path = storage.parse(text)
  assert str(path) == 's3://bucket/run' and path.name == 'run' and storage.is_remote(path)
  assert str(path / 'a') == 's3://bucket/run/a' and storage.parse(path) == path
  assert str(storage.absolute(path)) == 's3://bucket/run'


@pytest.mark.parametrize('text', ['hdfs://a/b', 'HTTPS://a/b', pathlib.Path('az://a/b')])
def test_other_schemes_are_refused(text):
  with pytest.raises(ValueError, match='--workdir must be .*begin with gs:// or s3://; got .*mount it'):
    storage.parse(text, '--workdir')
  with pytest.raises(ValueError, match='--workdir must name a bucket'):
    storage.parse('gs://', '--workdir')
  with pytest.raises(ValueError, match='must be a path in the file system, or begin'):
    parser = flags.Parser()
    parser.add_argument('--output', type=flags.path)
    parser.parse_args(['--output', str(text)])


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setitem(storage.PACKAGES, 's3', 'v2a_has_no_such_package')
  with pytest.raises(ValueError, match=r"v2a_has_no_such_package, .*: pip install 'v2a\[s3\]'\."):
    storage.exists(storage.parse('s3://bucket/run'))


@pytest.mark.stores
def test_objects(bucket, tmp_path):
  file = bucket / 'run' / 'a.txt'
  assert not storage.exists(file) and not storage.is_folder(bucket / 'run')
  files.write_text(file, 'é')
  files.append_text(file, '!')
  files.append_text(bucket / 'run' / 'new' / 'b.txt', 'b')
  assert storage.read_text(file) == 'é!' and storage.is_file(file) and not storage.is_folder(file)
  assert storage.is_folder(bucket / 'run') and not storage.is_file(bucket / 'run')
  storage.write_object(bucket / 'runner', b'')
  found = storage.list_files(bucket / 'run')
  assert {name: about['size'] for name, about in found.items()} == {'a.txt': 3, 'new/b.txt': 1}
  with pytest.raises(FileExistsError, match='run/a.txt: exists already'):
    files.check_new(bucket / 'run' / 'c', file)
  storage.remove(file)
  storage.remove(file)
  assert list(storage.list_files(bucket / 'run')) == ['new/b.txt']
  storage.remove_folder(bucket / 'run')
  storage.remove_folder(bucket / 'run')
  assert storage.list_files(bucket / 'run') == {} and storage.exists(bucket / 'runner')


@pytest.mark.stores
def test_an_interrupted_write_leaves_what_was_there(bucket):
  file = bucket / 'a.txt'
  files.write_text(file, 'old')
  with pytest.raises(KeyboardInterrupt), files.atomic_write(file) as partial:
    partial.write_text('half')
    raise KeyboardInterrupt
  assert storage.read_text(file) == 'old' and not partial.exists()
  with files.atomic_write(file) as partial:
    assert partial.suffix == '.txt'
    partial.write_text('new')
  assert storage.read_text(file) == 'new' and list(storage.list_files(bucket)) == ['a.txt']


@pytest.mark.stores
def test_folders(bucket, tmp_path):
  for name in ('a', 'b/c', 'b/done', 'z'):
    (tmp_path / 'from' / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'from' / name).write_text(name)
  order, upload = [], storage.upload
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(storage, 'upload', lambda local, path: (order.append(path.name), upload(local, path)))
    storage.upload_folder(tmp_path / 'from', bucket / 'to', last=('b/done', 'none'))
  assert order == ['a', 'c', 'z', 'done']
  storage.download_folder(bucket / 'to', tmp_path / 'back')
  found = {path.relative_to(tmp_path / 'back').as_posix(): path for path in (tmp_path / 'back').rglob('*')}
  assert {name for name, path in found.items() if path.is_file()} == {'a', 'b/c', 'b/done', 'z'}
  assert all(path.read_text() == name for name, path in found.items() if path.is_file())
  with pytest.raises(FileNotFoundError, match='/none holds no files'):
    storage.download_folder(bucket / 'none', tmp_path / 'none')


@pytest.mark.stores
def test_a_large_file(bucket, tmp_path):
  """In parts of several MB, of which none is the object."""
  data = bytes(range(256)) * 4 * 65536
  (tmp_path / 'large').write_bytes(data)
  storage.upload(tmp_path / 'large', bucket / 'large')
  storage.download(bucket / 'large', tmp_path / 'back')
  assert (tmp_path / 'back').read_bytes() == data


@pytest.mark.stores
def test_errors_are_one_line_that_names_the_path(s3, tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match=r'^s3://[^/]+/none: does not exist$'):
    storage.read_bytes(s3 / 'none')
  missing = storage.parse('s3://no-such-bucket/a')
  (tmp_path / 'a').write_text('a')
  for work in (storage.read_bytes, storage.list_files, lambda path: storage.upload(tmp_path / 'a', path)):
    with pytest.raises(
      FileNotFoundError, match=r'^s3://no-such-bucket/a: The specified bucket does not exist$'
    ):
      work(missing)
  for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
    monkeypatch.delenv(name)
  for name, value in (('AWS_EC2_METADATA_DISABLED', 'true'), ('AWS_SHARED_CREDENTIALS_FILE', '/none')):
    monkeypatch.setenv(name, value)
  storage._file_system('s3').clear_instance_cache()
  with pytest.raises(OSError, match=r'^s3://[^/]+/a: Unable to locate credentials$'):
    storage.read_bytes(s3 / 'a')
