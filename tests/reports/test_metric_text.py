"""Reports print notes of metrics beside their values, and units and directions in their descriptions."""

import pathlib
import re

from v2a.metrics import registry
from v2a.metrics import signal_metrics
from v2a.metrics import synthetic
from v2a.reports import comparison_page
from v2a.reports import comparison_report
from v2a.reports import evaluation_report
from v2a.reports import evaluation_tables
from v2a.reports import metric_text

FEW = '24 rows cannot fill a covariance: mostly bias.'
REFUSED = '1 of 12 generated clips refused: silence has no bands.'


def entry(value, note=''):
  """Returns the entry of a metric."""
  found = {'value': value, 'floor': None, 'ceiling': 0.5, 'n': 24, 'num_true': 24, 'interval': [0.5, 1.5]}
  return found | ({'note': note} if note else {})


def entries(*notes):
  """Returns entries of distribution metrics with these notes."""
  return {
    'distribution': dict(zip(('fd_panns', 'fd_passt', 'kl_panns'), (entry(1.0, note) for note in notes)))
  }


def comparison():
  """Returns the result of a comparison of two external systems."""
  protocol = {
    'set_hash': 'a' * 64, 'clip_s': 4.0, 'measured_at_hz': 16000, 'resampler': 'soxr HQ',
    'versions': {'v2a': '0', 'jax': '0'}}  # fmt: skip
  shared = {
    'costs': None,
    'series': 'x',
    'sample_rate_hz': 16000,
    'num_channels': [1],
    'held_out': True,
    'silent': [],
    'protocol': protocol,
  }
  models = {'a': entries(FEW, FEW, '') | shared, 'b': entries(REFUSED, FEW, '') | shared}
  return {
    'data': 'd', 'num_clips': 12, 'seed': 0, 'num_seeds': 1, 'captions': True, 'reference': 'a',
    'left_out': {}, 'models': models, 'differences': {}}  # fmt: skip


def test_the_terminal_shows_notes_beside_the_values():
  head = {'model': 'm', 'data': 'd', 'num_clips': 12, 'num_seeds': 1}
  lines = evaluation_report.format_table(head | entries(FEW, REFUSED, FEW)).splitlines()
  marks = {
    line.split()[1]: line.rstrip()[-3:]
    for line in lines
    if line.startswith('\u2193 ') and '_' in line.split()[1]
  }
  assert marks == {'fd_panns': '[1]', 'fd_passt': '[2]', 'kl_panns': '[1]'}
  assert lines[-2:] == [f'[1] {FEW}', f'[2] {REFUSED}']
  assert lines[1].startswith('\u2193 lower is better; floor: given another clip;')


def test_a_comparison_in_markdown_shows_notes_beside_the_values():
  text = comparison_report.markdown(comparison())
  rows = {line.split('`')[1]: line for line in text.splitlines() if line.startswith('| `')}
  assert '**1.000** [1] (0.500 .. 1.500)' in rows['fd_panns'] and '**1.000** [2] (' in rows['fd_panns']
  assert rows['fd_passt'].count('[1]') == 2 and '[' not in rows['kl_panns']
  assert f'- [1] {FEW}' in text and f'- [2] {REFUSED}' in text


def test_the_page_of_an_evaluation_shows_notes_beside_the_values():
  tables = evaluation_tables.metric_tables(entries(FEW, REFUSED, ''))
  assert f'<b>1.000</b><small class="note">{REFUSED}</small>' in tables


def test_columns_and_tables_without_values_are_left_out():
  head = lambda **more: evaluation_tables.metric_tables(entries('', '', '') | more)
  missing = {
    'onset_f1': entry(None) | {'reason': 'no truth.'},
    'lip_lag_ms': entry(None) | {'reason': 'no truth'},
  }
  page = head(synthetic=missing, signal={'av_align': entry(0.5) | {'floor': 0.1}})
  titles = registry.GROUPS
  assert page.count('<table>') == 2 and titles['synthetic'] not in page
  assert titles['signal'] in page and titles['distribution'] in page
  assert '<li>onset_f1, lip_lag_ms: no truth.</li>' in page
  signal = page[page.index(titles['signal']) : page.index(titles['distribution'])]
  assert '>floor<' in signal and '>floor<' not in page.replace(signal, '')
  assert '>shifted floor<' not in page and '>ceiling<' in page
  assert '\u2191 higher is better, \u2193 lower is better' in page and '\u2248' not in page
  assert evaluation_tables.metric_tables({}) == ''


def test_descriptions_hold_unit_and_direction():
  assert metric_text.describe('lip_lag_ms').endswith(' in ms; lower is better')
  assert metric_text.describe('onset_f1').endswith('; higher is better')


def test_values_have_the_decimals_that_they_need():
  values = (None, 0.0, 0.00034, -0.00002, 0.25, 1.0, 12.345, 4567.8)
  words = ('-', '0.000', '0.00034', '-0.00002', '0.250', '1.000', '12.3', '4568')
  assert tuple(map(metric_text.format_value, values)) == words


def test_documentation_states_the_smallest_effects():
  page = (pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'evaluation.md').read_text()
  stated = {}
  for table in page.split('\n\n'):
    head, *rows = table.strip().split('\n')
    if head.startswith('| metric |') and head.endswith('| smallest effect |'):
      for row in rows[1:]:
        cells = [cell.strip() for cell in row.strip('|').split('|')]
        names, effects = re.findall(r'`(\w+)`', cells[0]), cells[-1].split(', ')
        stated |= dict(zip(names, effects * len(names) if len(effects) == 1 else effects, strict=True))
  assert set(stated) == {*synthetic.METRICS, *signal_metrics.METRICS}
  assert stated == {name: metric_text.smallest_effect(name) for name in stated}


def test_smallest_effects_stand_beside_tested_metrics():
  assert metric_text.smallest_effect('lip_lag_ms') == '10 ms'
  assert metric_text.smallest_effect('stft_distance') == '2 % of the reference'
  tested = {'b': {'distribution': {'kl_panns': {'mark': ''}}}}
  compared = comparison() | {'differences': tested}
  rows = [line for line in comparison_report.markdown(compared).splitlines() if line.startswith('| `')]
  assert {row.split('`')[1]: 'is better; smallest effect 2 % of the reference |' in row for row in rows} == {
    'fd_panns': False,
    'fd_passt': False,
    'kl_panns': True,
  }
  page = comparison_page._metric_tables(compared)
  assert page.count('smallest effect 2 % of the reference') == 1
