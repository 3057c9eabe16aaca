"""Sidecars of a video: an annotation of its sound in .txt, subtitles in .srt or .vtt, both in .json."""

import dataclasses
import json
import pathlib

from v2a import manifests
from v2a.media import transcript as transcript_lib


@dataclasses.dataclass(frozen=True)
class Sidecar:
  """What is written beside a video: an annotation of its sound, and what is said in it."""

  annotation: str = ''
  transcript: transcript_lib.Transcript = transcript_lib.Transcript()

  def transcript_in_window(self, start_s: float, clip_s: float, is_whole: bool) -> transcript_lib.Transcript:
    """Returns the transcript of a window; is_whole says that it is the video's only one."""
    if self.transcript.times_s is not None:
      return self.transcript.within(start_s, start_s + clip_s)
    return self.transcript if is_whole else transcript_lib.Transcript()


def read_json(path: pathlib.Path) -> dict:
  """Returns the object in the .json beside a video; {} where there is none, or the manifest of a soundtrack.

  Raises:
    ValueError: it is no JSON object.
  """
  data = path.with_suffix('.json')
  try:
    given = json.loads(transcript_lib.read_text(data)) if data.is_file() and not manifests.read(data) else {}
  except (json.JSONDecodeError, RecursionError) as error:
    raise ValueError(f'{data}: is no JSON: {error}.') from error
  if not isinstance(given, dict):
    raise ValueError(f'{data}: wanted a JSON object with annotation, transcript; got {type(given).__name__}.')
  return given


def read(path: pathlib.Path) -> Sidecar:
  """Returns what is written beside a video.

  The annotation is that of .json, else .txt. The words are those of .json where it has `words`, which know
  their times, else of .srt, else of .vtt, else the `transcript` of .json.

  Raises:
    ValueError: a file beside it is not laid out as it should be.
  """
  text, data, given = path.with_suffix('.txt'), path.with_suffix('.json'), read_json(path)
  for key in ('annotation', 'transcript'):
    if not isinstance(given.get(key) or '', str):
      raise ValueError(f'{data}: {key} must be a string; got {type(given[key]).__name__}.')
  annotation = given.get('annotation')
  if annotation is None:
    annotation = transcript_lib.read_text(text) if text.is_file() else ''
  return Sidecar(' '.join(annotation.split()), _transcript(path, data, given))


def _transcript(path: pathlib.Path, data: pathlib.Path, given: dict) -> transcript_lib.Transcript:
  if given.get('words'):
    try:
      return transcript_lib.from_cues(
        (str(item['word']), float(item['start_s']), float(item.get('end_s') or item['start_s']))
        for item in given['words']
      )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
      raise ValueError(f'{data}: words must be a list of {{word, start_s, end_s}}; got {error!r}.') from error
  for suffix in ('.srt', '.vtt'):
    if path.with_suffix(suffix).is_file():
      return transcript_lib.read(path.with_suffix(suffix))
  return transcript_lib.Transcript(' '.join((given.get('transcript') or '').split()))
