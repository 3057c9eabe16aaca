"""From rows of metadata to items and problems: what all readers of data sets share.

A reader turns a row into an `Entry`, or raises `UnusableError`. `checked` then yields its item, unless

  an earlier entry has the same id ('duplicate');
  its segment overlaps an earlier segment of the same group in another split ('duplicate'): the same seconds
    would be trained on and tested. The later one is refused, whichever split it is in, since a source is read
    once and in order; move it to the split that it should be in, or remove one of the two lines.

Segments of a group that overlap within a split are usable, and so are those that do not overlap but are in
two splits. Both give a note.

Notes are tags ('note', text) of the item's annotations, and name the line.
"""

import array
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import functools
import math
import os
import pathlib
import re

from data_pipelines.sources import hash_index
from data_pipelines.sources import items
from data_pipelines.sources import tables
from v2a.data import annotations as annotations_lib

NOTE = 'note'
_OF_SPLIT = {
  'train': 'train',
  'training': 'train',
  'val': 'validation',
  'valid': 'validation',
  'validation': 'validation',
  'dev': 'validation',
  'test': 'test',
  'testing': 'test',
  'eval': 'test',
  'evaluation': 'test',
}


class UnusableError(ValueError):
  """A clip of a data set that cannot be used.

  Attributes:
    kind: see `items.Problem`.
    id: of the clip; '' if it is not known.
    reason: what was got, and what was wanted.
  """

  def __init__(self, kind: items.ProblemKind, reason: str, clip_id: str = ''):
    super().__init__(reason)
    self.kind: items.ProblemKind = kind
    self.id, self.reason = clip_id, reason


@dataclasses.dataclass(frozen=True)
class Entry:
  """An item and where it was found.

  Attributes:
    item: the item.
    where: see `items.Problem`.
    start_s, end_s: its segment in what its group names, such as the video from which the media was cut;
      equal where a group has no time of its own, such as all clips of a speaker.
  """

  item: items.Item
  where: str
  start_s: float = 0.0
  end_s: float = math.inf


def of_item(item: items.Item, where: str) -> Entry:
  """Returns the entry of an item whose group is its media."""
  return Entry(item, where, item.start_s, math.inf if item.end_s is None else item.end_s)


def of_rows(
  table: tables.Table, convert: Callable[[tables.Row, str], Entry]
) -> Iterator[Entry | items.Problem]:
  """Yields an entry or a problem for each row of a table.

  Args:
    table: the table.
    convert: from a row and its `Problem.where` to its entry; may raise UnusableError, and ValueError for a
      row that is malformed.
  """
  for row in table:
    if isinstance(row, items.Problem):
      yield row
    else:
      yield attempt(functools.partial(convert, row), table.where(row.line))


def collect(
  table: tables.Table, add: Callable[[tables.Row, str], items.Problem | None]
) -> Iterator[items.Problem]:
  """Yields a problem for each row that cannot be used; for tables whose items have several rows.

  Args:
    table: the table.
    add: adds a row, given with its `Problem.where`, to its item; returns the problem if it cannot be used.
  """
  for row in table:
    problem = row if isinstance(row, items.Problem) else add(row, table.where(row.line))
    if problem is not None:
      yield problem


def attempt(convert: Callable[[str], Entry], where: str) -> Entry | items.Problem:
  """Returns convert(where), or the problem if it raises UnusableError or ValueError."""
  try:
    return convert(where)
  except UnusableError as error:
    return items.Problem(error.kind, error.id, where, error.reason)
  except ValueError as error:
    return items.Problem('malformed', '', where, str(error))


class _Segments:
  """The segments of all earlier entries, in about 100 bytes each; those of a group are linked."""

  def __init__(self):
    self._of_id, self._of_group = hash_index.HashIndex(), hash_index.HashIndex()
    self._start_s, self._end_s = array.array('d'), array.array('d')
    self._split, self._file, self._line = array.array('I'), array.array('I'), array.array('q')
    self._previous = array.array('q')  # of the same group; -1 for none
    self._last_end_s = array.array('d')  # of this entry and those before it in its group
    self._is_uniform = array.array('b')  # whether all of those are in one split
    self._splits: dict[str | None, int] = {}
    self._files: dict[str, int] = {}

  def where(self, number: int) -> str:
    """Returns where an entry was found."""
    file = list(self._files)[self._file[number]]
    return f'{file}:{self._line[number]}' if self._line[number] else file

  def same_id(self, entry: Entry) -> int:
    """Returns the number of the entry with the same id; -1 for none."""
    return self._of_id.get(entry.item.id)

  def last_of(self, group: str) -> int:
    """Returns the number of the last entry of a group; -1 for none."""
    return self._of_group.get(group)

  def leak(self, entry: Entry, last: int) -> str:
    """Returns which segment of another split an entry overlaps; '' if none. last: see `last_of`."""
    split = self._splits.get(entry.item.split, -1)
    for number in self._near(entry, last):
      if self._split[number] != split and self._overlaps(number, entry):
        of_split = list(self._splits)[self._split[number]]
        span = _span(self._start_s[number], self._end_s[number])
        return f'{span} in split {of_split} ({self.where(number)})'
    return ''

  def note(self, entry: Entry, last: int) -> str:
    """Returns what is worth a note about an entry without a leak; '' if nothing is. last: see `last_of`."""
    split, other = self._splits.get(entry.item.split, -1), -1
    for number in self._near(entry, last):
      if self._overlaps(number, entry):
        return f'overlaps {self.where(number)}'
      if self._split[number] != split:
        other = number
    if other < 0:
      return ''
    return f'{self.where(other)} of the same source is in split {list(self._splits)[self._split[other]]}'

  def add(self, entry: Entry, last: int) -> None:
    """Adds an entry. last: see `last_of`."""
    number, split = len(self._line), entry.item.split
    file, colon, line = entry.where.rpartition(':')
    if not (colon and line.isdecimal()):
      file, line = entry.where, '0'
    self._of_id.set(entry.item.id, number)
    self._start_s.append(entry.start_s)
    self._end_s.append(entry.end_s)
    self._split.append(self._splits.setdefault(split, len(self._splits)))
    self._file.append(self._files.setdefault(file, len(self._files)))
    self._line.append(int(line))
    self._previous.append(last)
    self._last_end_s.append(max(entry.end_s, self._last_end_s[last] if last >= 0 else entry.end_s))
    self._is_uniform.append(
      last < 0 or bool(self._is_uniform[last] and self._split[last] == self._split[number])
    )
    # Of entries without a time one a split is enough: a speaker may have a thousand.
    has_time = entry.start_s < entry.end_s
    if has_time or last < 0 or self._split[last] != self._split[number]:
      self._of_group.set(entry.item.group, number)

  def _near(self, entry: Entry, last: int) -> Iterator[int]:
    """Yields the entries of a group; none if all are before an entry and in its split, as in a long film."""
    if last < 0:
      return
    is_one_split = self._is_uniform[last] and self._split[last] == self._splits.get(entry.item.split, -1)
    if not (is_one_split and entry.start_s >= self._last_end_s[last]):
      yield from self._linked(last)

  def _linked(self, number: int) -> Iterator[int]:
    while number >= 0:
      yield number
      number = self._previous[number]

  def _overlaps(self, number: int, entry: Entry) -> bool:
    return entry.start_s < self._end_s[number] and self._start_s[number] < entry.end_s


def checked(found: Iterable[Entry | items.Problem]) -> Iterator[items.Item | items.Problem]:
  """Yields the item or problem of each entry, in order; see the module."""
  segments = _Segments()
  for entry in found:
    if isinstance(entry, items.Problem):
      yield entry
      continue
    item, last = entry.item, segments.last_of(entry.item.group)
    if (number := segments.same_id(entry)) >= 0:
      reason = f'its id is already used in {segments.where(number)}'
      yield items.Problem('duplicate', item.id, entry.where, reason)
    elif leak := segments.leak(entry, last):
      span = f'{_span(entry.start_s, entry.end_s)} of {item.group} in split {item.split}'
      yield items.Problem('duplicate', item.id, entry.where, f'{span} overlaps {leak}')
    else:
      note = segments.note(entry, last)
      segments.add(entry, last)
      yield with_notes(item, note and f'{entry.where}: {note}')


def with_notes(item: items.Item, *notes: str) -> items.Item:
  """Returns an item with further notes; empty ones are left out."""
  added = tuple((NOTE, note) for note in notes if note)
  if not added:
    return item
  annotations = dataclasses.replace(item.annotations, tags=item.annotations.tags + added)
  return dataclasses.replace(item, annotations=annotations)


def number(text: object, name: str) -> float:
  """Returns a number of a cell.

  Args:
    text: the cell.
    name: of its column, for the message.

  Raises:
    ValueError: it is no finite number.
  """
  try:
    value = float(str(text))
  except ValueError as error:
    raise ValueError(f'{name} must be a number of seconds; got {text!r}') from error
  if not math.isfinite(value):
    raise ValueError(f'{name} must be a finite number of seconds; got {text!r}')
  return value


def check_segment(start_s: float, end_s: float | None) -> None:
  """Checks a segment.

  Args:
    start_s, end_s: the segment in seconds; end_s None is the end of the media.

  Raises:
    ValueError: it begins before 0, or is empty.
  """
  if start_s < 0:
    raise ValueError(f'a segment must begin at 0 s or later; got {start_s:g} s')
  if end_s is not None and end_s <= start_s:
    raise ValueError(f'a segment must end after its start; got {start_s:g} s to {end_s:g} s')


def split_of(text: str) -> str | None:
  """Returns 'train', 'validation' or 'test' for a usual name of a split, other names as they are."""
  return _OF_SPLIT.get(text.lower(), text) or None


def split_of_file(path: str | os.PathLike) -> str | None:
  """Returns the split that the name of a file states, such as 'vgg-test.tsv' or 'trainSet.txt', or None."""
  stem = pathlib.Path(path).stem
  words = [word for form in ('[a-z]+', '[A-Z][a-z]+', '[A-Z]+') for word in re.findall(form, stem)]
  found = {_OF_SPLIT[word.lower()] for word in words if word.lower() in _OF_SPLIT}
  return found.pop() if len(found) == 1 else None


def label_captions(*labels: str) -> tuple[annotations_lib.Caption, ...]:
  """Returns a caption for the labels that are not empty, in one text."""
  text = ', '.join(' '.join(label.split()) for label in labels if label.strip())
  return (annotations_lib.Caption(text, 'label'),) if text else ()


def _span(start_s: float, end_s: float) -> str:
  return f'{start_s:g} s to ' + ('the end' if math.isinf(end_s) else f'{end_s:g} s')
