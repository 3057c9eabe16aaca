"""Sounds without video, for text-to-audio training: a folder or a manifest of them.

The layouts are those of `folder` and `manifest`, with files of sounds only. MMAudio's audio sets
(github.com/hkchengrex/MMAudio, tables with the columns id and caption) are manifests.
"""

import pathlib

from data_pipelines.sources import folder
from data_pipelines.sources import items
from data_pipelines.sources import manifest
from v2a import storage
from v2a.media import folder as folder_lib


def open_audio(
  path: storage.Path,
  media: storage.Path | None = None,
  licence: str | None = None,
  split: str | None = None,
  name: str = 'audio_only',
) -> items.Source:
  """Returns the source of a folder or manifest of sounds.

  Args:
    path: the folder or manifest.
    media: folder of the media of a manifest; None for that of the manifest.
    licence, split: of items that name none.
    name: of the data set.

  Raises:
    ValueError: media is given for a folder.
  """
  suffixes = folder_lib.AUDIO_SUFFIXES
  if not storage.is_folder(path):
    return manifest.Manifest(pathlib.Path(path), media, suffixes, licence, split, name)
  if media is not None:
    raise ValueError(f'{path} is a folder of media; media={media} is for manifests.')
  return folder.Folder(path, suffixes, licence, split, name)
