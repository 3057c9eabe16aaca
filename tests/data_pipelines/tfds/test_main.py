"""The command that builds data sets: what it refuses, in one line."""

import pytest

from data_pipelines.tfds import __main__ as command

pytestmark = pytest.mark.tfds


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['vggsoun'], "argument dataset: invalid choice: 'vggsoun'"),
    (['vggsound'], 'vggsound needs --manual-dir'),
    (['vggsound', '--manual-dir', 'nowhere'], '--manual-dir: there is no folder nowhere'),
    (['vggsound', '--config', '{"name": "x", "table": ["a"]}'], "unexpected keyword argument 'table'"),
    (['vggsound', '--config', '{name}'], '--config: wanted JSON with the settings of TablesConfig'),
    (['vggsound', '--config', 'none'], 'BuilderConfig none not found'),
    (['v2a_synthetic', '--manual-dir', '.'], 'v2a_synthetic takes no --manual-dir'),
    (['v2a_synthetic', '--config', '{"name": "x", "size": 33}'], 'size must be even'),
  ],
)
def test_bad_arguments_are_one_line(arguments, message, tmp_path, capsys):
  assert command.main([*arguments, '--data-dir', str(tmp_path)]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('data_pipelines.tfds: ') and message in line


def test_nothing_is_left_of_a_build_that_fails(tmp_path, capsys):
  (tmp_path / 'train.csv').write_text('---g-f_I2yQ_000030.mp4,dog barking\n')
  data_dir = tmp_path / 'data'
  assert command.main(['vggsound', '--manual-dir', str(tmp_path), '--data-dir', str(data_dir)]) == 2
  assert 'none of its 1 clips can be used' in capsys.readouterr().err.splitlines()[-1]
  assert not [path for path in (data_dir / 'vggsound/default').rglob('*') if path.is_file()]
