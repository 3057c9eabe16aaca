"""Transcripts of speech: words with times, and a confidence that gates them.

  pocketsphinx     English, model in its package; weak: most of what it recognizes in real clips is wrong
  faster-whisper   Whisper with weights in the folder of published weights
  endpoint         any OpenAI-compatible `/v1/audio/transcriptions`

A clip with a transcript by humans, without sound or with silence gets none. A transcript whose confidence is
below `min_confidence` is not added; a tag `transcript_rejected` says so, with the number. Confidences:

  pocketsphinx     posterior of the words in the lattice, mean weighted by durations
  faster-whisper   probability of the words, weighted alike, times 1 - p(no speech) of their segments
  endpoint         exp(mean log probability) (1 - p(no speech)) of the segments, weighted by durations; None
                   where the endpoint gives no segments, and then nothing is gated
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import math
import os
import pathlib
from typing import Any
from typing import Protocol

import numpy as np

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import endpoint as endpoint_lib
from data_pipelines.annotate import media_parts
from data_pipelines.annotate import sphinx
from data_pipelines.annotate import usage as usage_lib
from v2a.data import annotations as annotations_lib
from v2a.media import audio_reader
from v2a.media import transcript as transcript_lib
from v2a.metrics import spectra
from v2a.metrics import speech
from v2a.metrics.embedders import embedder
from v2a.models.published import checkpoints

_REVISION = 1
_SLACK_S = 0.5  # times of words may exceed the end of the sound by this much


@dataclasses.dataclass(frozen=True)
class Recognized:
  """What a recognizer found in a clip; times are seconds in the clip.

  Attributes:
    cues: text, start and end of words, or of longer parts where there are no times of words.
    confidence: 0 to 1, or None if it is not known.
  """

  cues: tuple[tuple[str, float, float], ...]
  confidence: float | None


class Recognizer(Protocol):
  """A speech recognizer that can be pickled."""

  @property
  def name(self) -> str:
    """Such as 'pocketsphinx'."""
    ...

  @property
  def version(self) -> str:
    """Changes with the weights and settings."""
    ...

  def check(self) -> None:
    """See `Annotator`."""
    ...

  def recognize(self, clip: decoded.DecodedClip) -> Recognized:
    """Returns the words of a clip that has sound.

    Raises:
      AnnotationError, ServiceError: see `Annotator`.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Transcriber:
  """See the module.

  Attributes:
    recognizer: recognizes the words.
    min_confidence: of a transcript that is added.
  """

  recognizer: Recognizer
  min_confidence: float

  @property
  def name(self) -> str:
    """That of the recognizer."""
    return self.recognizer.name.replace('@', '_')

  @property
  def version(self) -> str:
    """That of the recognizer, and the settings."""
    return f'{self.recognizer.version}-{_REVISION}-{self.min_confidence:g}'

  @property
  def reads(self) -> tuple[str, ...]:
    """The transcript: one by humans is not replaced."""
    return ('transcript',)

  def check(self) -> None:
    """See `Annotator`."""
    self.recognizer.check()

  def annotate(
    self, clip: decoded.DecodedClip, known: annotations_lib.Annotations
  ) -> annotations_lib.Annotations:
    """See `Annotator`."""
    is_human = bool(known.transcript.text) and known.provenance_of('transcript').origin == annotator.HUMAN
    if is_human or not clip.has_audio or audio_reader.is_silent(clip.wave_NA):
      return annotations_lib.Annotations()
    found = self.recognizer.recognize(clip)
    if not found.cues:
      return annotations_lib.Annotations()
    if found.confidence is not None and found.confidence < self.min_confidence:
      text = f'confidence {found.confidence:.2f} below {self.min_confidence:g}'
      return annotator.tags(self, [('transcript_rejected', text, found.confidence)])
    cues = [(text, clip.start_s + start_s, clip.start_s + end_s) for text, start_s, end_s in found.cues]
    return annotator.transcript(self, transcript_lib.from_cues(cues), found.confidence)


@dataclasses.dataclass(frozen=True)
class Pocketsphinx:
  """CMU Sphinx, see `sphinx`."""

  decoders: sphinx.Decoders = dataclasses.field(default_factory=sphinx.Decoders, repr=False, compare=False)

  @property
  def name(self) -> str:
    """See `Recognizer`."""
    return 'pocketsphinx'

  @property
  def version(self) -> str:
    """Version of the package, which holds the model."""
    return importlib.metadata.version('pocketsphinx')

  def check(self) -> None:
    """See `Annotator`.

    Raises:
      ServiceError: the package is missing.
    """
    if reason := sphinx.missing():
      raise annotator.ServiceError(f'transcripts by pocketsphinx: {reason}.')

  def recognize(self, clip: decoded.DecodedClip) -> Recognized:
    """See `Recognizer`."""
    words = self.decoders.recognize(_mono(clip))
    confidence = sphinx.weighted_mean(words, 'posterior') if words else None
    return Recognized(tuple((each.text, each.start_s, each.end_s) for each in words), confidence)


@dataclasses.dataclass(frozen=True)
class FasterWhisper:
  """Whisper by faster-whisper: English, beam size 5, temperature 0, no context from other segments.

  Attributes:
    model: a name of speech.WHISPER_MODELS.
    folder: of its weights, faster-whisper-MODEL.
  """

  model: str
  folder: pathlib.Path

  @property
  def name(self) -> str:
    """See `Recognizer`."""
    return f'whisper-{self.model}'

  @property
  def version(self) -> str:
    """Version of the package, and the begin of the hash of the weights."""
    package = importlib.metadata.version('faster-whisper')
    path = self.folder / 'model.bin'
    return f'{package}-{_digest(path, path.stat().st_mtime_ns)[:8]}'

  def check(self) -> None:
    """See `Annotator`.

    Raises:
      ServiceError: the package or the weights are missing.
    """
    reasons = checkpoints.missing_package('faster-whisper', speech.INSTALL_COMMAND)
    if not (self.folder / 'model.bin').is_file():
      reasons.append(f'weights {self.folder} missing')
    if reasons:
      raise annotator.ServiceError(f'transcripts by {self.name}: {", ".join(reasons)}.')

  def recognize(self, clip: decoded.DecodedClip) -> Recognized:
    """See `Recognizer`.

    Raises:
      AnnotationError: words with impossible times.
    """
    segments, _ = _whisper(os.getpid(), self.folder).transcribe(
      _mono(clip).astype(np.float32),
      language='en',
      beam_size=5,
      temperature=0.0,
      condition_on_previous_text=False,
      word_timestamps=True,
    )
    cues, scores, weights = [], [], []
    for segment in segments:
      for word in segment.words or ():
        try:
          cues.append(_cue(word.word, word.start, word.end, clip.duration_s))
        except ValueError as error:
          raise annotator.AnnotationError(f'{self.name}: {error}') from error
        scores.append(word.probability * (1.0 - segment.no_speech_prob))
        weights.append(max(word.end - word.start, 1e-3))
    return Recognized(tuple(cues), float(np.average(scores, weights=weights)) if cues else None)


@dataclasses.dataclass(frozen=True)
class EndpointRecognizer:
  """Transcriptions by an endpoint.

  Attributes:
    endpoint: to which requests are sent.
    language: ISO 639-1 code, such as 'en'; None has the model detect it.
  """

  endpoint: endpoint_lib.Endpoint
  language: str | None = None

  @property
  def name(self) -> str:
    """Names the model."""
    return f'transcriber:{self.endpoint.config.model}'

  @property
  def version(self) -> str:
    """Depends on the language only; the endpoint does not state that of its weights."""
    return self.language or 'any'

  def check(self) -> None:
    """See `Annotator`: sends half a second of silence."""
    clip = decoded.DecodedClip(
      'check', np.zeros((0, 0, 0, 3), np.uint8), np.zeros((8000, 1), np.float32), 16000, 0.0, 0.5
    )
    self.endpoint.check(functools.partial(self._send, clip=clip))

  def recognize(self, clip: decoded.DecodedClip) -> Recognized:
    """See `Recognizer`."""
    found = self.endpoint.call(functools.partial(self._send, clip=clip))
    self.endpoint.count(usage_lib.Usage(audio_s=clip.duration_s))
    return found

  def _send(self, client: Any, clip: decoded.DecodedClip) -> Recognized:
    """Returns the words of an answer.

    Raises:
      ValueError: the answer is not of the protocol.
    """
    settings = {} if self.language is None else {'language': self.language}
    answer = client.audio.transcriptions.create(
      file=('clip.wav', media_parts.wav(clip), 'audio/wav'),
      model=self.endpoint.config.model,
      response_format='verbose_json',
      timestamp_granularities=['word', 'segment'],
      **settings,
    )
    return _parse(answer, clip.duration_s)


def _parse(answer: Any, duration_s: float) -> Recognized:
  """Returns the words of a verbose answer; those of its segments where it has no words.

  Raises:
    ValueError: the answer is not of the protocol.
  """
  text = getattr(answer, 'text', None)
  if not isinstance(text, str):
    raise ValueError(f'wanted a transcription; got {str(answer)[:80]!r}')
  words, segments = getattr(answer, 'words', None) or [], getattr(answer, 'segments', None) or []
  cues = [_cue(each.word, each.start, each.end, duration_s) for each in words]
  cues = cues or [_cue(each.text, each.start, each.end, duration_s) for each in segments]
  if text.strip() and not cues:
    raise ValueError('wanted times of words or segments; got none')
  return Recognized(tuple(cue for cue in cues if cue[0]), _segment_confidence(segments))


def _segment_confidence(segments: Sequence[Any]) -> float | None:
  scored = [each for each in segments if isinstance(getattr(each, 'avg_logprob', None), int | float)]
  if not scored:
    return None
  values = [
    math.exp(min(0.0, each.avg_logprob)) * (1.0 - (getattr(each, 'no_speech_prob', None) or 0.0))
    for each in scored
  ]
  return float(np.average(values, weights=[max(each.end - each.start, 1e-3) for each in scored]))


def _cue(text: Any, start_s: Any, end_s: Any, duration_s: float) -> tuple[str, float, float]:
  """Returns text and times of a part, which models round, within the clip.

  Raises:
    ValueError: a time is missing, or far outside of the clip, or the end is before the start.
  """
  if not isinstance(text, str) or not all(isinstance(each, int | float) for each in (start_s, end_s)):
    raise ValueError(f'wanted a text with times; got {text!r} from {start_s!r} to {end_s!r}')
  if not -_SLACK_S <= start_s <= end_s <= duration_s + _SLACK_S:
    raise ValueError(
      f'{text!r} must be within the clip of {duration_s:g} s; got {start_s:g} s to {end_s:g} s'
    )
  start_s, end_s = (min(max(0.0, float(each)), duration_s) for each in (start_s, end_s))
  return ' '.join(text.split()), start_s, end_s


def _mono(clip: decoded.DecodedClip) -> np.ndarray:
  return spectra.resample(clip.mono_N[:, None], clip.sample_rate_hz)[:, 0]


@functools.lru_cache(maxsize=1)
def _whisper(process: int, folder: pathlib.Path) -> Any:
  del process  # part of the key: threads of a model do not survive a fork
  return importlib.import_module('faster_whisper').WhisperModel(str(folder), local_files_only=True)


@functools.lru_cache(maxsize=8)
def _digest(path: pathlib.Path, modified_ns: int) -> str:
  del modified_ns  # part of the key
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def load(
  name: str, weights: pathlib.Path | str | None = None, min_confidence: float | None = None
) -> Transcriber | embedder.Missing:
  """Returns a transcriber that runs on this machine, or what is missing for it.

  Args:
    name: 'pocketsphinx', or 'whisper-' and a name of speech.WHISPER_MODELS.
    weights: folder of weights, see checkpoints.folder.
    min_confidence: None is the default of the recognizer.

  Raises:
    ValueError: an unknown name.
  """
  names = ('pocketsphinx', *(f'whisper-{model}' for model in speech.WHISPER_MODELS))
  if name not in names:
    raise ValueError(f'a transcriber must be of {", ".join(names)}; got {name}.')
  recognizer: Pocketsphinx | FasterWhisper = Pocketsphinx()
  if name != 'pocketsphinx':
    model = name.removeprefix('whisper-')
    folder = checkpoints.folder(weights) or pathlib.Path()
    recognizer = FasterWhisper(model, folder / f'faster-whisper-{model}')
  try:
    recognizer.check()
  except annotator.ServiceError as error:
    return embedder.Missing(name, str(error).partition(': ')[2].removesuffix('.'))
  default = POCKETSPHINX_CONFIDENCE if name == 'pocketsphinx' else WHISPER_CONFIDENCE
  return Transcriber(recognizer, default if min_confidence is None else min_confidence)


# Wrong words of pocketsphinx have a mean posterior of up to 0.6 in real clips.
POCKETSPHINX_CONFIDENCE = 0.75
WHISPER_CONFIDENCE = 0.5
