"""Losses on audio exclude records without audio, and padding."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a.autoregressive import loss as tokens_loss
from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import records
from v2a.diffusion import loss
from v2a.training import task as task_lib
from v2a.training import tasks
from v2a.training.tasks import audio_masks

ALL_LOSSES = {
  f'codec.{name}_weight': 1.0
  for name in (
    'log_magnitude',
    'channel_level',
    'stft',
    'mel',
    'kl',
    'commitment',
    'adversarial',
    'feature_matching',
  )
}
CONFIGS = {
  'codec': {'task': 'codec', **ALL_LOSSES, 'clip.clip_s': 1.0, 'codec.crop_s': 1.0},
  'RVQ codec': {'task': 'codec', 'codec.bottleneck': 'rvq', 'codec.crop_s': 2.0},
  'sync': {'task': 'sync'},
  'flow': {'task': 'flow'},
  'tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq'},
  'masked tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.is_causal': False},
}


def configuration(name):
  return _tiny(**CONFIGS[name])


def _tiny(**changes):
  words = [f'--config.{key}={value}' for key, value in changes.items()]
  return files.override(schema.tiny(schema.base()), words)


def items(c):
  """Returns four records: full length, without audio, three quarters of a clip, full length."""
  spec = schema.clip_spec(c)
  found = [_fake(c, seed) for seed in range(4)]
  found[1] |= {'has_audio': False, 'wave_NA': 0 * found[1]['wave_NA']}
  num_valid = spec.num_samples * 3 // 4
  wave_NA = found[2]['wave_NA'] * (np.arange(spec.num_samples) < num_valid)[:, None]
  found[2] |= {'num_valid_samples': num_valid, 'wave_NA': wave_NA.astype(np.int16)}
  return found


def _fake(c, seed):
  sizes = c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size
  return fake_records.make(schema.clip_spec(c), seed, *sizes)


def _random_model(task):
  """Returns the model of a task, with weights from NumPy, which need no compilation."""
  graphdef, state = nnx.split(nnx.eval_shape(lambda: task.build(jax.random.key(0))))
  rng = np.random.default_rng(0)
  random = lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype)
  return nnx.merge(graphdef, jax.tree.map(random, state))


@functools.cache
def _gradient(name):
  """Returns (task, batch -> (loss, metrics, gradient))."""
  c = configuration(name)
  task = tasks.make(c)
  graphdef, params, rest = nnx.split(_random_model(task), nnx.Param, ...)

  @jax.jit
  def run(batch):
    def loss(params):
      model = nnx.merge(graphdef, params, rest)
      output = task_lib.sampled_loss(task, model, batch, jax.random.key(1), jnp.zeros((), int))
      return output.loss, output.metrics

    (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, metrics, jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])

  return task, run


@pytest.mark.parametrize('name', CONFIGS)
def test_padding_and_records_without_audio_do_not_change_loss_and_gradient(name):
  c = configuration(name)
  task, run = _gradient(name)
  changed = items(c)
  value, metrics, gradient = run(task.collate(changed, np.random.default_rng(0)))
  assert float(metrics['with_sound']) == 0.75
  assert np.isfinite(float(value)) and float(jnp.abs(gradient).max()) > 0
  spec = schema.clip_spec(c)
  is_padding_T = np.arange(spec.num_latents) >= spec.num_latents * 3 // 4
  for index, keeps_T in ((1, np.zeros(spec.num_latents, bool)), (2, ~is_padding_T)):
    keeps_N = np.repeat(keeps_T, spec.latent_hop_samples)
    other = _fake(c, 20 + index)
    for key, keeps in (('wave_NA', keeps_N), ('latent_mean_TC', keeps_T), ('codes_TK', keeps_T)):
      # Latents and codes of padding are inputs of generators, though not targets.
      if key == 'wave_NA' or index == 1:
        changed[index][key] = np.where(keeps[:, None], changed[index][key], other[key])
  again, _, same = run(task.collate(changed, np.random.default_rng(0)))
  assert float(again) == pytest.approx(float(value), rel=1e-5)
  np.testing.assert_allclose(same, gradient, rtol=1e-4, atol=1e-6 * float(jnp.abs(gradient).max()))


@pytest.mark.parametrize('name', CONFIGS)
def test_a_batch_without_audio_has_no_gradient(name):
  task, run = _gradient(name)
  silent = [record | {'has_audio': False} for record in items(configuration(name))]
  value, metrics, gradient = run(task.collate(silent, np.random.default_rng(0)))
  assert float(value) == 0 and not gradient.any() and float(metrics['with_sound']) == 0


@pytest.mark.parametrize('name', ['flow', 'tokens', 'masked tokens'])
def test_padding_is_no_target_of_a_generator(name, monkeypatch):
  c = configuration(name)
  task = tasks.make(c)
  batch = task.collate(items(c), np.random.default_rng(0))
  is_valid_T = batch['is_valid_BT'][2]
  assert is_valid_T.sum() == schema.clip_spec(c).num_latents * 3 // 4
  arguments = {}
  if name == 'flow':
    monkeypatch.setattr(loss, 'flow_matching', lambda *arrays, **named: (arguments.update(named), {}))
  else:
    monkeypatch.setattr(
      tokens_loss,
      'cross_entropy',
      lambda logit_BTKV, code_BTK, counted_BTK, weight_B: (
        arguments.update(mask_BT=counted_BTK[..., 0], weight_B=weight_B),
        {},
      ),
    )
  graphdef, state = nnx.split(_random_model(task))

  @jax.jit
  def loss_arguments(batch):
    task_lib.sampled_loss(task, nnx.merge(graphdef, state), batch, jax.random.key(1), jnp.zeros((), int))
    return arguments

  arguments = loss_arguments(batch)
  np.testing.assert_allclose(arguments['weight_B'], np.array([4, 0, 4, 4]) / 3, rtol=1e-6)
  counted_BT = np.asarray(arguments['mask_BT'])[:, : len(is_valid_T)]
  assert not counted_BT[1].any() and not counted_BT[2][~is_valid_T].any() and counted_BT[0].any()
  if name != 'masked tokens':
    np.testing.assert_array_equal(counted_BT, batch['is_valid_BT'])


def test_the_last_latent_step_of_a_short_clip_counts_if_it_is_complete():
  c = configuration('flow')
  hop, num_steps = schema.clip_spec(c).latent_hop_samples, schema.clip_spec(c).num_latents
  item = fake_records.make(schema.clip_spec(c))
  for num_samples, wanted in ((0, 0), (hop - 1, 0), (hop, 1), (5 * hop + 3, 5), (num_steps * hop, num_steps)):
    is_valid_BT = audio_masks.valid_steps([item | {'num_valid_samples': num_samples}], hop, num_steps)
    assert is_valid_BT.sum() == wanted and is_valid_BT[0, :wanted].all()


def test_crops_are_within_the_valid_part_of_a_record():
  c = _tiny(**{'task': 'codec', 'codec.crop_s': 0.4})
  task, spec = tasks.make(c), schema.clip_spec(c)
  item = fake_records.make(spec) | {'num_valid_samples': spec.num_samples // 2}
  item['wave_NA'] = np.repeat(np.int16([[1, 1], [0, 0]]), spec.num_samples // 2, axis=0)
  for seed in range(20):
    batch = task.collate([item], np.random.default_rng(seed))
    assert batch['is_valid_BT'].all() and batch['wave_BNA'].all()


@pytest.mark.parametrize('bottleneck', ['kl', 'rvq'])
def test_statistics_and_codebooks_ignore_records_without_audio(bottleneck):
  c = _tiny(**{'task': 'codec', 'codec.bottleneck': bottleneck})
  task, spec = tasks.make(c), schema.clip_spec(c)

  def statistics(items):
    model, source = task.build(jax.random.key(0)), records.InMemorySource(items, spec)
    if bottleneck == 'kl':
      return task.finalize(model, source).latent_std_C[...]
    return np.unique(task._latents(model, source), axis=0)

  audible = [fake_records.make(spec, seed) for seed in range(4)]
  silent = [fake_records.make(spec, 9 + seed) | {'has_audio': False} for seed in range(4)]
  np.testing.assert_allclose(statistics(audible), statistics(audible + silent), rtol=1e-5)


def test_codes_are_exported_with_the_encoder_that_they_were_trained_with():
  task = lambda bottleneck: tasks.make(_tiny(**{'task': 'codec', 'codec.bottleneck': bottleneck}))
  assert task('kl').use_ema and not task('rvq').use_ema
