"""Keys by name, and that no key of a training run is used twice."""

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


def test_a_name_gives_one_key_and_no_count_gives_it():
  key = jax.random.key(3)
  named = {_data(keys.derive(key, name)) for name in ('noise', 'times', 'steps', 'draw')}
  folded = (jax.random.fold_in(key, index) for index in range(64))
  counted = {_data(each) for each in (key, *jax.random.split(key, 64), *folded)}
  assert len(named - counted) == 4
  assert _data(keys.derive(key, 'noise')) == _data(keys.derive(jax.random.key(3), 'noise'))
  assert _data(jax.random.split(key)[1]) == _data(jax.random.fold_in(key, 1)), 'what makes names needed'


class Telling(toy.EmaTask):
  """Tells the keys that a step gives to a task."""

  given: dict = {}

  def sample_random_inputs(self, batch, key):
    jax.debug.callback(lambda data: self.given.update(draw=data), jax.random.key_data(key))
    return super().sample_random_inputs(batch, key)

  def update_ema(self, model, stats, key):
    jax.debug.callback(lambda data: self.given.update(absorb=data), jax.random.key_data(key))
    return super().update_ema(model, stats, key)


@pytest.fixture(scope='module')
def given():
  """The keys of one step, by what they are for."""
  test_step.run(toy.configuration(batch_size=16), num_steps=1, make_task=Telling)
  jax.effects_barrier()
  return {name: jax.random.wrap_key_data(data) for name, data in Telling.given.items()}


DRAWING = 'bernoulli', 'categorical', 'choice', 'gumbel', 'normal', 'permutation', 'randint', 'uniform'


@pytest.fixture
def used(monkeypatch):
  """Counts the keys that random numbers are made from."""
  found = collections.Counter()

  def counting(run):
    def draw(key, *args, **kwargs):
      found[_data(key)] += 1
      return run(key, *args, **kwargs)

    return draw

  for name in DRAWING:
    monkeypatch.setattr(jax.random, name, counting(getattr(jax.random, name)))
  return found


@pytest.mark.parametrize(
  ('task', 'bottleneck', 'is_causal'),
  [
    ('flow', 'kl', True),
    ('tokens', 'rvq', True),
    ('tokens', 'rvq', False),
    ('codec', 'kl', True),
    ('codec', 'rvq', True),
  ],
)
def test_a_step_uses_every_key_once(given, used, task, bottleneck, is_causal):
  c = schema.tiny(schema.base()).unlock()
  c.task, c.codec.bottleneck, c.tokens.is_causal, c.tokens.token_dropout_probability = (
    task,
    bottleneck,
    is_causal,
    0.5,
  )
  made = tasks.make(c.lock())
  batch = made.collate([loader.fake(c, seed) for seed in range(2)], np.random.default_rng(0))
  made.sample_random_inputs(batch, given['draw'])
  # Codebooks split what they are given, a key each (codecs.quantizer).
  used.update(_data(each) for each in jax.random.split(given['absorb'], 8))
  assert len(used) > 8 and set(used.values()) == {1}


def test_weights_do_not_start_from_the_keys_of_steps(monkeypatch, tmp_path):
  """nnx.Rngs folds counts into its key, as a step does into the run's."""
  found, init = [], state_lib.init
  monkeypatch.setattr(state_lib, 'init', lambda *args: found.append(args[-1]) or init(*args))
  c = toy.configuration(num_steps=1, warmup_steps=0)
  loop.train(c, tmp_path, toy.Task())
  rngs = nnx.Rngs(found[0])
  starts = {_data(rngs.params()) for _ in range(32)}
  assert len(starts) == 32 and not starts & {_data(step_lib.step_key(c.seed, step)) for step in range(64)}
