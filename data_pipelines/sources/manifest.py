"""A manifest: a table of clips as CSV, TSV, JSON lines or Parquet.

  path         file of the media, relative to the folder of the media
  id           id of the clip; without a path, also the name of its media (see `media_index`)
  start_s      segment of the media in seconds; 0 and the end of the media if empty
  end_s
  caption      sentence about the sound; in JSON lines and Parquet also a list of them
  label        name of the class; or a list of them
  transcript   spoken words: text, SRT or WebVTT; or a list of {word, start_s, end_s}
  licence      SPDX identifier or name
  split        train, validation, test, or a name of one's own

One of path and id is needed; further columns are an error, since they are misspelt ones more often than not.
Without an id, a clip has that of its path, and of its start if it has one. Clips of one file are one group.
"""

from collections.abc import Iterator
import dataclasses
import difflib
import math
import os
import pathlib
from typing import Any
from typing import NamedTuple

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from data_pipelines.sources import tables
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.media import transcript as transcript_lib

COLUMNS = ('path', 'id', 'start_s', 'end_s', 'caption', 'label', 'transcript', 'licence', 'split')


@dataclasses.dataclass(frozen=True)
class Manifest:
  """A manifest of clips; see the module.

  Attributes:
    path: the manifest.
    media: folder of the media; None for that of the manifest.
    suffixes: of the files that are media.
    licence, split: of clips whose row names none.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  suffixes: tuple[str, ...] = media_index.SUFFIXES
  licence: str | None = None
  split: str | None = None
  name: str = 'manifest'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each row.

    Raises:
      OSError: the manifest or the folder of the media cannot be read.
      ValueError: the manifest has unknown columns, or neither path nor id.
    """
    table = tables.open_table(self.path, COLUMNS, text_column='caption')
    _check_columns(table.columns, self.path)
    media = _Media(self.media or self.path.parent, self.suffixes)
    yield from entries.checked(entries.of_rows(table, lambda row, where: self._entry(row, where, media)))

  def _entry(self, row: tables.Row, where: str, media: '_Media') -> entries.Entry:
    values = {name: value for name, value in row.values.items() if not _is_empty(value)}
    name = str(values.get('id', ''))
    try:
      _check_columns(tuple(row.values))
      start_s = entries.number(values['start_s'], 'start_s') if 'start_s' in values else 0.0
      end_s = entries.number(values['end_s'], 'end_s') if 'end_s' in values else None
      entries.check_segment(start_s, end_s)
      path = _text(values, 'path')
      if not path and not name:
        raise ValueError('wanted a path or an id; both are empty')
      if tables.is_error_value(path) or tables.is_error_value(name):
        raise ValueError(f'got {path or name!r}, {tables.spreadsheet_fault(path or name)}')
      name = name or (f'{path}@{start_s:g}' if start_s else path)
      clip = media.of_path(path, start_s, end_s) if path else media.of_id(name, start_s, end_s)
      item = items.Item(
        name,
        items.MediaFile(clip.media.path),
        clip.group,
        clip.media.start_s,
        clip.media.end_s,
        _annotations(values),
        _text(values, 'licence') or self.licence,
        entries.split_of(_text(values, 'split')) or self.split,
      )
    except FileNotFoundError as error:
      fault = tables.spreadsheet_fault(name)
      reason = f'{error}; the id may be {fault} of a spreadsheet' if fault else str(error)
      raise entries.UnusableError('missing', reason, name) from error
    except ValueError as error:
      raise entries.UnusableError('malformed', str(error), name) from error
    item = entries.with_notes(item, row.note and f'{where}: {row.note}')
    return entries.Entry(item, where, clip.start_s, clip.end_s)


class _Clip(NamedTuple):
  """The media of a row, its group, and the segment in the time of the group (see `entries.Entry`)."""

  media: media_index.Found
  group: str
  start_s: float
  end_s: float


class _Media:
  """The media of a manifest; the folder is listed only for rows without a path."""

  def __init__(self, folder: storage.Path, suffixes: tuple[str, ...]):
    self._folder, self._suffixes = folder, suffixes
    self._listings = media_index.Listings()
    self._index: media_index.MediaIndex | None = None

  def of_path(self, text: str, start_s: float, end_s: float | None) -> _Clip:
    """Returns the clip of a path and a segment."""
    group = os.path.normpath(text)
    path = self._folder / group
    if path.suffix.lower() not in self._suffixes:
      raise ValueError(f'path {text!r} must end in {", ".join(self._suffixes)}')
    if path not in self._listings:
      raise FileNotFoundError(f'{path} is not there')
    media = media_index.Found(path, start_s, end_s, False)
    return _Clip(media, group, start_s, math.inf if end_s is None else end_s)

  def of_id(self, name: str, start_s: float, end_s: float | None) -> _Clip:
    """Returns the clip of an id and a segment."""
    self._index = self._index or media_index.MediaIndex(self._folder, self._suffixes)
    video, cut_start_s, cut_end_s = media_index.parse(name) or (name, None, None)
    if cut_start_s is None:
      path = self._index.named(name)
      found = (
        media_index.Found(path, start_s, end_s, False) if path else self._index.find(video, start_s, end_s)
      )
      span = (start_s, math.inf if end_s is None else end_s)
    elif start_s or end_s is not None:
      raise ValueError(f'the id {name} names a segment; got start_s {start_s:g} and end_s {end_s}, too')
    else:
      found = self._index.find(video, cut_start_s, cut_end_s)
      if found and found.end_s is None and not found.is_segment:
        found = None  # a whole video, and no end
      # Without an end it is not known what it overlaps.
      span = (cut_start_s, cut_start_s if cut_end_s is None else cut_end_s)
    if found is None:
      raise FileNotFoundError(f'{self._folder} has no media named {name}')
    return _Clip(found, video, *span)


def _check_columns(names: tuple[str, ...], path: pathlib.Path | None = None) -> None:
  """Raises ValueError if there are unknown columns, or neither a path nor an id."""
  prefix = f'{path}: ' if path else ''
  for name in names:
    if name and name not in COLUMNS:
      close = difflib.get_close_matches(name, COLUMNS, 1)
      hint = f'did you mean {close[0]}?' if close else f'known are {", ".join(COLUMNS)}.'
      raise ValueError(f'{prefix}unknown column {name!r}; {hint}')
  if 'path' not in names and 'id' not in names:
    raise ValueError(f'{prefix}wanted a column path or id; got {", ".join(names)}.')


def _is_empty(value: Any) -> bool:
  """Whether a cell holds nothing: JSON and Parquet have null, and NaN where pandas wrote them."""
  return value in (None, '', []) or (isinstance(value, float) and math.isnan(value))


def _text(values: dict[str, Any], name: str) -> str:
  value = values.get(name, '')
  if not isinstance(value, str):
    raise ValueError(f'{name} must be a text; got {value!r}')
  return value.strip()


def _texts(values: dict[str, Any], name: str) -> list[str]:
  value = values.get(name, [])
  texts = [value] if isinstance(value, str) else value
  if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
    raise ValueError(f'{name} must be a text or a list of texts; got {value!r}')
  return [' '.join(text.split()) for text in texts if text.strip()]


def _annotations(values: dict[str, Any]) -> annotations_lib.Annotations:
  captions = tuple(annotations_lib.Caption(text, 'short') for text in _texts(values, 'caption'))
  words = values.get('transcript', '')
  if isinstance(words, list):
    try:
      transcript = transcript_lib.from_cues(
        (str(word['word']), float(word['start_s']), float(word['end_s'])) for word in words
      )
    except (TypeError, KeyError) as error:
      raise ValueError(f'transcript must be a list of {{word, start_s, end_s}}; got {error!r}') from error
  else:
    transcript = transcript_lib.parse(_text(values, 'transcript'))
  return annotations_lib.Annotations(entries.label_captions(*_texts(values, 'label')) + captions, transcript)
