"""Manifests name their files and themselves, and only an unchanged manifest is read."""

import hashlib
import json

import pytest

from v2a import manifests

TEXTS = {'seed': 0, 'prompt': 'rain', 'negative_prompt': '', 'transcript': '', 'word_times_s': None}
SOURCE = {'sha256': None, 'start_s': 0.0, 'requested_duration_s': None}
CONTENT = {'model_digest': '', 'input': SOURCE, 'settings': {'num_samples': 1}, **TEXTS}


@pytest.fixture
def path(tmp_path):
  """Returns the manifest of one file of a clip."""
  (tmp_path / 'a.b.0.wav').write_bytes(b'sound')
  digests = {'a.b.0.wav': hashlib.sha256(b'sound').hexdigest()}
  path = tmp_path / 'a.b.json'
  path.write_text(json.dumps(manifests.with_digests(CONTENT, path.name, digests), indent=1) + '\n')
  return path


def test_every_digest_of_files_is_that_of_the_file(path):
  found = manifests.read(path)
  assert found['files'] == {'a.b.0.wav': hashlib.sha256(b'sound').hexdigest()}


def test_the_digest_of_a_manifest_is_that_of_its_content_without_the_digest(path):
  found = json.loads(path.read_text())
  assert found['manifest'].keys() == {'name', 'content_sha256'} and found['manifest']['name'] == path.name
  digest = found['manifest'].pop('content_sha256')
  assert digest == hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize(
  'change',
  [
    {'prompt': 'wind'},
    {'annotation': 'a ball'},
    {'files': {}},
    {'manifest': {'name': 'a.b.json', 'content_sha256': '0' * 64}},
    {'manifest': None},
    {'about': 'Written by another program.'},
  ],
  ids=lambda change: '+'.join(change),
)
def test_an_edited_manifest_is_not_read(path, change):
  assert manifests.read(path) is not None
  path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
  assert manifests.read(path) is None


def test_a_manifest_with_another_name_is_not_read(path):
  """The files of `a.b` must not be replaced as those of `a`."""
  copy = path.with_name('a.json')
  copy.write_bytes(path.read_bytes())
  assert manifests.read(copy) is None and manifests.read(path) is not None


def test_a_manifest_of_version_0_1_0_is_read_in_the_present_form(path):
  """It listed the digest of its content in `files`."""
  present = json.loads(path.read_text())
  old = {name: value for name, value in present.items() if name != 'manifest'}
  digest = hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()
  old = {**old, 'files': {**old['files'], path.name: digest}}
  path.write_text(json.dumps(old))
  assert manifests.read(path) == present
  path.write_text(json.dumps({**old, 'prompt': 'wind'}))
  assert manifests.read(path) is None
