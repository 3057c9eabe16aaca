"""The ground truth of a clip as a dict: keys, types, and reading it from JSON.

`clips.SyntheticClip.truth` holds these keys and more. A clip of which only texts are known has the same keys,
with nothing in the others (`text_only`).
"""

import json

# Key -> type; of a list, the type of its items. Each value may be null.
_TYPES = {
  'scene': str,
  'annotation': str,
  'transcript': str,
  'events': dict,
  'material': str,
  'envelope': float,
  'pitch_hz': float,
  'x': float,
  'has_music': bool,
  'words': dict,
  'mouth': float,
}
VIDEO_SCENE = 'video'  # the scene of a clip that is not synthetic


def text_only(annotation: str, transcript: str) -> dict:
  """Returns the ground truth of a clip of which only the annotation and the transcript are known."""
  known = {
    'scene': VIDEO_SCENE,
    'annotation': annotation,
    'transcript': transcript,
    'material': None,
    'has_music': False,
  }
  return known | {key: [] for key in _TYPES if key not in known}


def parse(text: str, source: str) -> dict:
  """Returns a ground truth from its JSON.

  Args:
    text: JSON.
    source: of the text, named in errors.

  Raises:
    ValueError: the text is not JSON, or not the ground truth of a clip.
  """
  try:
    found = json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(f'{source}: the truth must be JSON; got {error}.') from error
  check(found, source)
  return found


def check(found: object, source: str) -> None:
  """Checks keys and types of a ground truth.

  Args:
    found: what JSON gave.
    source: named in errors.

  Raises:
    ValueError: keys that metrics read are missing, or have another type.
  """
  missing = [key for key in _TYPES if not isinstance(found, dict) or key not in found]
  if missing or not isinstance(found, dict):
    raise ValueError(
      f'{source}: the truth lacks {", ".join(missing)}; see data_pipelines.synthetic for its keys.'
    )
  for key, wanted in _TYPES.items():
    if not _is_a(found[key], wanted):
      raise ValueError(
        f'{source}: {key} of the truth must be as data_pipelines.synthetic writes it; '
        f'got {str(found[key])[:60]}.'
      )


def _is_a(value: object, wanted: type) -> bool:
  """Returns whether a value has a type of _TYPES."""
  if value is None:
    return True
  if wanted is dict:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
  if wanted is float:
    return isinstance(value, list) and all(type(item) in (int, float) for item in value)
  return isinstance(value, wanted)
