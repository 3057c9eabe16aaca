"""The catalog of embedders: downloading, loading, and what it reports as missing."""

import hashlib

import pytest

from v2a.metrics.embedders import catalog
from v2a.metrics.embedders import clap
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import imagebind
from v2a.metrics.embedders import panns
from v2a.metrics.embedders import passt
from v2a.metrics.embedders import synchformer
from v2a.metrics.embedders import syncnet
from v2a.metrics.embedders import synthetic
from v2a.metrics.embedders import vggish
from v2a.models.published import checkpoints

CONTENT = b'weights'


def test_fetch_downloads_verifiable_files_and_logs_the_addresses_of_others(tmp_path, monkeypatch):
  source = tmp_path / 'source.pth'
  source.write_bytes(CONTENT)
  verifiable = checkpoints.Checkpoint(
    'net.pth', source.as_uri(), f'md5:{hashlib.md5(CONTENT).hexdigest()}', 'MIT'
  )
  unverifiable = checkpoints.Checkpoint('other.pth', 'https://publisher/other.pth', None, 'MIT')
  spec = catalog.EmbedderSpec(None, ('fd',), files=(verifiable, unverifiable))
  monkeypatch.setattr(catalog, 'EMBEDDERS', {'one': spec, 'two': spec})
  lines = []
  catalog.fetch(lines.append, tmp_path / 'mine')
  assert (tmp_path / 'mine' / 'net.pth').read_bytes() == CONTENT
  assert [line.split()[0] for line in lines] == ['downloading', f'{tmp_path}/mine/net.pth:', 'other.pth']
  catalog.fetch(lines.append, tmp_path / 'mine')
  assert len(lines) == 4
  monkeypatch.delenv(checkpoints.ENV_VARIABLE, raising=False)
  with pytest.raises(ValueError, match='no folder of weights is given; set V2A_WEIGHTS'):
    catalog.fetch(lines.append)


def test_every_embedder_is_loaded_or_names_its_missing_files(tmp_path):
  loaded = catalog.load(catalog.EMBEDDERS, tmp_path)
  assert [embedder.name for embedder in loaded] == list(catalog.EMBEDDERS)
  for embedder in loaded:
    spec = catalog.EMBEDDERS[embedder.name]
    assert embedder.metrics == spec.metrics
    assert isinstance(embedder, embedder_lib.Missing) or embedder.reads == spec.reads
    assert isinstance(embedder, embedder_lib.Missing) == bool(spec.files)
    for file in spec.files:
      assert embedder.note.startswith('not computed: ') and f'weights {file.file} missing' in embedder.note
      assert file.checksum is None or file.checksum.split(':')[0] in ('md5', 'sha256')


def test_the_catalog_knows_what_the_classes_read():
  classes = {
    'vggish': vggish.Vggish,
    'panns': panns.Panns,
    'passt': passt.Passt,
    'synchformer': synchformer.Synchformer,
    'clap': clap.Clap,
    'syncnet': syncnet.SyncNet,
    'imagebind': imagebind.ImageBind,
    'synthetic': synthetic.SyntheticEmbedder,
  }
  assert {name: spec.reads for name, spec in catalog.EMBEDDERS.items()} == {
    name: each.reads for name, each in classes.items()
  }


def test_missing_package_is_named_with_its_install_command(monkeypatch):
  spec = catalog.EmbedderSpec(None, ('fd',), packages={'no_such_package': 'pip install it'})
  monkeypatch.setitem(catalog.EMBEDDERS, 'x', spec)
  expected = embedder_lib.Missing('x', 'package no_such_package missing (pip install it)', ('fd',))
  assert catalog.load(['x']) == [expected]


def test_unknown_name_is_refused():
  with pytest.raises(ValueError, match='embedders must be of synthetic.*; got wurld'):
    catalog.load(['wurld'])
