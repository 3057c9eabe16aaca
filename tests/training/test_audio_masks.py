"""Records without sound, and padding, take no part in the losses on sound."""

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
CASES = {
  'codec': {'task': 'codec', **ALL_LOSSES, 'clip.clip_s': 1.0, 'codec.crop_s': 1.0},
  'codec of codes': {'task': 'codec', 'codec.bottleneck': 'rvq', 'codec.crop_s': 2.0},
  'sync': {'task': 'sync'},
  'flow': {'task': 'flow'},
  'tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq'},
  'masked tokens': {'task': 'tokens', 'codec.bottleneck': 'rvq', 'tokens.is_causal': False},
}


def configuration(case):
  return _tiny(**CASES[case])


def _tiny(**changes):
  words = [f'--config.{key}={value}' for key, value in changes.items()]
  return files.override(schema.tiny(schema.base()), words)


def items(c):
  """Returns four records: whole, without sound, three quarters of a clip, whole."""
  spec = schema.clip_spec(c)
  made = [_fake(c, seed) for seed in range(4)]
  made[1] |= {'has_audio': False, 'wave_NA': 0 * made[1]['wave_NA']}
  made[2] |= {'num_valid_samples': spec.num_samples * 3 // 4}
  made[2]['wave_NA'] = made[2]['wave_NA'] * (np.arange(spec.num_samples) < spec.num_samples * 3 // 4)[:, None]
  made[2]['wave_NA'] = made[2]['wave_NA'].astype(np.int16)
  return made


def _fake(c, seed):
  sizes = c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size
  return fake_records.make(schema.clip_spec(c), seed, *sizes)


@functools.cache
def _gradient(case):
  """Returns (task, batch -> (loss, gradient))."""
  c = configuration(case)
  task = tasks.make(c)
  graphdef, state = nnx.split(nnx.eval_shape(lambda: task.build(jax.random.key(0))))
  rng = np.random.default_rng(0)
  state = jax.tree.map(lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype), state)
  graphdef, params, rest = nnx.split(nnx.merge(graphdef, state), nnx.Param, ...)

  @jax.jit
  def run(batch):
    def loss(params):
      model = nnx.merge(graphdef, params, rest)
      output = task_lib.sampled_loss(task, model, batch, jax.random.key(1), jnp.zeros((), int))
      return output.loss, output.metrics

    (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return value, metrics, jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(grads)])

  return task, run


@pytest.mark.parametrize('case', CASES)
def test_records_without_sound_and_padding_teach_nothing(case):
  c = configuration(case)
  task, run = _gradient(case)
  made = items(c)
  value, metrics, gradient = run(task.collate(made, np.random.default_rng(0)))
  assert float(metrics['with_sound']) == 0.75
  assert np.isfinite(float(value)) and float(jnp.abs(gradient).max()) > 0
  spec = schema.clip_spec(c)
  is_padding_T = np.arange(spec.num_latents) >= spec.num_latents * 3 // 4
  for index, keeps_T in ((1, np.zeros(spec.num_latents, bool)), (2, ~is_padding_T)):
    keeps_N = np.repeat(keeps_T, spec.latent_hop_samples)
    other = _fake(c, 20 + index)
    for key, keeps in (('wave_NA', keeps_N), ('latent_mean_TC', keeps_T), ('codes_TK', keeps_T)):
      # Generators read latents and codes of padding, though none is asked of them.
      if key == 'wave_NA' or index == 1:
        made[index][key] = np.where(keeps[:, None], made[index][key], other[key])
  again, _, same = run(task.collate(made, np.random.default_rng(0)))
  assert float(again) == pytest.approx(float(value), rel=1e-5)
  np.testing.assert_allclose(same, gradient, rtol=1e-4, atol=1e-6 * float(jnp.abs(gradient).max()))


@pytest.mark.parametrize('case', CASES)
def test_a_batch_without_sound_moves_nothing(case):
  task, run = _gradient(case)
  silent = [record | {'has_audio': False} for record in items(configuration(case))]
  value, metrics, gradient = run(task.collate(silent, np.random.default_rng(0)))
  assert float(value) == 0 and not gradient.any() and float(metrics['with_sound']) == 0


@pytest.mark.parametrize('case', ['flow', 'tokens', 'masked tokens'])
def test_a_generator_is_not_asked_for_padding(case, monkeypatch):
  c = configuration(case)
  task = tasks.make(c)
  batch = task.collate(items(c), np.random.default_rng(0))
  is_valid_T = batch['is_valid_BT'][2]
  assert is_valid_T.sum() == schema.clip_spec(c).num_latents * 3 // 4
  asked = {}
  if case == 'flow':
    monkeypatch.setattr(loss, 'flow_matching', lambda *arrays, **named: (asked.update(named), {}))
  else:
    monkeypatch.setattr(
      tokens_loss,
      'cross_entropy',
      lambda logit_BTKV, code_BTK, counted_BTK, weight_B: (
        asked.update(mask_BT=counted_BTK[..., 0], weight_B=weight_B),
        {},
      ),
    )
  model = task.build(jax.random.key(0))
  task_lib.sampled_loss(task, model, batch, jax.random.key(1), jnp.zeros((), int))
  np.testing.assert_allclose(asked['weight_B'], np.array([4, 0, 4, 4]) / 3, rtol=1e-6)
  asked_BT = np.asarray(asked['mask_BT'])[:, : len(is_valid_T)]
  assert not asked_BT[1].any() and not asked_BT[2][~is_valid_T].any() and asked_BT[0].any()
  if case != 'masked tokens':
    np.testing.assert_array_equal(asked_BT, batch['is_valid_BT'])


def test_the_last_latent_step_of_a_short_clip_counts_where_it_is_whole():
  c = configuration('flow')
  hop, num_steps = schema.clip_spec(c).latent_hop_samples, schema.clip_spec(c).num_latents
  item = fake_records.make(schema.clip_spec(c))
  for num_samples, wanted in ((0, 0), (hop - 1, 0), (hop, 1), (5 * hop + 3, 5), (num_steps * hop, num_steps)):
    is_valid_BT = audio_masks.valid_steps([item | {'num_valid_samples': num_samples}], hop, num_steps)
    assert is_valid_BT.sum() == wanted and is_valid_BT[0, :wanted].all()


def test_crops_lie_within_what_counts_of_a_record():
  c = _tiny(**{'task': 'codec', 'codec.crop_s': 0.4})
  task, spec = tasks.make(c), schema.clip_spec(c)
  item = fake_records.make(spec) | {'num_valid_samples': spec.num_samples // 2}
  item['wave_NA'] = np.repeat(np.int16([[1, 1], [0, 0]]), spec.num_samples // 2, axis=0)
  for seed in range(20):
    batch = task.collate([item], np.random.default_rng(seed))
    assert batch['is_valid_BT'].all() and batch['wave_BNA'].all()


@pytest.mark.parametrize('bottleneck', ['kl', 'rvq'])
def test_statistics_and_codebooks_come_from_sound_alone(bottleneck):
  c = _tiny(**{'task': 'codec', 'codec.bottleneck': bottleneck})
  task, spec = tasks.make(c), schema.clip_spec(c)

  def made(items):
    model, source = task.build(jax.random.key(0)), records.InMemorySource(items, spec)
    if bottleneck == 'kl':
      return task.finalize(model, source).latent_std_C[...]
    return np.unique(task._latents(model, source), axis=0)

  heard = [fake_records.make(spec, seed) for seed in range(4)]
  silent = [fake_records.make(spec, 9 + seed) | {'has_audio': False} for seed in range(4)]
  np.testing.assert_allclose(made(heard), made(heard + silent), rtol=1e-5)


def test_codes_are_exported_with_the_encoder_that_they_were_trained_with():
  of = lambda bottleneck: tasks.make(_tiny(**{'task': 'codec', 'codec.bottleneck': bottleneck}))
  assert of('kl').use_ema and not of('rvq').use_ema
