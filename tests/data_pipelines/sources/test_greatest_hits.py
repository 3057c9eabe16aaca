"""Greatest Hits in both layouts."""

import json
import pathlib

import pytest

from data_pipelines.sources import greatest_hits
from v2a.data import annotations as annotations_lib

HITS = [[2.6667, 'ceramic hit'], [5.6, 'None None'], [6.5, 'metal scratch'], [9.0, 'ceramic hit']]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  for name, hits in {
    '2015-02-16': HITS,
    '2015-02-17': [],
    '2015-02-18': [[-1, 'x y']],
    '2015-02-19': [[1]],
  }.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / 'hit_record.json').write_text(json.dumps(hits))
    (tmp_path / name / 'meta.json').write_text('{"frame_num": 120, "frame_rate": 15}')
    if name != '2015-02-17':
      (tmp_path / f'{name}_denoised.mp4').touch()
  (tmp_path / 'greatesthit_video_train.json').write_text('["2015-02-16"]')
  (tmp_path / 'greatesthit_video_valid.json').write_text('["2015-02-17", "2015-03-01"]')
  return tmp_path


def test_condfoley(folder):
  item, missing, negative, malformed, of_split = greatest_hits.GreatestHits(folder)
  assert (item.id, item.group, item.split) == ('2015-02-16', '2015-02-16', 'train')
  assert item.media.path.name == '2015-02-16_denoised.mp4'
  assert item.annotations.events[:2] == (
    annotations_lib.Event(2.6667, 2.6667, 'ceramic hit'),
    annotations_lib.Event(5.6, 5.6, 'unknown hit'),
  )
  assert item.annotations.captions == (annotations_lib.Caption('ceramic hit, metal scratch', 'label'),)
  assert 'has a hit at 9 s of 8 s' in dict(item.annotations.tags)['note']
  assert (missing.kind, missing.id) == ('missing', '2015-02-17')
  assert 'at least 0 s; got -1 s' in negative.reason and 'wanted a list of [time' in malformed.reason
  assert (of_split.id, of_split.where) == ('2015-03-01', str(folder / 'greatesthit_video_valid.json'))


def test_the_data_set_itself(tmp_path):
  (tmp_path / 'a_times.txt').write_text('2.6667 ceramic hit static\n5.6 None None None\n')
  (tmp_path / 'b_times.txt').write_text('1.0 wood hit static\nx wood hit static\n')
  (tmp_path / 'train.txt').write_text('a\n')
  (tmp_path / 'a.mp4').touch()
  (tmp_path / 'b.mp4').touch()
  item, malformed = greatest_hits.GreatestHits(tmp_path)
  assert [event.label for event in item.annotations.events] == ['ceramic hit', 'unknown hit']
  assert (
    item.split == 'train'
    and "line 2: the time of a hit must be a number of seconds; got 'x'" in malformed.reason
  )


def test_other_folders_are_refused(folder, tmp_path):
  (folder / 'greatesthit_video_test.json').write_text('["2015-02-16"]')
  with pytest.raises(ValueError, match='2015-02-16 is in split test, too|2015-02-16 is in split train, too'):
    list(greatest_hits.GreatestHits(folder))
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match=r'has no times of hits; wanted NAME/hit_record\.json'):
    list(greatest_hits.GreatestHits(tmp_path / 'empty'))
