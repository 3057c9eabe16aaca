"""The page for listening by looking: what it shows of whom, that it is whole, alone, small, and only text."""

import base64
import dataclasses
import io

import numpy as np
from PIL import Image
import pytest

from tests import pages
from v2a import clip as clip_lib
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.metrics import registry
from v2a.metrics import synthetic
from v2a.reports import evaluation_page
from v2a.reports import example_plot

SPEC = clip_lib.ClipSpec(frame_size=16)
NASTY = '</p><script>alert(1)</script> & $x$ ${title} "a"'


@pytest.fixture(scope='module')
def cases():
  scenes = ('strike', 'bounce', 'dialogue', 'engine')
  found = [
    case for scene in scenes for case in synthetic_examples.render(31_000_009, 2, SPEC, scenes=(scene,))
  ]
  named = [dataclasses.replace(case, name=f'{case.truth["scene"]} {case.name}') for case in found]
  nasty = dataclasses.replace(named[0], truth=named[0].truth | {'annotation': NASTY})
  return [nasty, *named[1:]]


@pytest.fixture(scope='module')
def outcome(cases):
  """Returns what is measured of a model that draws the truth, but nothing for the archive look."""
  known = {case.frames[0].tobytes(): case for case in cases}
  known |= {case.paired_variant('degraded')[0].tobytes(): case for case in cases}

  def draw(conditions):
    found = [known.get(condition.semantic_frame_MYX3.tobytes()) for condition in conditions]
    return np.stack(
      [
        np.zeros((SPEC.num_samples, 2)) if case is None else record_schema.wave_to_float(case.wave_NA)
        for case in found
      ]
    )

  model = evaluator.System('truth <i>', draw, lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz)
  outcome = evaluator.evaluate(model, cases, 'synthetic:test', report_progress=lambda line: None)
  outcome.result['settings'] = {'steps': 7, 'guidance': None}
  return outcome


@pytest.fixture(scope='module')
def path(cases, outcome, tmp_path_factory):
  path = tmp_path_factory.mktemp('page') / 'page.html'
  evaluation_page.write(path, outcome, cases, "v2a evaluate --page 'a <b>.html'")
  return path


def test_every_clip_and_every_figure_is_there(path, cases, outcome):
  reader = pages.read(path)
  addresses = {attributes.get('id') for _, attributes in reader.tags}
  assert {f'clip-{i}' for i in range(len(cases))} <= addresses
  for case in cases:
    assert case.name in reader.text
    assert ' '.join(case.truth['transcript'].split()) in reader.text
  for name, entry in outcome.result['synthetic'].items():
    assert name in reader.text
    assert (f'worst-{name}' in addresses) == (entry['n'] > 0)
  for name in registry.names(('synthetic', 'signal', 'distribution')):
    assert name in reader.text and registry.get(name).description in reader.text
  links = [attributes['href'] for tag, attributes in reader.tags if tag == 'a']
  assert links and all(link.startswith('#') and link[1:] in addresses for link in links)
  for i, score in enumerate(outcome.scores['onset_f1']):
    matched, known, _ = score.value
    assert f'onsets: {matched} of {known} found' in reader.text, i


def test_it_says_how_it_was_made(path):
  text = pages.read(path).text
  assert "v2a evaluate --page 'a <b>.html'" in text
  assert 'steps 7' in text and "guidance the model's own" in text and 'num clips 8' in text


def test_text_is_text(path):
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


def test_the_archive_look_is_blamed_for_what_is_silent_there(path, cases, outcome):
  text = pages.read(path).text
  archive = text[text.rindex('onset F1 on the archive variants of the pictures over that on clean ones') :]
  archive = archive[: archive.index('onsets, degraded corruption')]
  assert archive.count('The soundtrack is silent') == len(outcome.scores['onset_f1_archive_ratio']) == 4
  assert 'The archive corruption has severity' in archive


def test_the_worst_come_first_and_the_perfect_not_at_all(cases):
  figure = synthetic.METRICS['material_accuracy']
  scores = [evaluator.ClipScore(i, (value,), None, None) for i, value in enumerate((0, 1, 0, 0, 0, 0, 0, 0))]
  scores[4] = dataclasses.replace(scores[4], value=None)
  # Two clips a scene, equally bad: the first of each before the second of any.
  assert [score.index for score in evaluation_page.worst_scores(figure, scores, cases)] == [0, 2, 6, 3, 5, 7]
  onset = synthetic.METRICS['onset_f1']
  values = ((3, 4, 4), (4, 4, 4), (1, 4, 4), (2, 4, 4))
  scores = [evaluator.ClipScore(i, value, None, None) for i, value in enumerate(values)]
  assert [score.index for score in evaluation_page.worst_scores(onset, scores, cases)] == [2, 3, 0]


def test_no_more_than_ten_are_shown(cases, outcome, monkeypatch):
  assert evaluation_page.NUM_WORST == 10
  monkeypatch.setattr(evaluation_page, 'NUM_WORST', 3)
  text = evaluation_page._worst_section(synthetic.METRICS['onset_f1_archive_ratio'], outcome, cases)
  assert 'Not perfect: 4 of 4, of which the worst 3 are shown.' in text
  assert text.count('The soundtrack is silent') == text.count('<img') == 3


def test_looks_show_their_own_picture_and_the_sound_drawn_for_it(cases, outcome, monkeypatch):
  seen = []
  monkeypatch.setattr(example_plot, 'plot', lambda axes, *shown: seen.append(shown))
  figure = synthetic.METRICS['onset_f1_archive_ratio']
  evaluation_page._worst_section(figure, outcome, cases)
  assert len(seen) == 4
  for case, sounds, frame_LYX3 in seen:
    np.testing.assert_array_equal(frame_LYX3, case.paired_variant('archive')[1])
    assert list(sounds) == ['archive'] and not sounds['archive'].any()


def test_the_floor_is_another_clip(cases):
  others = [example_plot.floor_index(cases, i) for i in range(len(cases))]
  assert others == [1, 0, 3, 2, 5, 4, 7, 6]
  assert example_plot.floor_index(cases[:3], 2) == 0


def test_nothing_half_written_is_left(cases, outcome, tmp_path):
  target = tmp_path / 'page.html'
  target.write_text('old')
  broken = dataclasses.replace(outcome, sounds_by_variant={})
  with pytest.raises(KeyError):
    evaluation_page.write(target, broken, cases, 'x')
  assert target.read_text() == 'old' and list(tmp_path.iterdir()) == [target]
