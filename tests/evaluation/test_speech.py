"""Word error rates by recognizers that are there, and what is said of those that are not."""

import importlib.metadata
import pathlib

import numpy as np
import pytest

from v2a.evaluation import check
from v2a.evaluation import spectra
from v2a.evaluation import speech
from v2a.evaluation.embedders import cache as cache_lib
from v2a.evaluation.embedders import checkpoints
from v2a.evaluation.embedders import embedder as embedder_lib
from v2a.media import read

SPOKEN = pathlib.Path(__file__).resolve().parents[2] / '../shared/clips/grid_sbwe5n.mpg'


@pytest.fixture(scope='module')
def spoken():
  """Returns clips of the world's dialogue and what is said in them."""
  known = check.truths(check.CHECK_SEED + 4, 3, ('dialogue',))
  clips = [embedder_lib.Clip(wave_NA.astype(np.float32), spectra.RATE_HZ) for wave_NA, _ in known]
  return clips, [truth['transcript'] for _, truth in known]


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
  assert speech.errors('The dog runs home.', 'the DOG ran') == (2, 4)
  assert speech.errors('come here', 'come come here now') == (2, 2)
  assert speech.errors('', 'a b') == (2, 0) and speech.errors('', '') == (0, 0)
  assert speech.errors('come here', '') == (2, 2)


def test_the_world_is_heard(spoken):
  clips, transcripts = spoken
  swapped = [*clips[1:], clips[0]]
  (own,) = speech.table(clips, clips, transcripts, speech.load(['world']), num_draws=50)
  (other,) = speech.table(clips, swapped, transcripts, speech.load(['world']), num_draws=0)
  assert own.value < 0.1 and own.true_value == own.value and own.interval[0] <= own.value <= own.interval[1]
  assert other.value > 0.7 and other.true_value == own.value and other.interval is None
  num_words = sum(len(text.split()) for text in transcripts)
  assert own.note == f'{num_words} words.' and own.num_drawn == 3


def test_rates_are_of_all_words_together():
  class Fixed(speech.Recognizer):
    name, digest = 'fixed', 'd'

    def transcribe(self, wave_N):
      return 'a' if wave_N[0] > 0 else ''

  clips = [embedder_lib.Clip(np.full((4, 1), sign), 16000) for sign in (0.5, -0.5, 0.5)]
  (line,) = speech.table(clips, clips, ['a', 'b c d', ''], [Fixed()], num_draws=0)
  assert line.value == pytest.approx((0 + 3 + 1) / 4)
  (line,) = speech.table(clips, clips, ['', '', ''], [Fixed()])
  assert line.value is None and line.note == 'not computed: nothing is spoken in these clips'
  with pytest.raises(ValueError, match='one transcript a clip; got 2, 3 true and 3 drawn'):
    speech.table(clips, clips, ['a', 'b'], [Fixed()])


def test_what_is_heard_is_kept(spoken, tmp_path, monkeypatch):
  clips, transcripts = spoken
  cache, recognizers = cache_lib.Cache(tmp_path), speech.load(['world'])
  (first,) = speech.table(clips, clips, transcripts, recognizers, cache, 0)
  monkeypatch.delattr(speech.World, 'transcribe')
  monkeypatch.delattr(speech.Recognizer, 'transcribe')
  assert speech.table(clips, clips, transcripts, recognizers, cache, 0) == [first]


def test_what_is_missing_is_in_the_table(spoken, tmp_path, monkeypatch):
  def absent(package):
    raise importlib.metadata.PackageNotFoundError(package)

  monkeypatch.setattr(importlib.metadata, 'version', absent)
  monkeypatch.delenv(checkpoints.VARIABLE, raising=False)
  lines = speech.table(
    *[spoken[0]] * 2, spoken[1], speech.load(['pocketsphinx', 'whisper-tiny.en']), num_draws=0
  )
  assert [line.embedder for line in lines] == ['pocketsphinx', 'whisper-tiny.en']
  package = "package {} missing (pip install 'v2a[speech]')"
  assert lines[0].note == f'not computed: {package.format("pocketsphinx")}' and lines[0].value is None
  weights = 'weights faster-whisper-tiny.en missing'
  assert lines[1].note == f'not computed: {package.format("faster-whisper")}, {weights}'
  monkeypatch.setattr(importlib.metadata, 'version', lambda package: '1')
  (missing,) = speech.load(['whisper-large-v3'], tmp_path)
  assert missing.note == 'not computed: weights faster-whisper-large-v3 missing'


def test_an_unknown_recognizer_is_refused():
  with pytest.raises(ValueError, match='must be of world, pocketsphinx, whisper-tiny.en.*; got ears'):
    speech.load(['ears'])


def test_pocketsphinx_hears_english():
  pytest.importorskip('pocketsphinx', reason='the extra speech is not installed')
  if not SPOKEN.is_file():
    pytest.skip('no ../shared/clips beside the checkout')
  (recognizer,) = speech.load(['pocketsphinx'])
  clip = embedder_lib.Clip(read.wave(SPOKEN, 16000, 1), 16000)
  silence = embedder_lib.Clip(np.zeros((16000, 1), np.float32), 16000)
  # The man says: set blue with E five now.
  heard = [speech.normalize(str(recognizer.embed(each)['text'])) for each in (clip, silence, clip)]
  assert heard[0][-2:] == ['five', 'now'] and heard[1] == [] and heard[2] == heard[0]


def test_whisper_hears_english(spoken):
  pytest.importorskip('faster_whisper', reason='the extra speech is not installed')
  found = [
    got
    for got in speech.load([f'whisper-{name}' for name in speech.WHISPERS])
    if isinstance(got, speech.Whisper)
  ]
  if not found:
    pytest.skip(f'no faster-whisper-NAME in the folder of {checkpoints.VARIABLE}')
  (line,) = speech.table(*[spoken[0]] * 2, spoken[1], found[:1], num_draws=0)
  assert line.value < 0.6
