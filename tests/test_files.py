"""A file is whole or not there."""

import pathlib

import numpy as np
import pytest

from v2a import files


def test_appears_only_when_whole(tmp_path):
  path = tmp_path / 'a.png'
  with files.atomic_write(path) as partial:
    partial.write_bytes(b'half')
    assert partial.parent == tmp_path and partial.suffix == '.png' and not path.exists()
  assert path.read_bytes() == b'half' and list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
  path = tmp_path / 'a.txt'
  files.write_text(path, 'old')
  with pytest.raises(KeyboardInterrupt), files.atomic_write(path) as partial:
    partial.write_text('half')
    raise KeyboardInterrupt
  assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path):
  path = tmp_path / 'a'
  with files.atomic_write(path) as first, files.atomic_write(path) as second:
    first.write_text('first')
    second.write_text('second')
  assert path.read_text() == 'first' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('name', ['x' * 250, '\u97f3' * 83, 'caf\udce9' * 40], ids=('long', 'wide', 'bytes'))
def test_any_name_of_the_file_system(name, tmp_path):
  path = tmp_path / f'{name}.json'
  files.write_text(path, 'é \udce9')
  assert path.read_text(encoding='utf-8') == 'é \\xe9'


def test_a_change_is_noticed(tmp_path):
  path = tmp_path / 'a'
  path.write_bytes(b'one')
  found = files.fingerprint(path)
  assert found.sha256 == '7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed'
  found.check()
  for change in (lambda: path.write_bytes(b'more'), path.unlink):
    change()
    with pytest.raises(ValueError, match='changed while it was read'):
      found.check()


def test_what_is_replaceable(tmp_path):
  ours, archive, link = tmp_path / 'ours.json', tmp_path / 'a.npz', tmp_path / 'link.json'
  files.check_replaceable(ours, archive)
  ours.write_text(f'{{"about": "{files.MARK} evaluate."}}')
  np.savez_compressed(archive, about='{}')
  files.check_replaceable(ours, archive)
  link.symlink_to(ours)
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'b.npz').write_bytes(b'PK')
  np.savez_compressed(tmp_path / 'c.npz', mine=1)
  (tmp_path / 'report.json').write_text('{}')
  (tmp_path / 'late.json').write_text(' ' * 5000 + files.MARK)
  for name in ('link.json', 'folder', 'b.npz', 'c.npz', 'report.json', 'late.json'):
    with pytest.raises(FileExistsError, match=f'{name}: exists and was not written by v2a'):
      files.check_replaceable(tmp_path / name)
  with pytest.raises(FileExistsError, match=r'ours.json: exists already'):
    files.check_new(tmp_path / 'new', ours)


@pytest.mark.parametrize('path', ['gs://bucket/run', 's3://a', pathlib.Path('gs://a/b'), 'HTTPS://a/b'])
def test_paths_with_a_scheme_are_recognized(path):
  with pytest.raises(ValueError, match='--workdir must be a path in the file system; got .*mount it'):
    files.check_local('--workdir', path)


@pytest.mark.parametrize('path', ['runs/a', '/runs/a:b', 'C:/runs', 'a b/gs:', '12:30/x', './x:y'])
def test_other_paths_are_taken(path):
  files.check_local('--workdir', path)
