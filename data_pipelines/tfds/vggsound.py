"""VGGSound as a TFDS data set; see `sources.vggsound` for its tables.

  python -m data_pipelines.tfds vggsound --manual-dir DIR --data-dir DATA

reads DIR/vggsound.csv, otherwise DIR/train.csv and DIR/test.csv. A set that others chose from it is a
configuration that names its tables:

  --config '{"name": "mmaudio", "tables": ["vgg-train.tsv", "vgg-val.tsv", "vgg-test.tsv"]}'
"""

from collections.abc import Mapping
import pathlib
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.sources import items
from data_pipelines.sources import vggsound
from data_pipelines.tfds import table_builder


class VggSound(table_builder.TableBuilder):
  """VGGSound: clips of 10 s with a label."""

  name = 'vggsound'
  VERSION = tfds.core.Version('1.0.0')
  PUBLISHED = (('vggsound.csv',), ('train.csv', 'test.csv'))
  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Put vggsound.csv, or train.csv and test.csv, of VGGSound's repository into the folder, and the media below
  it, named like ID_000030.mp4 (or another name of data_pipelines.sources.media_index).
  """

  @property
  def about(self) -> Mapping[str, Any]:
    """See `ItemBuilder`."""
    return {
      'description': 'Clips of 10 s of YouTube videos, each with one of 309 classes of sound.',
      'homepage': 'https://github.com/hche11/VGGSound',
      'citation': 'Chen et al. 2020. VGGSound: a large-scale audio-visual dataset. arXiv 2004.14368.',
    }

  def source(self, table: pathlib.Path, folder: pathlib.Path) -> items.Source:
    """See `TableBuilder`."""
    return vggsound.VggSound(table, folder)
