"""All sources by name.

open_source('vggsound:meta/vggsound.csv', media='videos')
open_source('folder:videos')
open_source('tfds:my_dataset', split='train', features={'video': 'video', 'caption': 'text'})
"""

from collections.abc import Callable
import difflib
import inspect
import os
import pathlib
from typing import Any

from data_pipelines.sources import audio_only
from data_pipelines.sources import audiocaps
from data_pipelines.sources import audioset
from data_pipelines.sources import ave
from data_pipelines.sources import folder
from data_pipelines.sources import greatest_hits
from data_pipelines.sources import grid
from data_pipelines.sources import items
from data_pipelines.sources import manifest
from data_pipelines.sources import moviegen
from data_pipelines.sources import tfds
from data_pipelines.sources import vggsound
from data_pipelines.sources import webdataset
from v2a import storage

# What each name opens. The first argument is what follows the colon: a path, for tfds the name of a data set.
SOURCES: dict[str, Callable[..., items.Source]] = {
  'audio_only': audio_only.open_audio,
  'audiocaps': audiocaps.AudioCaps,
  'audioset': audioset.AudioSet,
  'ave': ave.Ave,
  'folder': folder.Folder,
  'greatest_hits': greatest_hits.GreatestHits,
  'grid': grid.Grid,
  'manifest': manifest.Manifest,
  'moviegen': moviegen.MovieGen,
  'tfds': tfds.Tfds,
  'vggsound': vggsound.VggSound,
  'webdataset': webdataset.WebDataset,
}
_PATHS = ('media', 'classes', 'splits', 'data_dir')
# Sources whose path may be a folder of an object store; `media` always may.
_IN_STORES = ('audio_only', 'folder')


def open_source(spec: str, **settings: Any) -> items.Source:
  """Returns a source.

  Args:
    spec: name of the source, a colon, and its path, such as 'vggsound:meta/vggsound.csv'.
    **settings: of the source, such as media, licence or split; paths may be strings, and settings that are
      None are left out.

  Raises:
    FileNotFoundError: a path does not exist.
    ValueError: there is no source of that name, or it has no such setting.
  """
  name, colon, path = spec.partition(':')
  if name not in SOURCES:
    raise ValueError(f'unknown source {name!r} in {spec!r}; {_hint(name, tuple(SOURCES))}')
  if not colon or not path:
    raise ValueError(f'source {spec!r} wants a path after the name, such as {name}:PATH.')
  first, *known = inspect.signature(SOURCES[name]).parameters
  given = {key: value for key, value in settings.items() if value is not None}
  for key, value in given.items():
    if key not in known:
      raise ValueError(f'source {name} has no setting {key!r}; {_hint(key, tuple(known))}')
    if key in _PATHS:
      given[key] = _existing(value, f'{key} of source {name}', key == 'media')
  if first != 'dataset':
    path = _existing(path, f'source {name}', name in _IN_STORES)
  return SOURCES[name](path, **given)


def _existing(path: str | os.PathLike, what: str, may_be_remote: bool = False) -> storage.Path:
  """Returns a path that exists, or a pattern."""
  if storage.scheme(path):
    found = storage.parse(path, what)
    if not may_be_remote:
      raise ValueError(
        f'{what} must be on this machine; got {found}. Folders and media may be in an object store.'
      )
    if not storage.is_folder(found):
      raise FileNotFoundError(f'{what}: {found} has no objects.')
    return found
  if not str(path):
    raise ValueError(f'{what} must be a path; got an empty one.')
  found = pathlib.Path(path).expanduser()
  if '*' not in found.name and not found.exists():
    raise FileNotFoundError(f'{what}: {found} does not exist.')
  return found


def _hint(name: str, known: tuple[str, ...]) -> str:
  """Returns what may have been meant by a name."""
  close = difflib.get_close_matches(name, known, 1)
  return f'did you mean {close[0]}?' if close else f'known are {", ".join(known)}.'
