"""The tasks: what they prepare, and what their losses see."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import config
from v2a import records
from v2a.training import tasks


def _task(name, **codec):
  c = config.tiny(config.base()).unlock()
  c.task = name
  c.codec.update(codec)
  return tasks.make(c.lock()), c


def _batch(task, c, num=4, has_latents=True):
  channels = c.codec.num_latent_channels if has_latents else 0
  items = [records.fake(config.clip_spec(c), seed, channels) for seed in range(num)]
  return task.prepare(items, np.random.default_rng(0))


def _loss(task, c, **change):
  batch = _batch(task, c) | change
  value, metrics = task.loss(task.build(jax.random.key(0)), batch, jax.random.key(1), jnp.zeros((), int))
  assert np.isfinite(float(value))
  return float(value), metrics


@pytest.mark.parametrize('change', [
    {}, {'stft_weight': 1.0, 'mel_weight': 1.0}, {'bottleneck': 'rvq'}, {'adversarial_weight': 1.0}])
def test_codec_losses_are_finite(change):
  task, c = _task('codec', **change)
  _, metrics = _loss(task, c)
  assert float(metrics['level']) > 0


def test_generator_and_discriminators_never_pull_on_each_other():
  task, c = _task('codec', adversarial_weight=1.0, level_weight=0.0, kl_weight=0.0)
  graphdef, state = nnx.split(task.build(jax.random.key(0)))
  batch = _batch(task, c)

  def only(name):
    def value(state):
      _, parts = task.loss(nnx.merge(graphdef, state), batch, jax.random.key(1), jnp.zeros((), int))
      return parts[name]
    grads = jax.grad(value)(state)
    size = lambda tree: sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(tree))
    inside = size(grads['discriminators'])
    return inside, size(grads) - inside

  for name, owner in (('adversarial', 1), ('judged', 0)):
    sizes = only(name)
    assert sizes[owner] > 0 and sizes[1 - owner] == pytest.approx(0, abs=1e-6), name


def test_codec_statistics_are_those_of_the_latents():
  task, c = _task('codec')
  spec = config.clip_spec(c)
  source = records.Memory([records.fake(spec, seed) for seed in range(6)], spec)
  model = task.finish(task.build(jax.random.key(0)), source)
  waves = np.stack([records.wave_to_float(source[i]['wave_NA']) for i in range(6)])
  mean_BTC, std_BTC = model.encode(jnp.asarray(waves))
  np.testing.assert_allclose(mean_BTC.mean((0, 1)), 0, atol=1e-3)
  np.testing.assert_allclose((mean_BTC**2 + std_BTC**2).mean((0, 1)), 1, atol=1e-2)


def test_sync_loss_of_a_stranger_is_that_of_chance():
  task, c = _task('sync')
  model = task.build(jax.random.key(0))
  model.log_scale.set_value(jnp.asarray(-20.0))
  batch = _batch(task, c)
  value, _ = task.loss(model, batch, jax.random.key(1), jnp.zeros((), int))
  num_segments = model.embed_video(batch['sync_frame_BLYX3']).shape[1] * 4
  assert float(value) == pytest.approx(np.log(num_segments), rel=1e-4)


def test_clips_without_sound_take_no_part_in_sync():
  task, c = _task('sync')
  some = np.array([True, True, False, True])
  changed = _batch(task, c)['latent_BTC'].copy()
  changed[2] = 9.0
  before, _ = _loss(task, c, is_whole_B=some)
  after, _ = _loss(task, c, is_whole_B=some, latent_BTC=changed)
  assert before == pytest.approx(after, rel=1e-6)


def test_flow_reads_pictures_unless_they_are_dropped():
  task, c = _task('flow')
  _, metrics = _loss(task, c)
  assert {'loss_t0', 'loss_t3'} <= set(metrics)


def test_records_without_latents_are_refused():
  for name in ('sync', 'flow'):
    task, c = _task(name)
    with pytest.raises(ValueError, match='has no latents; encode the records by data_pipelines.encode'):
      _batch(task, c, has_latents=False)


def test_bfloat16_stays_close_to_float32():
  c = config.tiny(config.base()).unlock()
  values = {}
  for name in config.DTYPES:
    c.training.compute_dtype = name
    task = tasks.make(c)
    values[name], _ = _loss(task, c)
  assert values['bfloat16'] == pytest.approx(values['float32'], rel=0.03)
