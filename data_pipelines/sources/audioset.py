"""AudioSet: segments of YouTube videos with classes of an ontology.

Gemmeke et al. 2017; research.google.com/audioset. Layout of a folder:

  balanced_train_segments.csv, unbalanced_train_segments.csv, eval_segments.csv
      three lines of comments, the last of which names the columns: YTID, start_seconds, end_seconds,
      positive_labels (ids of classes in quotes, separated by ','); copies with a plain header are read, too
  class_labels_indices.csv    index, mid, display_name
  ontology.json               list of {id, name, child_ids, restrictions, ...}; github.com/audioset/ontology

The names of classes come from one of the latter two, beside the segments unless another path is given. A clip
has one label caption with all names, tags ('class', name), and with the ontology ('ancestor', name) of each
class above them.
"""

from collections.abc import Iterator
import dataclasses
import json
import pathlib

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from data_pipelines.sources import tables
from data_pipelines.sources import youtube
from v2a import storage
from v2a.data import annotations as annotations_lib

_COLUMNS = ('ytid', 'start_seconds', 'end_seconds', 'positive_labels')


@dataclasses.dataclass(frozen=True)
class Classes:
  """The classes of AudioSet.

  Attributes:
    name_of: name of each class by its id ('mid').
    parents_of: ids of the classes above each class; empty without the ontology.
  """

  name_of: dict[str, str]
  parents_of: dict[str, tuple[str, ...]]

  def ancestors(self, mids: list[str]) -> list[str]:
    """Returns the ids of all classes above some, sorted, without those themselves."""
    found, rest = set(), list(mids)
    while rest:
      above = [mid for mid in self.parents_of.get(rest.pop(), ()) if mid not in found]
      found.update(above)
      rest += above
    return sorted(found - set(mids))


def read_classes(path: pathlib.Path) -> Classes:
  """Reads the classes from class_labels_indices.csv or ontology.json.

  Raises:
    OSError: the file cannot be read.
    ValueError: it is neither.
  """
  if path.suffix.lower() != '.json':
    table = tables.open_table(path, ('mid', 'display_name'), text_column='display_name')
    rows = list(table)
    if problem := next((row for row in rows if isinstance(row, items.Problem)), None):
      raise ValueError(str(problem))
    return Classes(
      {row.values['mid']: row.values['display_name'] for row in rows if isinstance(row, tables.Row)}, {}
    )
  try:
    nodes = json.loads(path.read_text(encoding='utf-8'))
    parents: dict[str, tuple[str, ...]] = {}
    for node in nodes:
      for child in node['child_ids']:
        parents[child] = (*parents.get(child, ()), node['id'])
    return Classes({node['id']: node['name'] for node in nodes}, parents)
  except (ValueError, TypeError, KeyError) as error:
    raise ValueError(
      f'{path}: wanted the list of classes of AudioSet (id, name, child_ids): {error!r}.'
    ) from error


@dataclasses.dataclass(frozen=True)
class AudioSet:
  """A file of segments of AudioSet; see the module.

  Attributes:
    path: the segments.
    media: folder of the media; None for that of the segments.
    classes: class_labels_indices.csv or ontology.json; None for the ontology, or else the former, beside the
      segments.
    split: None for what the name of the file states.
    licence: of the items.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  classes: pathlib.Path | None = None
  split: str | None = None
  licence: str | None = youtube.OF_UPLOADERS
  name: str = 'audioset'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each segment.

    Raises:
      OSError: a table or the folder of the media cannot be read.
      ValueError: a table is of another kind, or there are no classes.
    """
    # A comment begins with '# ': a line with '#NAME?' is none.
    table = tables.open_table(
      self.path, _COLUMNS, {4: _COLUMNS}, text_column='positive_labels', comment='# ', skip_blanks=True
    )
    if missing := [name for name in _COLUMNS if name not in table.columns]:
      raise ValueError(f'{self.path}: has no column {missing[0]}; got {", ".join(table.columns)}.')
    classes = read_classes(self._classes_path())
    index = media_index.MediaIndex(self.media or self.path.parent)
    split = self.split or entries.split_of_file(self.path)
    yield from entries.checked(
      entries.of_rows(table, lambda row, where: self._entry(row, where, index, classes, split))
    )

  def _classes_path(self) -> pathlib.Path:
    names = ('ontology.json', 'class_labels_indices.csv')
    beside = [self.path.parent / name for name in names]
    path = self.classes or next((path for path in beside if path.is_file()), None)
    if path is None:
      raise ValueError(
        f'{self.path}: the names of its classes are missing; wanted {" or ".join(names)} beside it.'
      )
    return path

  def _entry(
    self,
    row: tables.Row,
    where: str,
    index: media_index.MediaIndex,
    classes: Classes,
    split: str | None,
  ) -> entries.Entry:
    video = youtube.video_id(row.values['ytid'])
    mids = [mid.strip() for mid in row.values['positive_labels'].split(',') if mid.strip()]
    if unknown := [mid for mid in mids if mid not in classes.name_of]:
      raise entries.UnusableError('malformed', f'{unknown[0]!r} is no class of AudioSet', video)
    names = [classes.name_of[mid] for mid in mids]
    tags = [('class', name) for name in names]
    tags += [('ancestor', classes.name_of[mid]) for mid in classes.ancestors(mids)]
    return youtube.entry(
      index,
      where,
      video,
      entries.number(row.values['start_seconds'], 'start_seconds'),
      entries.number(row.values['end_seconds'], 'end_seconds'),
      annotations_lib.Annotations(entries.label_captions(*names), tags=tuple(tags)),
      split,
      self.licence,
    )
