"""The synthetic set as a data set of TFDS: playable, with its ground truth, for any number of processes."""

import json

import av
import pytest
import tensorflow_datasets as tfds

from data_pipelines.sources import tfds as tfds_source
from data_pipelines.tfds import __main__ as command
from data_pipelines.tfds import item_builder
from data_pipelines.tfds import synthetic
from tests.data_pipelines.tfds import building
from v2a.synthetic import clips

pytestmark = pytest.mark.tfds

SIZES = {'size': 32, 'fps': 10.0, 'clip_s': 2.0, 'sample_rate_hz': 16000, 'scenes': ('bounce', 'dialogue')}
SPLITS = {'train': (5, 3), 'test': (6, 2)}
TINY = synthetic.SyntheticConfig(name='tiny', splits=SPLITS, **SIZES)


class SyntheticTest(building.BuilderTests):
  DATASET_CLASS = synthetic.Synthetic
  SPLITS = {'train': 3, 'test': 2}
  BUILDER_CONFIG_NAMES_TO_TEST = [TINY]


def examples(data_dir, split: str) -> list[dict]:
  """Returns the examples of a split of TINY, by id."""
  source = tfds.data_source('v2a_synthetic/tiny', split=split, data_dir=data_dir)
  return sorted(source, key=lambda each: each['id'])


def test_the_command_builds_the_same_examples_on_two_processes(tmp_path, capsys):
  item_builder.build(synthetic.Synthetic(data_dir=tmp_path / 'one', config=TINY))
  config = json.dumps({'name': 'tiny', 'splits': SPLITS, **SIZES, 'num_workers': 2})
  argv = ['v2a_synthetic', '--data-dir', str(tmp_path / 'two'), '--config', config]
  assert command.main(argv) == 0
  folder = tmp_path / 'two/v2a_synthetic/tiny/1.0.0'
  assert capsys.readouterr().out.splitlines()[-1] == f'{folder}: 3 train, 2 test'
  one, two = (examples(tmp_path / name, 'train') for name in ('one', 'two'))
  assert one == two and [each['id'] for each in one] == [f'world/5/{index}'.encode() for index in range(3)]
  assert command.main(argv) == 2 and 'exists already' in capsys.readouterr().err


def test_items_are_playable_and_have_the_ground_truth(tmp_path):
  builder = item_builder.build(synthetic.Synthetic(data_dir=tmp_path, config=TINY))
  assert building.problems(builder) == []
  truths = {each['id'].decode(): json.loads(each['truth']) for each in examples(tmp_path, 'test')}
  found = list(tfds_source.Tfds('v2a_synthetic/tiny', split='test', data_dir=tmp_path))
  assert {item.id for item in found} == set(truths) == {'world/6/0', 'world/6/1'}
  for item in found:
    rendered = clips.render(6, int(item.id[-1]), SIZES['scenes'], None, 2.0, 10.0, 32, 16000)
    assert truths[item.id] == json.loads(json.dumps(rendered.truth))
    assert item.annotations.captions[0].text == rendered.truth['annotation']
    assert item.annotations.transcript.text == rendered.truth['transcript']
    with item.media.as_file() as path, av.open(str(path)) as container:
      assert sum(1 for _ in container.decode(video=0)) == 20 and container.streams.audio[0].rate == 16000


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'splits': {'train': (1, 2), 'test': (1, 2)}}, 'different seeds'),
    ({'splits': {'train': (1, 0)}}, 'at least one clip'),
    ({'size': 33}, 'even'),
    ({'scenes': ['bounc']}, 'scenes must be some of'),
  ],
)
def test_other_configurations_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    synthetic.SyntheticConfig(name='x', **settings)
