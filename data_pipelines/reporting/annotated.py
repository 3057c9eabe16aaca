"""The columns of annotations of a data set, which take the place of the annotations in its records."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from data_pipelines import layout as layout_lib
from data_pipelines.annotate import annotator as annotator_lib
from data_pipelines.annotate import column as column_lib
from v2a.data import annotations as annotations_lib
from v2a.data import feature_columns
from v2a.data import media_folder
from v2a.data import media_source


@dataclasses.dataclass(frozen=True)
class Annotated:
  """The column of a split.

  Attributes:
    folder: records of the split.
    column: their annotations.
    failures: id, annotator and reason of what could not be annotated.
  """

  folder: media_folder.MediaFolder
  column: feature_columns.Column
  failures: list[Mapping[str, str]]

  @property
  def names(self) -> set[str]:
    """Names of the annotators that were applied after the build, without their versions."""
    return {annotator_lib.name_of(origin) for origin in self.column.about.get('annotators', ())}

  def annotations(self, index: int, record_id: str) -> annotations_lib.Annotations:
    """Returns the annotations of a record. Raises CorruptRecordError where they are not of this record."""
    row = self.column.read(*self.folder.locate(index), record_id)
    return media_source.ClipInfo.from_row(row).annotations


def read(layout: layout_lib.Layout, manifest: Mapping[str, Any]) -> dict[str, Annotated]:
  """Returns the columns of annotations by split; those that have one.

  Raises:
    FileNotFoundError: the records of a split are missing.
    ValueError: a column is of other records.
  """
  found = {}
  for split in manifest['splits']:
    folder = media_folder.MediaFolder(layout.split(split))
    if column_lib.NAME in feature_columns.names(folder):
      column = feature_columns.Column(folder, column_lib.NAME)
      found[split] = Annotated(folder, column, column_lib.read_failures(folder))
  return found


def updated(manifest: Mapping[str, Any], columns: Mapping[str, Annotated]) -> dict[str, Any]:
  """Returns the manifest of a set with the counts of its columns in place of those of its records.

  Args:
    manifest: of the set.
    columns: see `read`.
  """
  splits = {split: dict(about) for split, about in manifest['splits'].items()}
  for split, each in columns.items():
    if counts := column_lib.num_with_texts(each.column.about, len(each.folder)):
      splits[split] |= zip(('num_with_captions', 'num_with_transcript'), counts)
  return {**manifest, 'splits': splits}
