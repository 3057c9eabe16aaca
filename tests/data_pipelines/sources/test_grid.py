"""GRID: alignments of words."""

import pathlib

import pytest

from data_pipelines.sources import grid
from data_pipelines.sources import items

ALIGNMENT = (
  '0 12250 sil\n12250 19250 set\n19250 27250 white\n27250 30500 sp\n30500 36000 p\n36000 74500 sil\n'
)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  for name in (
    's1/video/mpg_6000/swwp2s.mpg',
    's1/align/swwp2s.align',
    's1/audio/swwp2s.wav',
    's2/swwp2s.mpg',
    's2/x.align',
  ):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ALIGNMENT if name.endswith('.align') else '')
  return tmp_path


def test_words_have_times(folder):
  first, second, missing = grid.Grid(folder)
  assert (first.id, first.group, first.licence) == ('s1/swwp2s', 's1', 'CC-BY-4.0')
  assert first.media == items.MediaFile(folder / 's1/video/mpg_6000/swwp2s.mpg')
  transcript = first.annotations.transcript
  assert transcript.text == 'set white p'
  assert transcript.times_s == pytest.approx((0.63, 0.93, 1.33))
  assert (second.id, second.group) == ('s2/swwp2s', 's2')
  assert 'no alignment' in dict(second.annotations.tags)['note']
  assert (missing.kind, missing.id, missing.where) == ('missing', 's2/x', str(folder / 's2/x.align'))


@pytest.mark.parametrize(
  'line, reason',
  [
    ('19250 19250 white', "line 3: 'white' must begin at 0.77 s or later and end after its start"),
    ('12250 27250 white', "line 3: 'white' must begin at 0.77 s or later"),
    ('-5 27250 white', "line 3: wanted start, end and word; got '-5 27250 white'"),
    ('19250 27250', 'line 3: wanted start, end and word'),
  ],
)
def test_a_malformed_line_is_a_problem_of_its_clip(folder, line, reason):
  path = folder / 's1/align/swwp2s.align'
  path.write_text(ALIGNMENT.replace('19250 27250 white', line))
  problem = next(iter(grid.Grid(folder)))
  assert (problem.kind, problem.id, problem.where) == ('malformed', 's1/swwp2s', str(path))
  assert reason in problem.reason


def test_folders_above_are_no_speakers(tmp_path):
  root = tmp_path / 's3' / 'grid'
  root.mkdir(parents=True)
  (root / 'swwp2s.mpg').touch()
  (item,) = grid.Grid(root)
  assert (item.id, item.group) == ('swwp2s', 'swwp2s')
  (tmp_path / 's3' / 'x.mpg').touch()
  assert [item.id for item in grid.Grid(tmp_path / 's3')] == ['s3/swwp2s', 's3/x']


def test_other_folders_are_refused(tmp_path):
  with pytest.raises(ValueError, match='has no media of GRID'):
    list(grid.Grid(tmp_path))
