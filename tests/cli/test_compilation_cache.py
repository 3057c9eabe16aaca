"""Where compiled programs are kept, and that a second process finds them."""

import os
import pathlib
import pwd
import subprocess
import sys

import pytest

from v2a.cli import compilation_cache

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
  ('named', 'xdg', 'wanted'),
  [
    ('/a/b', None, '/a/b/jax'),
    ('', '/x', None),
    (None, '/x', '/x/v2a/jax'),
    (None, None, '~/.cache/v2a/jax'),
    (None, '', '~/.cache/v2a/jax'),
  ],
)
def test_folder(named, xdg, wanted, monkeypatch):
  for name, value in (('V2A_CACHE', named), ('XDG_CACHE_HOME', xdg)):
    monkeypatch.delenv(name, raising=False)
    if value is not None:
      monkeypatch.setenv(name, value)
  assert compilation_cache.folder() == (None if wanted is None else pathlib.Path(wanted).expanduser())


def homeless(monkeypatch):
  """Makes this process one of a user without a home folder."""
  monkeypatch.delenv('HOME', raising=False)
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)

  def unknown(uid):
    raise KeyError(uid)

  monkeypatch.setattr(pwd, 'getpwuid', unknown)


def test_without_a_home_folder_there_is_no_cache(monkeypatch, capsys):
  homeless(monkeypatch)
  monkeypatch.delenv('V2A_CACHE', raising=False)
  assert compilation_cache.folder() is None
  assert compilation_cache.enable() is None
  err = capsys.readouterr().err
  assert err.startswith('v2a: note: no compilation cache') and err.count('\n') == 1
  assert 'there is no home folder; set V2A_CACHE to another' in err
  monkeypatch.setenv('V2A_CACHE', '~/here')
  with pytest.raises(ValueError, match='V2A_CACHE=~/here: unknown home folder'):
    compilation_cache.folder()
  monkeypatch.setenv('V2A_CACHE', '~no-user-of-this-name/here')
  with pytest.raises(ValueError, match='unknown home folder'):
    compilation_cache.folder()


@pytest.mark.skipif(os.geteuid() != 0, reason='only the superuser becomes another')
def test_a_user_without_entry_or_home():
  environment = {name: value for name, value in os.environ.items()
                 if name not in ('HOME', 'XDG_CACHE_HOME', 'V2A_CACHE')}  # fmt: skip
  try:
    ran = subprocess.run(
      [sys.executable, '-m', 'v2a', 'doctor'], env={**environment, 'PYTHONPATH': str(ROOT)}, cwd=ROOT,
      user=54321, group=54321, extra_groups=[], capture_output=True, text=True)  # fmt: skip
  except PermissionError:
    pytest.skip("this Python is in the superuser's home folder")
  assert 'Traceback' not in ran.stderr
  assert 'cache     off (no home folder; V2A_CACHE names another)' in ran.stdout


def test_second_process_finds_the_program(tmp_path):
  code = (
    'import jax\nfrom v2a.cli import compilation_cache\nprint(compilation_cache.enable())\n'
    'jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8))).block_until_ready()'
  )
  environment = {**os.environ, 'V2A_CACHE': str(tmp_path), 'JAX_PLATFORMS': 'cpu'}
  counts = []
  for _ in range(2):
    ran = subprocess.run(
      [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(tmp_path / 'jax')
    counts.append(sum(path.name.endswith('-cache') for path in (tmp_path / 'jax').iterdir()))
  assert counts[0] > 0 and counts[1] == counts[0]


def test_unwritable_folder_turns_it_off(tmp_path, monkeypatch, capsys):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'file'))
  assert compilation_cache.enable() is None
  assert f'{tmp_path / "file" / "jax"} cannot be written' in capsys.readouterr().err
  monkeypatch.setenv('V2A_CACHE', '')
  assert compilation_cache.enable() is None
  assert capsys.readouterr().err == ''
