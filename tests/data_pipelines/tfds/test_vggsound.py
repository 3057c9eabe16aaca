"""VGGSound as a data set of TFDS: its examples are the items of the source; other clips are counted."""

import dataclasses
import os
import pathlib
import pickle
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from data_pipelines.sources import items
from data_pipelines.sources import tfds as tfds_source
from data_pipelines.sources import vggsound as vggsound_source
from data_pipelines.tfds import examples
from data_pipelines.tfds import item_builder
from data_pipelines.tfds import table_builder
from data_pipelines.tfds import vggsound
from tests.data_pipelines.tfds import building

pytestmark = pytest.mark.tfds

CUT, WHOLE, THIRD, EMPTY, ABSENT = '---g-f_I2yQ', '--U7joUcTCo', '-0BIyqJj9ZU', '-0FHUc78Gqo', '-0Zg_dXR_6I'
SPEECH = 'female speech, woman speaking'
ROWS = (
  f'{CUT},30,dog barking,train',
  f'{WHOLE},0,"{SPEECH}",train',
  f'{THIRD},30,Hammerschläge,test',
  f'{EMPTY},30,people marching,train',
  f'{ABSENT},13,sheep bleating,test',
  '#NAME?,30,frog croaking,test',
)


def write(folder: pathlib.Path) -> pathlib.Path:
  """Writes a table of six clips, of which three can be used, and their media."""
  (folder / 'videos').mkdir(parents=True)
  (folder / 'vggsound.csv').write_text('\n'.join(ROWS) + '\n', encoding='utf-8')
  (folder / 'videos' / f'{CUT}_000030.mp4').write_bytes(b'\0\0\0\x20ftypisom cut')
  (folder / 'videos' / f'{WHOLE}.WEBM').write_bytes(b'\x1aE\xdf\xa3 whole')
  (folder / 'videos' / f'{THIRD}_000030.mp4').write_bytes(b'third\0')
  (folder / 'videos' / f'{EMPTY}_000030.mp4').touch()
  return folder


class VggSoundTest(building.BuilderTests):
  DATASET_CLASS = vggsound.VggSound
  SPLITS = {'train': 2, 'test': 1}

  @classmethod
  def write(cls, folder):
    write(folder)


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
  """The folder of the user, and that of the data sets that were built."""
  manual_dir, data_dir = write(tmp_path_factory.mktemp('manual')), tmp_path_factory.mktemp('data')
  item_builder.build(vggsound.VggSound(data_dir=data_dir), manual_dir)
  return manual_dir, data_dir


def test_files_are_array_records(folders):
  names = {path.name for path in folders[1].rglob('*.array_record-*')}
  assert names == {f'vggsound-{split}.array_record-00000-of-00001' for split in ('train', 'test')}


def test_examples_have_the_bytes_of_the_files(folders):
  manual_dir, data_dir = folders
  source = tfds.data_source('vggsound', data_dir=data_dir)
  found = {each['id'].decode(): each for split in ('train', 'test') for each in source[split]}
  assert set(found) == {f'{CUT}_000030', f'{WHOLE}_000000', f'{THIRD}_000030'}
  cut, whole = found[f'{CUT}_000030'], found[f'{WHOLE}_000000']
  assert cut['media'] == (manual_dir / 'videos' / f'{CUT}_000030.mp4').read_bytes()
  assert (cut['suffix'], whole['suffix']) == (b'.mp4', b'.webm')
  assert (cut['start_us'], cut['end_us']) == (0, -1) and (whole['start_us'], whole['end_us']) == (0, 10**7)
  assert list(whole['label']) == [SPEECH.encode()] and list(whole['caption']) == []
  assert cut['group'] == CUT.encode() and cut['licence'].startswith(b'CC-BY-4.0')
  assert list(found[f'{THIRD}_000030']['label']) == ['Hammerschläge'.encode()]


def test_the_source_reads_the_items_that_were_written(folders):
  manual_dir, data_dir = folders
  expected = {
    item.id: item
    for item in vggsound_source.VggSound(manual_dir / 'vggsound.csv')
    if isinstance(item, items.Item) and item.group != EMPTY
  }
  for split in ('train', 'test'):
    for item in pickle.loads(
      pickle.dumps(list(tfds_source.Tfds('vggsound', split=split, data_dir=data_dir)))
    ):
      original = expected.pop(item.id)
      assert dataclasses.replace(item, media=original.media) == original and item.split == split
      with item.media.as_file() as path:
        assert path.read_bytes() == original.media.path.read_bytes()
        assert path.suffix == pathlib.Path(item.media.name).suffix == original.media.path.suffix.lower()
  assert not expected


def test_clips_without_an_example_are_counted(folders):
  manual_dir, data_dir = folders
  builder = vggsound.VggSound(data_dir=data_dir)
  counts = '1 malformed, 1 missing, 1 unreadable'
  assert item_builder.summary(builder).endswith(f'2 train, 1 test; not in it: {counts} (see problems.jsonl)')
  missing, mangled, empty = building.problems(builder)
  assert (missing['kind'], missing['id']) == ('missing', f'{ABSENT}_000013')
  assert (mangled['kind'], mangled['where']) == ('malformed', f'{manual_dir / "vggsound.csv"}:6')
  assert (empty['kind'], empty['id']) == ('unreadable', f'{EMPTY}_000030') and empty['reason'].endswith(
    'got 0'
  )


def test_large_files_are_problems(folders, tmp_path, monkeypatch):
  monkeypatch.setattr(examples, 'MAX_MEDIA_BYTES', 10)
  builder = item_builder.build(vggsound.VggSound(data_dir=tmp_path), folders[0])
  assert {split: info.num_examples for split, info in builder.info.splits.items()} == {'train': 1, 'test': 1}
  assert [each['id'] for each in building.problems(builder)[2:]] == [f'{CUT}_000030', f'{EMPTY}_000030']


def test_array_records_are_read_without_tensorflow(folders):
  code = (
    'import sys\n'
    'from importlib import machinery\n'
    'class Finder(machinery.PathFinder):\n'
    '  @classmethod\n'
    '  def find_spec(cls, name, *rest):\n'
    "    return None if name == 'tensorflow' else super().find_spec(name, *rest)\n"
    'sys.meta_path[sys.meta_path.index(machinery.PathFinder)] = Finder\n'
    'from data_pipelines.sources import catalog\n'
    "for item in catalog.open_source('tfds:vggsound', data_dir=sys.argv[1]):\n"
    '  with item.media.as_file() as path:\n'
    '    print(item.id, path.stat().st_size)\n'
  )
  environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(building.ROOT), *sys.path])}
  command = [sys.executable, '-c', code, str(folders[1])]
  ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
  assert sorted(ran.stdout.split('\n')[:-1]) == [f'{CUT}_000030 16', f'{WHOLE}_000000 10'], ran.stderr[-3000:]


def test_a_configuration_names_other_tables(folders, tmp_path):
  manual_dir = folders[0]
  (manual_dir / 'chosen-test.tsv').write_text(f'id\tlabel\n{CUT}_000030\tdog\n{THIRD}_000030\thammer\n')
  (manual_dir / 'chosen-train.tsv').write_text(f'id\tlabel\n{THIRD}_000030\thammer\n{WHOLE}_000000\tspeech\n')
  config = table_builder.TablesConfig(name='chosen', tables=['chosen-test.tsv', 'chosen-train.tsv'])
  builder = item_builder.build(vggsound.VggSound(data_dir=tmp_path, config=config), manual_dir)
  assert {split: info.num_examples for split, info in builder.info.splits.items()} == {'train': 1, 'test': 2}
  (duplicate,) = building.problems(builder)
  assert (duplicate['kind'], duplicate['id']) == ('duplicate', f'{THIRD}_000030')
  assert len(list(tfds_source.Tfds('vggsound/chosen', split='test', data_dir=tmp_path))) == 2


def test_a_folder_without_tables_is_refused(tmp_path):
  (tmp_path / 'other.csv').touch()
  builder = vggsound.VggSound(data_dir=tmp_path / 'data')
  with pytest.raises(FileNotFoundError, match=r'wanted vggsound\.csv, or train\.csv and test\.csv'):
    item_builder.build(builder, tmp_path)
  config = table_builder.TablesConfig(name='x', tables=('x.csv',))
  with pytest.raises(FileNotFoundError, match=r'vggsound: there is no table .*x\.csv'):
    item_builder.build(vggsound.VggSound(data_dir=tmp_path / 'data', config=config), tmp_path)


def test_a_folder_without_media_is_refused(tmp_path):
  (tmp_path / 'train.csv').write_text(f'{CUT}_000030.mp4,dog barking\n')
  with pytest.raises(ValueError, match=r'none of its 1 clips can be used; .*train\.csv:1: .* has no media'):
    item_builder.build(vggsound.VggSound(data_dir=tmp_path / 'data'), tmp_path)
