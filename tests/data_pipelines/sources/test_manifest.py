"""Manifests of clips as CSV, JSON lines and Parquet."""

import json
import pathlib

import pytest

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import manifest
from v2a.data import annotations as annotations_lib

VIDEO = '-0BIyqJj9ZU'


@pytest.fixture
def media(tmp_path: pathlib.Path) -> pathlib.Path:
  for name in ('a.mp4', 'sub/b.flac', f'{VIDEO}.mp4', f'{VIDEO}_000090.mp4', 'c.txt'):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
  return tmp_path


def read(path: pathlib.Path, content: str) -> list:
  path.write_text(content, newline='')
  return list(manifest.Manifest(path))


def test_csv(media):
  content = (
    'path,start_s,end_s,caption,label,transcript,licence,split\n'
    'a.mp4,1.5,4,"A dog, barking",dog,good boy,CC0-1.0,val\n'
    'sub/b.flac,,,,,,,\na.mp4,5,,Rain, falling,rain,,,\n'
  )
  first, second, third = read(media / 'clips.csv', content)
  assert (first.id, first.group, first.start_s, first.end_s) == ('a.mp4@1.5', 'a.mp4', 1.5, 4.0)
  assert [(each.style, each.text) for each in first.annotations.captions] == [
    ('label', 'dog'),
    ('short', 'A dog, barking'),
  ]
  assert first.annotations.transcript.text == 'good boy'
  assert (first.licence, first.split) == ('CC0-1.0', 'validation')
  assert (second.id, second.media, second.end_s) == (
    'sub/b.flac',
    items.MediaFile(media / 'sub/b.flac'),
    None,
  )
  assert second.annotations == annotations_lib.Annotations() and second.split is None
  assert (third.id, third.annotations.captions[1].text) == ('a.mp4@5', 'Rain, falling')
  notes = [text for name, text in third.annotations.tags if name == entries.NOTE]
  assert any('clips.csv:4: caption' in note for note in notes)


def test_json_lines_have_lists(media):
  words = [{'word': 'good', 'start_s': 1, 'end_s': 2}, {'word': 'boy', 'start_s': 2, 'end_s': 3}]
  rows = [
    {'path': 'a.mp4', 'caption': ['one', 'two'], 'label': ['dog', 'cat'], 'transcript': words},
    {'path': 'a.mp4', 'id': 'x', 'transcript': [{'word': 'good'}]},
    {'path': 'a.mp4', 'id': 'y', 'caption': 3},
    {'path': 'a.mp4', 'id': 'z', 'captoin': 'dog'},
  ]
  first, *problems = read(media / 'clips.jsonl', ''.join(json.dumps(row) + '\n' for row in rows))
  assert [each.text for each in first.annotations.captions] == ['dog, cat', 'one', 'two']
  assert (first.annotations.transcript.text, first.annotations.transcript.times_s) == ('good boy', (1.5, 2.5))
  assert [(each.id, each.where[-2:]) for each in problems] == [('x', ':2'), ('y', ':3'), ('z', ':4')]
  assert 'transcript must be a list of' in problems[0].reason and 'got 3' in problems[1].reason
  assert problems[2].reason == "unknown column 'captoin'; did you mean caption?"


def test_parquet(media):
  pyarrow = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
  from pyarrow import parquet

  columns = {'path': ['a.mp4', 'no.mp4'], 'start_s': [2.0, float('nan')], 'caption': [['one', 'two'], None]}
  parquet.write_table(pyarrow.table(columns), media / 'clips.parquet')
  item, missing = manifest.Manifest(media / 'clips.parquet')
  assert (item.id, item.start_s, len(item.annotations.captions)) == ('a.mp4@2', 2.0, 2)
  assert (missing.kind, missing.where) == ('missing', f'{media}/clips.parquet:2')


def test_ids_find_their_media(media):
  content = (
    f'id,start_s,end_s\n{VIDEO},30,40\n{VIDEO}_000090,,\n{VIDEO}_000050,,\n{VIDEO}_50_60,,\na,1,2\nnone,,\n'
  )
  found = read(media / 'clips.csv', content)
  assert [
    (each.media.path.name, each.start_s, each.end_s) for each in (found[0], found[1], found[3], found[4])
  ] == [
    (f'{VIDEO}.mp4', 30.0, 40.0),
    (f'{VIDEO}_000090.mp4', 0.0, None),
    (f'{VIDEO}.mp4', 50.0, 60.0),
    ('a.mp4', 1.0, 2.0),
  ]
  assert {each.group for each in (found[0], found[1], found[3])} == {VIDEO}
  # A whole video, and no end of the segment.
  assert found[2].kind == found[5].kind == 'missing'


def test_faults_name_their_line(media):
  rows = [
    ('a.mp4', '', '-1', '2', ''),
    ('a.mp4', '', '5', '5', ''),
    ('a.mp4', '', 'x', '', ''),
    ('none.mp4', '', '', '', ''),
    ('c.txt', '', '', '', ''),
    ('', '', '', '', 'train'),
    ('#NAME?', '', '', '', ''),
    ('a.mp4', 'x', '0', '10', 'train'),
    ('a.mp4', 'x', '20', '30', 'train'),
    ('a.mp4', 'y', '9', '12', 'test'),
    ('./a.mp4', 'z', '9', '12', 'test'),
    ('', f'{VIDEO}_000090', '1', '', ''),
  ]
  content = 'path,id,start_s,end_s,split\n' + ''.join(','.join(row) + '\n' for row in rows)
  found = read(media / 'clips.csv', content)
  problems = {int(each.where.rpartition(':')[2]): each for each in found if isinstance(each, items.Problem)}
  assert {line: each.kind for line, each in problems.items()} == {
    **dict.fromkeys((2, 3, 4, 6, 7, 8, 13), 'malformed'),
    5: 'missing',
    10: 'duplicate',
    11: 'duplicate',
    12: 'duplicate',
  }
  assert 'got -1 s' in problems[2].reason and "got 'x'" in problems[4].reason
  assert "'c.txt' must end in" in problems[6].reason and 'both are empty' in problems[7].reason
  assert 'spreadsheet' in problems[8].reason and 'overlaps 0 s to 10 s in split train' in problems[11].reason
  assert len(found) == len(rows)


def test_unknown_columns_are_refused(media):
  with pytest.raises(ValueError, match=r"clips\.csv: unknown column 'license'; did you mean licence\?"):
    read(media / 'clips.csv', 'path,license\na.mp4,x\n')
  with pytest.raises(ValueError, match=r"unknown column 'zzz'; known are path, id, "):
    read(media / 'clips.csv', 'path,zzz\na.mp4,x\n')
  with pytest.raises(ValueError, match=r'wanted a column path or id; got caption, label'):
    read(media / 'clips.csv', 'caption,label\na.mp4,x\n')
