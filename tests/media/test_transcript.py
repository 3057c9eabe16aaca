"""Transcripts from text, SRT and WebVTT: words and their times."""

import json
import pathlib

import pytest

from v2a.media import sidecar
from v2a.media import transcript

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'cases'
SRT = """1
00:00:00,500 --> 00:00:01,500 X1:10 X2:200
{\\an8}<i>Hello</i> <font color="red">there</font>
- you &amp; me

2
00:00:02,000 --> 00:00:03,000
\u266a 1984 &lt;3 \u266a\\NEnd
"""
SRT_WORDS = 'Hello there you & me 1984 <3 End'
VTT = """WEBVTT - a title

NOTE what follows is
no cue

STYLE
::cue { color: red }

REGION
id:fred

intro
00:00.500 --> 00:01.500 align:start position:10%
<v.loud Bob Ray>Hello <c.yellow>there</c></v>

NOTE neither is this

4
01:00:02.000 --> 01:00:03.000
Good&nbsp;bye <01:00:02.500>&#233;
"""
VTT_WORDS = 'Hello there Good bye \u00e9'


def put(folder: pathlib.Path, name: str, content: str | bytes) -> pathlib.Path:
  """Writes a file."""
  path = folder / name
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def test_subtitles_are_words_and_times(tmp_path):
  found = transcript.read(put(tmp_path, 'a.srt', SRT))
  assert found.text == SRT_WORDS
  assert found.times_s == pytest.approx([0.6, 0.8, 1.0, 1.2, 1.4, 2 + 1 / 6, 2.5, 2 + 5 / 6])
  found = transcript.read(put(tmp_path, 'a.vtt', VTT))
  assert found.text == VTT_WORDS
  assert found.times_s == pytest.approx([0.75, 1.25, 3602 + 1 / 8, 3602 + 3 / 8, 3602.75])


@pytest.mark.parametrize('change', [
    lambda text: text.replace('\n', '\r\n'), lambda text: text.replace('\n', '\r'),
    lambda text: '\ufeff' + text,
    lambda text: '\n\n' + text, lambda text: text.strip(), lambda text: text.encode('utf-16'),
    lambda text: b'\xfe\xff' + text.encode('utf-16-be'), lambda text: text.encode('utf-32')])  # fmt: skip
def test_transcripts_do_not_depend_on_line_ends_and_encodings(tmp_path, change):
  expected = transcript.read(put(tmp_path, 'a.srt', SRT)), transcript.read(put(tmp_path, 'a.vtt', VTT))
  # The format is detected from the content, not the name.
  for name in ('a', 'a.txt', 'a.SRT'):
    assert transcript.read(put(tmp_path, name, change(SRT))) == expected[0]
    assert transcript.read(put(tmp_path, name, change(VTT))) == expected[1]


def test_rolling_captions_are_read_once(tmp_path):
  """In live captions, the last line of a cue is repeated above the next one, and words have times."""
  path = put(
    tmp_path,
    'a.vtt',
    """WEBVTT
Kind: captions

00:00:00.000 --> 00:00:02.000 align:start position:0%
\u0020
no<00:00:00.500><c> no</c><00:00:01.000><c> no</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
no no no
\u0020

00:00:02.010 --> 00:00:04.000 align:start position:0%
no no no
how<00:00:02.400><c> are</c><00:00:03.000><c> you</c>
""",
  )
  found = transcript.read(path)
  assert found.text == 'no no no how are you'
  assert found.times_s == pytest.approx([0.25, 0.75, 1.5, 2.205, 2.7, 3.5])
  # In other captions, repeated lines are kept.
  twice = '1\n00:00:00,000 --> 00:00:01,000\nNo.\n\n2\n00:00:01,000 --> 00:00:02,000\nNo.\n'
  assert transcript.read(put(tmp_path, 'a.srt', twice)).text == 'No. No.'


def test_plain_text_has_no_times(tmp_path):
  for content in ('\ufeffguten  Tag,\nBj\u00f6rn ', 'guten Tag, Bj\u00f6rn'.encode('utf-16')):
    assert transcript.read(put(tmp_path, 'a.txt', content)) == transcript.Transcript('guten Tag, Bj\u00f6rn')
  assert transcript.read(put(tmp_path, 'a.txt', 'go --> there')).text == 'go --> there'
  assert transcript.read(put(tmp_path, 'empty.srt', '')) == transcript.Transcript()


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('a.txt', 'ab\ncaf\u00e9'.encode('latin-1'), r'wanted UTF-8 text; got byte 0xe9 in line 2 \(byte 6\)'),
    ('a.txt', 'hello'.encode('utf-16-le'), 'or UTF-16 with a byte order mark; got zero bytes'),
    ('a.txt', b'\xff\xfeh', 'wanted UTF-16 text'),
    ('a.srt', 'hello there', 'has no cue'),
    ('a.vtt', 'hello there', 'has no cue'),
    ('a.ass', '[Script Info]', 'wanted plain text, SRT or WebVTT; got .ass'),
    ('a.srt', SRT.replace('03,000', '01,000'), '0 <= start <= end; got 2 s to 1 s'),
    ('a.srt', SRT.replace('02,000 -->', '02,000 ->'),
     "line 7 must be like .*; got '00:00:02,000 -> 00:00:03,000'"),
    ('a.srt', SRT.replace('00:00:02,000', '00:00:0x,000'), 'line 7 must be like'),
    ('a.srt', SRT.replace('00:00:03,000', ''), 'line 7 must be like'),
    ('a.vtt', VTT.replace('01:00:03.000', '01:00:03'), 'line 19 must be like')])  # fmt: skip
def test_malformed_transcripts_are_refused(tmp_path, name, content, message):
  path = put(tmp_path, name, content)
  with pytest.raises(ValueError, match=message) as caught:
    transcript.read(path)
  assert str(caught.value).startswith(f'{path}: ')


def test_a_cue_across_windows_is_split_by_time():
  found = transcript.from_cues([('three four', 4.0, 6.0), ('a b c d', 3.0, 5.0)])
  assert found.text == 'a b c three d four'
  assert found.within(0.0, 4.0) == transcript.Transcript('a b', (3.25, 3.75))
  assert found.within(4.0, 8.0) == transcript.Transcript('c three d four', (0.25, 0.5, 0.75, 1.5))
  with pytest.raises(ValueError, match="must have the times of its words; got 'two words' without"):
    transcript.Transcript('two words').within(0.0, 4.0)


def test_precedence_of_sidecars(tmp_path):
  video = tmp_path / 'a.mp4'
  put(tmp_path, 'a.txt', '\ufeffa dog\nbarks')
  assert sidecar.read(video) == sidecar.Sidecar('a dog barks')
  put(tmp_path, 'a.json', '\ufeff' + json.dumps({'transcript': 'all  of it'}))
  assert sidecar.read(video).transcript_in_window(0.0, 4.0, True).text == 'all of it'
  assert sidecar.read(video).transcript_in_window(0.0, 4.0, False).text == ''
  put(tmp_path, 'a.vtt', VTT)
  assert sidecar.read(video).transcript_in_window(0.0, 4.0, False).text == 'Hello there'
  put(tmp_path, 'a.srt', SRT)
  assert sidecar.read(video).transcript.text == SRT_WORDS
  words = [{'word': 'two', 'start_s': 3.9, 'end_s': 4.3}, {'word': 'one', 'start_s': 1.0}]
  put(tmp_path, 'a.json', json.dumps({'annotation': 'a cat', 'words': words}))
  found = sidecar.read(video)
  assert found.annotation == 'a cat' and found.transcript.times_s == pytest.approx([1.0, 4.1])
  assert [found.transcript_in_window(start_s, 4.0, False).text for start_s in (0.0, 4.0)] == ['one', 'two']
  put(tmp_path, 'a.json', '{}')
  put(tmp_path, 'a.srt', 'hello')
  with pytest.raises(ValueError, match='a.srt: has no cue'):
    sidecar.read(video)


@pytest.mark.parametrize(('name', 'text', 'times_s'), [
    ('s.srt', 'Hello there Goodbye', (0.75, 1.25, 2.75)),
    ('s.vtt', 'Hello there Goodbye', (0.75, 1.25, 2.75)),
    ('bom.txt', 'hello there', None)])  # fmt: skip
def test_transcripts_of_other_programs(name, text, times_s):
  if not (SAMPLES / name).is_file():
    pytest.skip(f'{SAMPLES / name} is not there')
  assert transcript.read(SAMPLES / name) == transcript.Transcript(text, times_s)
