"""VGGSound in every table in use."""

import pathlib
import pickle

import pytest

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import vggsound
from v2a.data import annotations as annotations_lib

FIRST, SECOND = '---g-f_I2yQ', '--U7joUcTCo'


@pytest.fixture
def media(tmp_path: pathlib.Path) -> pathlib.Path:
  folder = tmp_path / 'media'
  folder.mkdir()
  (folder / f'{FIRST}_000030.mp4').touch()
  (folder / f'{SECOND}.mp4').touch()
  return folder


def read(folder: pathlib.Path, name: str, content: str, media: pathlib.Path, **settings) -> list:
  path = folder / name
  path.write_text(content, encoding='utf-8', newline='')
  source = vggsound.VggSound(path, media, **settings)
  return list(pickle.loads(pickle.dumps(source)))


SPEECH = 'female speech, woman speaking'
DIALECTS = {
  'test.csv': f'{FIRST}_000030.mp4,dog barking\r\n{SECOND}_000000.mp4,"{SPEECH}"\r\n',
  'spreadsheet_test.csv': f'{FIRST}_000030.mp4;dog barking\n{SECOND}_000000.mp4;"{SPEECH}"\n',
  'unquoted_test.csv': f'{FIRST}_000030.mp4,dog barking\n{SECOND}_000000.mp4,{SPEECH}\n',
  'vggsound.csv': f'{FIRST},30,dog barking,test\n{SECOND},0,"{SPEECH}",test\n',
  'vgg-test.tsv': f'id\tlabel\n{FIRST}_000030\tdog barking\n{SECOND}_000000\t{SPEECH}\n',
  'milliseconds_test.tsv': f'id\tlabel\n{FIRST}_30000_40000\tdog barking\n{SECOND}_0_10000\t{SPEECH}\n',
  'tempotokens.csv': (
    f'ytid,start_time,class,set\n{FIRST},30,dog barking,test\n{SECOND},0,"{SPEECH}",test\n'
  ),
}


@pytest.mark.parametrize('name', DIALECTS)
def test_each_table_gives_the_same_items(name, tmp_path, media):
  first, second = read(tmp_path, name, DIALECTS[name], media)
  assert (first.id, first.group, first.split) == (f'{FIRST}_000030', FIRST, 'test')
  assert first.media == items.MediaFile(media / f'{FIRST}_000030.mp4')
  assert (first.start_s, first.end_s) == (0.0, None)
  assert first.annotations.captions == (annotations_lib.Caption('dog barking', 'label'),)
  # Of the second, the whole video is there: its times apply.
  assert (second.id, second.start_s, second.end_s) == (f'{SECOND}_000000', 0.0, 10.0)
  assert second.annotations.captions[0].text == SPEECH
  assert first.licence == second.licence and first.licence.startswith('CC-BY-4.0')
  is_repaired = any(key == entries.NOTE for key, _ in second.annotations.tags)
  assert is_repaired == name.startswith('unquoted')


def test_windows_of_v_aura_and_synchformer_begin_in_the_clip(tmp_path, media):
  content = f'file,start_sec\n{FIRST}_30000_40000,4.64\n{SECOND}_0_10000,1.5\n'
  first, second = read(tmp_path, 'vggsound_test.csv', content, media)
  assert (first.id, first.start_s, first.end_s) == (f'{FIRST}_000030@4.64', 4.64, None)
  assert (second.id, second.start_s, second.end_s) == (f'{SECOND}_000000@1.5', 1.5, 10.0)
  content = (
    'dataset_name,video_id,vstart_sec,offset_sec,is_sync\n'
    f'vggsound_sparse,{FIRST}_30000_40000,4.64,-1.0,1\nvggsound_sparse,{FIRST}_30000_40000,0.2,0.4,0\n'
  )
  first, second = read(tmp_path, 'fixed_offsets.csv', content, media)
  assert (first.start_s, second.start_s) == (4.64, 0.2)
  assert dict(first.annotations.tags)['offset_sec'] == '-1.0'
  assert dict(second.annotations.tags)['is_sync'] == '0'


def test_synchformer_sparse(tmp_path, media):
  content = (
    'dataset_name,video_id,start_sec,vid_is_missing,is_sync,is_sync_by_cls_obj\n'
    f'vggsound_sparse,{FIRST},30,0,1,1\n'
  )
  (item,) = read(tmp_path, 'sparse.csv', content, media)
  assert item.id == f'{FIRST}_000030' and item.annotations.captions == () and item.split is None
  assert dict(item.annotations.tags)['is_sync_by_cls_obj'] == '1'


def test_labels_that_contradict_the_video_are_no_captions(tmp_path, media):
  content = (
    'video_id\tlabel_L0_raw\tlabel_L0\tlabel_L1_subject\tlabel_L1_action\tlabel_L2\tlabel_L3\n'
    f'{FIRST}_000030\t{SPEECH}\twoman speaking\tman speaking\twoman humming\tviolin\tball\n'
  )
  (item,) = read(tmp_path, 'tvc.tsv', content, media)
  assert [caption.text for caption in item.annotations.captions] == [SPEECH]
  assert dict(item.annotations.tags)['label_l1_subject'] == 'man speaking'


def test_numbered_clips_of_tempotokens(tmp_path, media):
  (media / '578.mp4').touch()
  item, missing = read(
    tmp_path, 'drum.csv', 'ytid,start_time,class,set\n578,0,drum kit,train\n6783,0,drum kit,train\n', media
  )
  assert (item.id, item.split, item.media.path.name) == ('578_000000', 'train', '578.mp4')
  assert missing.kind == 'missing'


def test_every_line_gives_an_item_or_a_problem(tmp_path, media):
  lines = [
    f'{FIRST},30,dog barking,train',
    '#NAME?,30,dog barking,train',
    '1.23E+10,30,dog barking,train',
    '12-Mar,30,dog barking,train',
    f'{SECOND},-5,dog barking,train',
    f'{SECOND},x,dog barking,train',
    f'{FIRST},30,cat,train',
    f'{FIRST},35,cat,test',
    f'{FIRST},90,cat,train',
    f"'{SECOND},40,cat,train",
    f'"=""{SECOND}""",45,cat,train',
    f'https://www.youtube.com/watch?v={SECOND}&t=3,100,cat,train',
    'abc,1,cat',
  ]
  (media / f'{FIRST}_000035.mp4').touch()
  found = read(tmp_path, 'vggsound.csv', '\n'.join(lines), media)
  assert len(found) == len(lines)
  problems = {line: each for line, each in enumerate(found, 1) if isinstance(each, items.Problem)}
  assert {line: each.kind for line, each in problems.items()} == {
    2: 'malformed',
    3: 'malformed',
    4: 'malformed',
    5: 'malformed',
    6: 'malformed',
    7: 'duplicate',
    8: 'duplicate',
    9: 'missing',
    13: 'malformed',
  }
  assert all(each.where.endswith(f'vggsound.csv:{line}') for line, each in problems.items())
  assert (
    'spreadsheet' in problems[2].reason
    and 'scientific' in problems[3].reason
    and 'a date' in problems[4].reason
  )
  assert 'got -5 s' in problems[5].reason and "got 'x'" in problems[6].reason
  assert f'wanted {FIRST}.mp4, {FIRST}_000090.mp4 or {FIRST}_90000_100000.mp4' in problems[9].reason
  assert [found[index].id for index in (9, 10, 11)] == [
    f'{SECOND}_000040',
    f'{SECOND}_000045',
    f'{SECOND}_000100',
  ]
  assert 'overlaps' in dict(found[10].annotations.tags)[entries.NOTE]


def test_an_id_without_a_start_is_malformed(tmp_path, media):
  (problem,) = read(tmp_path, 'test.csv', f'{FIRST}.mp4,dog\n', media)
  assert problem.id == FIRST and f'wanted an id such as {FIRST}_000030' in problem.reason


def test_other_tables_are_refused(tmp_path, media):
  with pytest.raises(ValueError, match=r'wanted a header with .* or 2 columns'):
    read(tmp_path, 'a.csv', 'a,b,c\n', media)
  with pytest.raises(ValueError, match=r'wanted a column named id, file, video_id, ytid; got label, other'):
    read(tmp_path, 'a.csv', 'label,other\nx,y\n', media)
