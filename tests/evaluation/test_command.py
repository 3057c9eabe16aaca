"""`v2a evaluate`: errors in one line on stderr with exit code 2, and the JSON report."""

import argparse
import json
import shlex

import pytest

from v2a.cli import command
from v2a.cli import evaluate
from v2a.cli import main
from v2a.metrics import signal_metrics
from v2a.metrics import synthetic
from v2a.reports import evaluation_page


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--num-clips', '0'], 'whole number in 1..1000000'),
    (['--num-clips', 'many'], 'whole number in 1..1000000'),
    (['--seed', '-1'], '0..2147483647'),
    (['--num-seeds', '0'], 'whole number in 1..1000000'),
    (['--data', 'synthetic:'], 'synthetic:heldout, synthetic:SEED'),
    (['--data', 'synthetic:x1'], "got 'synthetic:x1'"),
    (['--data', 'no/such/folder'], "got 'no/such/folder'"),
    (['--model', 'no-such-model'], 'no-such-model'),
    (['--guidance-text', '101'], 'guidance text must lie in [0, 100]'),
    (['--solver', 'rk4'], "invalid choice: 'rk4'"),
    (['--outptu', 'x'], 'Did you mean --output?'),
    (['--clips-per-scene', '0'], 'whole number in 1..1000000'),
    (['--batch-size', '9' * 401], "9'... (401 characters)"),
    (['--data', 'synthetic:' + '9' * 401], 'with a whole number in 0..2147483647, or a folder'),
    (['--clip-seconds', '1e300'], "wanted a number in 0.001..86400; got '1e300'"),
    (['--clips-per-scene', '2', '--num-clips', '9'], 'not allowed with argument'),
    (
      ['--clips-per-scene', '2', '--data', 'tests'],
      "a number of clips per scene needs the synthetic set, synthetic:SEED; 'tests' is",
    ),
    (['--clip-seconds', '0'], "wanted a number in 0.001..86400; got '0'"),
    (['--clip-seconds', '2'], "at least a window of model 'default', 4 s; got 2 s"),
    (['--clip-seconds', '8', '--sweep', 'corruption', '--output', 'x'], 'leave out --clip-seconds'),
    (['--mesh', 'fsdp'], "each of fsdp, context, tensor once; got 'fsdp'"),
    (['--mesh', 'fsdp=2,fsdp=4'], "once; got 'fsdp=2,fsdp=4'"),
    (['--mesh', 'data=2'], "got 'data=2'"),
    (['--mesh', 'fsdp=3'], 'does not fit 8 devices'),
    (['--page', 'tests'], '--page must be a file; tests is a folder'),
  ],
)
def test_errors_are_one_line(flags, words, capsys):
  assert main.main(['evaluate', *flags]) == 2
  out, err = capsys.readouterr()
  assert not out
  assert words in err and err.count('\n') == 1


def test_output_must_be_a_folder(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert main.main(['evaluate', '--output', str(tmp_path / 'file')]) == 2
  assert '--output must be a folder' in capsys.readouterr().err


def test_page_may_be_in_a_folder_that_does_not_exist_yet(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='--page must be in a folder; .*file is a file'):
    evaluation_page.check(tmp_path / 'file' / 'pages' / 'page.html')
  # The next error is of the model.
  flags = ['--page', str(tmp_path / 'new' / 'page.html'), '--model', 'no-such-model']
  assert main.main(['evaluate', *flags]) == 2
  assert "no model 'no-such-model'" in capsys.readouterr().err


def test_command_line_round_trip():
  parser = argparse.ArgumentParser()
  evaluate.add_flags(parser)
  words = ['--data', 'synthetic:7', '--clips-per-scene', '3', '--guidance-text', '2.5', '--json']
  words += ['--page', 'a b.html', '--mesh', 'fsdp=2,tensor=4', '--clip-seconds', '8.0']
  line = command.line('evaluate', evaluate.add_flags, parser.parse_args(words))
  program, name, *flags = shlex.split(line)
  assert (program, name) == ('v2a', 'evaluate')
  assert parser.parse_args(flags) == parser.parse_args(words)
  assert sorted(flags) == sorted(words)


@pytest.mark.slow  # compiles a complete model for eight devices
def test_report_with_all_metrics_is_printed(tiny_bundle, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('V2A_CACHE', '')
  flags = [
    '--model',
    str(tiny_bundle),
    '--data',
    'synthetic:77',
    '--num-clips',
    '7',
    '--batch-size',
    '4',
    '--steps',
    '1',
    '--num-seeds',
    '2',
    '--no-captions',
  ]
  assert main.main(['evaluate', *flags, '--json', '--output', str(tmp_path / 'out')]) == 0
  out, err = capsys.readouterr()
  result = json.loads(out)
  assert out.count('\n') == 1
  assert result['model'] == 'untrained' and result['data'] == 'synthetic:77' and result['num_clips'] == 7
  assert result['held_out'] is None and result['num_trained_on'] is None
  assert result['num_seeds'] == 2 and result['protocol']['captions'] is False
  assert result['protocol']['left_out'] == {} and len(result['protocol']['set_hash']) == 64
  assert set(result['signal']) == set(signal_metrics.METRICS)
  assert result['settings']['steps'] == 1 and result['settings']['guidance_text'] == 1.0
  assert result['settings']['negative_prompt_used'] == 'silence'  # without captions there is no prompt
  assert set(result['synthetic']) == set(synthetic.METRICS)
  assert 'soundtracks: 7 of 7, ' in err and ' clips/s, took ' in err
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert report == {'about': 'Written by v2a evaluate.', **result}
  assert set(result['speech']) >= {'wer_synthetic', 'wer_pocketsphinx'}
  assert result['distribution']['fd_vggish']['reason'].startswith(
    'not computed: weights vggish-10086976.pth missing'
  )
  generated = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*.wav')}
  assert len(generated) >= 2 * 7
  assert main.main(['evaluate', *flags, '--json', '--output', str(tmp_path / 'out')]) == 0
  assert json.loads(capsys.readouterr().out) == result
  assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*.wav')} == generated
