"""The page of a comparison: what its tables leave out, how they are read, and that it fits its window."""

import copy
import dataclasses
import re

import numpy as np
import pytest

from tests import pages
from v2a.data import examples as examples_lib
from v2a.evaluation import compare
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.reports import comparison_page
from v2a.reports import comparison_report
from v2a.reports import players
from v2a.synthetic import truth as truth_lib

SYSTEMS = ('a', 'b', 'another_system_with_a_rather_long_name', 'd', 'e', 'f', 'g')
PROTOCOL = {
  'set_hash': 'a' * 64, 'clip_s': 4.0, 'measured_at_hz': 16000, 'resampler': 'soxr HQ',
  'versions': {'v2a': '0', 'jax': '0'}}  # fmt: skip

COSTS = dict.fromkeys(
  ('network_evaluations', 'flops', 'wall_s', 'real_time_factor', 'peak_memory_bytes', 'num_devices'), 2
) | {'num_parameters': {'all': 5}, 'training_flops': {'all': None}, 'device': 'cpu', 'wall_s': None}


def entry(value: float | None = 0.5, **more) -> dict:
  """Returns the entry of a metric."""
  found = {'value': value, 'floor': 0.25, 'ceiling': 0.75, 'n': 24, 'interval': [0.4, 0.6], **more}
  return (
    found if value is not None else found | {'interval': None, 'reason': more.get('reason', 'no weights')}
  )


def result(num_systems: int = 7, **groups) -> dict:
  """Returns the result of a comparison of folders of audio; every system has the same entries."""
  own = {
    'costs': None,
    'sample_rate_hz': 16000,
    'num_channels': [1],
    'series': 'x',
    'held_out': True,
    'silent': [],
    'protocol': PROTOCOL,
    'settings': None,
  }
  models = {name: copy.deepcopy(groups) | own for name in SYSTEMS[:num_systems]}
  return {
    'data': 'videos', 'num_clips': 12, 'seed': 0, 'num_seeds': 1, 'captions': True, 'reference': 'a',
    'left_out': {}, 'models': models, 'differences': {}}  # fmt: skip


def write(folder, compared: dict, shown=()) -> pages.Reader:
  """Writes the page, and reads it."""
  path = folder / 'report.html'
  comparison_page.write(path, compare.Comparison(compared, list(shown)), 'v2a compare')
  return pages.read(path)


def tables(reader: pages.Reader) -> list[list[list[str]]]:
  """Returns the texts of the cells of all tables, by row."""
  rows = re.findall(r'<table>(.*?)</table>', reader.source)
  text = lambda cell: ' '.join(
    re.sub(r'<wbr>|<[^>]*>', lambda tag: '' if tag[0] == '<wbr>' else ' ', cell).split()
  )
  return [
    [
      [text(cell) for cell in re.findall(r'<t[hd].*?</t[hd]>', row)]
      for row in re.findall(r'<tr>(.*?)</tr>', table)
    ]
    for table in rows
  ]


def test_empty_tables_and_columns_are_left_out_with_the_reason(tmp_path):
  compared = result(
    3, synthetic={'onset_f1': entry(None)}, signal={'av_align': entry(), 'dc_error': entry(None)}
  )
  compared['models']['b']['signal']['av_align'] = entry(None, reason='refused.')
  reader = write(tmp_path, compared)
  (signal,) = tables(reader)
  assert signal[0] == ['metric', 'a', SYSTEMS[2]] and len(signal) == 2 and 'av_align' in signal[1][0]
  assert registry.GROUPS['signal'] in reader.text and registry.GROUPS['synthetic'] not in reader.text
  assert 'onset_f1, dc_error: no weights.' in reader.text
  assert f'{registry.GROUPS["signal"]}: b has no values: refused.' in reader.text
  # Folders have no costs, and without costs there is nothing to plot against.
  assert not {'costs', 'plots'} & {attributes.get('id') for _, attributes in reader.tags}
  assert 'without known costs: a, b' in reader.text
  markdown = comparison_report.markdown(compared)
  assert '| metric | a | another_system' in markdown and '| b |' not in markdown
  assert all(f'## {registry.GROUPS[group]}' not in markdown for group in ('synthetic', 'speech'))


def test_seeds_and_captions_are_those_of_models():
  folders = result(2, signal={'log_mel_distance': entry()})
  text = comparison_report.markdown(folders)
  assert '12 clips of 4 s; content hash' in text and 'interval over clips. Floor' in text
  assert not any(word in text for word in ('seed', 'captions', 'ceiling (codec'))
  models = folders | {'num_seeds': 3}
  models['models'] = {name: each | {'costs': COSTS} for name, each in folders['models'].items()}
  text = comparison_report.markdown(models)
  assert '12 clips of 4 s, seeds 0 to 2, captions given; content' in text and 'over clips and seeds' in text
  assert '4 s, seed 0, captions given;' in comparison_report.markdown(models | {'num_seeds': 1})


def test_notes_name_the_soundtracks_and_count_in_words():
  compared = result(2, signal={'log_mel_distance': entry()}) | {
    'left_out': {'no sound': ['s'], 'too short': [*'tuvw']}
  }
  compared['models']['a'] |= {'silent': ['x'], 'length_adjusted': [f'c{k}' for k in range(10)]}
  compared['models']['b'] |= {
    'silent': ['x', 'y'],
    'length_adjusted': ['z'],
    'num_unused_files': 1,
    'num_files_of_left_out_clips': 2,
  }
  notes = comparison_report.notes(compared)
  assert (
    '1 clip left out (s): no sound.' in notes and '4 clips left out (t, u, v and 1 more): too short.' in notes
  )
  assert 'a: 1 silent soundtrack, included in all metrics: x.' in notes
  assert 'b: 2 silent soundtracks, included in all metrics: x, y.' in notes
  cut = 'cut to the length of the clip, or padded by at most 50 ms'
  assert f'a: 10 soundtracks {cut}: c0, c1, c2, c3, c4, c5, c6, c7 and 2 more.' in notes
  assert f'b: 1 soundtrack {cut}: z.' in notes and 'b: 1 wav file without a clip in the set.' in notes
  assert 'b: 2 wav files not evaluated, since the clip was left out.' in notes


def test_notes_name_systems_of_other_sample_rates_and_channels():
  compared = result(2, signal={'log_mel_distance': entry()})
  assert not any('differ' in note for note in comparison_report.notes(compared))
  compared['models']['b'] |= {'sample_rate_hz': 44100, 'num_channels': [1, 2]}
  notes = comparison_report.notes(compared)
  assert 'Sample rates differ, which level and bandwidth depend on: a 16000 Hz, b 44100 Hz.' in notes
  assert 'Numbers of channels differ; files are mixed to that of the clips: a 1, b 1 and 2.' in notes
  assert '(soxr HQ; level and bandwidth at the own rate of each sound)' in comparison_report.markdown(
    compared
  )


def test_text_for_a_terminal_is_narrow_and_has_all_values():
  compared = result(7, signal={'log_mel_distance': entry(), 'onset_flux_f1': entry(0.25)})
  compared['models']['b']['signal']['onset_flux_f1'] = entry(None, reason='no true onsets')
  mark = {'mark': 'worse***', 'value': 0.1}
  compared['differences'] = {'d': {'signal': {'log_mel_distance': mark}}}
  lines = comparison_report.format_table(compared).splitlines()
  assert max(map(len, lines)) <= 100 and not any('|' in line for line in lines)
  assert f'(3): {SYSTEMS[2]}' in lines and lines[0] == '7 systems on videos'
  values = [line for line in lines if line.startswith('log_mel_distance')]
  assert ' '.join(values).count('0.500') == 7 and ' '.join(values).count('0.500 worse***') == 1
  onsets = ' '.join(line for line in lines if line.startswith('onset_flux_f1'))
  assert onsets.count('0.250') == 6 and onsets.count('- [1]') == 1 and '- [1] no true onsets' in lines
  assert any('p corrected' in line for line in lines)
  too_few = comparison_report.format_table(compared | {'differences': {}})
  assert 'Differences are not tested: no metric has the 10 clips that tests need.' in too_few
  costs = {name: each | {'costs': COSTS} for name, each in compared['models'].items()}
  assert 'parameters' in comparison_report.format_table(compared | {'models': costs})


def test_costs_have_columns_for_models_and_rows_with_values(tmp_path):
  compared = result(2, signal={'log_mel_distance': entry()})
  compared['models']['b'] |= {'costs': COSTS, 'settings': {'steps': 8}}
  reader = write(tmp_path, compared)
  metrics, prices = tables(reader)
  assert 'true sound through the codec of the model. Folders of audio have none' in reader.text
  assert metrics[0] == ['metric', 'a', 'b'] and prices[0] == ['', 'b']
  assert ['parameters', '5'] in prices and 'wall time a soundtrack' not in [row[0] for row in prices]


def test_every_metric_has_an_arrow_and_the_legend_names_those_in_use(tmp_path, monkeypatch):
  compared = result(2, signal={'av_align': entry(), 'dc_error': entry()})
  reader = write(tmp_path, compared)
  assert '↑ higher is better, ↓ lower is better' in reader.text and '≈' not in reader.text
  rows = {row[0].split()[1]: row[0][0] for row in tables(reader)[0][1:]}
  assert rows == {'av_align': '↑', 'dc_error': '↓'}
  assert [attributes['title'] for tag, attributes in reader.tags if tag == 'abbr'] == [
    'higher is better', 'lower is better']  # fmt: skip
  known = registry.get
  monkeypatch.setattr(
    registry, 'get', lambda name: dataclasses.replace(known(name), direction=None, unit='LU')
  )
  reader = write(tmp_path, compared)
  assert '≈ closer to the reference is better' in reader.text and 'is better,' not in reader.text
  assert f'{known("av_align").description} in LU' in reader.text


def test_notes_are_beside_the_number_and_once_where_systems_share_them(tmp_path):
  compared = result(3, distribution={'fd_synthetic': entry(note='mostly bias.'), 'kl_synthetic': entry()})
  compared['models']['b']['distribution']['kl_synthetic'] = entry(note='1 of 12 clips refused.', n=11)
  compared['models'][SYSTEMS[2]]['distribution']['kl_synthetic'] = entry(None, reason='not applicable')
  reader = write(tmp_path, compared)
  fd, kl = tables(reader)[0][1:]
  assert fd[0].endswith('ceiling 0.750, n 24 mostly bias.') and reader.text.count('mostly bias.') == 1
  assert fd[1] == '0.500 0.400 .. 0.600 floor 0.250'
  assert kl[1].endswith('floor 0.250 n 24')
  assert kl[2].endswith('floor 0.250 n 11 1 of 12 clips refused.') and kl[3] == 'not applicable'


def example(name: str) -> compare.ShownExample:
  """Returns a clip for the page, with the soundtracks of all systems."""
  rng = np.random.default_rng(0)
  frame_LYX3 = rng.integers(0, 255, (25, 32, 32, 3)).astype(np.uint8)
  truth = truth_lib.text_only('wood & <b>glass</b>', '')
  clip = examples_lib.Example(name, truth, np.zeros((16000, 2), np.int16), None, (frame_LYX3,) * 2, None)
  sound = lambda: metric_lib.Sound(0.1 * rng.standard_normal((16000, 2)).astype(np.float32), 16000)
  return compare.ShownExample(clip, sound(), {system: sound() for system in SYSTEMS})


def test_every_soundtrack_is_played_with_the_frames(tmp_path):
  reader = write(tmp_path, result(signal={'av_align': entry()}), [example('clip 1'), example('clip 2')])
  labels = [attributes['aria-label'] for tag, attributes in reader.tags if tag == 'video']
  names = (comparison_page.TRUTH, *SYSTEMS)
  assert labels == [f'clip {number}: {name}' for number in (1, 2) for name in names]
  assert 'wood & <b>glass</b>' in reader.text and 'script' not in {tag for tag, _ in reader.tags}
  assert 'http' not in reader.source and (players.folder_of(tmp_path / 'report.html')).is_dir()


# Measures the page when it is loaded, videos included, and puts the result into its title.
MEASURE = """<script>
const videos = [...document.querySelectorAll('video')], table = document.querySelector('.scroll');
addEventListener('load', () => {
  table.scrollLeft = 400;
  const head = table.querySelector('tbody th'), cell = table.querySelector('tbody td');
  document.title = JSON.stringify({
    page: document.documentElement.scrollWidth, window: window.innerWidth,
    scrolled: table.scrollLeft,
    head: head.getBoundingClientRect().left - table.getBoundingClientRect().left,
    width: head.getBoundingClientRect().width, cell: cell.getBoundingClientRect().left,
    durations: videos.map(video => video.duration), heights: videos.map(video => video.videoHeight),
  });
});
</script></body>"""


@pages.needs_chromium
@pytest.mark.slow  # starts a browser
@pytest.mark.parametrize('width', [1280, 500])
def test_seven_systems_fit_the_window_and_videos_play(width, tmp_path):
  metrics = {
    name: entry(note='24 rows cannot fill a covariance: mostly bias.')
    for name in ('fd_synthetic', 'kl_synthetic')
  }
  write(tmp_path, result(distribution=metrics), [example('clip')])
  path = tmp_path / 'report.html'
  # Videos that are preloaded delay the load event until their first frame is there.
  path.write_text(path.read_text().replace('preload="none"', 'preload="auto"').replace('</body>', MEASURE))
  found = pages.measure(path, width)
  assert found['page'] <= found['window'] <= width
  # In a narrow window the table scrolls inside its box, and the names of metrics stay.
  assert (found['scrolled'] > 0) == (found['cell'] < found['width']) == (width < 1280)
  assert abs(found['head']) <= 2 and found['width'] < width / 2
  assert found['durations'] == pytest.approx([1.0] * 8, abs=0.05) and min(found['heights']) >= 192
