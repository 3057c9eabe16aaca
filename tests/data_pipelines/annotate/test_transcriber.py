"""Transcribers: pocketsphinx on synthetic speech, and an endpoint on a real HTTP server."""

import dataclasses
import pickle

import numpy as np
import pytest

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import apply
from data_pipelines.annotate import endpoint
from data_pipelines.annotate import sphinx
from data_pipelines.annotate import transcriber
from v2a.data import annotations as annotations_lib
from v2a.media import transcript
from v2a.metrics.embedders import embedder
from v2a.synthetic import speech

no_sphinx = pytest.mark.skipif(bool(sphinx.missing()), reason=sphinx.missing() or 'pocketsphinx is installed')
NOTHING = annotations_lib.Annotations()
ANSWER = {
  'task': 'transcribe',
  'language': 'english',
  'duration': 2.0,
  'text': ' Set blue now.',
  'words': [
    {'word': 'Set', 'start': 0.1, 'end': 0.3},
    {'word': 'blue', 'start': 0.3, 'end': 0.9},
    {'word': 'now', 'start': 0.9, 'end': 2.2},
  ],
  'segments': [
    {'id': 0, 'start': 0.0, 'end': 1.5, 'text': ' Set blue', 'avg_logprob': -0.2, 'no_speech_prob': 0.1},
    {'id': 1, 'start': 1.5, 'end': 2.0, 'text': ' now.', 'avg_logprob': -0.6, 'no_speech_prob': 0.0},
  ],
}
CONFIDENCE = (1.5 * np.exp(-0.2) * 0.9 + 0.5 * np.exp(-0.6)) / 2.0


@dataclasses.dataclass(frozen=True)
class Fixed:
  """A recognizer with a given result."""

  found: transcriber.Recognized
  name: str = 'fixed'
  version: str = '1'

  def check(self):
    pass

  def recognize(self, clip):
    return self.found


def remote(url: str, **changes) -> transcriber.Transcriber:
  pytest.importorskip('openai', reason="package openai missing (pip install 'v2a[data]')")
  config = endpoint.EndpointConfig(url, 'whisper-1', first_backoff_s=0.01, max_attempts=2, timeout_s=5.0)
  recognizer = transcriber.EndpointRecognizer(endpoint.Endpoint(config), **changes)
  return transcriber.Transcriber(recognizer, transcriber.WHISPER_CONFIDENCE)


def fixed(confidence: float | None, minimum: float = 0.5) -> transcriber.Transcriber:
  cues = (('hello', 0.0, 0.4), ('there', 0.4, 1.0))
  return transcriber.Transcriber(Fixed(transcriber.Recognized(cues, confidence)), minimum)


def test_words_get_times_in_the_media(clip):
  added = fixed(0.5).annotate(clip, NOTHING)
  assert added.transcript == transcript.Transcript('hello there', (7.2, 7.7))
  by = 'fixed@1-1-0.5'
  assert added.provenance == (
    annotations_lib.Provenance('transcript', by, 0.5),
    annotations_lib.Provenance('transcript.times', by, 0.5),
  )


def test_the_confidence_gates_the_transcript(clip):
  result = apply.annotate(clip, NOTHING, [fixed(0.49)])
  assert result.annotations.transcript == transcript.Transcript()
  assert result.annotations.tags == (('transcript_rejected', 'confidence 0.49 below 0.5'),)
  assert fixed(None).annotate(clip, NOTHING).provenance_of('transcript').confidence is None
  assert fixed(0.5).version != fixed(0.5, 0.6).version


@pytest.mark.parametrize('sound', ['none', 'silent', 'transcribed'])
def test_what_is_not_transcribed(clip, sound):
  known = (
    annotations_lib.Annotations(transcript=transcript.Transcript('by a human'))
    if sound == 'transcribed'
    else NOTHING
  )
  if sound == 'none':
    clip = dataclasses.replace(clip, wave_NA=np.zeros((0, 1), np.float32))
  elif sound == 'silent':
    clip = dataclasses.replace(clip, wave_NA=np.full((64000, 2), 1e-5, np.float32))
  assert fixed(1.0).annotate(clip, known) == NOTHING


def test_a_transcript_by_another_annotator_is_no_reason_to_stop(clip):
  result = apply.annotate(clip, NOTHING, [fixed(0.6), remote_like(0.9)])
  assert result.annotations.provenance_of('transcript').origin == 'better@1-1-0.5'


def remote_like(confidence: float) -> transcriber.Transcriber:
  each = fixed(confidence)
  return dataclasses.replace(each, recognizer=dataclasses.replace(each.recognizer, name='better'))


@no_sphinx
def test_pocketsphinx_recognizes_words_with_times_and_a_low_confidence():
  wave_N, words, _ = speech.synthesize('seven and five', 120, 16000)
  wave_N = np.concatenate([np.zeros(8000, np.float32), wave_N, np.zeros(8000, np.float32)])
  clip = decoded.DecodedClip(
    'a', np.zeros((0, 0, 0, 3), np.uint8), wave_N[:, None], 16000, 3.0, len(wave_N) / 16000
  )
  weak = transcriber.load('pocketsphinx', min_confidence=0.0)
  found = weak.recognizer.recognize(clip)
  assert found.cues and 0 < found.confidence < 0.75
  assert all(0 <= start_s < end_s <= clip.duration_s for _, start_s, end_s in found.cues)
  assert min(start_s for _, start_s, _ in found.cues) > 0.3
  added = weak.annotate(clip, NOTHING)
  assert added.transcript.text and all(
    3.3 < time_s < 3 + clip.duration_s for time_s in added.transcript.times_s
  )
  strict = transcriber.load('pocketsphinx')
  assert dict(strict.annotate(clip, NOTHING).tags).keys() == {'transcript_rejected'}


def test_what_is_missing_is_reported(tmp_path, monkeypatch):
  found = transcriber.load('whisper-base.en', tmp_path)
  assert isinstance(found, embedder.Missing)
  assert found.note.startswith('not computed: ') and 'faster-whisper-base.en missing' in found.note
  monkeypatch.setattr(sphinx, 'missing', lambda: 'package pocketsphinx missing (pip install)')
  assert transcriber.load('pocketsphinx').reason == 'package pocketsphinx missing (pip install)'
  with pytest.raises(ValueError, match='a transcriber must be of pocketsphinx, whisper-tiny.en'):
    transcriber.load('siri')


@dataclasses.dataclass
class WhisperWord:
  """The fields of faster_whisper.transcribe.Word that are read."""

  start: float
  end: float
  word: str
  probability: float


@dataclasses.dataclass
class WhisperSegment:
  """The fields of faster_whisper.transcribe.Segment that are read."""

  words: list[WhisperWord] | None
  no_speech_prob: float


class WhisperModel:
  """Answers as faster_whisper.WhisperModel."""

  def __init__(self, *segments: WhisperSegment):
    self.segments, self.requests = segments, []

  def transcribe(self, wave_N, **settings):
    self.requests.append((wave_N, settings))
    return iter(self.segments), None


def test_words_of_whisper_get_times_and_confidences(clip, monkeypatch, tmp_path):
  words = [WhisperWord(0.0, 0.5, ' Set', 0.9), WhisperWord(0.5, 1.5, ' blue', 0.6)]
  model = WhisperModel(WhisperSegment(words, 0.1), WhisperSegment(None, 0.9))
  monkeypatch.setattr(transcriber, '_whisper', lambda process, folder: model)
  found = transcriber.FasterWhisper('base.en', tmp_path).recognize(clip)
  assert found.cues == (('Set', 0.0, 0.5), ('blue', 0.5, 1.5))
  assert found.confidence == pytest.approx(0.9 * (0.5 * 0.9 + 1.0 * 0.6) / 1.5)
  ((wave_N, settings),) = model.requests
  assert wave_N.shape == (32000,) and wave_N.dtype == np.float32 and settings['word_timestamps']
  words[1].end = 9.0
  with pytest.raises(annotator.AnnotationError, match=r"whisper-base.en: ' blue' must be within the clip"):
    transcriber.FasterWhisper('base.en', tmp_path).recognize(clip)
  monkeypatch.setattr(transcriber, '_whisper', lambda process, folder: WhisperModel())
  assert transcriber.FasterWhisper('base.en', tmp_path).recognize(clip) == transcriber.Recognized((), None)


def test_the_endpoint_gets_the_sound_and_gives_words(server, clip):
  server.default = server.json(ANSWER)
  each = remote(server.url, language='en')
  added = each.annotate(clip, NOTHING)
  (request,) = server.requests
  assert request.path == '/v1/audio/transcriptions'
  assert request.body['model'] == [b'whisper-1'] and request.body['response_format'] == [b'verbose_json']
  assert request.body['timestamp_granularities[]'] == [b'word', b'segment']
  assert request.body['language'] == [b'en'] and request.body['file'][0].startswith(b'RIFF')
  assert added.transcript.text == 'Set blue now'
  np.testing.assert_allclose(added.transcript.times_s, [7.2, 7.6, 8.45])
  assert added.provenance_of('transcript').confidence == pytest.approx(CONFIDENCE)
  assert each.recognizer.endpoint.usage.audio_s == 2.0
  assert pickle.loads(pickle.dumps(each)).annotate(clip, NOTHING) == added


def without(*names: str) -> dict:
  return {name: value for name, value in ANSWER.items() if name not in names}


def test_segments_are_used_where_words_have_no_times(server, clip):
  server.script = [
    server.json(without('words')),
    server.json(without('segments')),
    server.json({'text': ' '}),
  ]
  by_segments = remote(server.url).annotate(clip, NOTHING)
  assert by_segments.transcript.text == 'Set blue now.'
  np.testing.assert_allclose(by_segments.transcript.times_s, [7.375, 8.125, 8.75])
  by_words = remote(server.url).annotate(clip, NOTHING)
  assert by_words.transcript.text == 'Set blue now'
  assert by_words.provenance_of('transcript').confidence is None
  assert remote(server.url).annotate(clip, NOTHING) == NOTHING


@pytest.mark.parametrize(
  ('answer', 'reason'),
  [
    ({}, 'wanted a transcription'),
    (without('words', 'segments'), 'wanted times of words or segments; got none'),
    ({**ANSWER, 'words': [{'word': 'a', 'start': 1.0, 'end': 0.5}]}, "'a' must be within the clip of 2 s"),
    ({**ANSWER, 'words': [{'word': 'a', 'start': 1.0, 'end': 9.0}]}, "'a' must be within the clip of 2 s"),
    ({**ANSWER, 'words': [{'word': 'a', 'start': None, 'end': 1.0}]}, "wanted a text with times; got 'a'"),
    ({**ANSWER, 'words': [{'word': 'a', 'end': 1.0}]}, 'answer is not of the protocol'),
  ],
)
def test_an_answer_that_is_none_is_repeated_then_rejected(server, clip, answer, reason):
  server.default = server.json(answer)
  with pytest.raises(annotator.AnnotationError, match=reason):
    remote(server.url).annotate(clip, NOTHING)
  assert len(server.requests) == 2
  server.script, server.default = [server.error(500)], server.json(ANSWER)
  assert remote(server.url).annotate(clip, NOTHING).transcript.text


def test_check_finds_a_model_that_is_not_there(server):
  server.default = server.error(404, 'no such model')
  with pytest.raises(annotator.ServiceError, match=r'404 no such model; it has no model whisper-1'):
    remote(server.url).check()
  server.default = server.json({'text': ''})
  remote(server.url).check()
