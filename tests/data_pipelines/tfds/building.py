"""What the tests of all builders share."""

import json
import pathlib
import tempfile

import tensorflow_datasets as tfds

from data_pipelines.tfds import item_builder

ROOT = pathlib.Path(__file__).resolve().parents[3]


class BuilderTests(tfds.testing.DatasetBuilderTestCase):
  """The tests of TFDS, on a folder that `write` makes.

  They read with tf.data, which cannot read ArrayRecord files: here, and only here, the files are TFRecords.
  """

  @classmethod
  def setUpClass(cls):
    cls.folder = tempfile.TemporaryDirectory()
    cls.EXAMPLE_DIR = cls.folder.name
    cls.write(pathlib.Path(cls.folder.name))
    super().setUpClass()

  @classmethod
  def tearDownClass(cls):
    super().tearDownClass()
    cls.folder.cleanup()

  @classmethod
  def write(cls, folder: pathlib.Path):
    """Writes what a user would have downloaded."""

  def _make_builder(self, config=None):
    settings = {'data_dir': self.tmp_dir, 'config': config, 'version': self.VERSION}
    return self.dataset_class(file_format='tfrecord', **settings)


def problems(builder: tfds.core.GeneratorBasedBuilder) -> list[dict]:
  """Returns the problems that a builder wrote; their numbers must be those in its metadata."""
  lines = (builder.data_path / item_builder.PROBLEMS).read_text().splitlines()
  found = [json.loads(line) for line in lines]
  kinds = [each['kind'] for each in found]
  assert builder.info.metadata[item_builder.NUM_PROBLEMS] == {kind: kinds.count(kind) for kind in set(kinds)}
  return found
