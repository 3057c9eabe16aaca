"""AudioCaps as a data set of TFDS: all captions of a clip are in one example, in the split of their table."""

import dataclasses
import pathlib

import pytest
import tensorflow_datasets as tfds

from data_pipelines.sources import audiocaps as audiocaps_source
from data_pipelines.sources import items
from data_pipelines.sources import tfds as tfds_source
from data_pipelines.tfds import audiocaps
from data_pipelines.tfds import item_builder
from tests.data_pipelines.tfds import building

pytestmark = pytest.mark.tfds

FIRST, SECOND, ABSENT = '--PJHxphWEs', '-0FHUc78Gqo', '-0Zg_dXR_6I'
HEADER = 'audiocap_id,youtube_id,start_time,caption\n'
TABLES = {
  'train.csv': f'1,{FIRST},30,A dog barks\n2,{ABSENT},30,Rain\n',
  'val.csv': f'3,{SECOND},30,"Water, then wind"\n4,{SECOND},30,Water\n',
}


def write(folder: pathlib.Path) -> pathlib.Path:
  """Writes two tables of three clips, of which one has no media."""
  for name, rows in TABLES.items():
    (folder / name).write_text(HEADER + rows)
  (folder / f'Y{FIRST}.wav').write_bytes(b'RIFF    WAVE first')
  (folder / f'{SECOND}_30.000_40.000.flac').write_bytes(b'fLaC second')
  return folder


class AudioCapsTest(building.BuilderTests):
  DATASET_CLASS = audiocaps.AudioCaps
  SPLITS = {'train': 1, 'validation': 1}

  @classmethod
  def write(cls, folder):
    write(folder)


def test_examples_are_the_items_of_the_source(tmp_path):
  builder = item_builder.build(audiocaps.AudioCaps(data_dir=tmp_path), write(tmp_path))
  (first,) = tfds.data_source('audiocaps', split='train', data_dir=tmp_path)
  (second,) = tfds.data_source('audiocaps', split='validation', data_dir=tmp_path)
  # Of the first, the whole video is there: its times apply.
  assert (first['start_us'], first['end_us'], first['suffix']) == (30 * 10**6, 40 * 10**6, b'.wav')
  assert list(second['caption']) == [b'Water, then wind', b'Water'] and second['media'] == b'fLaC second'
  for name, split in (('train.csv', 'train'), ('val.csv', 'validation')):
    (original,) = (
      each for each in audiocaps_source.AudioCaps(tmp_path / name) if isinstance(each, items.Item)
    )
    (item,) = tfds_source.Tfds('audiocaps', split=split, data_dir=tmp_path)
    assert dataclasses.replace(item, media=original.media) == original
  (problem,) = building.problems(builder)
  assert problem['kind'] == 'missing' and problem['where'] == f'{tmp_path / "train.csv"}:3'
