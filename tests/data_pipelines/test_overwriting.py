"""The commands that create packaged assets do not overwrite files of the user."""

import pytest

from data_pipelines import demo
from scripts import train_classifiers
from scripts import train_embedder


@pytest.mark.parametrize(
  ('tool', 'output', 'file'),
  [
    (demo, '', 'demo.json'),
    (demo, '', 'rain.mp4'),
    (train_embedder, 'mine.npz', 'mine.npz'),
    (train_classifiers, '', 'music.npz'),
  ],
)
def test_existing_files_are_not_overwritten(tool, output, file, tmp_path, capsys):
  (tmp_path / file).write_text('mine')
  assert tool.main(['--output', str(tmp_path / output)]) == 2
  out, err = capsys.readouterr()
  assert not out and f'{file}: exists ' in err and err.count('\n') == 1
  assert [path.read_text() for path in tmp_path.iterdir()] == ['mine']
