"""Every file in configs/, shrunk: trained, taken up again, exported, and put to use."""

import numpy as np
import pytest

from v2a import config
from v2a import configfile
from v2a import generate
from v2a import weights
from v2a.training import loop
from v2a.training import tasks

NAMES = configfile.available()


def _train(name, workdir, num_steps=4, **init_from):
  c = config.tiny(configfile.find(name)).unlock()
  c.training.num_steps = num_steps
  c.training.schedule = 'constant'
  c.init_from.update(init_from)
  c = c.lock()
  return loop.train(c, workdir, tasks.make(c))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """The exported model of every config."""
  root = tmp_path_factory.mktemp('runs')
  return {name: _train(name, root / name) for name in NAMES}


def test_there_are_configs_for_every_task():
  assert {configfile.find(name).task for name in NAMES} == set(config.TASKS)


@pytest.mark.parametrize('name', NAMES)
def test_config_is_valid_and_trains(name, trained):
  config.validate(configfile.find(name))
  export = weights.load_export(trained[name])
  assert export.about['step'] == 4
  assert all(np.isfinite(array).all() for array in export.arrays.values())


@pytest.mark.parametrize('name', NAMES)
def test_four_steps_are_two_and_two_resumed(name, trained, tmp_path):
  _train(name, tmp_path, num_steps=2)
  resumed = weights.load_export(_train(name, tmp_path, num_steps=4))
  whole = weights.load_export(trained[name])
  for key, array in whole.arrays.items():
    np.testing.assert_array_equal(array, resumed.arrays[key], err_msg=key)


def test_a_trained_flow_model_generates(trained, tmp_path):
  folder = _train('flow_world', tmp_path, codec=str(trained['codec_world']), sync=str(trained['sync_world']))
  model = generate.load(folder)
  request = generate.Request(num_samples=2, prompt='rain')
  result = next(generate.soundtracks(model, [generate.Input(None, 0.0, 2.5)], request))
  assert [wave_NA.shape for wave_NA in result.wave_SNA] == [(40000, 2)] * 2


def test_the_sync_encoder_of_a_flow_model_starts_from_the_sync_model(trained, tmp_path):
  c = config.tiny(configfile.find('flow_world')).unlock()
  c.init_from.sync = str(trained['sync_world'])
  task = tasks.make(c.lock())
  import jax
  model = task.initialise(task.build(jax.random.key(0)))
  wanted = weights.load_export(trained['sync_world']).arrays['video.embed.kernel_IO']
  np.testing.assert_array_equal(model.conditioner.sync.embed.kernel_IO[...], wanted)
