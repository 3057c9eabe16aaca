"""Clips that a model was trained on are known again, by whatever name."""

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
from v2a.data import records
from v2a.data import synthetic_examples
from v2a.evaluation import held_out
from v2a.sampling import bundle
from v2a.sampling import bundle_files

SPEC = clip_lib.ClipSpec(clip_s=2.0, frame_size=16)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """Returns a folder of records of four clips, the last silent and still."""
  folder = tmp_path_factory.mktemp('data') / 'train'
  truth = json.dumps(next(synthetic_examples.render(5, 1, SPEC)).truth)
  made = [fake_records.make(SPEC, seed) | {'id': f'clip/{seed}', 'truth': truth} for seed in range(4)]
  for name in ('wave_NA', 'sync_frame_LYX3', 'semantic_frame_MYX3'):
    made[3][name] = np.zeros_like(made[3][name])
  made[0]['id'] = 'world/77/0'
  records.write(folder, made, SPEC)
  return folder


@pytest.fixture(scope='module')
def model(data, tmp_path_factory):
  """Returns a model of the smallest size that says it was trained on the data."""
  folder = tmp_path_factory.mktemp('models') / 'untrained'
  rng = np.random.default_rng(0)
  for part, make in (('codec', builders.codec), ('flow', builders.flow)):
    c = schema.tiny(schema.base()).unlock()
    c.task, c.data.num_fake_records, c.data.train = part, 0, (str(data),)
    wanted = weights.flatten(nnx.state(nnx.eval_shape(lambda make=make, c=c: make(c, nnx.Rngs(0)))))
    arrays = {
      name: (0.05 * rng.normal(size=array.shape)).astype(array.dtype) for name, array in wanted.items()
    }
    weights.export(arrays, folder / part, c.lock())
  return bundle.load(folder)


@pytest.fixture(scope='module')
def cases(data):
  return list(folder_examples.read(data, None, SPEC))


def renamed(case, **changed):
  """Returns a case under another name, without its number in a world."""
  truth = {key: value for key, value in case.truth.items() if key not in ('seed', 'index')}
  return dataclasses.replace(case, name='other', truth=truth, **changed)


def test_a_clip_is_known_by_its_id_its_sound_or_its_picture(model, cases):
  assert held_out.trained_on(model, cases, None) == sorted(case.name for case in cases)
  noise = np.random.default_rng(0).integers(-9, 9, cases[1].wave_NA.shape, np.int16)
  pictures = tuple(255 - frame for frame in cases[1].frames)
  assert held_out.trained_on(model, [renamed(cases[1])], None) == ['other']
  assert held_out.trained_on(model, [renamed(cases[1], wave_NA=noise)], None) == ['other']
  assert held_out.trained_on(model, [renamed(cases[1], frames=pictures)], None) == ['other']
  assert held_out.trained_on(model, [renamed(cases[1], wave_NA=noise, frames=pictures)], None) == []


def test_a_clip_longer_than_a_window_is_known_by_its_beginning(model, cases):
  more_NA = np.random.default_rng(0).integers(-9, 9, (16000, 2), np.int16)
  picture = cases[1].frames[1]
  longer = renamed(
    cases[1],
    wave_NA=np.concatenate([cases[1].wave_NA, more_NA]),
    frames=(cases[1].frames[0], np.concatenate([picture, picture[:25]])),
  )
  assert held_out.trained_on(model, [longer], None) == ['other']


def test_silence_over_a_still_picture_proves_nothing(model, cases):
  assert held_out.trained_on(model, [renamed(cases[3])], None) == []


def test_a_clip_of_a_world_is_known_by_its_number(model, cases):
  noise = np.random.default_rng(0).integers(-9, 9, cases[1].wave_NA.shape, np.int16)
  pictures = tuple(255 - frame for frame in cases[1].frames)
  far = dataclasses.replace(cases[1], name='77-00000-strike', wave_NA=noise, frames=pictures)
  for index, found in ((0, ['77-00000-strike']), (1, [])):
    case = dataclasses.replace(far, truth=far.truth | {'seed': 77, 'index': index})
    assert held_out.trained_on(model, [case], None) == found
  assert held_out.trained_seeds(model) == {77}
  assert held_out.trained_on(model, cases, 77) == [case.name for case in cases]
  assert held_out.trained_on(model, cases, 78) == []


def test_a_packed_model_tells_its_seeds_where_the_data_is_not(model, cases, data, tmp_path):
  bundle_files.save(model, tmp_path / 'packed')
  (data / records.MANIFEST).rename(data / 'away')
  try:
    bundle_files.save(bundle.load(tmp_path / 'packed'), tmp_path / 'again')
    again = bundle.load(tmp_path / 'again')
    assert held_out.trained_seeds(again) == {77} and held_out.trained_on(again, cases, 78) == []
  finally:
    (data / 'away').rename(data / records.MANIFEST)


def test_without_the_data_nothing_is_known(model, cases, data):
  (data / records.MANIFEST).rename(data / 'away')
  try:
    assert held_out.trained_on(model, cases, None) is None and held_out.trained_on(model, cases, 77) is None
  finally:
    (data / 'away').rename(data / records.MANIFEST)
