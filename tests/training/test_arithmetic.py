"""Values of a training step against hand calculations: errors in them raise nothing and only train worse."""

import types

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_step
import toy

from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.diffusion import loss
from v2a.diffusion import process
from v2a.training import optimizer as optimizer_lib
from v2a.training import tasks

CONSUMERS = (
  'bernoulli',
  'categorical',
  'choice',
  'gumbel',
  'normal',
  'permutation',
  'randint',
  'split',
  'uniform',
)  # functions that consume a key; only fold_in may use a key several times


def make_task(num, **changes):
  """Returns a tiny task, and a batch of `num` clips."""
  changes = [f'--config.{name.replace("__", ".")}={value}' for name, value in changes.items()]
  c = files.override(schema.tiny(schema.base()), changes)
  task, sizes = tasks.make(c), (c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size)
  items = [fake_records.make(schema.clip_spec(c), 0, *sizes)] * num
  return task, task.collate(items, np.random.default_rng(0))


def test_a_gradient_below_the_clip_norm_is_not_changed():
  moments = [
    jax.tree.leaves(
      test_step.run(toy.configuration(batch_size=16, clip_norm=clip_norm), num_steps=1)[0].opt_state
    )
    for clip_norm in (0.0, 1e3)
  ]
  for unclipped, clipped in zip(*moments, strict=True):
    np.testing.assert_allclose(clipped, unclipped, rtol=1e-6)


def test_with_zero_gradients_only_matrices_decay():
  c = toy.configuration(learning_rate=0.5, warmup_steps=0, schedule='constant', weight_decay=0.1).training
  params = nnx.State(
    {
      'kernel': nnx.Param(jnp.ones((3, 4, 2)), axes=('embed', 'mlp')),
      'bias': nnx.Param(jnp.ones((3, 2)), axes=('mlp',)),
    }
  )
  optimizer = optimizer_lib.make(c)
  updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
  np.testing.assert_allclose(updates['kernel'].get_value(), -0.5 * 0.1, rtol=1e-6)
  assert not updates['bias'].get_value().any()


def test_each_condition_is_dropped_independently_of_the_others():
  task, batch = make_task(
    64,
    task='flow',
    conditioning__drop_video=0.5,
    conditioning__drop_text=0.5,
    conditioning__drop_transcript=0.5,
  )
  masks = task.sample_random_inputs(batch, jax.random.key(0))
  keep_KB = np.stack([masks[name] for name in ('keep_video_B', 'keep_text_B', 'keep_transcript_B')])
  assert len(np.unique(keep_KB, axis=1).T) == 8  # every combination
  assert (np.abs(keep_KB.mean(axis=1) - 0.5) < 0.25).all()


def test_sync_loss_is_the_same_in_both_directions():
  task, batch = make_task(4, task='sync')
  batch |= {'weight_BS': jnp.ones((4, 3))}
  rng = np.random.default_rng(0)
  video_BSD, audio_BSD = (jnp.asarray(rng.standard_normal((4, 3, 8)), jnp.float32) for _ in range(2))

  def value(video_BSD, audio_BSD):
    model = types.SimpleNamespace(
      embed_video=lambda *_: video_BSD, embed_audio=lambda *_: audio_BSD, log_scale=jnp.zeros(())
    )
    return float(task.loss(model, batch, jnp.zeros((), int)).loss)

  logits_QS = np.asarray(video_BSD).reshape(12, 8) @ np.asarray(audio_BSD).reshape(12, 8).T
  by_axis = [np.mean(np.log(np.exp(logits_QS).sum(axis)) - np.diagonal(logits_QS)) for axis in (0, 1)]
  assert abs(by_axis[0] - by_axis[1]) > 0.01
  assert value(video_BSD, audio_BSD) == pytest.approx(np.mean(by_axis), rel=1e-5)


def test_quantizer_dropout_uses_all_codebooks_for_half_of_the_clips_and_any_number_for_the_others():
  task, batch = make_task(1, task='codec', codec__bottleneck='rvq')
  large = {name: np.repeat(array, 4096, axis=0) for name, array in batch.items() if len(array) == 1}
  num_used_B = np.asarray(task.sample_random_inputs(large, jax.random.key(0))['num_codebooks_B'])
  num = task.c.codec.num_codebooks
  shares = [float(np.mean(num_used_B == used)) for used in range(1, num + 1)]
  assert num > 1 and sum(shares) == 1
  assert shares == pytest.approx([0.5 / num] * (num - 1) + [0.5 + 0.5 / num], abs=0.05)


@pytest.mark.parametrize('num_counted', [(5, 5), (2, 4), (1, 5)])
def test_a_masked_loss_is_the_mean_over_counted_steps(num_counted):
  x_BTC, e_BTC = (jax.random.normal(jax.random.key(seed), (2, 5, 3)) for seed in range(2))
  mask_BT = jnp.arange(5)[None] < jnp.array(num_counted)[:, None]
  predict = lambda z_BTC, t_B: process.velocity(x_BTC, e_BTC) + 2.0  # off by 2 everywhere
  value, _ = loss.flow_matching(predict, x_BTC, e_BTC, jnp.array([0.1, 0.6]), mask_BT=mask_BT)
  assert float(value) == pytest.approx(4.0, rel=1e-5)


@pytest.mark.parametrize(
  'changes',
  [
    {'task': 'flow'},
    {'task': 'codec'},
    {'task': 'codec', 'codec__bottleneck': 'rvq'},
    {'task': 'tokens', 'codec__bottleneck': 'rvq', 'tokens__token_dropout_probability': 0.5},
    {'task': 'tokens', 'codec__bottleneck': 'rvq', 'tokens__is_causal': False},
  ],
)
def test_no_key_is_used_twice(changes, monkeypatch):
  used = []

  def recorded(function):
    def run(key, *args, **kwargs):
      used.append(np.asarray(jax.random.key_data(key)).tobytes())
      return function(key, *args, **kwargs)

    return run

  task, batch = make_task(2, **changes)
  for name in CONSUMERS:
    monkeypatch.setattr(jax.random, name, recorded(getattr(jax.random, name)))
  task.sample_random_inputs(batch, jax.random.key(0))
  assert used and len(set(used)) == len(used)
