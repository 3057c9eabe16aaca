"""Sidecar files of a video: description of its sound (.txt), subtitles (.srt, .vtt), or both (.json)."""

import dataclasses
import difflib
import json
import pathlib

from v2a import manifests
from v2a.media import transcript as transcript_lib

# What is read of a .json sidecar; the last three by sources of data sets.
KEYS = ('annotation', 'transcript', 'words', 'label', 'licence', 'split')
_LIKE = 0.75


@dataclasses.dataclass(frozen=True)
class Sidecar:
  """Content of the sidecar files of a video: a description of its sound, and its transcript."""

  annotation: str = ''
  transcript: transcript_lib.Transcript = transcript_lib.Transcript()

  def transcript_in_window(self, start_s: float, clip_s: float, is_whole: bool) -> transcript_lib.Transcript:
    """Returns the transcript of a window.

    Args:
      start_s, clip_s: start and length of the window in seconds.
      is_whole: whether the window covers the whole video; if not, words without times are left out.
    """
    if self.transcript.times_s is not None:
      return self.transcript.within(start_s, start_s + clip_s)
    return self.transcript if is_whole else transcript_lib.Transcript()


def read_json(path: pathlib.Path) -> dict:
  """Returns the object in the .json sidecar; {} if there is none, or if it is the manifest of a soundtrack.

  Raises:
    ValueError: the file is not a JSON object, or a key is misspelt.
  """
  json_path = path.with_suffix('.json')
  try:
    content = (
      json.loads(transcript_lib.read_text(json_path))
      if json_path.is_file() and not manifests.read(json_path)
      else {}
    )
  except (json.JSONDecodeError, RecursionError) as error:
    raise ValueError(f'{json_path}: is not valid JSON: {error}.') from error
  if not isinstance(content, dict):
    raise ValueError(
      f'{json_path}: wanted a JSON object with annotation, transcript; got {type(content).__name__}.'
    )
  for key in content:
    # Other keys may be of other programs.
    if key not in KEYS and (near := difflib.get_close_matches(key, KEYS, 1, _LIKE)):
      raise ValueError(f'{json_path}: unknown key {key!r}; did you mean {near[0]}?')
  return content


def read(path: pathlib.Path) -> Sidecar:
  """Reads the sidecar files of a video.

  The annotation comes from .json, else from .txt. The transcript comes from `words` in .json (words with
  times), else from .srt, else from .vtt, else from `transcript` in .json.

  Raises:
    ValueError: a sidecar file is malformed.
  """
  text_path, json_path, content = path.with_suffix('.txt'), path.with_suffix('.json'), read_json(path)
  for key in ('annotation', 'transcript'):
    if not isinstance(content.get(key) or '', str):
      raise ValueError(f'{json_path}: {key} must be a string; got {type(content[key]).__name__}.')
  annotation = content.get('annotation')
  if annotation is None:
    annotation = transcript_lib.read_text(text_path) if text_path.is_file() else ''
  return Sidecar(' '.join(annotation.split()), _transcript(path, json_path, content))


def _transcript(path: pathlib.Path, json_path: pathlib.Path, content: dict) -> transcript_lib.Transcript:
  if content.get('words'):
    try:
      return transcript_lib.from_cues(
        (str(item['word']), float(item['start_s']), float(item.get('end_s') or item['start_s']))
        for item in content['words']
      )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
      raise ValueError(
        f'{json_path}: words must be a list of {{word, start_s, end_s}}; got {error!r}.'
      ) from error
  for suffix in ('.srt', '.vtt'):
    if path.with_suffix(suffix).is_file():
      return transcript_lib.read(path.with_suffix(suffix))
  return transcript_lib.Transcript(' '.join((content.get('transcript') or '').split()))
