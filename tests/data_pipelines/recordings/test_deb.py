"""Reading Debian packages, with and without dpkg-deb."""

import pytest

from data_pipelines.recordings import deb
from tests.data_pipelines.recordings import packing

FILES = {'usr/share/a.txt': b'abc', 'usr/share/odd': b'x' * 33, 'etc/b': b''}


@pytest.mark.parametrize('has_program', [True, False])
@pytest.mark.parametrize('compression', ['xz', 'gz'])
def test_control_and_files(tmp_path, monkeypatch, has_program, compression):
  path = packing.deb(tmp_path, 'sounds', FILES, '2:3.1~a-1', compression)
  if not has_program:
    monkeypatch.setattr(deb.shutil, 'which', lambda name: None)
  elif deb.shutil.which('dpkg-deb') is None:
    pytest.skip('dpkg-deb is not installed')
  fields = deb.control(path)
  assert fields['Package'] == 'sounds' and fields['Version'] == '2:3.1~a-1' and ' c' not in fields
  assert dict(deb.files(path, lambda name: name.startswith('usr/'))) == {
    name: content for name, content in FILES.items() if name.startswith('usr/')
  }


@pytest.mark.parametrize('has_program', [True, False])
@pytest.mark.parametrize('num_bytes', [0, 5, 40, 300, 460])
def test_damaged_packages_are_one_error(tmp_path, monkeypatch, has_program, num_bytes):
  path = packing.deb(tmp_path, 'sounds', FILES)
  path.write_bytes(path.read_bytes()[:num_bytes])
  if not has_program:
    monkeypatch.setattr(deb.shutil, 'which', lambda name: None)
  with pytest.raises(ValueError, match=r'sounds_1-1_all\.deb.*is no Debian package'):
    list(deb.files(path, lambda name: True))


def test_zstandard_needs_dpkg_deb(tmp_path, monkeypatch):
  path = packing.deb(tmp_path, 'sounds', FILES)
  path.write_bytes(path.read_bytes().replace(b'data.tar.xz ', b'data.tar.zst'))
  monkeypatch.setattr(deb.shutil, 'which', lambda name: None)
  with pytest.raises(ValueError, match='Zstandard'):
    list(deb.files(path, lambda name: True))
