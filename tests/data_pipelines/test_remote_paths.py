"""Paths with a URL scheme: object stores are read and written, others refused; no folder gets such a name."""

from flax import nnx
import jax
import numpy as np
import pytest

from data_pipelines import build
from data_pipelines import clip_records
from data_pipelines import encode
from data_pipelines import synthetic
from tests.media import films
from v2a import builders
from v2a import clip
from v2a import storage
from v2a import weights
from v2a.config import schema
from v2a.data import record_writer
from v2a.data import records


@pytest.mark.parametrize(
  ('tool', 'argv'),
  [
    (build, ['--source', '.', '--output', 'hdfs://bucket/records']),
    (clip_records, ['--source', '.', '--output', 'hdfs://bucket/records']),
    (clip_records, ['--source', 'gs://bucket/videos', '--output', 'records']),
    (encode, ['--records', 'az://bucket/records', '--codec', 'codec', '--output', 'latents']),
    (encode, ['--records', 'records', '--codec', 'http://bucket/codec', '--output', 'latents']),
    (encode, ['--records', 'records', '--codec', 'codec', '--output', 'hdfs://bucket/latents']),
    (synthetic, ['--num-clips', '1', '--output', 's3://bucket/clips']),
    (synthetic, ['--num-clips', '1', '--records', '--output', 'file://bucket/clips']),
  ],
)
def test_commands_refuse_other_paths(tool, argv, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert tool.main(argv) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert 'must be a path in the file system' in line and 'got' in line and '://bucket' in line
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'use',
  [
    lambda path: records.open(path),
    lambda path: record_writer.write(path, [], clip.ClipSpec()),
    lambda path: weights.load_export(path),
  ],
)
def test_readers_and_writers_refuse_other_paths(use, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(
    ValueError, match="must be a path in the file system, or begin .*; got 'hdfs://bucket/a'"
  ):
    use('hdfs://bucket/a')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('tool', 'argv'),
  [
    (clip_records, ['--source', '.', '--output', 'gs://bucket/records']),
    (encode, ['--records', 'gs://bucket/records', '--codec', 'codec', '--output', 'latents']),
    (encode, ['--records', 'records', '--codec', 'gs://bucket/codec', '--output', 'latents']),
    (synthetic, ['--num-clips', '1', '--records', '--output', 'gs://bucket/records']),
  ],
)
def test_a_missing_package_is_one_line(tool, argv, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  films.make(tmp_path / 'a')
  record_writer.write(tmp_path / 'records', [], clip.ClipSpec())
  monkeypatch.setitem(storage.PACKAGES, 'gs', 'v2a_has_no_such_package')
  assert tool.main(argv) == 2
  *_, line = capsys.readouterr().err.splitlines()
  assert "gs:// needs v2a_has_no_such_package, which is not installed: pip install 'v2a[gs]'." in line
  assert {path.name for path in tmp_path.iterdir()} == {'a.mp4', 'records'}


@pytest.mark.stores
def test_a_data_set_is_built_and_verified_in_a_store(s3, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'cache'))
  (tmp_path / 'videos').mkdir()
  films.make(tmp_path / 'videos' / 'a')
  argv = ['--source', str(tmp_path / 'videos'), '--output', f'{s3}/set', '--no-thresholds']
  argv += ['--filters', 'peak', '--min-seconds', '1']
  assert build.main(argv) == 2
  assert 'is in an object store: --work must name a folder' in capsys.readouterr().err
  assert storage.list_files(s3 / 'set') == {}
  assert build.main([*argv, '--work', str(tmp_path / 'work')]) == 0
  assert f'{s3}/set: written in' in capsys.readouterr().out
  assert build.main(['--verify', '--output', f'{s3}/set']) == 0
  assert 'train: 1 records are as they were written' in capsys.readouterr().out
  assert build.main([*argv, '--work', 's3://bucket/work']) == 2
  assert 'must be a path in the file system; got' in capsys.readouterr().err


@pytest.mark.stores
def test_records_are_built_and_encoded_in_a_store(s3, tmp_path, monkeypatch):
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'cache'))
  c = schema.tiny(schema.base()).unlock()
  c.task, c.codec.bottleneck = 'codec', 'kl'
  state = nnx.state(nnx.eval_shape(lambda: builders.codec(c, nnx.Rngs(0))))
  rng = np.random.default_rng(0)
  arrays = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), state)
  weights.export(arrays, s3 / 'codec', c.lock(), 'float32')
  (tmp_path / 'videos').mkdir()
  films.make(tmp_path / 'videos' / 'a')
  spec, hashes = schema.clip_spec(c), set()
  sizes = ['--clip-seconds', f'{spec.clip_s:g}', '--size', f'{spec.frame_size}']
  sizes += ['--sample-rate', f'{spec.sample_rate_hz}', '--num-channels', f'{spec.num_channels}']
  for root in (s3, tmp_path):
    argv = ['--source', str(tmp_path / 'videos'), '--output', str(root / 'records'), *sizes]
    assert clip_records.main(argv) == 0
    argv = ['--records', str(root / 'records'), '--codec', str(s3 / 'codec')]
    assert encode.main([*argv, '--output', str(root / 'latents')]) == 0
    found = records.open(root / 'latents')
    assert found[0]['latent_mean_TC'].shape == (spec.num_latents, 4)
    hashes.add(found.hash)
  assert len(hashes) == 1
  argv = ['--num-clips', '2', '--records', '--num-workers', '1', '--clip-seconds', '2', '--output']
  assert synthetic.main([*argv, str(s3 / 'synthetic')]) == 0
  assert len(records.open(s3 / 'synthetic')) == 2
