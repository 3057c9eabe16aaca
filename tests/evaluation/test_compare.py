"""`v2a compare` of external soundtracks and models, up to the page in a browser."""

import base64
import copy
import functools
import io
import json
import pathlib
import re
import shutil
import subprocess
import urllib.parse

import numpy as np
from PIL import Image
import pytest
import soundfile

from tests import pages
from tests.media import films
from v2a import clip as clip_lib
from v2a.cli import main
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import compare as compare_lib
from v2a.evaluation import scoring
from v2a.media import probe
from v2a.metrics import bootstrap
from v2a.metrics import registry
from v2a.metrics import signal_metrics
from v2a.metrics import synthetic
from v2a.reports import comparison_page
from v2a.reports import comparison_report

SEED, NUM_CLIPS = 31_000_011, 12
SPEC = clip_lib.ClipSpec()
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason='there is no Chromium to render the page')


@functools.cache
def examples():
  """Returns the clips."""
  return tuple(synthetic_examples.render(SEED, NUM_CLIPS, SPEC))


def write(folder, change):
  """Writes modified true sounds as the soundtracks of another system."""
  folder.mkdir()
  for example in examples():
    wave_NA = change(record_schema.wave_to_float(example.wave_NA))
    soundfile.write(folder / f'{example.name}.wav', wave_NA, SPEC.sample_rate_hz)
  return str(folder)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Returns folders of soundtracks: true sounds with noise, delayed and quieter ones, and silence."""
  root = tmp_path_factory.mktemp('systems')
  noise_NA = 1e-4 * np.random.default_rng(0).standard_normal((SPEC.num_samples, 2))
  return [
    write(root / 'near', lambda wave_NA: wave_NA + noise_NA),
    write(root / 'late <b>', lambda wave_NA: 0.5 * np.roll(wave_NA, 2400, axis=0)),
    write(root / 'silent', lambda wave_NA: 0 * wave_NA),
  ]


def compare(*flags):
  """Returns the exit code of a comparison."""
  return main.main(
    ['compare', '--data', f'synthetic:{SEED}', '--num-clips', str(NUM_CLIPS), *map(str, flags)]
  )


@pytest.fixture(scope='module')
def output(folders, tmp_path_factory):
  """Returns the output folder of a comparison of these folders."""
  folder = tmp_path_factory.mktemp('out') / 'compared'
  assert compare('--models', *folders, '--output', folder) == 0
  return folder


@pytest.fixture(scope='module')
def result(output):
  return json.loads((output / 'report.json').read_text())


def test_all_systems_have_all_metrics(result):
  assert list(result['models']) == ['near', 'late <b>', 'silent'] and result['reference'] == 'near'
  assert result['num_clips'] == NUM_CLIPS
  hashes = {entry['protocol']['set_hash'] for entry in result['models'].values()}
  assert len(hashes) == 1
  for entry in result['models'].values():
    assert set(entry['synthetic']) == set(synthetic.METRICS) and set(entry['signal']) == set(
      signal_metrics.METRICS
    )
    assert entry['costs'] is None and entry['held_out'] is None
    assert entry['synthetic']['music_rate_negative']['value'] is None
  assert result['models']['near']['synthetic']['onset_f1']['value'] > 0.9
  assert len(result['models']['silent']['silent']) == NUM_CLIPS
  assert result['models']['silent']['signal']['silence_error']['n'] == NUM_CLIPS


def test_only_significant_differences_have_a_mark(result):
  late = result['differences']['late <b>']['signal']
  assert set(result['differences']) == {'late <b>', 'silent'}
  for name in ('log_mel_distance', 'stft_distance', 'true_peak_error_db'):
    assert late[name]['mark'] == 'worse***' and late[name]['value'] > 0, name
    assert late[name]['p'] <= late[name]['p_corrected'] < 0.001
  assert late['true_peak_error_db']['value'] == pytest.approx(6.0, abs=0.3)
  assert late['clipping_error']['mark'] == '' and late['clipping_error']['p'] == 1.0
  # Too few clips have onsets for a paired test.
  near, late = (result['models'][name]['signal']['onset_flux_f1'] for name in ('near', 'late <b>'))
  assert near['n'] < bootstrap.MIN_TEST_CLIPS and near['value'] > 0.9 > late['value'] + 0.3


def test_marks_follow_the_direction_of_the_metric():
  assert scoring.significance_mark(0.1, 0.02, 'higher') == 'better*'
  assert scoring.significance_mark(0.1, 0.02, 'lower') == 'worse*'
  assert scoring.significance_mark(-0.1, 0.002, 'lower') == 'better**'
  assert scoring.significance_mark(-0.1, 0.002, None) == 'different**'
  assert scoring.significance_mark(0.1, 0.05, 'higher') == ''
  assert scoring.significance_mark(0.0, 0.0, 'higher') == ''
  assert scoring.significance_mark(0.1, 0.0, 'higher', smallest_effect=0.1) == 'better***'
  assert scoring.significance_mark(0.1, 0.0, 'higher', smallest_effect=0.11) == ''
  directions = {
    'word_error_rate': 'lower',
    'onset_f1': 'higher',
    'av_align': 'higher',
    'music_rate': 'higher',
  }
  assert {name: registry.get(name).direction for name in directions} == directions


def test_markdown_has_every_metric_with_its_floor(output, result):
  text = (output / 'report.md').read_text()
  assert text == f'<!-- Written by v2a compare. -->\n\n{comparison_report.markdown(result)}'
  rows = [line for line in text.splitlines() if line.startswith('|')]
  widths = {line.replace('\\|', '').count('|') for line in rows}
  assert widths == {len(table.models) + 2 for table in comparison_report.tables(result)}
  near, notes = result['models']['near'], text[text.index('## Notes') :]
  for key in registry.GROUPS:
    for name, entry in near[key].items():
      row = next((line for line in rows if line.startswith(f'| `{name}`')), None)
      num_available = sum(model[key][name]['value'] is not None for model in result['models'].values())
      if num_available:
        assert len(re.findall(r'[;,] n \d', row)) == num_available and 'ceiling' not in row
      else:
        # Metrics that no system has are listed in the notes, by reason.
        assert row is None and name in notes and entry['reason'].rstrip('.') in notes, name
  assert (
    'eiling' not in text and '## Costs' not in text and 'without known costs: near, late <b>, silent' in text
  )
  assert '12 silent soundtracks' in text and r' worse\*\*\* (' in text


def test_page_is_self_contained_and_plays_the_evaluated_audio(output, result):
  path = output / 'report.html'
  reader, content = pages.read(path), path.read_text()
  assert 'http' not in content and not [tag for tag, _ in reader.tags if tag in ('script', 'link', 'b>')]
  for name in (*synthetic.METRICS, *signal_metrics.METRICS, *result['models']):
    assert name in reader.text, name
  for name in ('onset_f1', 'log_mel_distance'):
    assert registry.get(name).description in reader.text, name
  assert 'v2a compare --models' in reader.text
  files = lambda tag, attribute: [
    path.parent / urllib.parse.unquote(attributes[attribute])
    for found, attributes in reader.tags
    if found == tag and attribute in attributes
  ]
  shown = compare_lib._select_shown(examples(), SPEC.sample_rate_hz)
  videos, sounds = files('video', 'src'), files('a', 'href')
  assert len(videos) == len(sounds) == 4 * len(shown) == 4 * compare_lib.NUM_SHOWN
  assert all(probe.probe(video).has_audio for video in videos)
  true_NA = next(iter(shown.values())).true.wave_NA
  for sound, tolerance in zip(sounds, (2 / 32767, 1e-3)):
    wave_NA, rate_hz = soundfile.read(sound)
    assert rate_hz == SPEC.sample_rate_hz
    np.testing.assert_allclose(wave_NA, true_NA, atol=tolerance)
  for source in (attributes['src'] for tag, attributes in reader.tags if tag == 'img'):
    kind = re.match(r'data:(image/\w+)', source).group(1)
    with Image.open(io.BytesIO(decoded(source, kind))) as image:
      assert image.size[0] > 100


def test_plots_show_models_without_steps(result):
  report = copy.deepcopy(result)
  for name, settings in (('near', {'steps': 8}), ('late <b>', {'temperature': 1.0})):
    report['models'][name] |= {'settings': settings, 'costs': {'wall_s': 0.5, 'flops': 2e9}}
  one, both = copy.deepcopy(report), report
  one['models']['late <b>'] |= {'settings': None, 'costs': None}
  images = [comparison_page._plots(each) for each in (one, both)]
  assert all(image.startswith('<img') for image in images) and images[0] != images[1]


def decoded(source, kind):
  """Returns the bytes of a data URL."""
  head, code = source.split(',', 1)
  assert head == f'data:{kind};base64'
  return base64.b64decode(code)


def screenshot(page: pathlib.Path, path: pathlib.Path, height: int) -> np.ndarray:
  """Returns a screenshot of a page by headless Chromium, without network, as pixels_YX3."""
  command = [
    CHROMIUM,
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--hide-scrollbars',
    '--host-resolver-rules=MAP * ~NOTFOUND',
    f'--user-data-dir={path.parent / "profile"}',
    f'--window-size=1400,{height}',
    f'--screenshot={path}',
    page.as_uri(),
  ]
  subprocess.run(command, check=True, capture_output=True, timeout=240)
  return np.asarray(Image.open(path).convert('RGB'))


@needs_chromium
@pytest.mark.slow  # starts a browser
def test_page_is_rendered_by_a_browser(output, tmp_path):
  pixels_YX3 = screenshot(output / 'report.html', tmp_path / 'page.png', 9000)
  assert pixels_YX3.shape == (9000, 1400, 3)
  back_3 = np.array([0x0D, 0x0F, 0x14])
  assert (pixels_YX3[:40] == back_3).all()
  # Text in the colours of the tables, and further down the colour map of spectrograms.
  accent = (np.abs(pixels_YX3.astype(int) - [0xFF, 0xB4, 0x54]).max(axis=-1) < 40).sum()
  assert accent > 2000
  bad = (np.abs(pixels_YX3.astype(int) - [0xFF, 0x8F, 0x8F]).max(axis=-1) < 40).sum()
  assert bad > 500
  rows_Y = (pixels_YX3 != back_3).any(axis=(1, 2))
  assert rows_Y[100:4500].mean() > 0.7
  magma = (pixels_YX3[..., 0].astype(int) - pixels_YX3[..., 1] > 60) & (pixels_YX3[..., 2] > 80)
  assert magma.sum() > 20_000


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--models', 'no-such', 'default'], "no model 'no-such'"),
    (['--models', 'default'], 'at least two models'),
    (['--models', 'default', 'default'], 'default more than once'),
    (['--models', 'default:drums', 'default'], "got 'drums' in 'default:drums'"),
    (['--models', 'default', 'default', '--num-seeds', '0'], 'whole number in 1..1000000'),
    (['--models', 'default', '--steps', '4', '0'], 'whole number of at least 1'),
    (['--models', 'a', 'b', '--data', 'nowhere'], "got 'nowhere'"),
    (['--models', 'a', 'b', '--data', 'synthetic:x'], "got 'synthetic:x'"),
    (['--models', 'tests/evaluation', 'default'], 'tests/evaluation holds no wav files either (NAME.wav for'),
    (['--models'], 'expected at least one argument'),
    (['--modles', 'a'], 'the following arguments are required: --models'),
  ],
)
def test_errors_are_one_line(flags, words, tmp_path, capsys):
  assert main.main(['compare', '--num-clips', '2', '--output', str(tmp_path / 'x'), *flags]) == 2
  out, err = capsys.readouterr()
  line = err.strip().splitlines()[-1]
  assert not out and words in line and line.startswith('v2a: ')
  assert not (tmp_path / 'x').exists()


def test_one_folder_by_two_names_is_one_system(folders, tmp_path, monkeypatch):
  near = pathlib.Path(folders[0])
  (tmp_path / 'link').symlink_to(near)
  monkeypatch.chdir(near.parent)
  for other in ('near/', './near', str(near), str(tmp_path / 'link')):
    with pytest.raises(ValueError, match='each model may be named once; got near.* and .*more than once'):
      compare_lib.system_specs(compare_lib.CompareConfig(['near', other], f'synthetic:{SEED}', 2))
  # Two folders of one name are two systems.
  shutil.copytree(near, tmp_path / 'near')
  config = compare_lib.CompareConfig([str(near), str(tmp_path / 'near')], f'synthetic:{SEED}', 2)
  assert [spec.name for spec in compare_lib.system_specs(config)] == list(config.models)


def test_too_few_clips_are_explained(folders, tmp_path, capsys):
  videos = tmp_path / 'videos'
  videos.mkdir()
  films.make(videos / 'loud', duration_s=4.5, wave_NA=films.clicks(4.5, 44100))
  films.make(videos / 'short', duration_s=1.0, wave_NA=films.clicks(1.0, 44100))
  films.make(videos / 'silent', duration_s=4.5)
  flags = ['--data', videos, '--output', tmp_path / 'x']
  assert main.main(['compare', '--models', *folders[:2], *map(str, flags)]) == 2
  assert (
    capsys.readouterr()
    .err.splitlines()[-1]
    .endswith('got 1; left out: 1 x the video is shorter than 4 s, 1 x no sound in the video.')
  )


def test_a_missing_soundtrack_raises_before_metrics_are_computed(folders, tmp_path, capsys):
  cut = tmp_path / 'cut'
  shutil.copytree(folders[0], cut)
  (cut / f'{examples()[3].name}.wav').unlink()
  assert compare('--models', folders[1], cut, '--output', tmp_path / 'x') == 2
  err = capsys.readouterr().err
  assert f'lacks 1 of 12 soundtracks: wanted {examples()[3].name}.' in err.splitlines()[-1]
  assert 'computing metrics' not in err


@pytest.mark.slow  # compiles a complete model for eight devices
def test_soundtracks_are_cached_and_a_second_call_continues(tiny_bundle, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('V2A_CACHE', '')
  spec = clip_lib.ClipSpec(clip_s=2.0, frame_size=16)
  (tmp_path / 'truth').mkdir()
  for example in synthetic_examples.render(SEED, 10, spec):
    soundfile.write(
      tmp_path / 'truth' / f'{example.name}.wav', record_schema.wave_to_float(example.wave_NA), 16000
    )
  flags = ['--models', tiny_bundle, tmp_path / 'truth', '--data', f'synthetic:{SEED}', '--num-clips', '10']
  flags += ['--num-seeds', '2', '--steps', '1', '2', '--guidance', '1', '--json']

  def run(folder):
    assert main.main(['compare', *map(str, flags), '--output', str(tmp_path / folder)]) == 0
    return json.loads(capsys.readouterr().out)

  first = run('out')
  assert list(first['models']) == ['untrained, 1 steps', 'untrained, 2 steps', 'truth']
  costs = [entry['costs'] for entry in first['models'].values()]
  assert [cost and cost['network_evaluations'] for cost in costs] == [1, 2, None]
  assert costs[0]['flops'] < costs[1]['flops'] and costs[0]['wall_s'] > 0
  assert costs[0]['training_flops']['all'] > 1e6 and costs[0]['peak_memory_bytes'] > 1e7
  assert first['models']['untrained, 1 steps']['num_seeds'] == 2
  assert first['models']['untrained, 1 steps']['held_out'] is None
  assert (
    'needs guidance' in first['models']['untrained, 1 steps']['synthetic']['music_rate_negative']['reason']
  )
  assert first['differences']['truth']['signal']['log_mel_distance']['mark'].startswith('better')
  waves = sorted((tmp_path / 'out').rglob('*.wav'))
  assert len(waves) > 40
  times = {path: path.stat().st_mtime_ns for path in waves}
  removed = waves[5]
  content = removed.read_bytes()
  removed.unlink()
  second = run('out')
  assert removed.read_bytes() == content
  rewritten = [path for path in times if path.stat().st_mtime_ns != times[path]]
  # Only the batch of the removed soundtrack was generated again.
  assert removed in rewritten and len(rewritten) <= 8
  for name, entry in first['models'].items():
    assert second['models'][name]['synthetic'] == entry['synthetic'], name
    assert second['models'][name]['signal'] == entry['signal'], name
  page = pages.read(tmp_path / 'out' / 'report.html')
  assert 'onset_f1' in page.text and any(tag == 'img' for tag, _ in page.tags)
