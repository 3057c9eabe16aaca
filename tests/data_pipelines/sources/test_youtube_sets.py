"""AudioSet, AudioCaps and AVE."""

import pathlib

import pytest

from data_pipelines.sources import audiocaps
from data_pipelines.sources import audioset
from data_pipelines.sources import ave
from v2a.data import annotations as annotations_lib

FIRST, SECOND = '--PJHxphWEs', '-0FHUc78Gqo'
ONTOLOGY = """[
{"id": "/m/1", "name": "Animal", "child_ids": ["/m/2"], "restrictions": ["abstract"]},
{"id": "/m/2", "name": "Dog", "child_ids": ["/m/3"], "restrictions": []},
{"id": "/m/3", "name": "Bark, howl", "child_ids": [], "restrictions": []}]"""
INDICES = 'index,mid,display_name\n0,/m/2,"Dog"\n1,/m/3,"Bark, howl"\n'


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  (tmp_path / f'Y{FIRST}.wav').touch()
  (tmp_path / f'{SECOND}_30.000_40.000.flac').touch()
  (tmp_path / f'{SECOND}.mp4').touch()
  return tmp_path


def write(path: pathlib.Path, content: str) -> pathlib.Path:
  path.write_text(content, encoding='utf-8', newline='')
  return path


HEADERS = {
  'official': '# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2, num_segs=2\n'
  '# YTID, start_seconds, end_seconds, positive_labels\n',
  'header': 'YTID,start_seconds,end_seconds,positive_labels\n',
  'none': '',
}


@pytest.mark.parametrize('header', HEADERS)
@pytest.mark.parametrize('between', [', ', ','])
def test_audioset(header, between, folder):
  rows = [
    (FIRST, '30.000', '40.000', '"/m/3,/m/2"'),
    (SECOND, '30.000', '40.000', '"/m/2"'),
    ('#NAME?', '0', '9', '"/m/2"'),
  ]
  content = HEADERS[header] + ''.join(between.join(row) + '\n' for row in rows)
  path = write(folder / 'eval_segments.csv', content)
  write(folder / 'ontology.json', ONTOLOGY)
  first, second, mangled = audioset.AudioSet(path)
  assert (first.id, first.start_s, first.end_s, first.split) == (f'{FIRST}_000030', 30.0, 40.0, 'test')
  assert first.annotations.captions == (annotations_lib.Caption('Bark, howl, Dog', 'label'),)
  assert first.annotations.tags == (('class', 'Bark, howl'), ('class', 'Dog'), ('ancestor', 'Animal'))
  assert (second.media.path.suffix, second.start_s, second.end_s) == ('.flac', 0.0, None)
  assert mangled.kind == 'malformed' and mangled.where.endswith(f':{content.count(chr(10))}')


def test_audioset_with_class_labels(folder):
  path = write(
    folder / 'eval_segments.csv',
    f'{FIRST}, 30.000, 40.000, "/m/3"\n{SECOND}, 40.000, 40.000, "/m/3"\n{SECOND},0,9,"/m/1"\n',
  )
  with pytest.raises(ValueError, match=r'wanted ontology\.json or class_labels_indices\.csv beside it'):
    list(audioset.AudioSet(path))
  write(folder / 'class_labels_indices.csv', INDICES)
  item, empty, unknown = audioset.AudioSet(path)
  assert item.annotations.tags == (('class', 'Bark, howl'),)
  assert 'must end after its start' in empty.reason and "'/m/1' is no class" in unknown.reason
  write(folder / 'other.json', '{"id": 1}')
  with pytest.raises(ValueError, match=r'other\.json: wanted the list of classes of AudioSet'):
    list(audioset.AudioSet(path, classes=folder / 'other.json'))


def test_captions_of_audiocaps_belong_to_one_item(folder):
  path = write(
    folder / 'val.csv',
    'audiocap_id,youtube_id,start_time,caption\r\n'
    f'1,{FIRST},30,A dog barks\r\n2,{SECOND},30,"Water, then wind"\r\n3,{FIRST},30,A dog, barking\r\n'
    f'3,{FIRST},30,Again\r\n4,{FIRST},30,\r\n5,#NAME?,30,A cat\r\n6,{FIRST},60,Rain\r\n',
  )
  *problems, first, second, third = audiocaps.AudioCaps(path)
  assert [(each.kind, each.where[-2:]) for each in problems] == [
    ('duplicate', ':5'),
    ('malformed', ':6'),
    ('malformed', ':7'),
  ]
  assert [caption.text for caption in first.annotations.captions] == ['A dog barks', 'A dog, barking']
  assert (first.id, first.start_s, first.end_s, first.split) == (f'{FIRST}_000030', 30.0, 40.0, 'validation')
  assert [caption.text for caption in second.annotations.captions] == ['Water, then wind']
  assert (third.id, third.group) == (f'{FIRST}_000060', FIRST)
  assert 'val.csv:4' in dict(first.annotations.tags)['note']


@pytest.mark.parametrize('header', ['', 'Category&VideoID&Quality&StartTime&EndTime\n'])
def test_events_of_ave_belong_to_one_item(header, folder):
  first_line = 1 + bool(header)
  path = write(
    folder / 'trainSet.txt',
    f'{header}Male speech, man speaking&{SECOND}&good&5&10\n'
    f'Female speech, woman speaking&{SECOND}&good&0&10\n'
    f'Dog&{SECOND}&good&0&0\nDog&{FIRST}&good&0&10\nDog&{SECOND}&good\n'
    f'Male speech, man speaking&{SECOND}&good&5&10\n',
  )
  empty, short, repeated, item, missing = ave.Ave(path)
  assert (item.id, item.media.path.name, item.split) == (SECOND, f'{SECOND}.mp4', 'train')
  assert item.annotations.events == (
    annotations_lib.Event(5.0, 10.0, 'Male speech, man speaking'),
    annotations_lib.Event(0.0, 10.0, 'Female speech, woman speaking'),
  )
  assert item.annotations.captions[0].text == 'Male speech, man speaking, Female speech, woman speaking'
  assert [each.kind for each in (empty, short, repeated, missing)] == [
    'malformed',
    'malformed',
    'duplicate',
    'missing',
  ]
  lines = [int(each.where.rpartition(':')[2]) - first_line for each in (empty, short, repeated, missing)]
  assert lines == [2, 4, 5, 3]


def test_segments_within_a_second_have_ids_of_their_own(folder):
  write(folder / 'class_labels_indices.csv', INDICES)
  path = write(
    folder / 'train.csv', f'{FIRST},30.25,40.25,"/m/3"\n{FIRST},30.5,40.5,"/m/3"\n{FIRST},30,40,"/m/3"\n'
  )
  assert [item.id for item in audioset.AudioSet(path)] == [
    f'{FIRST}_30.25',
    f'{FIRST}_30.5',
    f'{FIRST}_000030',
  ]
