"""Captions by an audio-visual language model behind an OpenAI-compatible endpoint.

A request holds a few frames (JPEG), the sound (WAV, as `input_audio`), what humans have written about the
clip, and the prompt. The answer is JSON of SCHEMA. An answer that is not is sent back with the reason, and
the model answers again, `max_answers` times in all; then the clip is rejected.

Captions: label, short, detailed, negative. Tags: sources, order, mood, music; lists are joined by '; '.
"""

import dataclasses
import functools
import hashlib
import json
import math
import re
from typing import Any
from typing import Literal

import numpy as np

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import endpoint as endpoint_lib
from data_pipelines.annotate import media_parts
from data_pipelines.annotate import usage as usage_lib
from v2a.data import annotations as annotations_lib

ResponseFormat = Literal['json_schema', 'json_object', 'text']
PROMPT = """You describe the sound of a video clip, to train a model that generates sound from video. You \
get frames of the clip in their order, and its sound. Describe only what is audible; use the frames to name \
the sources. Do not mention frames, video or recording, and do not guess names of persons.

Answer with one JSON object and nothing else:
  "short": one sentence of at most 20 words.
  "detailed": two to four sentences: sources, materials, how each sounds, loudness, space, how it develops.
  "sources": list of what makes sound.
  "order": list of the sounds in the order in which they begin.
  "mood": a few words; "" if there is none.
  "music": genre, instruments, tempo; "" if there is no music.
  "negative": one sentence on what one might expect from the frames but does not hear, such as "no music, no \
speech".
  "label": the class of the main sound in a few words.
  "confidence": a number from 0 to 1: how sure you are that all of this is right."""
_TEXTS = {'short': 300, 'detailed': 2000, 'mood': 200, 'music': 300, 'negative': 500, 'label': 100}
_OPTIONAL = ('mood', 'music')
_LISTS = ('sources', 'order')
_MAX_ENTRIES, _MAX_ENTRY = 30, 200
_CAPTIONS: tuple[annotations_lib.CaptionStyle, ...] = ('label', 'short', 'detailed', 'negative')
_TAGS = ('sources', 'order', 'mood', 'music')
_STRING: dict[str, Any] = {'type': 'string'}
SCHEMA: dict[str, Any] = {
  'type': 'object',
  'properties': {
    **dict.fromkeys(_TEXTS, _STRING),
    **dict.fromkeys(_LISTS, {'type': 'array', 'items': _STRING}),
    'confidence': {'type': 'number'},
  },
  'required': [*_TEXTS, *_LISTS, 'confidence'],
  'additionalProperties': False,
}
# Tokens of a frame of at most 256 pixels, a second of sound, and an answer; of Qwen2.5-Omni, rounded up.
_FRAME_TOKENS, _AUDIO_TOKENS_HZ, _ANSWER_TOKENS = 100, 25, 350


@dataclasses.dataclass(frozen=True)
class CaptionerConfig:
  """What is sent to the model.

  Attributes:
    num_frames: sent of each clip; 0 for a model that takes no images.
    use_audio: False for a model that takes no sound; its captions describe what it sees, not what it hears.
    response_format: 'json_schema' has the endpoint enforce SCHEMA, 'json_object' any JSON; 'text' is for
      endpoints that know neither.
    temperature: None sends none, for models that take none.
    max_output_tokens: of an answer.
    max_answers: of a model to one clip, see the module.
  """

  num_frames: int = 8
  use_audio: bool = True
  response_format: ResponseFormat = 'json_schema'
  temperature: float | None = 0.0
  max_output_tokens: int = 1024
  max_answers: int = 3

  def __post_init__(self):
    if self.num_frames < 0 or self.max_answers < 1 or self.max_output_tokens < 1:
      raise ValueError(f'numbers of frames, answers and tokens must be positive; got {self}.')
    if not self.num_frames and not self.use_audio:
      raise ValueError('a captioner needs frames or sound; got num_frames=0 and use_audio=False.')


@dataclasses.dataclass(frozen=True)
class Captioner:
  """See the module.

  Attributes:
    endpoint: to which requests are sent.
    config: what they hold.
  """

  endpoint: endpoint_lib.Endpoint
  config: CaptionerConfig = CaptionerConfig()

  @property
  def name(self) -> str:
    """Names the model: captions of several models are kept beside each other."""
    return f'captioner:{self.endpoint.config.model.replace("@", "_")}'

  @property
  def version(self) -> str:
    """Hash of the prompt, the schema and the settings."""
    settings = dataclasses.asdict(self.config) | {'quality': media_parts.JPEG_QUALITY}
    return hashlib.sha256(json.dumps([PROMPT, SCHEMA, settings]).encode()).hexdigest()[:12]

  @property
  def reads(self) -> tuple[str, ...]:
    """Captions by humans are part of the request."""
    return (annotator.HUMAN_CAPTIONS,)

  def check(self) -> None:
    """See `Annotator`: sends one request with a grey frame and half a second of silence."""
    frame_MYX3 = np.full((int(self.config.num_frames > 0), 64, 64, 3), 128, np.uint8)
    clip = decoded.DecodedClip('check', frame_MYX3, np.zeros((8000, 1), np.float32), 16000, 0.0, 0.5)
    messages = self._messages(clip, annotations_lib.Annotations())
    self.endpoint.check(lambda client: self._send(client, messages, max_tokens=16))

  def annotate(
    self, clip: decoded.DecodedClip, known: annotations_lib.Annotations
  ) -> annotations_lib.Annotations:
    """See `Annotator`; nothing is added to a clip without sound.

    Raises:
      AnnotationError: `max_answers` invalid answers, or no answer.
      ServiceError: see `Endpoint.call`.
    """
    if not clip.has_audio:
      return annotations_lib.Annotations()
    messages, reason = self._messages(clip, known), ''
    for _ in range(self.config.max_answers):
      text, reason = self.endpoint.call(functools.partial(self._send, messages=messages))
      if not reason:
        try:
          return self._annotations(parse(text))
        except ValueError as error:
          reason = str(error)
      self.endpoint.count(usage_lib.Usage(num_invalid=1))
      messages = [
        *messages,
        {'role': 'assistant', 'content': text or '(empty)'},
        {'role': 'user', 'content': f'This answer is invalid: {reason}. Answer again, only with the JSON.'},
      ]
    raise annotator.AnnotationError(
      f'{self.endpoint.config.model} gave {self.config.max_answers} invalid answers; the last one: {reason}'
    )

  def estimate(self, num_clips: int, clip_s: float) -> usage_lib.Usage:
    """Returns the expected usage for clips of a duration, by the tokens of Qwen2.5-Omni, without retries."""
    audio_tokens = _AUDIO_TOKENS_HZ * clip_s * self.config.use_audio
    prompt_tokens = len(PROMPT) / 4
    tokens = prompt_tokens + _FRAME_TOKENS * self.config.num_frames + audio_tokens
    return usage_lib.Usage(
      num_requests=num_clips,
      input_tokens=round(num_clips * tokens),
      output_tokens=num_clips * _ANSWER_TOKENS,
    )

  def _messages(self, clip: decoded.DecodedClip, known: annotations_lib.Annotations) -> list[dict[str, Any]]:
    """Returns the conversation that requests a description."""
    parts: list[dict[str, Any]] = []
    for content in media_parts.jpegs(clip, self.config.num_frames):
      url = f'data:image/jpeg;base64,{media_parts.base64_text(content)}'
      parts.append({'type': 'image_url', 'image_url': {'url': url}})
    if self.config.use_audio:
      data = media_parts.base64_text(media_parts.wav(clip))
      parts.append({'type': 'input_audio', 'input_audio': {'data': data, 'format': 'wav'}})
    parts.append({'type': 'text', 'text': PROMPT})
    written = [each.text for each in known.captions]
    if written:
      parts.append({'type': 'text', 'text': f'A person wrote about the clip: {"; ".join(written)}'})
    return [{'role': 'user', 'content': parts}]

  def _send(
    self, client: Any, messages: list[dict[str, Any]], max_tokens: int | None = None
  ) -> tuple[str, str]:
    """Returns the text of an answer, and why it cannot be valid, or ''.

    Raises:
      ValueError: the answer is not of the protocol.
    """
    settings: dict[str, Any] = {}
    if self.config.temperature is not None:
      settings['temperature'] = self.config.temperature
    if self.config.response_format == 'json_schema':
      schema = {'name': 'sound', 'strict': True, 'schema': SCHEMA}
      settings['response_format'] = {'type': 'json_schema', 'json_schema': schema}
    elif self.config.response_format == 'json_object':
      settings['response_format'] = {'type': 'json_object'}
    answer = client.chat.completions.create(
      model=self.endpoint.config.model,
      messages=messages,
      max_completion_tokens=max_tokens or self.config.max_output_tokens,
      **settings,
    )
    choices = getattr(answer, 'choices', None)
    if not choices or getattr(choices[0], 'message', None) is None:
      raise ValueError(f'wanted a chat completion; got {str(answer)[:80]!r}')
    self._count(answer)
    if choices[0].finish_reason == 'length':
      return choices[0].message.content or '', f'it was cut off after {self.config.max_output_tokens} tokens'
    refusal = getattr(choices[0].message, 'refusal', None)
    return choices[0].message.content or '', f'the model refused: {refusal}' if refusal else ''

  def _count(self, answer: Any) -> None:
    usage = getattr(answer, 'usage', None)
    self.endpoint.count(
      usage_lib.Usage(
        input_tokens=getattr(usage, 'prompt_tokens', None) or 0,
        output_tokens=getattr(usage, 'completion_tokens', None) or 0,
        num_uncounted=int(usage is None),
      )
    )

  def _annotations(self, answer: dict[str, Any]) -> annotations_lib.Annotations:
    by, confidence = annotator.origin(self), float(answer['confidence'])
    captions = tuple(annotations_lib.Caption(answer[style], style, by, confidence) for style in _CAPTIONS)
    values = {name: '; '.join(answer[name]) if name in _LISTS else answer[name] for name in _TAGS}
    found = annotator.tags(self, [(name, value, confidence) for name, value in values.items() if value])
    return dataclasses.replace(found, captions=captions)


def parse(text: str) -> dict[str, Any]:
  """Returns an answer of the schema, with texts on one line.

  A Markdown fence around the JSON, which many models write, is removed.

  Raises:
    ValueError: the text is not JSON of SCHEMA; the message is for the model, which answers again.
  """
  fenced = re.fullmatch(r'\s*```(?:json)?\s*(.*?)\s*```\s*', text, re.DOTALL)
  try:
    answer = json.loads(fenced[1] if fenced else text)
  except json.JSONDecodeError as error:
    raise ValueError(f'it is not JSON ({error})') from error
  if not isinstance(answer, dict):
    raise ValueError(f'it must be a JSON object; it is a {type(answer).__name__}')
  missing = [name for name in SCHEMA['required'] if name not in answer]
  unknown = [name for name in answer if name not in SCHEMA['properties']]
  if missing or unknown:
    words = [f'it lacks {", ".join(missing)}'] * bool(missing)
    raise ValueError(' and '.join(words + [f'it has unknown keys {", ".join(unknown)}'] * bool(unknown)))
  found: dict[str, Any] = {name: _text(name, answer[name], limit) for name, limit in _TEXTS.items()}
  found |= {name: _texts(name, answer[name]) for name in _LISTS}
  confidence = answer['confidence']
  is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
  if not is_number or not math.isfinite(confidence) or not 0 <= confidence <= 1:
    raise ValueError(f'confidence must be a number from 0 to 1; it is {confidence!r}')
  return {**found, 'confidence': float(confidence)}


def _text(name: str, value: Any, limit: int) -> str:
  if not isinstance(value, str):
    raise ValueError(f'{name} must be a string; it is a {type(value).__name__}')
  line = ' '.join(value.split())
  if not line and name not in _OPTIONAL:
    raise ValueError(f'{name} must not be empty')
  if len(line) > limit:
    raise ValueError(f'{name} must have at most {limit} characters; it has {len(line)}')
  return line


def _texts(name: str, value: Any) -> list[str]:
  if not isinstance(value, list) or len(value) > _MAX_ENTRIES:
    raise ValueError(f'{name} must be a list of at most {_MAX_ENTRIES} strings')
  return [_text(f'{name}[{index}]', entry, _MAX_ENTRY) for index, entry in enumerate(value)]
