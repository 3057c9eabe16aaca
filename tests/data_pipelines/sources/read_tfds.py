"""Prepares a tiny data set of TFDS in two formats, and reads it as a source; prints 'read'. See test_tfds."""

import pathlib
import pickle
import sys

import av
import numpy as np
import tensorflow_datasets

from data_pipelines.sources import items
from data_pipelines.sources import tfds

FOLDER = pathlib.Path(sys.argv[1])
FRAMES = np.random.default_rng(0).integers(0, 256, (60, 3, 12, 16, 3), np.uint8)
WAVES = np.random.default_rng(0).integers(-32768, 32768, (60, 600))
FEATURES = {
  'video': 'clip/frames',
  'audio': 'sound',
  'caption': 'texts',
  'label': 'kind',
  'id': 'clip/number',
}


class Tiny(tensorflow_datasets.core.GeneratorBasedBuilder):
  """A tiny data set."""

  VERSION = tensorflow_datasets.core.Version('1.0.0')

  def _info(self):
    features = tensorflow_datasets.features
    return tensorflow_datasets.core.DatasetInfo(
      builder=self,
      features=features.FeaturesDict(
        {
          'clip': {'frames': features.Video(shape=(None, 12, 16, 3)), 'number': np.int64},
          'sound': features.Audio(sample_rate=8000),
          'texts': features.Sequence(features.Text()),
          'kind': features.ClassLabel(names=['rain', 'dog']),
        }
      ),
    )

  def _split_generators(self, manager):
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for n in range(60):
      clip = {'frames': FRAMES[n], 'number': n}
      yield n, {'clip': clip, 'sound': WAVES[n], 'texts': ['a', f'b{n}'], 'kind': n % 2}


def check(item: items.Item) -> None:
  """Checks that an item is the example with its number."""
  n = int(item.id)
  captions = [(caption.style, caption.text) for caption in item.annotations.captions]
  assert captions == [('label', ['rain', 'dog'][n % 2]), ('short', 'a'), ('short', f'b{n}')]
  with item.media.as_file() as path, av.open(str(path)) as container:
    frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    container.seek(0)
    wave = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
  np.testing.assert_array_equal(frames, FRAMES[n])
  np.testing.assert_array_equal(wave[0], WAVES[n])


def message(dataset: str, features: dict | None, **settings) -> str:
  """Returns the message with which a data set is refused."""
  try:
    list(tfds.Tfds(dataset, features, data_dir=FOLDER, **settings))
  except ValueError as error:
    return str(error)
  return ''


def read(folder: pathlib.Path, file_format: str) -> None:
  """Prepares the data set in a folder, and checks what is read.

  Args:
    folder: new folder.
    file_format: 'tfrecord', which tf.data reads, or 'array_record'.
  """
  config = tensorflow_datasets.download.DownloadConfig(num_shards=3)
  builder = Tiny(data_dir=str(folder), file_format=file_format)
  builder.download_and_prepare(download_config=config)
  assert len(builder.info.splits['train'].shard_lengths) == 3
  source = tfds.Tfds('tiny', FEATURES, data_dir=folder, frames_per_s=25.0)
  found = pickle.loads(pickle.dumps(list(source)))
  assert sorted(int(item.id) for item in found) == list(range(60))
  for item in found[::13] + found[-1:]:
    check(item)
  sounds = list(tfds.Tfds('tiny', {'audio': 'sound'}, data_dir=folder))
  assert [item.id for item in sounds[:2]] == ['train-00000000', 'train-00000001'] and len(sounds) == 60
  with sounds[3].media.as_file() as path:
    assert path.suffix == '.wav'


def main() -> None:
  """Runs the program."""
  read(FOLDER, 'tfrecord')
  read(FOLDER / 'random_access', 'array_record')
  assert 'frames_per_s is missing' in message('tiny', {'video': 'clip/frames'})
  assert "has no feature 'clip/x'; known are" in message('tiny', {'video': 'clip/x'})
  assert "has no split 'test'; known are train" in message('tiny', {'audio': 'sound'}, split='test')
  assert 'features must name media' in message('tiny', None)
  assert 'knows no such data set' in message('nothing_of_this_name', {'audio': 'sound'})
  print('read')


if __name__ == '__main__':
  main()
