"""Files of weights: found, checked, fetched; and what the catalogue says where they are not there."""

import hashlib

import pytest

from v2a.metrics.embedders import catalog
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import checkpoints

CONTENT = b'weights' * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


def published(tmp_path, checksum):
  """Returns a checkpoint that a file in a folder publishes."""
  source = tmp_path / 'publisher' / 'net.pth'
  source.parent.mkdir()
  source.write_bytes(CONTENT)
  return checkpoints.Checkpoint('net.pth', source.as_uri(), checksum, 'MIT')


def test_found_in_the_folder_or_in_that_of_the_environment(tmp_path, monkeypatch):
  checkpoint = published(tmp_path, None)
  monkeypatch.delenv(checkpoints.ENV_VARIABLE, raising=False)
  assert checkpoints.find(checkpoint) is None and checkpoints.find(checkpoint, tmp_path) is None
  found = tmp_path / 'publisher' / 'net.pth'
  assert checkpoints.find(checkpoint, tmp_path / 'publisher') == found
  monkeypatch.setenv(checkpoints.ENV_VARIABLE, str(tmp_path / 'publisher'))
  assert checkpoints.find(checkpoint) == found and checkpoints.find(checkpoint, tmp_path) is None


@pytest.mark.parametrize('checksum', [f'sha256:{SHA256}', f'sha256:{SHA256[:8]}', f'md5:{MD5}'])
def test_fetched_and_checked(tmp_path, checksum):
  said, checkpoint = [], published(tmp_path, checksum)
  path = checkpoints.fetch(checkpoint, tmp_path / 'mine', said.append)
  assert path.read_bytes() == CONTENT and checkpoints.digest(path, checkpoint) == SHA256
  assert 'MIT' in said[0] and [entry.name for entry in path.parent.iterdir()] == ['net.pth']


def test_another_file_is_refused_and_not_kept(tmp_path):
  checkpoint = published(tmp_path, f'sha256:{SHA256[:-1]}x')
  with pytest.raises(ValueError, match='is not the published file: its sha256 is'):
    checkpoints.fetch(checkpoint, tmp_path / 'mine')
  assert not list((tmp_path / 'mine').iterdir())


def test_what_cannot_be_checked_is_not_fetched(tmp_path):
  with pytest.raises(ValueError, match='net.pth has no published checksum and is not fetched; get it'):
    checkpoints.fetch(published(tmp_path, None), tmp_path / 'mine')


def test_what_cannot_be_reached_is_said(tmp_path):
  gone = checkpoints.Checkpoint('x.pth', (tmp_path / 'gone.pth').as_uri(), f'md5:{MD5}', 'MIT')
  with pytest.raises(FileNotFoundError, match='could not be fetched'):
    checkpoints.fetch(gone, tmp_path)


def test_all_that_is_missing_is_fetched_at_once_or_told_where_it_is(tmp_path, monkeypatch):
  checked = published(tmp_path, f'md5:{MD5}')
  unchecked = checkpoints.Checkpoint('other.pth', 'https://publisher/other.pth', None, 'MIT')
  one = catalog.EmbedderSpec(None, ('fd',), (checked, unchecked))
  monkeypatch.setattr(catalog, 'EMBEDDERS', {'one': one, 'two': one})
  said = []
  catalog.fetch(said.append, tmp_path / 'mine')
  assert (tmp_path / 'mine' / 'net.pth').read_bytes() == CONTENT
  assert [line.split()[0] for line in said] == ['fetching', f'{tmp_path}/mine/net.pth:', 'other.pth']
  catalog.fetch(said.append, tmp_path / 'mine')
  assert len(said) == 4
  monkeypatch.delenv(checkpoints.ENV_VARIABLE, raising=False)
  with pytest.raises(ValueError, match='weights need a folder: name one, or set V2A_WEIGHTS'):
    catalog.fetch(said.append)


def test_every_embedder_is_there_or_says_what_is_missing(tmp_path):
  found = catalog.load(catalog.EMBEDDERS, tmp_path)
  assert [embedder.name for embedder in found] == list(catalog.EMBEDDERS)
  for embedder in found:
    entry = catalog.EMBEDDERS[embedder.name]
    assert embedder.metrics == entry.metrics
    assert isinstance(embedder, embedder_lib.Missing) == bool(entry.files)
    for file in entry.files:
      assert embedder.note.startswith('not computed: ') and f'weights {file.file} missing' in embedder.note
      assert file.checksum is None or file.checksum.split(':')[0] in ('md5', 'sha256')


def test_a_missing_package_is_said(monkeypatch):
  entry = catalog.EmbedderSpec(None, ('fd',), (), {'no_such_package': 'pip install it'})
  monkeypatch.setitem(catalog.EMBEDDERS, 'x', entry)
  wanted = embedder_lib.Missing('x', 'package no_such_package missing (pip install it)', ('fd',))
  assert catalog.load(['x']) == [wanted]


def test_an_unknown_name_is_refused():
  with pytest.raises(ValueError, match='embedders must be of world.*; got wurld'):
    catalog.load(['wurld'])
