"""Tables of metadata: faults of spreadsheets and of editing by hand, with line numbers."""

import pathlib
import pickle
import time

import pytest

from data_pipelines.sources import items
from data_pipelines.sources import tables

KNOWN = ('id', 'start', 'label', 'split')


def opened(path: pathlib.Path, content: str | bytes, **settings) -> tables.Table:
  path.write_bytes(content.encode() if isinstance(content, str) else content)
  return tables.open_table(path, KNOWN, **settings)


def read(path: pathlib.Path, content: str | bytes, **settings) -> list[tables.Row | items.Problem]:
  return list(opened(path, content, **settings))


def values(rows: list) -> list[dict]:
  return [dict(row.values) for row in rows]


@pytest.mark.parametrize(
  'content',
  [
    'id,label\na,dog\nb,"cat, loud"\n',
    '\ufeffid,label\na,dog\nb,"cat, loud"\n',
    'id,label\r\na,dog\r\nb,"cat, loud"\r\n',
    'id,label\ra,dog\rb,"cat, loud"\r',
    'id;label\na;dog\nb;cat, loud\n',
    'id\tlabel\na\tdog\nb\tcat, loud\n',
    ' ID , Label \n a , dog \n b ,"cat, loud"',
    '\n\nid,label\n , \na,dog\n\n,\nb,"cat, loud"\n,\n\n',
    'id,label,\na,dog,\nb,"cat, loud",\n',
    'id,label\na,dog\nb,"cat, loud"\n'.encode('utf-16'),
  ],
)
def test_what_can_be_read_in_one_way_only_is_repaired(content, tmp_path):
  rows = read(tmp_path / 'a.csv', content)
  assert values(rows) == [{'id': 'a', 'label': 'dog'}, {'id': 'b', 'label': 'cat, loud'}]


def test_rows_have_the_line_where_they_begin(tmp_path):
  rows = read(tmp_path / 'a.csv', '\nid,label\n\na,"two\nlines"\nb,dog\n')
  assert [(row.line, row.values['label']) for row in rows] == [(4, 'two\nlines'), (6, 'dog')]


def test_a_table_without_a_header_has_the_columns_of_its_number(tmp_path):
  headerless = {2: ('id', 'label'), 4: ('id', 'start', 'label', 'split')}
  two = read(tmp_path / 'a.csv', 'x,dog\n', headerless=headerless)
  assert values(two) == [{'id': 'x', 'label': 'dog'}] and two[0].line == 1
  four = opened(tmp_path / 'b.csv', 'x;3;dog;test\n', headerless=headerless)
  assert four.columns == ('id', 'start', 'label', 'split') and four.delimiter == ';'
  with pytest.raises(ValueError, match=r"c\.csv: wanted a header with id, .* or 2 columns .*; got 'x,y,z'"):
    opened(tmp_path / 'c.csv', 'x,y,z\n', headerless=headerless)


def test_the_last_comment_may_be_the_header(tmp_path):
  content = '# made today\n# label, ID\ndog, "a, b"\n# cat, c\n'
  rows = read(tmp_path / 'a.csv', content, comment='# ', skip_blanks=True)
  assert values(rows) == [{'label': 'dog', 'id': 'a, b'}, {'label': '# cat', 'id': 'c'}]
  assert [row.line for row in rows] == [3, 4]


def test_a_text_with_unquoted_commas_is_joined_where_all_else_is_fixed(tmp_path):
  headerless = {4: ('id', 'start', 'label', 'split')}
  content = 'x,3,dog,test\ny,3,female speech, woman speaking,test\nz,4,a,b,c,test\n'
  rows = read(tmp_path / 'a.csv', content, headerless=headerless, text_column='label')
  assert [row.values['label'] for row in rows] == ['dog', 'female speech, woman speaking', 'a,b,c']
  assert [row.values['split'] for row in rows] == ['test'] * 3
  assert [row.note for row in rows] == ['', *["label with ',' was not quoted"] * 2]


def test_other_numbers_of_columns_are_problems(tmp_path):
  rows = read(tmp_path / 'a.csv', 'id,label\na\nb,dog\nc,cat,loud\n')
  assert values(rows[1:2]) == [{'id': 'b', 'label': 'dog'}]
  assert str(rows[0]).endswith("a.csv:2: a clip: wanted 2 columns (id, label); got 1: 'a'")
  assert str(rows[2]).endswith("a.csv:4: a clip: wanted 2 columns (id, label); got 3: 'c,cat,loud'")


def test_a_quote_that_is_not_closed_takes_no_other_lines(tmp_path):
  content = 'id,label\na,"dog\nb,cat\nc,"cow, loud"\nd,"pig\n'
  first, b, c, last = read(tmp_path / 'a.csv', content)
  assert (first.where, first.kind) == (f'{tmp_path}/a.csv:2', 'malformed') and 'not closed' in first.reason
  assert values([b, c]) == [{'id': 'b', 'label': 'cat'}, {'id': 'c', 'label': 'cow, loud'}]
  assert last.where.endswith(':5') and 'not closed' in last.reason


def test_a_quote_inside_a_cell_is_a_problem(tmp_path):
  bad, good = read(tmp_path / 'a.csv', 'id,label\na,"big" dog\nb,5" gun\n')
  assert bad.where.endswith(':2') and 'a quote is inside a cell' in bad.reason
  assert good.values['label'] == '5" gun'


def test_bytes_that_are_no_text_are_problems(tmp_path):
  rows = read(tmp_path / 'a.csv', b'id,label\na,caf\xe9\nb,caf\xc3\xa9\nc,\xef\xbf\xbd\nd,a\0b\n')
  assert 'byte 0xe9' in rows[0].reason and rows[0].where.endswith(':2')
  assert rows[1].values['label'] == 'caf\xe9'
  assert 'U+FFFD' in rows[2].reason and 'zero bytes' in rows[3].reason
  assert [row.where[-1] for row in rows[2:]] == ['4', '5']


def test_json_lines(tmp_path):
  rows = read(tmp_path / 'a.jsonl', '{"id": "a", "n": 1}\n\n[1]\n{"id": \n{"id": "b"}\n')
  assert [row.line for row in rows if isinstance(row, tables.Row)] == [1, 5]
  assert [row.where[-1] for row in rows if isinstance(row, items.Problem)] == ['3', '4']
  with pytest.raises(ValueError, match='has no line with a JSON object'):
    opened(tmp_path / 'b.jsonl', '\n')


def test_parquet(tmp_path):
  pyarrow = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
  from pyarrow import parquet

  path = tmp_path / 'a.parquet'
  parquet.write_table(pyarrow.table({'id': ['a', 'b'], 'caption': [['x', 'y'], None]}), path)
  table = tables.open_table(path, KNOWN)
  assert table.columns == ('id', 'caption')
  assert list(table) == [
    tables.Row(1, {'id': 'a', 'caption': ['x', 'y']}),
    tables.Row(2, {'id': 'b', 'caption': None}),
  ]
  path.write_bytes(b'no parquet')
  with pytest.raises(ValueError, match=r'a\.parquet: is no Parquet file'):
    tables.open_table(path, KNOWN)


@pytest.mark.parametrize(
  'content, reason',
  [
    ('', 'has no rows'),
    ('\n,\n', 'has no rows'),
    ('id,label,id\n', "has the column 'id' twice"),
    ('x,y\n', 'wanted a header with'),
  ],
)
def test_a_file_that_is_no_such_table_is_refused(content, reason, tmp_path):
  with pytest.raises(ValueError, match=reason):
    opened(tmp_path / 'a.csv', content)
  with pytest.raises(FileNotFoundError, match=r'none\.csv: there is no such file'):
    tables.open_table(tmp_path / 'none.csv', KNOWN)


@pytest.mark.parametrize(
  'text, fault',
  [
    ('#NAME?', 'the error'),
    ('#VALUE!', 'the error'),
    ('1.23457E+10', 'scientific'),
    ('5E8', 'scientific'),
    ('12-Mar', 'a date'),
    ('2015-03-12', 'a date'),
    ('Mar-12', 'a date'),
    ('-12', 'a number'),
    ('4,5', 'a number'),
    ('TRUE', 'truth'),
    ('\u2014PJHxphWEs', 'dash'),
    ('-0BIyqJj9ZU', ''),
    ('--4gqARaEJE', ''),
    ('2015-02-16-16-49-06', ''),
  ],
)
def test_what_spreadsheets_make_of_ids_is_known(text, fault):
  found = tables.spreadsheet_fault(text)
  assert fault in found and bool(fault) == bool(found)


def test_tables_are_lazy_pickled_and_read_repeatedly(tmp_path):
  table = opened(tmp_path / 'a.csv', 'id,label\n' + 'a,dog\n' * 100_000)
  start_s = time.perf_counter()
  assert next(iter(table)).line == 2
  assert time.perf_counter() - start_s < 0.1
  again = pickle.loads(pickle.dumps(table))
  assert sum(1 for _ in again) == sum(1 for _ in again) == 100_000
