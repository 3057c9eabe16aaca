"""The page of an evaluation: what it shows and plays, that it is complete, small, and that text is text."""

import base64
import dataclasses
import io
import urllib.parse

import numpy as np
from PIL import Image
import pytest

from tests import pages
from v2a import clip as clip_lib
from v2a.data import examples as examples_lib
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.media import probe
from v2a.metrics import registry
from v2a.metrics import synthetic
from v2a.reports import evaluation_page
from v2a.reports import example_plot
from v2a.reports import players
from v2a.synthetic import truth as truth_lib

SPEC = clip_lib.ClipSpec(frame_size=16)
NASTY = '</p><script>alert(1)</script> & $x$ ${title} "a"'


@pytest.fixture(scope='module')
def examples():
  scenes = ('strike', 'bounce', 'dialogue', 'engine')
  found = [
    example for scene in scenes for example in synthetic_examples.render(31_000_009, 2, SPEC, scenes=(scene,))
  ]
  named = [dataclasses.replace(example, name=f'{example.truth["scene"]} {example.name}') for example in found]
  nasty = dataclasses.replace(named[0], truth=named[0].truth | {'annotation': NASTY})
  return [nasty, *named[1:]]


@pytest.fixture(scope='module')
def eval_result(examples):
  """Returns what is measured of a model that generates the truth, but silence for the archive corruption."""
  known = {example.frames[0].tobytes(): example for example in examples}
  known |= {example.paired_variant('degraded')[0].tobytes(): example for example in examples}

  def generate(conditions):
    found = [known.get(condition.semantic_frame_MYX3.tobytes()) for condition in conditions]
    return np.stack(
      [
        np.zeros((SPEC.num_samples, 2)) if example is None else record_schema.wave_to_float(example.wave_NA)
        for example in found
      ]
    )

  model = evaluator.System('truth <i>', generate, lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz)
  eval_result = evaluator.evaluate(model, examples, 'synthetic:test', report_progress=lambda line: None)
  eval_result.result['settings'] = {'steps': 7, 'guidance': None}
  return eval_result


@pytest.fixture(scope='module')
def path(examples, eval_result, tmp_path_factory):
  path = tmp_path_factory.mktemp('page') / 'page.html'
  evaluation_page.write(path, eval_result, examples, "v2a evaluate --page 'a <b>.html'")
  return path


def test_every_clip_and_every_metric_is_there(path, examples, eval_result):
  reader = pages.read(path)
  addresses = {attributes.get('id') for _, attributes in reader.tags}
  assert {f'clip-{i}' for i in range(len(examples))} <= addresses
  for example in examples:
    assert example.name in reader.text
    assert ' '.join(example.truth['transcript'].split()) in reader.text
  for name, entry in eval_result.result['synthetic'].items():
    assert name in reader.text
    assert (f'worst-{name}' in addresses) == (entry['n'] > 0)
  for group in ('synthetic', 'signal', 'distribution'):
    for name, entry in eval_result.result[group].items():
      assert name in reader.text
      assert entry['value'] is None or registry.get(name).description in reader.text
  links = [
    attributes['href'] for tag, attributes in reader.tags if tag == 'a' and 'download' not in attributes
  ]
  assert links and all(link.startswith('#') and link[1:] in addresses for link in links)
  for i, score in enumerate(eval_result.scores['onset_f1']):
    matched, known, _ = score.value
    assert f'onsets: {matched} of {known} found' in reader.text, i


def test_command_and_settings_are_there(path):
  text = pages.read(path).text
  assert "v2a evaluate --page 'a <b>.html'" in text
  assert 'steps 7' in text and 'defaults of the model guidance' in text and ' clips 8 ' in text
  assert 'length of a clip 4.0 s' in text and 'captions given yes' in text and 'clip s' not in text


def test_every_clip_is_played_as_generated_and_as_recorded(path, examples):
  reader = pages.read(path)
  videos = {}
  for tag, attributes in reader.tags:
    if tag == 'video':
      videos[attributes['aria-label']] = path.parent / urllib.parse.unquote(attributes['src'])
  for example in examples:
    for label in ('model', 'truth'):
      info = probe.probe(videos[f'{example.name}: {label}'])
      assert info.has_video and info.has_audio and info.duration_s == pytest.approx(SPEC.duration_s, abs=0.01)
  # The worst clips by a corruption have videos of their own; those of clean frames are the same files.
  assert sum(label.endswith(': archive') for label in videos) == 4
  assert len(set(videos.values())) < [tag for tag, _ in reader.tags].count('video')


def test_markup_in_texts_is_escaped(path):
  reader = pages.read(path)
  assert not [tag for tag, _ in reader.tags if tag in ('script', 'b>')]
  assert ' '.join(NASTY.split()) in reader.text and 'truth <i>' in reader.text


def test_it_stands_alone_and_can_be_read(path):
  reader = pages.read(path)
  assert 'http' not in path.read_text(encoding='utf-8')
  assert ('html', {'lang': 'en'}) in reader.tags
  levels = [int(tag[1]) for tag, _ in reader.tags if tag in ('h1', 'h2', 'h3', 'h4')]
  assert levels[0] == 1 and levels.count(1) == 1
  assert all(below - above <= 1 for above, below in zip(levels, levels[1:]))
  images = [attributes for tag, attributes in reader.tags if tag == 'img']
  for attributes in images:
    kind, code = attributes['src'].split(',', 1)
    assert kind == 'data:image/webp;base64' and attributes['alt']
    data = base64.b64decode(code)
    with Image.open(io.BytesIO(data)) as image:
      assert image.size == (int(attributes['width']), int(attributes['height']))
    assert len(data) < 20_000
  addresses = [attributes['id'] for _, attributes in reader.tags if 'id' in attributes]
  assert len(addresses) == len(set(addresses))


def test_the_archive_corruption_is_the_cause_of_silence_there(path, examples, eval_result):
  text = pages.read(path).text
  archive = text[text.rindex(registry.get('onset_f1_archive_ratio').description) :]
  archive = archive[: archive.index('onsets, degraded corruption')]
  assert archive.count('The soundtrack is silent') == len(eval_result.scores['onset_f1_archive_ratio']) == 4
  assert 'The archive corruption has severity' in archive


def test_the_worst_come_first_and_the_perfect_not_at_all(examples):
  metric = synthetic.METRICS['material_accuracy']
  scores = [evaluator.ClipScore(i, (value,), None, None) for i, value in enumerate((0, 1, 0, 0, 0, 0, 0, 0))]
  scores[4] = dataclasses.replace(scores[4], value=None)
  # Two clips a scene, equally bad: the first of each before the second of any.
  assert [score.index for score in evaluation_page.worst_scores(metric, scores, examples)] == [
    0,
    2,
    6,
    3,
    5,
    7,
  ]
  onset = synthetic.METRICS['onset_f1']
  values = ((3, 4, 4), (4, 4, 4), (1, 4, 4), (2, 4, 4))
  scores = [evaluator.ClipScore(i, value, None, None) for i, value in enumerate(values)]
  assert [score.index for score in evaluation_page.worst_scores(onset, scores, examples)] == [2, 3, 0]


def test_no_more_than_ten_are_shown(examples, eval_result, tmp_path, monkeypatch):
  assert evaluation_page.NUM_WORST == 10
  monkeypatch.setattr(evaluation_page, 'NUM_WORST', 3)
  metric = synthetic.METRICS['onset_f1_archive_ratio']
  with players.writer(tmp_path / 'page.html') as media:
    text = evaluation_page._worst_section(metric, eval_result, examples, media)
  assert 'Not perfect: 4 of 4, of which the worst 3 are shown.' in text
  assert text.count('The soundtrack is silent') == text.count('<img') == 3


def test_corruptions_show_their_own_frames_and_sound(examples, eval_result, tmp_path, monkeypatch):
  seen = []
  monkeypatch.setattr(example_plot, 'plot', lambda axes, *shown: seen.append(shown))
  metric = synthetic.METRICS['onset_f1_archive_ratio']
  with players.writer(tmp_path / 'page.html') as media:
    evaluation_page._worst_section(metric, eval_result, examples, media)
  assert len(seen) == 4
  for example, sounds, frame_LYX3 in seen:
    np.testing.assert_array_equal(frame_LYX3, example.paired_variant('archive')[1])
    assert list(sounds) == ['archive'] and not sounds['archive'].any()


def test_the_floor_is_another_clip(examples):
  others = [example_plot.floor_index(examples, i) for i in range(len(examples))]
  assert others == [1, 0, 3, 2, 5, 4, 7, 6]
  assert example_plot.floor_index(examples[:3], 2) == 0


def test_videos_are_in_the_order_of_their_distance_with_scores(tmp_path):
  rng = np.random.default_rng(0)
  waves = [0.1 * rng.standard_normal((SPEC.num_samples, 2)) for _ in range(3)]
  frames = np.zeros((SPEC.num_semantic_frames, 16, 16, 3), np.uint8), np.zeros((100, 16, 16, 3), np.uint8)
  videos = [
    examples_lib.Example(
      f'clip {k}', truth_lib.text_only('', ''), record_schema.wave_to_int16(wave_NA), None, frames, None
    )
    for k, wave_NA in enumerate(waves)
  ]
  gains = {'clip 0': 0.5, 'clip 1': 1.0, 'clip 2': 0.1}
  generate = lambda conditions: np.stack(
    [gains[each.name] * waves[int(each.name[-1])] for each in conditions]
  )
  model = evaluator.System('quiet', generate, lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz)
  metrics = registry.load(('synthetic', 'signal'))
  found = evaluator.evaluate(model, videos, 'clips', report_progress=lambda line: None, metrics=metrics)
  evaluation_page.write(tmp_path / 'page.html', found, videos, 'x')
  reader = pages.read(tmp_path / 'page.html')
  cards = [each['id'] for _, each in reader.tags if each.get('id', '').startswith('clip-')]
  assert cards == ['clip-2', 'clip-0', 'clip-1']
  assert 'loudness_error_lu: 20.0' in reader.text and 'log_mel_distance: ' in reader.text
  # The page promises what it has: there are no scenes, known events and worst clips, and one part.
  for words in ('worst', 'each scene', 'thin curve', 'Contents'):
    assert words not in reader.text, words
  assert 'those that differ most from the true sound first' in reader.text


def test_nothing_half_written_is_left(examples, eval_result, tmp_path):
  target = tmp_path / 'page.html'
  target.write_text('old')
  broken = dataclasses.replace(eval_result, sounds_by_variant={})
  with pytest.raises(KeyError):
    evaluation_page.write(target, broken, examples, 'x')
  assert target.read_text() == 'old' and list(tmp_path.iterdir()) == [target]
