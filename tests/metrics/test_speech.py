"""Word error rates by installed recognizers, and the reasons of missing ones."""

import importlib.metadata
import pathlib

import numpy as np
import pytest

from v2a.evaluation import check_classifiers
from v2a.evaluation import scoring
from v2a.media import read
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import spectra
from v2a.metrics import speech
from v2a.models.published import checkpoints

SPEECH_CLIP = pathlib.Path(__file__).resolve().parents[2] / '../shared/clips/grid_sbwe5n.mpg'


@pytest.fixture(scope='module')
def spoken():
  """Returns waveforms of synthetic dialogue and their transcripts."""
  known = check_classifiers.render_ground_truth(check_classifiers.CHECK_SEED + 4, 3, ('dialogue',))
  return [wave_NA for wave_NA, _ in known], [truth['transcript'] for _, truth in known]


def rates(recognizers, waves, transcripts):
  """Returns the word error rates by these recognizers, by name."""
  samples = [
    metric_lib.Sample(
      metric_lib.Sound(wave_NA, spectra.RATE_HZ), metric_lib.Reference(truth={'transcript': text})
    )
    for wave_NA, text in zip(waves, transcripts)
  ]
  metrics = [speech.make_metric(each) for each in recognizers]
  for metric in metrics:
    metric.update(samples)
  return {metric.name: metric.compute() for metric in metrics}


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ("  Mary's dog, RUNS home! ", ["mary's", 'dog', 'runs', 'home']),
    ('\u2018Don\u2019t\u2019 said she\u2014twice', ["don't", 'said', 'she', 'twice']),
    ('\uff26\uff35\uff2c\uff2c width', ['full', 'width']),
    ('Stra\u00dfe 20 a_b', ['stra\u00dfe', '20', 'a', 'b']),
    ('\u6771\u4eac is big', ['\u6771', '\u4eac', 'is', 'big']),
    ("... ' --", []),
  ],
)
def test_words_are_normalized(text, words):
  assert speech.normalize(text) == words


def test_errors_by_hand():
  assert speech.count_word_errors('The dog runs home.', 'the DOG ran') == (2, 4)
  assert speech.count_word_errors('come here', 'come come here now') == (2, 2)
  assert speech.count_word_errors('', 'a b') == (2, 0) and speech.count_word_errors('', '') == (0, 0)
  assert speech.count_word_errors('come here', '') == (2, 2)


def test_synthetic_recognizer_on_synthetic_dialogue(spoken):
  waves, transcripts = spoken
  recognizers = speech.load(['synthetic'])
  assert rates(recognizers, waves, transcripts)['wer_synthetic'] < 0.1
  assert rates(recognizers, [*waves[1:], waves[0]], transcripts)['wer_synthetic'] > 0.7


class Fixed:
  """Recognizes an 'a' where the first sample is above zero."""

  name = 'fixed'

  def transcribe(self, wave_N):
    """Returns the transcription."""
    return 'a' if wave_N[0] > 0 else ''


def test_rates_are_of_all_words_together():
  waves = [np.full((4000, 1), sign) for sign in (0.5, -0.5, 0.5)]
  # The last clip has no words, so that insertions in it are not counted.
  assert rates([Fixed()], waves, ['a', 'b c d', '...'])['wer_fixed'] == pytest.approx((0 + 3) / 4)
  assert rates([Fixed()], waves, ['', '', '']) == {'wer_fixed': None}


def test_clips_without_a_transcript_have_no_score():
  assert rates([Fixed()], [np.ones((4000, 1))], [None]) == {'wer_fixed': None}


def test_reason_where_no_clip_has_a_transcript():
  metric, reference = speech.make_metric(Fixed()), metric_lib.Reference(truth={'transcript': ''})
  samples = scoring.Samples({0: metric_lib.Sound(np.ones((4000, 1)), 16000)}, [reference])
  scores = scoring.score_metric(metric, [reference], [0], samples, samples, None)
  entry = scoring.entry(metric, scores, scoring.observed_scores(metric, scores))
  assert entry['value'] is None and entry['reason'] == 'no clip of the set has a transcript'


def test_a_recognizer_is_loaded_on_first_use(spoken):
  waves, transcripts = spoken
  metric = registry.get('wer_synthetic')
  assert metric.recognizer == 'synthetic'
  assert rates(['synthetic'], waves, transcripts)['wer_synthetic'] < 0.1


def test_missing_recognizers_have_a_reason(tmp_path, monkeypatch):
  def absent(package):
    raise importlib.metadata.PackageNotFoundError(package)

  monkeypatch.setattr(importlib.metadata, 'version', absent)
  monkeypatch.delenv(checkpoints.ENV_VARIABLE, raising=False)
  metrics = {metric.name: metric for metric in registry.load(('speech',))}
  package = "not computed: package {} missing (pip install 'v2a[speech]')"
  assert {name: metric.unavailable_reason for name, metric in metrics.items()} == {
    'wer_synthetic': '',
    'wer_pocketsphinx': package.format('pocketsphinx'),
    'wer_whisper-large-v3-turbo': package.format('faster-whisper')
    + ', weights faster-whisper-large-v3-turbo missing',
  }
  sample = metric_lib.Sample(
    metric_lib.Sound(np.zeros((4000, 1)), 16000), metric_lib.Reference(truth={'transcript': 'a'})
  )
  assert metrics['wer_pocketsphinx'].score(sample) is None
  monkeypatch.setattr(importlib.metadata, 'version', lambda package: '1')
  (missing,) = speech.load(['whisper-large-v3'], tmp_path)
  assert missing.note == 'not computed: weights faster-whisper-large-v3 missing'


def test_an_unknown_recognizer_raises():
  with pytest.raises(ValueError, match='must be of synthetic, pocketsphinx, whisper-tiny.en.*; got ears'):
    speech.load(['ears'])


def test_pocketsphinx_recognizes_english():
  pytest.importorskip('pocketsphinx', reason='the extra speech is not installed')
  if not SPEECH_CLIP.is_file():
    pytest.skip('no ../shared/clips beside the checkout')
  (recognizer,) = speech.load(['pocketsphinx'])
  wave_N, silent_N = read.wave(SPEECH_CLIP, 16000, 1)[:, 0], np.zeros(16000, np.float32)
  # The speaker says: set blue with E five now.
  recognized = [speech.normalize(recognizer.transcribe(each_N)) for each_N in (wave_N, silent_N, wave_N)]
  assert recognized[0][-2:] == ['five', 'now'] and recognized[1] == [] and recognized[2] == recognized[0]


def test_a_transcript_does_not_depend_on_earlier_utterances(spoken):
  pytest.importorskip('pocketsphinx', reason='the extra speech is not installed')
  waves, _ = spoken
  (reused,) = speech.load(['pocketsphinx'])
  for wave_NA in waves[:3]:
    wave_N = wave_NA.mean(axis=1)
    (fresh,) = speech.load(['pocketsphinx'])
    reused.transcribe(np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32))
    assert reused.transcribe(wave_N) == fresh.transcribe(wave_N)


def test_whisper_recognizes_english(spoken):
  pytest.importorskip('faster_whisper', reason='the extra speech is not installed')
  found = [
    got
    for got in speech.load([f'whisper-{name}' for name in speech.WHISPER_MODELS])
    if isinstance(got, speech.Whisper)
  ]
  if not found:
    pytest.skip(f'no faster-whisper-NAME in the folder of {checkpoints.ENV_VARIABLE}')
  (rate,) = rates(found[:1], *spoken).values()
  assert rate < 0.6
