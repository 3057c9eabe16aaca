"""Detection of the clips on which a model was trained."""

import dataclasses
import json

from flax import nnx
import numpy as np
import pytest

from v2a import builders
from v2a import clip as clip_lib
from v2a import weights
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import folder_examples
from v2a.data import record_writer
from v2a.data import records
from v2a.data import synthetic_examples
from v2a.evaluation import held_out
from v2a.sampling import bundle
from v2a.sampling import bundle_files

SPEC = clip_lib.ClipSpec(clip_s=2.0, frame_size=16)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """Returns a folder of records of four clips, the last with constant audio and frames."""
  folder = tmp_path_factory.mktemp('data') / 'train'
  truth = json.dumps(next(synthetic_examples.render(5, 1, SPEC)).truth)
  items = [fake_records.make(SPEC, seed) | {'id': f'clip/{seed}', 'truth': truth} for seed in range(4)]
  for name in ('wave_NA', 'sync_frame_LYX3', 'semantic_frame_MYX3'):
    items[3][name] = np.zeros_like(items[3][name])
  items[0]['id'] = 'world/77/0'
  record_writer.write(folder, items, SPEC)
  return folder


@pytest.fixture(scope='module')
def model(data, tmp_path_factory):
  """Returns an untrained model of the smallest size whose configuration names the data."""
  folder = tmp_path_factory.mktemp('models') / 'untrained'
  rng = np.random.default_rng(0)
  for part, make in (('codec', builders.codec), ('flow', builders.flow)):
    c = schema.tiny(schema.base()).unlock()
    c.task, c.data.num_fake_records, c.data.train = part, 0, (str(data),)
    shapes = weights.flatten(nnx.state(nnx.eval_shape(lambda make=make, c=c: make(c, nnx.Rngs(0)))))
    arrays = {
      name: (0.05 * rng.normal(size=array.shape)).astype(array.dtype) for name, array in shapes.items()
    }
    weights.export(arrays, folder / part, c.lock())
  return bundle.load(folder)


@pytest.fixture(scope='module')
def examples(data):
  return list(folder_examples.read(data, None, SPEC))


def renamed(example, **changed):
  """Returns an example with another name and without seed and index."""
  truth = {key: value for key, value in example.truth.items() if key not in ('seed', 'index')}
  return dataclasses.replace(example, name='other', truth=truth, **changed)


def test_a_clip_is_found_by_id_audio_or_frames(model, examples):
  assert held_out.trained_on(model, examples, None) == sorted(example.name for example in examples)
  noise = np.random.default_rng(0).integers(-9, 9, examples[1].wave_NA.shape, np.int16)
  inverted = tuple(255 - frame for frame in examples[1].frames)
  assert held_out.trained_on(model, [renamed(examples[1])], None) == ['other']
  assert held_out.trained_on(model, [renamed(examples[1], wave_NA=noise)], None) == ['other']
  assert held_out.trained_on(model, [renamed(examples[1], frames=inverted)], None) == ['other']
  assert held_out.trained_on(model, [renamed(examples[1], wave_NA=noise, frames=inverted)], None) == []


def test_a_clip_longer_than_a_window_is_found_by_its_first_window(model, examples):
  more_NA = np.random.default_rng(0).integers(-9, 9, (16000, 2), np.int16)
  sync_frame_LYX3 = examples[1].frames[1]
  longer = renamed(
    examples[1],
    wave_NA=np.concatenate([examples[1].wave_NA, more_NA]),
    frames=(examples[1].frames[0], np.concatenate([sync_frame_LYX3, sync_frame_LYX3[:25]])),
  )
  assert held_out.trained_on(model, [longer], None) == ['other']


def test_constant_audio_and_frames_are_not_compared(model, examples):
  assert held_out.trained_on(model, [renamed(examples[3])], None) == []


def test_a_synthetic_clip_is_found_by_seed_and_index(model, examples):
  noise = np.random.default_rng(0).integers(-9, 9, examples[1].wave_NA.shape, np.int16)
  inverted = tuple(255 - frame for frame in examples[1].frames)
  unlike = dataclasses.replace(examples[1], name='77-00000-strike', wave_NA=noise, frames=inverted)
  for index, found in ((0, ['77-00000-strike']), (1, [])):
    example = dataclasses.replace(unlike, truth=unlike.truth | {'seed': 77, 'index': index})
    assert held_out.trained_on(model, [example], None) == found
  assert held_out.trained_seeds(model) == {77}
  assert held_out.trained_on(model, examples, 77) == [example.name for example in examples]
  assert held_out.trained_on(model, examples, 78) == []


def test_a_packaged_model_has_its_seeds_without_the_data(model, examples, data, tmp_path):
  bundle_files.save(model, tmp_path / 'packed')
  (data / records.MANIFEST).rename(data / 'away')
  try:
    bundle_files.save(bundle.load(tmp_path / 'packed'), tmp_path / 'again')
    again = bundle.load(tmp_path / 'again')
    assert held_out.trained_seeds(again) == {77} and held_out.trained_on(again, examples, 78) == []
  finally:
    (data / 'away').rename(data / records.MANIFEST)


def test_without_the_data_it_is_not_known(model, examples, data):
  (data / records.MANIFEST).rename(data / 'away')
  try:
    assert (
      held_out.trained_on(model, examples, None) is None and held_out.trained_on(model, examples, 77) is None
    )
  finally:
    (data / 'away').rename(data / records.MANIFEST)
