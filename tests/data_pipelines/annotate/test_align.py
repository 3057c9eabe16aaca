"""Forced alignment of synthetic speech with known times, and of texts that are not what was said."""

import dataclasses
import pickle

import numpy as np
import pytest

from data_pipelines import decoded
from data_pipelines.annotate import align
from data_pipelines.annotate import annotator
from data_pipelines.annotate import apply
from data_pipelines.annotate import pronunciation
from data_pipelines.annotate import sphinx
from v2a.data import annotations as annotations_lib
from v2a.media import transcript
from v2a.synthetic import speech

TEXT = 'the old man walked down the street'
START_S, LEAD_S = 7.0, 0.5
no_sphinx = pytest.mark.skipif(bool(sphinx.missing()), reason=sphinx.missing() or 'pocketsphinx is installed')


def spoken_clip(text: str) -> tuple[decoded.DecodedClip, list[tuple[str, float, float]]]:
  """Returns a stereo clip at 48 kHz that begins at START_S, and its words with times in the media."""
  rate_hz = 48000
  voice_N, words, _ = speech.synthesize(text, 140, rate_hz)
  pause_N = np.zeros(round(LEAD_S * rate_hz), np.float32)
  wave_N = np.concatenate([pause_N, voice_N, pause_N])
  wave_NA = np.stack([wave_N, wave_N], axis=1)
  clip = decoded.DecodedClip(
    'said', np.zeros((0, 0, 0, 3), np.uint8), wave_NA, rate_hz, START_S, len(wave_N) / rate_hz
  )
  offset_s = START_S + LEAD_S
  return clip, [(word, offset_s + start_s, offset_s + end_s) for word, start_s, end_s in words]


def known(text: str, **changes) -> annotations_lib.Annotations:
  return annotations_lib.Annotations(transcript=transcript.Transcript(text, **changes))


@pytest.fixture(scope='module')
def aligner() -> align.Aligner:
  return align.Aligner()


@no_sphinx
def test_words_get_their_times_and_stay_as_they_are(aligner):
  clip, words = spoken_clip(TEXT)
  text = '- "The old MAN  walked, down the street!" -'
  result = apply.annotate(clip, known(text), [aligner])
  assert not result.failures
  found = result.annotations
  assert found.transcript.text == text
  assert found.provenance_of('transcript').origin == 'human'
  times = found.provenance_of('transcript.times')
  assert times.origin == annotator.origin(aligner) and 0.4 <= times.confidence < 0.8
  times_s = found.transcript.times_s
  middles_s = [(start_s + end_s) / 2 for _, start_s, end_s in words]
  np.testing.assert_allclose(times_s[1:-1], middles_s, atol=0.15)
  assert times_s[0] == START_S and times_s[-1] == times_s[-2]


@no_sphinx
def test_another_text_gets_no_times(aligner):
  clip, _ = spoken_clip(TEXT)
  for text in (
    'please open the window before summer',
    'bin blue at f two now',
    f'{TEXT} and then back again',
  ):
    result = apply.annotate(clip, known(text), [aligner])
    assert result.annotations.transcript == transcript.Transcript(text)
    assert 'alignment_rejected' in dict(result.annotations.tags) and not result.failures


@no_sphinx
def test_a_search_that_ends_before_the_last_word_is_no_alignment(monkeypatch):
  # As of quiet water noise: one word over all of the sound.
  reached = [sphinx.Word('set', 0.72, 3.16, 1.0, -0.24)]
  monkeypatch.setattr(sphinx, '_decode', lambda decoder, wave_N: reached)
  assert sphinx.Decoders().align(np.zeros(48000), ['set', 'blue', 'now']) is None
  assert sphinx.Decoders().align(np.zeros(48000), ['set']) == reached


@no_sphinx
def test_the_confidence_gates_the_times(aligner):
  clip, _ = spoken_clip(TEXT)
  strict = dataclasses.replace(aligner, min_confidence=0.99)
  added = strict.annotate(clip, known(TEXT))
  ((name, text),) = added.tags
  assert name == 'alignment_rejected' and text.endswith('below 0.99') and not added.transcript.text
  assert strict.version != aligner.version


@no_sphinx
@pytest.mark.parametrize(
  'annotations',
  [annotations_lib.Annotations(), known('set blue', times_s=(0.1, 0.2))],
  ids=['no words', 'times'],
)
def test_nothing_is_added_where_nothing_is_missing(aligner, annotations):
  clip, _ = spoken_clip('blue')
  assert aligner.annotate(clip, annotations) == annotations_lib.Annotations()


@no_sphinx
def test_words_without_an_entry_in_the_dictionary_are_pronounced(aligner):
  text = 'the zyzzyva ate 20 leaves'
  assert aligner.decoders.unknown(text.split()) == ['zyzzyva', '20']
  clip, words = spoken_clip(text)
  times_s = aligner.annotate(clip, known(text)).transcript.times_s
  middles_s = [(start_s + end_s) / 2 for _, start_s, end_s in words]
  np.testing.assert_allclose(times_s, middles_s, atol=0.2)


@no_sphinx
def test_what_cannot_be_spoken(aligner, monkeypatch):
  clip, _ = spoken_clip('blue')
  with pytest.raises(annotator.AnnotationError, match=r"the transcript '- ...' has no words"):
    aligner.annotate(clip, known('- ...'))
  monkeypatch.setattr(pronunciation, 'pronounce', lambda word: None)
  with pytest.raises(annotator.AnnotationError, match='no pronunciation is known for zyx'):
    aligner.annotate(clip, known('blue zyx'))


@no_sphinx
def test_results_do_not_depend_on_earlier_clips_or_on_the_process(aligner):
  clip, _ = spoken_clip(TEXT)
  expected = align.Aligner().annotate(clip, known(TEXT))
  quiet, _ = spoken_clip('blue')
  quiet = dataclasses.replace(quiet, wave_NA=0.1 * quiet.wave_NA)
  for _ in range(2):
    aligner.annotate(quiet, known('blue'))
    assert aligner.annotate(clip, known(TEXT)) == expected
  assert pickle.loads(pickle.dumps(aligner)).annotate(clip, known(TEXT)) == expected


@pytest.mark.parametrize(
  ('word', 'phones'),
  [
    ('20', 'T W EH N T IY'),
    ('judge', 'JH AH JH'),
    ('measure', 'M EH ZH ER'),
    ('church', 'CH ER CH'),
    ('boy', 'B OY'),
    ('air', 'EH R'),
    ('fire', 'F AY ER'),
    ('button', 'B AH T AH N'),
  ],
)
def test_pronunciations(word, phones):
  assert pronunciation.pronounce(word) == phones


def test_a_missing_package_is_one_line(monkeypatch):
  monkeypatch.setattr(sphinx, 'missing', lambda: 'package pocketsphinx missing (pip install)')
  with pytest.raises(annotator.ServiceError, match=r'^forced alignment: package pocketsphinx missing'):
    align.Aligner().check()
