"""`v2a data` runs the commands of data_pipelines, with their flags and exit codes."""

import pathlib

import v2a
from v2a.cli import main

ASSETS = pathlib.Path(v2a.__file__).parent / 'assets/demo'


def test_a_set_is_built_and_verified(tmp_path, capsys):
  output = str(tmp_path / 'set')
  argv = ['--source', str(ASSETS), '--output', output, '--filters', 'still_share,black_share']
  assert main.main(['data', 'build', *argv]) == 0
  assert 'train: 6 records' in capsys.readouterr().out
  assert main.main(['data', 'verify', output]) == 0
  assert 'train: 6 records are as they were written' in capsys.readouterr().out


def test_wrong_commands_and_flags_are_one_line(tmp_path, capsys):
  for argv, message in (
    (['data', 'buidl'], "invalid choice: 'buidl'"),
    (['data', 'verify', str(tmp_path)], 'is no finished data set'),
    (['data', 'build', '--output', 'x', '--surce', 'y'], 'unrecognized arguments: --surce'),
  ):
    assert main.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_verify_has_help_and_wants_a_folder(capsys):
  assert main.main(['data', 'verify', '--help']) == 0
  assert capsys.readouterr().out.startswith('usage: v2a data verify DIR')
  for argv in ([], ['a', 'b'], ['--records']):
    assert main.main(['data', 'verify', *argv]) == 2
    assert 'v2a data verify wants the folder of a data set alone' in capsys.readouterr().err
