"""Evaluations overwrite only files that v2a wrote."""

import pathlib

import pytest

from v2a import files
from v2a.cli import main


@pytest.mark.parametrize(
  ('words', 'file'),
  [
    (('evaluate', '--output', 'DIR'), 'report.json'),
    (('evaluate', '--page', 'DIR/page.html'), 'page.html'),
    (('evaluate', '--sweep', 'corruption', '--output', 'DIR'), 'sweep.md'),
    (('evaluate', '--sweep', 'corruption', '--output', 'DIR'), 'sweep.png'),
    (('compare', '--models', 'default', 'default:tokens', '--output', 'DIR'), 'report.json'),
    (('compare', '--models', 'default', 'default:tokens', '--output', 'DIR'), 'report.md'),
    (('compare', '--models', 'default', 'default:tokens', '--output', 'DIR'), 'report.html'),
    (('demo', '--output', 'DIR'), 'index.html'),
    (('demo', '--output', 'DIR'), 'index.png'),
    (('demo', '--output', 'DIR'), 'rain.json'),
    (('demo', '--output', 'DIR'), 'body-2.2.wav'),
    (('compile', '--config', 'flow_synthetic', '--topology', 'v5e:2x2', '--output', 'DIR/step'), 'step'),
  ],
  ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_files_of_the_user_are_not_overwritten(words, file, tmp_path, capsys):
  (tmp_path / file).write_text('{"mine": 1}')
  assert main.main([word.replace('DIR', str(tmp_path)) for word in words]) == 2
  out, err = capsys.readouterr()
  assert not out and f'{tmp_path / file}: exists and ' in err and err.count('\n') == 1
  assert [path.read_text() for path in tmp_path.iterdir()] == ['{"mine": 1}']


@pytest.mark.parametrize('template', ['gallery_page', 'evaluation_page', 'comparison_page'])
def test_pages_are_marked(template):
  text = (pathlib.Path(files.__file__).parent / 'reports' / f'{template}.html').read_text()
  assert files.MARK in text[:1000]
