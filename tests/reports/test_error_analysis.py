"""Explanations of a clip's score: the error is measured, and the named cause is present."""

import dataclasses

import numpy as np
import pytest

from v2a.metrics import curves
from v2a.metrics import onsets
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.reports import error_analysis
from v2a.synthetic import clips

METRICS = synthetic.METRICS
SOUND_NA = np.random.default_rng(0).normal(size=(2 * spectra.RATE_HZ, 2)) * 0.1
OWN = 'an error of the model'


@dataclasses.dataclass
class FakeClassifiers:
  """Classifiers with given results."""

  onsets_s: tuple = ()
  detected_material: str | None = None
  is_music: bool = False
  detected_words: tuple = ()

  def onsets(self, wave_NA):
    """Returns the given onsets."""
    return np.array(self.onsets_s, float)

  def material(self, wave_NA):
    """Returns the given material."""
    return self.detected_material

  def has_music(self, wave_NA):
    """Returns whether music is given."""
    return self.is_music

  def words(self, wave_NA):
    """Returns the given words."""
    return list(self.detected_words)


def truth_of(*times_s, **changes):
  """Returns the truth of a clip in which wood is struck at these times."""
  events = [{'time_s': time_s, 'visible': True, 'x': 0.0} for time_s in times_s]
  known = {
    'scene': 'strike',
    'annotation': 'a wooden block is struck',
    'transcript': '',
    'events': events,
    'material': 'wood',
    'is_material_hidden': False,
    'has_wind': False,
    'envelope': None,
    'pitch_hz': None,
    'mouth': None,
    'x': None,
  }
  return known | changes


def explain(name, truth, classifiers, ceiling=None, wave_NA=SOUND_NA, clean=None):
  """Returns the explanation of a clip's score."""
  metric = METRICS[name]
  score = metric.measure(wave_NA, truth, classifiers)
  return error_analysis.explain(metric, truth, score, ceiling, wave_NA, classifiers, clean)


def test_every_metric_has_words_and_an_error_that_grows():
  better_worse = {
    synthetic.onset_score: ((5, 6, 5), (2, 6, 5)),
    synthetic.word_score: ((1, 6), (5, 6)),
    synthetic.lip_score: ((20.0,), (300.0,)),
    synthetic.panning_score: (np.array([[0.5, 0.4, 1.0]]), np.array([[0.5, -0.4, 1.0]])),
  }
  for metric in METRICS.values():
    better, worse = better_worse.get(metric.measure, ((0.9,), (0.2,)))
    better, worse = (worse, better) if metric.variant.negative_text else (better, worse)
    assert 0 < error_analysis.score_error(metric, better) < error_analysis.score_error(metric, worse), (
      metric.name
    )
    assert error_analysis.format_score(metric, better)


def test_perfect_scores_have_no_error():
  perfect = {
    synthetic.onset_score: (6, 6, 6),
    synthetic.word_score: (0, 6),
    synthetic.lip_score: (10.0,),
    synthetic.panning_score: np.array([[0.5, 0.49, 1.0]]),
  }
  for metric in METRICS.values():
    score = perfect.get(metric.measure, (0.0,) if metric.variant.negative_text else (1.0,))
    assert error_analysis.score_error(metric, score) == 0, metric.name


def test_missed_impacts_and_extra_onsets_are_counted():
  text = explain('onset_f1', truth_of(0.5, 1.0, 1.5), FakeClassifiers(onsets_s=(0.51, 1.8)))
  assert '2 of 3 impacts missed (1.00 s, 1.50 s)' in text
  assert '1 onset without an impact (1.80 s)' in text
  assert 'late' not in text
  assert error_analysis.format_score(METRICS['onset_f1'], (5, 6, 6)) == '5 of 6 found, 1 extra'
  assert error_analysis.format_score(METRICS['onset_f1'], (5, 6, 5)) == '5 of 6 found'


@pytest.mark.parametrize(('shift_s', 'word'), [(0.08, 'late'), (-0.08, 'early')])
def test_impacts_at_the_wrong_time_are_late_or_early(shift_s, word):
  text = explain('onset_f1', truth_of(0.5, 1.0), FakeClassifiers(onsets_s=(0.5, 1.0 + shift_s)))
  assert f'1 of the missed only 80 ms {word}' in text


def test_invisible_impacts_are_no_extra_sounds():
  truth = truth_of(0.5, 1.0)
  truth['events'].append({'time_s': 1.5, 'visible': False, 'x': 0.0})
  text = explain('onset_f1', truth, FakeClassifiers(onsets_s=(0.5, 1.5)))
  assert '1 of 2 impacts missed' in text and 'without an impact' not in text


def test_materials_words_and_music_are_those_detected():
  assert 'Sounds like metal, named wood.' in explain(
    'material_accuracy', truth_of(0.5), FakeClassifiers(detected_material='metal')
  )
  assert 'No impact, named wood.' in explain('material_accuracy', truth_of(0.5), FakeClassifiers())
  spoken = truth_of(scene='dialogue', transcript='Ba du')
  assert "Transcript 'ba du', recognized 'ba'." in explain(
    'word_error_rate', spoken, FakeClassifiers(detected_words=('ba',))
  )
  assert 'recognized nothing' in explain('word_error_rate', spoken, FakeClassifiers())
  assert 'No music, the true sound has some' in explain('music_rate', truth_of(), FakeClassifiers())
  assert 'in spite of the negative prompt' in explain(
    'music_rate_negative', truth_of(), FakeClassifiers(is_music=True)
  )


def test_a_nearly_constant_level_is_described():
  known = (0.5 + 0.095 * np.sin(np.arange(200) / 20)).tolist()
  text = explain(
    'envelope_correlation', truth_of(scene='rain', annotation='rain', envelope=known), FakeClassifiers()
  )
  score = curves.correlate(curves.level(SOUND_NA, 200), np.array(known))
  assert f'level {score:.2f}, range of the true level only 0.19 of full scale' in text


def test_pitch_position_and_lips_are_measured():
  time_N = np.arange(2 * spectra.RATE_HZ) / spectra.RATE_HZ
  tone_N = sum(np.sin(2 * np.pi * 100 * k * time_N) / k for k in range(1, 8))
  tone_NA = np.stack([tone_N, 0 * tone_N], axis=1)
  known = np.linspace(80, 160, 200).tolist()
  engine = truth_of(scene='engine', annotation='a motor', pitch_hz=known)
  text = explain('pitch_correlation', engine, FakeClassifiers(), wave_NA=tone_NA)
  assert 'true pitch 80 to 160 Hz, generated 100 to 10' in text
  is_blow_N = (time_N > 0.5) & (time_N < 0.6)
  text = explain(
    'panning_correlation', truth_of(0.5, 1.0), FakeClassifiers(), wave_NA=tone_NA * is_blow_N[:, None]
  )
  assert '1.00 off on average, in the frames at 0.00, in the sound at -1.00' in text
  mouth_J = np.exp(-((np.arange(200) - 80) ** 2) / 50)
  late_N = np.interp(time_N, np.arange(200) / 100 + 0.2, mouth_J)
  spoken = truth_of(scene='dialogue', mouth=mouth_J.tolist())
  text = explain('lip_lag_ms', spoken, FakeClassifiers(), wave_NA=(late_N * tone_N)[:, None] * np.ones(2))
  assert 'Best match 200 ms after the mouth' in text


def test_silence_is_stated():
  text = explain('onset_f1', truth_of(0.5), FakeClassifiers(), wave_NA=0 * SOUND_NA)
  assert text.startswith('The soundtrack is silent: 1 of 1 impacts missed')
  text = explain('panning_correlation', truth_of(0.5), FakeClassifiers(), wave_NA=0 * SOUND_NA)
  assert 'silence at the events' in text


def test_the_codec_comes_first_where_it_fails_likewise():
  truth, classifiers = (
    truth_of(0.5, 1.0, 1.1, 1.5, has_wind=True),
    FakeClassifiers(onsets_s=(0.5, 1.0), is_music=True),
  )
  assert 'codec' in explain('onset_f1', truth, classifiers, ceiling=(3, 4, 3))
  assert 'codec' not in explain('onset_f1', truth, classifiers, ceiling=(4, 4, 4))
  # Extra onsets of the codec do not explain missed impacts.
  assert 'codec' not in explain('onset_f1', truth, classifiers, ceiling=(4, 4, 9))
  assert 'codec' in explain(
    'material_accuracy', truth, FakeClassifiers(detected_material='metal'), ceiling=(0.0,)
  )
  assert 'codec' not in explain(
    'material_accuracy', truth, FakeClassifiers(detected_material='metal'), ceiling=(1.0,)
  )


def test_undetermined_sound_comes_second():
  classifiers = FakeClassifiers(detected_material='metal', is_music=True)
  hidden = truth_of(0.5, 0.6, annotation='hits of an object', is_material_hidden=True)
  text = explain('material_accuracy', hidden, classifiers)
  assert 'Sounds like metal, it is wood. Neither video nor text tells the material.' == text
  seen = truth_of(0.5, annotation='hits of an object')
  assert 'only the video shows it' in explain('material_accuracy', seen, classifiers)
  clacks = truth_of(0.5, annotation='Clacks of objects.')
  assert 'Music masks it' in explain('material_accuracy', clacks, classifiers)
  assert 'Neither video nor text' in explain('music_rate', truth_of(), FakeClassifiers())
  only = truth_of(0.5, annotation='Music is playing.')
  assert 'music alone' in explain('onset_f1', only, classifiers)
  assert 'wind alone' in explain('onset_f1', truth_of(0.5, annotation='a breeze'), classifiers)
  known = np.linspace(0, 1, 200).tolist()
  windy = truth_of(scene='wind', annotation='a breeze', envelope=known)
  assert 'wind alone' not in explain('envelope_correlation', windy, classifiers)


def test_close_impacts_come_third_and_music_or_wind_fourth():
  classifiers = FakeClassifiers(onsets_s=(0.5,), is_music=True)
  assert 'only 100 ms apart' in explain('onset_f1', truth_of(0.5, 1.0, 1.1), classifiers)
  assert 'Music masks it' in explain('onset_f1', truth_of(0.5, 1.0, 1.13), classifiers)
  windy = truth_of(0.5, 1.0, has_wind=True)
  assert 'The true sound has wind' in explain('onset_f1', windy, FakeClassifiers(onsets_s=(0.5,)))
  blow_NA = SOUND_NA * (np.arange(len(SOUND_NA)) < 4000)[:, None]
  assert OWN in explain('onset_f1', windy, FakeClassifiers(onsets_s=(0.5,)), wave_NA=blow_NA)
  assert OWN in explain('onset_f1', truth_of(0.5, 1.0), FakeClassifiers(onsets_s=(0.5,)))
  assert OWN in explain('music_rate_negative', truth_of(), classifiers)


def test_a_corruption_is_the_cause_only_where_clean_frames_did_better():
  truth, classifiers = truth_of(0.5, 1.0, seed=5, index=3), FakeClassifiers(onsets_s=(0.5,), is_music=True)
  strength = clips.render(5, 3, scenes=('strike',), corruption='archive', fps=1, frame_size=16).truth[
    'severity'
  ]
  assert error_analysis.severity(truth, 'archive') == strength
  text = explain('onset_f1_archive_ratio', truth, classifiers, clean=(2, 2, 2))
  assert (
    f'The archive corruption has severity {strength:.2f} of 1; with the clean video: 2 of 2 found.' in text
  )
  assert 'Music' not in text
  text = explain('onset_f1_archive_ratio', truth, classifiers, clean=(1, 2, 1))
  assert 'no better with the clean video. Music masks it.' in text and 'severity' not in text
  unknown = truth_of(0.5, 1.0)
  assert 'severity' not in explain('onset_f1_archive_ratio', unknown, classifiers, clean=(2, 2, 2))


def test_counts_of_onsets_are_those_of_the_score():
  rng = np.random.default_rng(1)
  for _ in range(20):
    known, detected = np.sort(rng.uniform(0, 2, 5)), np.sort(rng.uniform(0, 2, 6))
    truth, classifiers = truth_of(*known), FakeClassifiers(onsets_s=tuple(detected))
    matched = len(onsets.match(known, detected))
    text = explain('onset_f1', truth, classifiers)
    assert (f'{5 - matched} of 5 impacts missed' in text) == (matched < 5)
    assert f'{6 - matched} onset' in text
