"""Tables of metadata: CSV, TSV, JSON lines and Parquet, read lazily as rows with line numbers.

Metadata passes through spreadsheets and editors before it gets here. Every line gives a `Row` or a `Problem`
that names the line, and no line stops the reading or takes others with it.

Repaired, because only one reading is possible:

  byte order marks, UTF-16 with a mark, line ends of any system, blank lines and lines of delimiters only,
  blanks around cells;
  another delimiter than that of the suffix (';' of a spreadsheet in Europe), if it is the one that gives the
  columns that are expected;
  a text that was not quoted although it contains the delimiter, if all other columns are fixed: the row has a
  note.

Reported: rows with another number of columns, quotes that are not closed or not alone, bytes that are not
UTF-8, and (by readers of data sets, with `spreadsheet_fault`) ids that a spreadsheet replaced.
"""

import collections
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import csv
import dataclasses
import importlib
import itertools
import json
import os
import pathlib
import re
from typing import Any
from typing import NamedTuple

from data_pipelines.sources import items

_JSON_LINES = ('.jsonl', '.ndjson')
_DELIMITERS = (',', '\t', ';')
_HEAD_LINES = 20  # decide the delimiter
_QUOTED_LINES = 100  # of a quoted cell; a longer one is a quote that was forgotten
_BATCH_ROWS = 1024
_SHOWN = 60  # characters of a line in a message
_SPREADSHEET = (
  (
    re.compile(r'#[A-Z/0]+[!?]?'),
    "the error that a spreadsheet writes for an id that begins with '-' or '='",
  ),
  (re.compile(r'-?\d([.,]\d+)?E[+-]?\d+', re.IGNORECASE), 'a number in scientific notation'),
  (re.compile(r'\d{1,4}[-/.](\d{1,2}|[A-Za-z]{3})([-/.]\d{2,4})?|[A-Za-z]{3}-\d{2}'), 'a date'),
  (re.compile(r'-?\d+([.,]\d+)?'), 'a number'),
  (re.compile(r'TRUE|FALSE'), 'a truth value'),
  (re.compile(r'.*[\u2010-\u2015\u2212].*'), "a typographic dash instead of '-'"),
)


class Row(NamedTuple):
  """A row of a table.

  Attributes:
    line: line of the file where the row begins, from 1; of Parquet, the number of the row.
    values: cells by the name of their column: texts, or what JSON and Parquet hold.
    note: what was repaired; '' if nothing was.
  """

  line: int
  values: Mapping[str, Any]
  note: str = ''


@dataclasses.dataclass(frozen=True)
class Table:
  """A table whose rows can be read repeatedly.

  Attributes:
    path: the file.
    columns: names of the columns; of JSON lines, those of the first row.
    delimiter: between cells; '' for JSON lines and Parquet.
    num_head_lines: lines before the first row.
    text_column: column whose text may contain the delimiter without quotes; None if there is none.
    skip_blanks: whether blanks after a delimiter are no part of the cell, even before a quote.
  """

  path: pathlib.Path
  columns: tuple[str, ...]
  delimiter: str = ''
  num_head_lines: int = 0
  text_column: str | None = None
  skip_blanks: bool = False

  def where(self, line: int) -> str:
    """Returns `Problem.where` of a line."""
    return items.where(self.path, line)

  def problem(self, line: int, reason: str) -> items.Problem:
    """Returns a problem of a line from which no clip can be read."""
    return items.Problem('malformed', '', self.where(line), reason)

  def __iter__(self) -> Iterator[Row | items.Problem]:
    """Yields a row or a problem for each line that is not blank.

    Raises:
      OSError: the file cannot be read.
      ValueError: a Parquet file is damaged.
    """
    if self.path.suffix.lower() == '.parquet':
      return self._parquet_rows()
    return self._json_rows() if not self.delimiter else self._rows()

  def _rows(self) -> Iterator[Row | items.Problem]:
    num, names = len(self.columns), self.columns
    text_index = names.index(self.text_column) if self.text_column in names else None
    for line, cells, fault in _cells(_lines(self.path), self.delimiter, self.skip_blanks):
      if line <= self.num_head_lines or (not fault and not any(map(str.strip, cells))):
        continue
      note = ''
      if not fault and len(cells) > num and text_index is not None:
        end = text_index + 1 + len(cells) - num
        cells[text_index:end] = [self.delimiter.join(cells[text_index:end])]
        note = f'{self.text_column} with {self.delimiter!r} was not quoted'
      if not fault and len(cells) != num:
        fault = (
          f'wanted {num} columns ({", ".join(names)}); got {len(cells)}: {_shown(self.delimiter.join(cells))}'
        )
      if fault:
        yield self.problem(line, fault)
      else:
        yield Row(line, {name: cell.strip() for name, cell in zip(names, cells) if name}, note)

  def _json_rows(self) -> Iterator[Row | items.Problem]:
    for line, text in enumerate(_lines(self.path), 1):
      if not text.strip():
        continue
      if fault := _text_fault(text):
        yield self.problem(line, fault)
        continue
      try:
        values = json.loads(text)
      except (ValueError, RecursionError) as error:
        yield self.problem(line, f'wanted a JSON object in one line; got {_shown(text)} ({error})')
        continue
      if isinstance(values, dict):
        yield Row(line, values)
      else:
        yield self.problem(line, f'wanted a JSON object; got {_shown(text)}')

  def _parquet_rows(self) -> Iterator[Row | items.Problem]:
    with _parquet(self.path) as table:
      line = 0
      for batch in table.iter_batches(_BATCH_ROWS):
        for values in batch.to_pylist():
          line += 1
          yield Row(line, values)


def open_table(
  path: str | os.PathLike,
  columns: Collection[str],
  headerless: Mapping[int, Sequence[str]] | None = None,
  delimiter: str | None = None,
  text_column: str | None = None,
  comment: str | None = None,
  skip_blanks: bool = False,
) -> Table:
  """Returns a table after its first lines were read.

  Args:
    path: the file; its suffix decides whether it has JSON lines (.jsonl, .ndjson), Parquet, or cells with
      delimiters (any other).
    columns: names of columns that are known; a first line with one of them is a header.
    headerless: names of the columns of tables without a header, by their number.
    delimiter: between cells; None to find it.
    text_column: column whose text may contain the delimiter without quotes.
    comment: how comments above the rows begin; a header may be the last of them.
    skip_blanks: whether blanks after a delimiter are no part of the cell, even before a quote.

  Raises:
    FileNotFoundError: there is no such file.
    OSError: the file cannot be read.
    ValueError: the file is no such table; the message says what was expected.
  """
  path, headerless = pathlib.Path(path), headerless or {}
  suffix = path.suffix.lower()
  if not path.is_file():
    raise FileNotFoundError(f'{path}: there is no such file.')
  if suffix == '.parquet':
    with _parquet(path) as table:
      return Table(path, tuple(table.schema_arrow.names))
  if suffix in _JSON_LINES:
    table = Table(path, ())
    first = next((row for row in table if isinstance(row, Row)), None)
    if first is None:
      raise ValueError(f'{path}: has no line with a JSON object.')
    return Table(path, tuple(first.values))
  return _open_text(path, columns, headerless, delimiter, text_column, comment, skip_blanks)


def text_rows(path: str | os.PathLike) -> Iterator[Row | items.Problem]:
  """Yields a row with the one column 'text', or a problem, for each line of a text that is not blank.

  Raises:
    OSError: the file cannot be read.
  """
  for line, text in enumerate(_lines(pathlib.Path(path)), 1):
    if fault := _text_fault(text):
      yield items.Problem('malformed', '', items.where(path, line), fault)
    elif text.strip():
      yield Row(line, {'text': text.strip()})


def is_error_value(text: str) -> bool:
  """Whether a cell is an error of a spreadsheet, such as '#NAME?', in place of what it held."""
  return _SPREADSHEET[0][0].fullmatch(text) is not None


def spreadsheet_fault(text: str) -> str:
  """Returns what a spreadsheet or an editor made of an id, such as 'a date'; '' if nothing is known."""
  return next((fault for pattern, fault in _SPREADSHEET if pattern.fullmatch(text)), '')


def _head(
  path: pathlib.Path, columns: Collection[str], comment: str | None
) -> tuple[list[tuple[int, str]], int]:
  """Returns the first lines that are not blank, with their numbers, and the number of comments above them."""
  head = list(itertools.islice(enumerate(_lines(path), 1), _HEAD_LINES))
  num_comments = 0
  if comment:
    num_comments = sum(1 for _ in itertools.takewhile(lambda item: item[1].startswith(comment), head))
    # The last comment may be the header.
    if num_comments and _names(head[num_comments - 1][1].lstrip('# '), ',', True, columns):
      num_comments -= 1
      head[num_comments] = (head[num_comments][0], head[num_comments][1].lstrip('# '))
  head = [(line, text) for line, text in head[num_comments:] if text.strip(' \t\r\n,;')]
  if not head:
    raise ValueError(f'{path}: has no rows.')
  return head, num_comments


def _open_text(
  path: pathlib.Path,
  columns: Collection[str],
  headerless: Mapping[int, Sequence[str]],
  delimiter: str | None,
  text_column: str | None,
  comment: str | None,
  skip_blanks: bool,
) -> Table:
  """Returns a table of cells with delimiters; see `open_table`."""
  head, num_comments = _head(path, columns, comment)
  default = '\t' if path.suffix.lower() == '.tsv' else ','
  candidates = [delimiter] if delimiter else [default, *(each for each in _DELIMITERS if each != default)]
  lines = [text for _, text in head]
  best = max(candidates, key=lambda each: _score(lines, each, skip_blanks, columns, headerless))
  names = _names(lines[0], best, skip_blanks, columns)
  if names:
    repeated = [name for name, num in collections.Counter(names).items() if num > 1 and name]
    if repeated:
      raise ValueError(f'{path}: its header has the column {repeated[0]!r} twice.')
    return Table(path, names, best, head[0][0], text_column, skip_blanks)
  counts = collections.Counter(_num_cells(text, best, skip_blanks) for text in lines)
  known = [num for num, _ in counts.most_common() if num in headerless]
  if not known:
    wanted = [f'a header with {", ".join(columns)}'] if columns else []
    wanted += [f'{num} columns ({", ".join(each)})' for num, each in headerless.items()]
    raise ValueError(f'{path}: wanted {" or ".join(wanted)}; got {_shown(lines[0])}.')
  return Table(path, tuple(headerless[known[0]]), best, num_comments, text_column, skip_blanks)


def _parquet(path: pathlib.Path) -> Any:
  """Returns an open Parquet file, a context."""
  try:
    parquet = importlib.import_module('pyarrow.parquet')  # optional: the extra `data`
  except ImportError as error:
    raise ValueError(
      f"{path}: Parquet needs pyarrow; pip install 'v2a[data]', or convert it to CSV."
    ) from error
  try:
    return parquet.ParquetFile(path)
  except ValueError as error:  # ArrowInvalid is one
    raise ValueError(f'{path}: is no Parquet file: {error}') from error


def _lines(path: pathlib.Path) -> Iterator[str]:
  """Yields the lines of a text file with their ends; bytes that are no text become surrogates."""
  with open(path, 'rb') as file:
    is_utf16 = file.read(2) in (b'\xff\xfe', b'\xfe\xff')
  encoding, errors = ('utf-16', 'replace') if is_utf16 else ('utf-8-sig', 'surrogateescape')
  with open(path, encoding=encoding, errors=errors, newline='') as file:
    yield from file


def _text_fault(line: str) -> str:
  """Returns why a line is no text; '' if it is."""
  if '\0' in line:
    return f'wanted text; got zero bytes: {_shown(line)}'
  if not line.isascii():
    bad = next((char for char in line if '\udc80' <= char <= '\udcff' or char == '\ufffd'), None)
    if bad is not None:
      got = f'byte {ord(bad) - 0xDC00:#04x}' if bad != '\ufffd' else 'a character that was lost (U+FFFD)'
      return f'wanted UTF-8 text; got {got} after {_shown(line[: line.index(bad)])}'
  return ''


def _parsed(text: str, delimiter: str, skip_blanks: bool) -> list[str] | None:
  """Returns the cells of a row; None if its quotes are not closed, or not alone in their cell."""
  if '"' not in text:
    return text.rstrip('\r\n').split(delimiter)
  try:
    return next(csv.reader([text], delimiter=delimiter, skipinitialspace=skip_blanks, strict=True))
  except csv.Error:
    return None


def _is_open(text: str, delimiter: str, skip_blanks: bool) -> bool:
  """Whether a row ends inside quotes: a further line would belong to it."""
  try:
    return len(list(csv.reader([text, 'x'], delimiter=delimiter, skipinitialspace=skip_blanks))) == 1
  except csv.Error:
    return False


def _cells(lines: Iterable[str], delimiter: str, skip_blanks: bool) -> Iterator[tuple[int, list[str], str]]:
  """Yields (line, cells, fault) of each row, which has several lines where a quoted cell has."""
  numbered, pending = enumerate(lines, 1), collections.deque()
  take = lambda: pending.popleft() if pending else next(numbered, None)
  while (item := take()) is not None:
    line, text = item
    fault = _text_fault(text)
    cells = None if fault else _parsed(text, delimiter, skip_blanks)
    if cells is None and not fault and _is_open(text, delimiter, skip_blanks):
      more = []
      while len(more) < _QUOTED_LINES and (item := take()) is not None:
        more.append(item)
        text += item[1]
        if not _is_open(text, delimiter, skip_blanks):
          cells = None if _text_fault(text) else _parsed(text, delimiter, skip_blanks)
          break
      if cells is None:  # a quote was forgotten: what follows are rows of their own
        pending.extendleft(reversed(more))
        fault = f'a quote is opened and not closed: {_shown(text.splitlines()[0])}'
    elif cells is None and not fault:
      fault = f'a quote is inside a cell; wanted "" for a quote in a quoted cell: {_shown(text)}'
    yield line, cells or [], fault


def _num_cells(text: str, delimiter: str, skip_blanks: bool) -> int:
  return len(_parsed(text, delimiter, skip_blanks) or [])


def _names(text: str, delimiter: str, skip_blanks: bool, columns: Collection[str]) -> tuple[str, ...]:
  """Returns the names of the columns if a line is a header with a known one, else ()."""
  names = tuple(cell.strip().lower() for cell in _parsed(text, delimiter, skip_blanks) or [])
  return names if any(name in columns for name in names) else ()


def _score(
  lines: Sequence[str],
  delimiter: str,
  skip_blanks: bool,
  columns: Collection[str],
  headerless: Mapping[int, Sequence[str]],
) -> tuple[int, int]:
  """Returns how well a delimiter fits: known names in the header, lines with a known number of columns."""
  names = _names(lines[0], delimiter, skip_blanks, columns)
  return (
    sum(name in columns for name in names),
    sum(_num_cells(text, delimiter, skip_blanks) in headerless for text in lines),
  )


def _shown(text: str) -> str:
  """Returns the beginning of a line for a message."""
  text = text.rstrip('\r\n').encode('utf-8', 'backslashreplace').decode()
  return repr(text[:_SHOWN] + ('...' if len(text) > _SHOWN else ''))
