"""What is written beside a video: an annotation of its sound in .txt, more in .json."""

import dataclasses
import json
import pathlib

from v2a import manifests


@dataclasses.dataclass(frozen=True)
class Words:
  """What is written beside a video. `timed` holds (word, start_s) where the times are known."""

  annotation: str = ''
  transcript: str = ''
  timed: tuple[tuple[str, float], ...] = ()

  def spoken(self, start_s: float, clip_s: float, is_whole: bool) -> str:
    """Returns the transcript of a window; is_whole says that it is the video's only one."""
    if self.timed:
      return ' '.join(word for word, time_s in self.timed if start_s <= time_s < start_s + clip_s)
    return self.transcript if is_whole else ''


def notes(path: pathlib.Path) -> dict:
  """Returns the object in the .json beside a video; {} where there is none, or the manifest of a soundtrack.

  Raises:
    ValueError: it is no JSON object.
  """
  data = path.with_suffix('.json')
  try:
    given = json.loads(_read(data)) if data.is_file() and not manifests.read(data) else {}
  except json.JSONDecodeError as error:
    raise ValueError(f'{data}: is no JSON: {error}.') from error
  if not isinstance(given, dict):
    raise ValueError(f'{data}: wanted a JSON object with annotation, transcript; got {type(given).__name__}.')
  return given


def words(path: pathlib.Path) -> Words:
  """Returns what is written beside a video, in .txt and .json; the latter wins.

  Raises:
    ValueError: a file beside it is not laid out as it should be.
  """
  text, data = path.with_suffix('.txt'), path.with_suffix('.json')
  found, given = {'annotation': _read(text)} if text.is_file() else {}, notes(path)
  found |= {key: given[key] for key in ('annotation', 'transcript') if given.get(key) is not None}
  for key, value in found.items():
    if not isinstance(value, str):
      raise ValueError(f'{data}: {key} must be a string; got {type(value).__name__}.')
  return Words(**{key: ' '.join(value.split()) for key, value in found.items()}, timed=_timed(data, given))


def _timed(path: pathlib.Path, given: dict) -> tuple[tuple[str, float], ...]:
  try:
    return tuple((str(item['word']), float(item['start_s'])) for item in given.get('words') or ())
  except (TypeError, KeyError, ValueError) as error:
    raise ValueError(f'{path}: words must be a list of {{word, start_s, end_s}}; got {error!r}.') from error


def _read(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding='utf-8')
  except UnicodeDecodeError as error:
    raise ValueError(f'{path}: is no UTF-8 text: {error.reason}.') from error
