"""Transcripts: spoken words and their times, read from plain text, SubRip (SRT) and WebVTT.

Times are seconds on the clock of v2a.media.source, like those of a subtitle file. The words of a cue are
spread evenly over its duration, so that a cue that crosses a window boundary is split by time.
"""

import codecs
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import html
import io
import math
import pathlib
import re

import webvtt
from webvtt import errors as webvtt_errors

SUFFIXES = ('.txt', '.srt', '.vtt')
# Other subtitle and data formats, whose markup would be read as words.
_FOREIGN = ('.ass', '.ssa', '.sbv', '.sub', '.smi', '.ttml', '.dfxp', '.stl', '.lrc', '.xml', '.json')
MAX_BYTES = 16 << 20
# UTF-32 before UTF-16: the byte order mark of the former begins with that of the latter.
_BYTE_ORDER_MARKS = (
  (codecs.BOM_UTF8, 'utf-8'),
  (codecs.BOM_UTF32_LE, 'utf-32'),
  (codecs.BOM_UTF32_BE, 'utf-32'),
  (codecs.BOM_UTF16_LE, 'utf-16'),
  (codecs.BOM_UTF16_BE, 'utf-16'),
)
_TIME = r'(\d+:)?\d{1,2}:\d{1,2}[.,]\d{3}'
_TIMING = re.compile(rf'\s*{_TIME}\s*-->\s*{_TIME}(\s|$)')
# Malformed timing lines; they would be read as words, or lose their cue.
_NEARLY_TIMING = re.compile(r'\s*\d\S*\s*--?>|.*-->\s*\d')
# SubStation overrides, which occur in SRT files too: {\an8}, and line breaks.
_OVERRIDE = re.compile(r'\{\\[^}]*\}')
_BREAK = re.compile(r'\\[Nnh]')
_TAG = re.compile(r'</?[A-Za-z][^<>]*>')
_WORD_TIME = re.compile(r'<((?:\d+:)?\d{1,2}:\d{1,2}\.\d{3})>')
# Dash of a new speaker, music signs, and invisible characters (text direction, soft hyphens).
_SIGN = re.compile(
  r'^\s*[-\u2013\u2014]+\s*|[\u2669-\u266c\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]', re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Transcript:
  """Words and, if known, their times.

  Attributes:
    text: the words, separated by blanks.
    times_s: time of each word, in order; None if unknown.
  """

  text: str = ''
  times_s: tuple[float, ...] | None = None

  def within(self, start_s: float, end_s: float) -> 'Transcript':
    """Returns the words in [start_s, end_s) with times relative to start_s.

    Raises:
      ValueError: the times of the words are unknown.
    """
    if self.times_s is None:
      raise ValueError(f'a transcript must have the times of its words; got {self.text[:40]!r} without.')
    spoken = zip(self.text.split(), self.times_s, strict=True)
    inside = [(word, time_s - start_s) for word, time_s in spoken if start_s <= time_s < end_s]
    return Transcript(' '.join(word for word, _ in inside), tuple(time_s for _, time_s in inside))


def from_cues(cues: Iterable[tuple[str, float, float]]) -> Transcript:
  """Returns the words of cues (text, start_s, end_s), those of a cue spread evenly over its duration.

  Raises:
    ValueError: a time is not finite or negative, or an end is before its start.
  """
  timed = []
  for text, start_s, end_s in cues:
    if not 0 <= start_s <= end_s < math.inf:
      raise ValueError(f'{text[:40]!r} must have 0 <= start <= end; got {start_s:g} s to {end_s:g} s')
    words = text.split()
    step_s = (end_s - start_s) / max(1, len(words))
    timed += [(start_s + (index + 0.5) * step_s, word) for index, word in enumerate(words)]
  timed.sort(key=lambda item: item[0])
  return Transcript(' '.join(word for _, word in timed), tuple(time_s for time_s, _ in timed))


def read(path: pathlib.Path) -> Transcript:
  """Reads a transcript, see `parse`; the format is detected from the content, not from the name.

  Raises:
    ValueError: the file is not text, or its subtitles cannot be parsed.
    OSError: the file cannot be read.
  """
  suffix = path.suffix.lower()
  if suffix in _FOREIGN:
    raise ValueError(f'{path}: wanted plain text, SRT or WebVTT; got {suffix}.')
  text = read_text(path)
  try:
    found = parse(text)
  except ValueError as error:
    raise ValueError(f'{path}: {error}.') from error
  if suffix in SUFFIXES[1:] and found.text and found.times_s is None:
    raise ValueError(f'{path}: has no cue; wanted words below lines such as 00:00:01,000 --> 00:00:02,500.')
  return found


def parse(text: str) -> Transcript:
  """Returns the transcript in a text, with times for SRT and WebVTT, without for plain text.

  Raises:
    ValueError: a cue cannot be parsed.
  """
  text = text.strip().removeprefix('\ufeff').lstrip()
  is_vtt = re.match(r'WEBVTT\b', text) is not None
  if is_vtt or any(_TIMING.match(line) for line in text.splitlines()):
    return from_cues(_cues(text, 'vtt' if is_vtt else 'srt'))
  return Transcript(' '.join(text.split()))


def read_text(path: pathlib.Path) -> str:
  """Returns the text of a file without its byte order mark: UTF-8, or the encoding that the mark names.

  Raises:
    ValueError: the file is not valid text; the message names the byte.
    OSError: the file cannot be read.
  """
  if path.stat().st_size > MAX_BYTES:
    raise ValueError(f'{path}: has {path.stat().st_size} bytes; wanted a text of at most {MAX_BYTES}.')
  content = path.read_bytes()
  encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), 'utf-8')
  try:
    text = content.decode(encoding)
  except UnicodeDecodeError as error:
    line = content.count(b'\n', 0, error.start) + 1
    raise ValueError(
      f'{path}: wanted {encoding.upper()} text; got byte {content[error.start]:#04x} in line '
      f'{line} (byte {error.start}).'
    ) from error
  if '\0' in text:
    raise ValueError(f'{path}: wanted UTF-8 text, or UTF-16 with a byte order mark; got zero bytes.')
  return text.removeprefix('\ufeff')


def _cues(text: str, form: str) -> Iterator[tuple[str, float, float]]:
  """Yields (words, start_s, end_s); raises ValueError if the time of a cue cannot be parsed."""
  for number, line in enumerate(text.splitlines(), 1):
    if _NEARLY_TIMING.match(line) and not _TIMING.match(line):
      raise ValueError(f'line {number} must be like 00:00:01,000 --> 00:00:02,500; got {line.strip()[:60]!r}')
  try:
    captions = webvtt.from_buffer(io.StringIO(text), form).captions
  except (webvtt_errors.MalformedFileError, webvtt_errors.MalformedCaptionError) as error:
    raise ValueError(f'is no {form.upper()}: {error}') from error
  previous, is_rolling = [], any(_WORD_TIME.search(caption.raw_text) for caption in captions)
  for caption in captions:
    lines = [line for line in caption.raw_text.splitlines() if plain(line)]
    # Live captions roll up: the lines of a cue are repeated above those of the next one, but spoken once.
    num_repeated = _num_repeated(previous, [plain(line) for line in lines]) if is_rolling else 0
    previous = [plain(line) for line in lines]
    text = '\n'.join(lines[num_repeated:])
    yield from _timed(text, _seconds(caption.start), _seconds(caption.end))


def _num_repeated(previous: list[str], lines: list[str]) -> int:
  """Returns how many of the first lines repeat the last lines of the previous cue."""
  return next((num for num in range(len(lines), 0, -1) if previous[-num:] == lines[:num]), 0)


def _timed(text: str, start_s: float, end_s: float) -> Iterator[tuple[str, float, float]]:
  """Splits a cue at word timestamps: `Hello <00:01.500>there`."""
  parts = _WORD_TIME.split(text)
  times_s = [start_s, *map(_seconds, parts[1::2]), end_s]
  for words, start_s, stop_s in zip(parts[::2], times_s, times_s[1:]):
    if plain(words):
      yield plain(words), start_s, stop_s


def _seconds(time: str) -> float:
  """Returns the seconds of a time such as 01:02.500, with or without hours."""
  parts = reversed(time.replace(',', '.').split(':'))
  return sum(float(part) * 60**power for power, part in enumerate(parts))


def plain(text: str) -> str:
  """Returns the words of a cue without tags, overrides, entities and unspoken signs."""
  text = _BREAK.sub(' ', _OVERRIDE.sub('', text))
  text = html.unescape(_TAG.sub('', _WORD_TIME.sub('', _SIGN.sub('', text))))
  return ' '.join(text.split())
