"""Transcripts: words that are spoken, and when; read from plain text, SubRip (SRT) and WebVTT.

Times are seconds on the clock of v2a.media.source, as those of a subtitle file are. The words of a cue are
spread evenly over it, so that a cue which crosses the border of two windows is split by time.
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
# Other formats of subtitles and data, whose markup would be spoken.
_FOREIGN = ('.ass', '.ssa', '.sbv', '.sub', '.smi', '.ttml', '.dfxp', '.stl', '.lrc', '.xml', '.json')
MAX_BYTES = 16 << 20
# Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
  (codecs.BOM_UTF8, 'utf-8'),
  (codecs.BOM_UTF32_LE, 'utf-32'),
  (codecs.BOM_UTF32_BE, 'utf-32'),
  (codecs.BOM_UTF16_LE, 'utf-16'),
  (codecs.BOM_UTF16_BE, 'utf-16'),
)
_TIME = r'(\d+:)?\d{1,2}:\d{1,2}[.,]\d{3}'
_TIMING = re.compile(rf'\s*{_TIME}\s*-->\s*{_TIME}(\s|$)')
# Lines that mean to be a timing; a mistyped one would be spoken, or lose its cue.
_NEARLY_TIMING = re.compile(r'\s*\d\S*\s*--?>|.*-->\s*\d')
# Of SubStation, which SRT files carry too: {\an8}, and breaks of lines and of words.
_OVERRIDE = re.compile(r'\{\\[^}]*\}')
_BREAK = re.compile(r'\\[Nnh]')
_TAG = re.compile(r'</?[A-Za-z][^<>]*>')
_WORD_TIME = re.compile(r'<((?:\d+:)?\d{1,2}:\d{1,2}\.\d{3})>')
# A new speaker's dash, the sign of a song, and marks that are not seen (of direction, of possible breaks).
_SIGN = re.compile(
  r'^\s*[-\u2013\u2014]+\s*|[\u2669-\u266c\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff]', re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Transcript:
  """Words and, where they are known, their times.

  Attributes:
    text: the words, with blanks between them.
    times_s: when each word is said, in order; None where that is not known.
  """

  text: str = ''
  times_s: tuple[float, ...] | None = None

  def within(self, start_s: float, end_s: float) -> 'Transcript':
    """Returns the words said in [start_s, end_s), with times from start_s on; their times must be known."""
    spoken = zip(self.text.split(), self.times_s, strict=True)
    kept = [(word, time_s - start_s) for word, time_s in spoken if start_s <= time_s < end_s]
    return Transcript(' '.join(word for word, _ in kept), tuple(time_s for _, time_s in kept))


def from_cues(cues: Iterable[tuple[str, float, float]]) -> Transcript:
  """Returns the words of (text, start_s, end_s), each cue's spread evenly over its time.

  Raises:
    ValueError: a time is no number, negative, or an end lies before its start.
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
  """Returns what is said in a file, see `parse`; its content tells what it is, not its name.

  Raises:
    ValueError: it is no text, or its subtitles cannot be read.
    OSError: it cannot be read.
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
    raise ValueError(f'{path}: holds no cue; wanted words below lines as 00:00:01,000 --> 00:00:02,500.')
  return found


def parse(text: str) -> Transcript:
  """Returns what is said in a text: that of SRT and WebVTT with times, that of any other without.

  Raises:
    ValueError: a cue cannot be read.
  """
  text = text.strip().removeprefix('\ufeff').lstrip()
  is_vtt = re.match(r'WEBVTT\b', text) is not None
  if is_vtt or any(_TIMING.match(line) for line in text.splitlines()):
    return from_cues(_cues(text, 'vtt' if is_vtt else 'srt'))
  return Transcript(' '.join(text.split()))


def read_text(path: pathlib.Path) -> str:
  """Returns the text of a file without its byte order mark: UTF-8, or what the mark says.

  Raises:
    ValueError: it is no such text; the message names the byte.
    OSError: it cannot be read.
  """
  if path.stat().st_size > MAX_BYTES:
    raise ValueError(f'{path}: has {path.stat().st_size} bytes; wanted a text of at most {MAX_BYTES}.')
  content = path.read_bytes()
  encoding = next((name for mark, name in _MARKS if content.startswith(mark)), 'utf-8')
  try:
    text = content.decode(encoding)
  except UnicodeDecodeError as error:
    line = content.count(b'\n', 0, error.start) + 1
    raise ValueError(
      f'{path}: wanted {encoding.upper()} text; got byte {content[error.start]:#04x} in line '
      f'{line} (byte {error.start}).'
    ) from error
  if '\0' in text:
    raise ValueError(f'{path}: wanted UTF-8 text, or UTF-16 with a byte order mark; got zeros in it.')
  return text.removeprefix('\ufeff')


def _cues(text: str, form: str) -> Iterator[tuple[str, float, float]]:
  """Yields (words, start_s, end_s); raises ValueError where a cue's time cannot be read."""
  for number, line in enumerate(text.splitlines(), 1):
    if _NEARLY_TIMING.match(line) and not _TIMING.match(line):
      raise ValueError(f'line {number} must be as 00:00:01,000 --> 00:00:02,500; got {line.strip()[:60]!r}')
  try:
    captions = list(webvtt.from_buffer(io.StringIO(text), form))
  except (webvtt_errors.MalformedFileError, webvtt_errors.MalformedCaptionError) as error:
    raise ValueError(f'is no {form.upper()}: {error}') from error
  shown, is_rolling = [], any(_WORD_TIME.search(caption.raw_text) for caption in captions)
  for caption in captions:
    lines = [line for line in caption.raw_text.splitlines() if plain(line)]
    # Live captions roll up: the lines of a cue are shown again above the next one's, but said once.
    num_again = _num_shown_again(shown, [plain(line) for line in lines]) if is_rolling else 0
    shown = [plain(line) for line in lines]
    text = '\n'.join(lines[num_again:])
    yield from _timed(text, _seconds(caption.start), _seconds(caption.end))


def _num_shown_again(shown: list[str], lines: list[str]) -> int:
  """Returns how many of the first lines are the last ones that were shown before."""
  return next((num for num in range(len(lines), 0, -1) if shown[-num:] == lines[:num]), 0)


def _timed(text: str, start_s: float, end_s: float) -> Iterator[tuple[str, float, float]]:
  """Yields the pieces of a cue, which may hold times of words: `Hello <00:01.500>there`."""
  parts = _WORD_TIME.split(text)
  times_s = [start_s, *map(_seconds, parts[1::2]), end_s]
  for piece, begin_s, stop_s in zip(parts[::2], times_s, times_s[1:]):
    if plain(piece):
      yield plain(piece), begin_s, stop_s


def _seconds(time: str) -> float:
  """Returns the seconds of a time such as 01:02.500, with hours or without."""
  parts = reversed(time.replace(',', '.').split(':'))
  return sum(float(part) * 60**power for power, part in enumerate(parts))


def plain(text: str) -> str:
  """Returns the words of a cue without tags, overrides, entities, and signs that are not spoken."""
  text = _BREAK.sub(' ', _OVERRIDE.sub('', text))
  text = html.unescape(_TAG.sub('', _WORD_TIME.sub('', _SIGN.sub('', text))))
  return ' '.join(text.split())
