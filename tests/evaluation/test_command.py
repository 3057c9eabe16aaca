"""The faults of `v2a evaluate` that cost no model: one line on stderr, exit code 2."""

import pytest

from v2a.cli import main


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--num-clips', '0'], 'whole number of at least 1'),
    (['--num-clips', 'many'], 'whole number of at least 1'),
    (['--seed', '-1'], '0..2147483647'),
    (['--data', 'world:'], 'world:heldout, world:SEED'),
    (['--data', 'world:x1'], "got 'world:x1'"),
    (['--data', 'no/such/folder'], "got 'no/such/folder'"),
    (['--model', 'no-such-model'], 'no-such-model'),
    (['--outptu', 'x'], 'Did you mean --output?'),
  ],
)
def test_faults_are_one_line(flags, words, capsys):
  assert main.main(['evaluate', *flags]) == 2
  out, err = capsys.readouterr()
  assert not out
  assert words in err and err.count('\n') == 1


def test_output_must_be_a_folder(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert main.main(['evaluate', '--output', str(tmp_path / 'file')]) == 2
  assert '--output must be a folder' in capsys.readouterr().err
