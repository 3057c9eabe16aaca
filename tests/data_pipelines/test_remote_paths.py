"""Paths with a URL scheme are refused, and no folder of that name is created."""

import pytest

from data_pipelines import build
from data_pipelines import encode
from data_pipelines import synthetic
from v2a import clip
from v2a import weights
from v2a.data import records


@pytest.mark.parametrize(
  ('tool', 'argv'),
  [
    (build, ['--source', '.', '--output', 'gs://bucket/records']),
    (build, ['--source', 'gs://bucket/videos', '--output', 'records']),
    (encode, ['--records', 'gs://bucket/records', '--codec', 'codec', '--output', 'latents']),
    (encode, ['--records', 'records', '--codec', 'gs://bucket/codec', '--output', 'latents']),
    (encode, ['--records', 'records', '--codec', 'codec', '--output', 'gs://bucket/latents']),
    (synthetic, ['--num-clips', '1', '--output', 's3://bucket/clips']),
  ],
)
def test_commands_refuse_remote_paths(tool, argv, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert tool.main(argv) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert 'must be a path in the file system; got' in line and '://bucket' in line
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'use',
  [
    lambda path: records.open(path),
    lambda path: records.write(path, [], clip.ClipSpec()),
    lambda path: weights.load_export(path),
  ],
)
def test_readers_and_writers_refuse_remote_paths(use, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match="must be a path in the file system; got 'gs://bucket/a'"):
    use('gs://bucket/a')
  assert not list(tmp_path.iterdir())
