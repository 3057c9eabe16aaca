"""What the builders share: splits of items, ArrayRecord files, and an account of what is missing.

A builder reads a source of `data_pipelines.sources` lazily and writes one example per item. What gave no
example is in the folder of the data set:

  problems.jsonl    one line per clip: kind, id, where, reason; see `sources.items.Problem`
  metadata.json     num_problems: their number by kind, which is builder.info.metadata['num_problems']
"""

import abc
import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any
from typing import TextIO

import tensorflow_datasets as tfds

from data_pipelines.sources import items
from data_pipelines.tfds import examples

PROBLEMS = 'problems.jsonl'
NUM_PROBLEMS = 'num_problems'
FILE_FORMAT = 'array_record'


class Problems:
  """Writes problems to a file, and counts them."""

  def __init__(self, file: TextIO):
    """Args: file: is left open."""
    self._file = file
    self.counts: collections.Counter[str] = collections.Counter()

  def add(self, problem: items.Problem) -> None:
    """Writes a problem."""
    self.counts[problem.kind] += 1
    self._file.write(json.dumps(dataclasses.asdict(problem), ensure_ascii=False) + '\n')


class ItemBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Builder of a data set from items; see the module."""

  def __init__(self, *, file_format: str | tfds.core.FileFormat | None = None, **settings: Any):
    """Makes a builder.

    Args:
      file_format: of the files; None for that of a data set that is prepared, otherwise FILE_FORMAT.
      **settings: see `tfds.core.GeneratorBasedBuilder`.
    """
    super().__init__(file_format=file_format, **settings)
    if file_format is None and not self.data_path.exists():
      self.info.set_file_format(FILE_FORMAT, override=True)

  @property
  @abc.abstractmethod
  def about(self) -> Mapping[str, Any]:
    """Description, homepage, citation and the like, see `tfds.core.DatasetInfo`."""

  @abc.abstractmethod
  def splits(
    self, dl_manager: tfds.download.DownloadManager, problems: Problems
  ) -> Mapping[str, Iterable[items.Item]]:
    """Returns the items of each split, to be read once and lazily.

    Args:
      dl_manager: knows the folders.
      problems: takes the problems of the source.
    """

  def features(self) -> tfds.features.FeaturesDict:
    """Returns the features of an example."""
    return examples.features()

  def encode(self, item: items.Item) -> Mapping[str, Any]:
    """Returns the example of an item.

    Raises:
      OSError: its media cannot be read.
    """
    return examples.encode(item)

  def _info(self) -> tfds.core.DatasetInfo:
    metadata = tfds.core.MetadataDict()
    return self.dataset_info_from_configs(features=self.features(), metadata=metadata, **self.about)

  def _download_and_prepare(
    self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig
  ) -> None:
    with (self.data_path / PROBLEMS).open('w') as file:
      self._problems = Problems(file)
      super()._download_and_prepare(dl_manager, download_config)
    self.info.metadata[NUM_PROBLEMS] = dict(sorted(self._problems.counts.items()))

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[str, Mapping[str, Any]]]]:
    splits = self.splits(dl_manager, self._problems)
    return {split: self._generate_examples(found) for split, found in splits.items()}

  def _generate_examples(self, found: Iterable[items.Item]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for item in found:
      try:
        example = self.encode(item)
      except OSError as error:
        self._problems.add(items.Problem('unreadable', item.id, item.media.name, str(error)))
      else:
        yield item.id, example


def build(builder: ItemBuilder, manual_dir: pathlib.Path | None = None) -> ItemBuilder:
  """Writes a data set, and returns its builder.

  Args:
    builder: of the data set.
    manual_dir: folder of what a user has downloaded.

  Raises:
    OSError: a file cannot be read or written.
    ValueError: no clip can be used.
  """
  folder = None if manual_dir is None else os.fspath(manual_dir)
  config = tfds.download.DownloadConfig(manual_dir=folder, try_download_gcs=False)
  builder.download_and_prepare(download_config=config)
  return builder


def summary(builder: ItemBuilder) -> str:
  """Returns one line about a data set that was written: its folder, examples by split, problems by kind."""
  numbers = ', '.join(f'{split.num_examples} {name}' for name, split in builder.info.splits.items())
  problems = builder.info.metadata[NUM_PROBLEMS]
  listed = ', '.join(f'{count} {kind}' for kind, count in problems.items())
  return f'{builder.data_path}: {numbers}' + (f'; not in it: {listed} (see {PROBLEMS})' if listed else '')
