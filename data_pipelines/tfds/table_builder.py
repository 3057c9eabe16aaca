"""Builders of data sets whose clips are listed in tables, and whose media a user has downloaded.

Tables and media are below one folder, `manual_dir` of TFDS; media may be in subfolders, see
`sources.media_index`.
"""

import abc
import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import os
import pathlib

import tensorflow_datasets as tfds

from data_pipelines.sources import chain
from data_pipelines.sources import items
from data_pipelines.tfds import item_builder

_DEFAULT_SPLIT = 'train'
_ORDER = ('train', 'validation', 'test')


@dataclasses.dataclass
class TablesConfig(tfds.core.BuilderConfig):
  """Which tables are read.

  Attributes:
    tables: names of files below the folder of the data set; none for those that the data set publishes.
  """

  tables: tuple[str, ...] | list[str] = ()


class TableBuilder(item_builder.ItemBuilder, skip_registration=True):
  """Builder of a data set from tables; see the module."""

  # Of the tables that the data set publishes, those of the first group that has any are read.
  PUBLISHED: tuple[tuple[str, ...], ...] = ()
  BUILDER_CONFIGS = [TablesConfig(name='default', description='The tables that the data set publishes.')]

  @abc.abstractmethod
  def source(self, table: pathlib.Path, folder: pathlib.Path) -> items.Source:
    """Returns the source of a table.

    Args:
      table: the table.
      folder: of the media.
    """

  def splits(
    self, dl_manager: tfds.download.DownloadManager, problems: item_builder.Problems
  ) -> Mapping[str, Iterable[items.Item]]:
    """See `ItemBuilder`. The tables are read once for the problems, and once for each split.

    Raises:
      FileNotFoundError: a table does not exist.
      ValueError: no clip can be used.
    """
    folder = pathlib.Path(os.fspath(dl_manager.manual_dir))
    sources = tuple(self.source(table, folder) for table in self._tables(folder))
    source = chain.Chain(sources, self.name)
    num_items: collections.Counter[str] = collections.Counter()
    last = None
    for found in source:
      if isinstance(found, items.Problem):
        problems.add(found)
        last = found
      else:
        num_items[found.split or _DEFAULT_SPLIT] += 1
    if not num_items:
      num = problems.counts.total()
      raise ValueError(f'{self.name}: none of its {num} clips can be used' + (f'; {last}' if last else '.'))
    ordered = sorted(num_items, key=lambda split: (_ORDER.index(split) if split in _ORDER else 3, split))
    return {split: _of_split(source, split) for split in ordered}

  def _tables(self, folder: pathlib.Path) -> list[pathlib.Path]:
    if names := self.builder_config.tables:
      paths = [folder / name for name in names]
      for path in paths:
        if not path.is_file():
          raise FileNotFoundError(f'{self.name}: there is no table {path}.')
      return paths
    for group in self.PUBLISHED:
      if found := [folder / name for name in group if (folder / name).is_file()]:
        return found
    wanted = ', or '.join(' and '.join(group) for group in self.PUBLISHED)
    raise FileNotFoundError(f'{self.name}: there is no table in {folder}; wanted {wanted}.')


def _of_split(source: items.Source, split: str) -> Iterator[items.Item]:
  """Yields the items of a split."""
  for found in source:
    if isinstance(found, items.Item) and (found.split or _DEFAULT_SPLIT) == split:
      yield found
