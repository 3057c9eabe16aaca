"""Greatest Hits: a drumstick hits and scratches things, with the times.

Owens et al. 2016, arXiv 1512.08512; andrewowens.com/vis. Either layout of a folder:

  NAME_times.txt           the data set: lines of time, material, action, motion, separated by blanks
  NAME/hit_record.json     CondFoleyGen (github.com/XYPB/CondFoleyGen): [[time, "material action"], ...]
  NAME/meta.json           and {frame_num, frame_rate, ...}

Splits are lists of names in files whose names state the split: *video_train.json of CondFoleyGen, train.txt
of the data set. The media is NAME.mp4, NAME_denoised.mp4 or NAME_mic.mp4. Each hit is an event; "None" is
what was not annotated; a hit after the end of the video by meta.json gives a note. Each video is a group.
"""

from collections.abc import Iterator
import dataclasses
import json
import math
import os
import pathlib

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from data_pipelines.sources import tables
from v2a import storage
from v2a.data import annotations as annotations_lib

_TIMES = '_times.txt'
_RECORD = 'hit_record.json'
_META = 'meta.json'
_MEDIA = ('', '_denoised', '_mic')
_UNKNOWN = 'unknown hit'


@dataclasses.dataclass(frozen=True)
class GreatestHits:
  """Greatest Hits; see the module.

  Attributes:
    path: folder of the times of hits; its subfolders are searched.
    media: folder of the media; None for the same.
    splits: folder of the lists of names; None for the same.
    licence: of the items.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  splits: pathlib.Path | None = None
  licence: str | None = None
  name: str = 'greatest_hits'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each video, then a problem for each name of a split without times.

    Raises:
      OSError: a folder cannot be read.
      ValueError: there are no times of hits, or a split is no list of names.
    """
    records = dict(_records(self.path))
    if not records:
      raise ValueError(f'{self.path}: has no times of hits; wanted NAME/{_RECORD} or NAME{_TIMES}.')
    split_of = _read_splits(self.splits or self.path)
    index = media_index.MediaIndex(self.media or self.path)
    yield from entries.checked(
      entries.attempt(
        lambda where, name=name: self._entry(name, records[name], where, split_of, index),
        items.where(records[name]),
      )
      for name in sorted(records)
    )
    for name, (_, where) in split_of.items():
      if name not in records:
        yield items.Problem('missing', name, where, f'{self.path} has no times of its hits')

  def _entry(
    self,
    name: str,
    record: pathlib.Path,
    where: str,
    split_of: dict[str, tuple[str, str]],
    index: media_index.MediaIndex,
  ) -> entries.Entry:
    path = next(filter(None, (index.named(name + suffix) for suffix in _MEDIA)), None)
    if path is None:
      raise entries.UnusableError('missing', f'{index.folder} has no media of it; wanted {name}.mp4', name)
    try:
      events = _read_json(record) if record.name == _RECORD else _read_times(record)
      duration_s = _duration_s(record.with_name(_META)) if record.name == _RECORD else math.inf
    except ValueError as error:
      raise entries.UnusableError('malformed', str(error), name) from error
    labels = dict.fromkeys(event.label for event in events if event.label != _UNKNOWN)
    late = [event for event in events if event.start_s > duration_s]
    note = f'{where}: has a hit at {late[0].start_s:g} s of {duration_s:g} s' if late else ''
    item = items.Item(
      name,
      items.MediaFile(path),
      name,
      annotations=annotations_lib.Annotations(entries.label_captions(*labels), events=tuple(events)),
      licence=self.licence,
      split=split_of[name][0] if name in split_of else None,
    )
    return entries.of_item(entries.with_notes(item, note), where)


def _records(folder: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
  """Yields the name of each video and the file of its hits."""
  for parent, name in media_index.walk(folder):
    if name == _RECORD:
      yield os.path.basename(parent), pathlib.Path(parent, name)
    elif name.endswith(_TIMES):
      yield name.removesuffix(_TIMES), pathlib.Path(parent, name)


def _read_splits(folder: pathlib.Path) -> dict[str, tuple[str, str]]:
  """Returns the split and where it is stated by name."""
  found: dict[str, tuple[str, str]] = {}
  for path in sorted(folder.iterdir()):
    split = entries.split_of_file(path)
    if split is None or path.suffix not in ('.json', '.txt') or path.name.endswith(_TIMES):
      continue
    if path.suffix == '.txt':
      names = [row.values['text'] for row in tables.text_rows(path) if isinstance(row, tables.Row)]
    else:
      try:
        names = json.loads(path.read_text(encoding='utf-8'))
      except ValueError as error:
        raise ValueError(f'{path}: wanted a JSON list of names: {error}.') from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
      raise ValueError(f'{path}: wanted a list of names.')
    for name in names:
      if name in found and found[name][0] != split:
        raise ValueError(f'{path}: {name} is in split {found[name][0]}, too ({found[name][1]}).')
      found[name] = (split, items.where(path))
  return found


def _read_json(path: pathlib.Path) -> list[annotations_lib.Event]:
  hits = json.loads(path.read_text(encoding='utf-8'))
  if not isinstance(hits, list) or not all(isinstance(hit, list) and len(hit) == 2 for hit in hits):
    raise ValueError(f'{path}: wanted a list of [time, "material action"]')
  return [_event(hit[0], str(hit[1]).split()) for hit in hits]


def _duration_s(path: pathlib.Path) -> float:
  """Returns the duration of a video by its meta.json; infinite if there is none."""
  if not path.is_file():
    return math.inf
  try:
    meta = json.loads(path.read_text(encoding='utf-8'))
    return meta['frame_num'] / meta['frame_rate']
  except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
    raise ValueError(f'{path}: wanted {{frame_num, frame_rate}}: {error!r}') from error


def _read_times(path: pathlib.Path) -> list[annotations_lib.Event]:
  events = []
  for row in tables.text_rows(path):
    if isinstance(row, items.Problem):
      raise ValueError(f'line {row.where.rpartition(":")[2]}: {row.reason}')
    time, *words = row.values['text'].split()
    try:
      events.append(_event(time, words[:2]))
    except ValueError as error:
      raise ValueError(f'line {row.line}: {error}') from error
  return events


def _event(time: object, words: list[str]) -> annotations_lib.Event:
  """Returns the event of a hit: an instant with its material and action."""
  time_s = entries.number(time, 'the time of a hit')
  if time_s < 0:
    raise ValueError(f'the time of a hit must be at least 0 s; got {time_s:g} s')
  return annotations_lib.Event(time_s, time_s, ' '.join(word for word in words if word != 'None') or _UNKNOWN)
