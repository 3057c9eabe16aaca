"""Items as values of JSON, for plans that workers read."""

import dataclasses
import pathlib
from typing import Any

from data_pipelines.sources import items
from data_pipelines.sources import tfds
from v2a import storage
from v2a.data import annotations as annotations_lib

# Kinds of media by their name in JSON.
MEDIA: dict[str, type[items.MediaFile] | type[items.FileRange] | type[tfds.TfdsMedia]] = {
  'file': items.MediaFile,
  'range': items.FileRange,
  'tfds': tfds.TfdsMedia,
}


def item_to_json(item: items.Item) -> dict[str, Any]:
  """Returns an item as values of JSON; what is not known is left out.

  Raises:
    ValueError: its media is of a kind that is not in MEDIA.
  """
  kind = next((name for name, of_type in MEDIA.items() if type(item.media) is of_type), None)
  if kind is None:
    raise ValueError(f'{item.id}: media must be of {", ".join(MEDIA)}; got {type(item.media).__name__}.')
  media = {
    name: str(value) if isinstance(value, pathlib.PurePath) else value
    for name, value in vars(item.media).items()
  }
  found = {
    'id': item.id,
    'media': {'kind': kind, **media},
    'group': item.group,
    'start_s': item.start_s,
    'end_s': item.end_s,
    'licence': item.licence,
    'split': item.split,
  }
  if item.annotations != annotations_lib.Annotations():
    found['annotations'] = item.annotations.to_json()
  return {name: value for name, value in found.items() if value is not None}


def item_from_json(value: Any) -> items.Item:
  """Returns the item of `item_to_json`.

  Raises:
    ValueError: the value is not that of an item.
  """
  try:
    media = dict(value['media'])
    of_type = MEDIA[media.pop('kind')]
    for field in dataclasses.fields(of_type):
      if field.type in (pathlib.Path, storage.Path):
        media[field.name] = storage.parse(media[field.name])
    annotations = value.get('annotations')
    return items.Item(
      id=value['id'],
      media=of_type(**media),
      group=value['group'],
      start_s=value['start_s'],
      end_s=value.get('end_s'),
      annotations=annotations_lib.Annotations()
      if annotations is None
      else annotations_lib.Annotations.from_json(annotations),
      licence=value.get('licence'),
      split=value.get('split'),
    )
  except (TypeError, KeyError, AttributeError) as error:
    raise ValueError(f'wanted an item as JSON; got {str(value)[:80]!r} ({error!r}).') from error
