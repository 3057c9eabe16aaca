"""AudioCaps as a TFDS data set; see `sources.audiocaps` for its tables.

  python -m data_pipelines.tfds audiocaps --manual-dir DIR --data-dir DATA

reads those of DIR/train.csv, DIR/val.csv and DIR/test.csv that are there. All captions of a clip are in one
example. Media may be videos or sounds.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.sources import audiocaps
from data_pipelines.sources import items
from data_pipelines.tfds import table_builder


class AudioCaps(table_builder.TableBuilder):
  """AudioCaps: clips of 10 s with captions."""

  name = 'audiocaps'
  VERSION = tfds.core.Version('1.0.0')
  PUBLISHED = (('train.csv', 'val.csv', 'test.csv'),)
  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Put train.csv, val.csv and test.csv of AudioCaps' repository into the folder, and the media below it, named
  like ID_000030.mp4 or ID.wav (or another name of data_pipelines.sources.media_index).
  """

  @property
  def about(self) -> Mapping[str, Any]:
    """See `ItemBuilder`."""
    return {
      'description': 'Clips of 10 s of AudioSet with captions by people.',
      'homepage': 'https://github.com/cdjkim/audiocaps',
      'citation': 'Kim et al. 2019. AudioCaps: generating captions for audios in the wild. NAACL-HLT.',
    }

  def source(self, table: pathlib.Path, folder: pathlib.Path) -> items.Source:
    """See `TableBuilder`."""
    return audiocaps.AudioCaps(table, folder)
