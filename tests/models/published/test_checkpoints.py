"""Files of published weights: finding, verifying and downloading them."""

import hashlib

import pytest

from v2a.models.published import checkpoints

CONTENT = b'weights' * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


def published(tmp_path, checksum):
  """Returns a checkpoint whose address is a file in a folder."""
  source = tmp_path / 'publisher' / 'net.pth'
  source.parent.mkdir()
  source.write_bytes(CONTENT)
  return checkpoints.Checkpoint('net.pth', source.as_uri(), checksum, 'MIT')


def test_file_is_found_in_the_given_folder_or_that_of_the_environment(tmp_path, monkeypatch):
  checkpoint = published(tmp_path, None)
  monkeypatch.delenv(checkpoints.ENV_VARIABLE, raising=False)
  assert checkpoints.find(checkpoint) is None and checkpoints.find(checkpoint, tmp_path) is None
  found = tmp_path / 'publisher' / 'net.pth'
  assert checkpoints.find(checkpoint, tmp_path / 'publisher') == found
  monkeypatch.setenv(checkpoints.ENV_VARIABLE, str(tmp_path / 'publisher'))
  assert checkpoints.find(checkpoint) == found and checkpoints.find(checkpoint, tmp_path) is None


@pytest.mark.parametrize('checksum', [f'sha256:{SHA256}', f'sha256:{SHA256[:8]}', f'md5:{MD5}'])
def test_downloaded_file_is_verified(tmp_path, checksum):
  lines, checkpoint = [], published(tmp_path, checksum)
  path = checkpoints.fetch(checkpoint, tmp_path / 'mine', lines.append)
  assert path.read_bytes() == CONTENT and checkpoints.digest(path, checkpoint) == SHA256
  assert 'MIT' in lines[0] and [entry.name for entry in path.parent.iterdir()] == ['net.pth']


def test_file_with_another_checksum_is_refused_and_removed(tmp_path):
  checkpoint = published(tmp_path, f'sha256:{SHA256[:-1]}x')
  with pytest.raises(ValueError, match='is not the published file: its sha256 is'):
    checkpoints.fetch(checkpoint, tmp_path / 'mine')
  assert not list((tmp_path / 'mine').iterdir())


def test_file_without_a_checksum_is_not_downloaded(tmp_path):
  with pytest.raises(
    ValueError, match='net.pth has no published checksum and is not downloaded; download it'
  ):
    checkpoints.fetch(published(tmp_path, None), tmp_path / 'mine')


def test_unreachable_address_is_named_in_the_error(tmp_path):
  missing = checkpoints.Checkpoint('x.pth', (tmp_path / 'missing.pth').as_uri(), f'md5:{MD5}', 'MIT')
  with pytest.raises(FileNotFoundError, match='missing.pth could not be downloaded'):
    checkpoints.fetch(missing, tmp_path)


def test_folder_is_required(monkeypatch):
  monkeypatch.delenv(checkpoints.ENV_VARIABLE, raising=False)
  with pytest.raises(ValueError, match='no folder of weights is given; set V2A_WEIGHTS'):
    checkpoints.fetch(checkpoints.Checkpoint('x.pth', 'file:///x.pth', f'md5:{MD5}', 'MIT'))
