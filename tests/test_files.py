"""A file is whole or not there."""

import pytest

from v2a import files


def test_appears_only_when_whole(tmp_path):
  path = tmp_path / 'a.png'
  with files.beside(path) as partial:
    partial.write_bytes(b'half')
    assert partial.parent == tmp_path and partial.suffix == '.png' and not path.exists()
  assert path.read_bytes() == b'half' and list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
  path = tmp_path / 'a.txt'
  files.write_text(path, 'old')
  with pytest.raises(KeyboardInterrupt), files.beside(path) as partial:
    partial.write_text('half')
    raise KeyboardInterrupt
  assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path):
  path = tmp_path / 'a'
  with files.beside(path) as first, files.beside(path) as second:
    first.write_text('first')
    second.write_text('second')
  assert path.read_text() == 'first' and list(tmp_path.iterdir()) == [path]


def test_long_names_fit_the_file_system(tmp_path):
  path = tmp_path / ('x' * 240 + '.json')
  files.write_text(path, 'é')
  assert path.read_text(encoding='utf-8') == 'é'
