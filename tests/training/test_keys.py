"""PRNG keys by name; no key of a training run is used twice."""

import collections

from flax import nnx
import jax
import numpy as np
import pytest
import test_step
import toy

from v2a import keys
from v2a.config import schema
from v2a.data import loader
from v2a.training import loop
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import tasks


def _data(key):
  return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_keys_of_names_differ_from_split_and_folded_keys():
  key = jax.random.key(3)
  named = {_data(keys.derive(key, name)) for name in ('noise', 'times', 'steps', 'masks')}
  folded = (jax.random.fold_in(key, index) for index in range(64))
  counted = {_data(each) for each in (key, *jax.random.split(key, 64), *folded)}
  assert len(named - counted) == 4
  assert _data(keys.derive(key, 'noise')) == _data(keys.derive(jax.random.key(3), 'noise'))
  assert _data(jax.random.split(key)[1]) == _data(jax.random.fold_in(key, 1)), 'why keys have names'


class RecordingTask(toy.EmaTask):
  """The toy task, which records the keys that it gets in a step, by method."""

  keys: dict = {}

  def sample_random_inputs(self, batch, key):
    jax.debug.callback(lambda data: self.keys.update(inputs=data), jax.random.key_data(key))
    return super().sample_random_inputs(batch, key)

  def update_ema(self, model, stats, key):
    jax.debug.callback(lambda data: self.keys.update(ema=data), jax.random.key_data(key))
    return super().update_ema(model, stats, key)


@pytest.fixture(scope='module')
def task_keys():
  """The keys that a task gets in one step, by method."""
  test_step.run(toy.configuration(batch_size=16), num_steps=1, make_task=RecordingTask)
  jax.effects_barrier()
  return {name: jax.random.wrap_key_data(data) for name, data in RecordingTask.keys.items()}


SAMPLERS = 'bernoulli', 'categorical', 'choice', 'gumbel', 'normal', 'permutation', 'randint', 'uniform'


@pytest.fixture
def used(monkeypatch):
  """Counts of the keys that random numbers are sampled from."""
  counts = collections.Counter()

  def counted(function):
    def run(key, *args, **kwargs):
      counts[_data(key)] += 1
      return function(key, *args, **kwargs)

    return run

  for name in SAMPLERS:
    monkeypatch.setattr(jax.random, name, counted(getattr(jax.random, name)))
  return counts


@pytest.mark.parametrize(
  ('name', 'bottleneck', 'is_causal'),
  [
    ('flow', 'kl', True),
    ('tokens', 'rvq', True),
    ('tokens', 'rvq', False),
    ('codec', 'kl', True),
    ('codec', 'rvq', True),
  ],
)
def test_a_step_uses_every_key_once(task_keys, used, name, bottleneck, is_causal):
  c = schema.tiny(schema.base()).unlock()
  c.task, c.codec.bottleneck = name, bottleneck
  c.tokens.is_causal, c.tokens.token_dropout_probability = is_causal, 0.5
  task = tasks.make(c.lock())
  batch = task.collate([loader.fake(c, seed) for seed in range(2)], np.random.default_rng(0))
  task.sample_random_inputs(batch, task_keys['inputs'])
  # Codebooks split their key, one for each (codecs.quantizer).
  used.update(_data(each) for each in jax.random.split(task_keys['ema'], 8))
  assert len(used) > 8 and set(used.values()) == {1}


def test_initialisation_does_not_use_the_keys_of_steps(monkeypatch, tmp_path):
  """nnx.Rngs folds counts into its key, as a step does into the run's."""
  init_keys, init = [], state_lib.init
  monkeypatch.setattr(state_lib, 'init', lambda *args: init_keys.append(args[-1]) or init(*args))
  c = toy.configuration(num_steps=1, warmup_steps=0)
  loop.train(c, tmp_path, toy.Task())
  rngs = nnx.Rngs(init_keys[0])
  starts = {_data(rngs.params()) for _ in range(32)}
  assert len(starts) == 32 and not starts & {_data(step_lib.step_key(c.seed, step)) for step in range(64)}
