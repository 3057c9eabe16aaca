"""Where compiled programs are kept, and that a second process finds them."""

import os
import pathlib
import subprocess
import sys

import pytest

from v2a.cli import cache


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
  assert cache.folder() == (None if wanted is None else pathlib.Path(wanted).expanduser())


def test_second_process_finds_the_program(tmp_path):
  code = (
    'import jax\nfrom v2a.cli import cache\nprint(cache.enable())\n'
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


def test_unwritable_folder_turns_it_off(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'file'))
  assert cache.enable() is None
