"""The tasks: their batches, and the inputs of their losses."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import flops
from v2a import weights
from v2a.aot import program
from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import record_schema
from v2a.data import records
from v2a.sharding import mesh as mesh_lib
from v2a.training import task as task_lib
from v2a.training import tasks
from v2a.training.tasks import codec as codec_task
from v2a.training.tasks import latents


@functools.cache
def _task(name, **codec):
  c = schema.tiny(schema.base()).unlock()
  c.task = name
  c.codec.update(codec)
  return tasks.make(c.lock()), c


def _items(c, num):
  sizes = c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size
  return [fake_records.make(schema.clip_spec(c), seed, *sizes) for seed in range(num)]


def _batch(task, c, num=4):
  return task.collate(_items(c, num), np.random.default_rng(0))


def _random(task):
  """Returns graph and state of the task's model with random weights: zeros would hide effects of inputs."""
  graphdef, state = nnx.split(nnx.eval_shape(lambda: task.build(jax.random.key(0))))
  rng = np.random.default_rng(0)
  sample = lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype)
  return graphdef, jax.tree.map(sample, state)


@functools.cache
def _program(task):
  """Returns batch -> the task's loss and metrics, compiled once per task."""
  graphdef, state = _random(task)
  run = jax.jit(
    lambda state, batch: task_lib.sampled_loss(
      task, nnx.merge(graphdef, state), batch, jax.random.key(1), jnp.zeros((), int)
    )
  )
  return functools.partial(run, state)


def _loss(task, c, **change):
  output = _program(task)(_batch(task, c) | change)
  assert np.isfinite(float(output.loss))
  return float(output.loss), output.metrics


@pytest.mark.parametrize(
  'change', [{}, {'stft_weight': 1.0, 'mel_weight': 1.0}, {'bottleneck': 'rvq'}, {'adversarial_weight': 1.0}]
)
def test_codec_losses_are_finite(change):
  task, c = _task('codec', **change)
  _, metrics = _loss(task, c)
  assert float(metrics['log_magnitude']) > 0 and float(metrics['channel_level']) > 0


@pytest.mark.parametrize('change', [{}, {'stft_weight': 1.0}, {'bottleneck': 'rvq'}])
def test_losses_of_a_stereo_magnitude_codec_are_finite(change):
  task, c = _task('codec', architecture='stereo_magnitude', **change)
  _, metrics = _loss(task, c)
  assert float(metrics['levels']) > 0


def test_a_stereo_magnitude_codec_begins_with_the_principal_components_of_the_data():
  task, c = _task('codec', architecture='stereo_magnitude')
  spec = schema.clip_spec(c)
  source = records.InMemorySource([fake_records.make(spec, seed) for seed in range(16)], spec)
  batch = task.collate([source[index] for index in range(16)], np.random.default_rng(0))

  @nnx.jit
  def error(model):
    level_BAJF = model.levels(batch['wave_BNA'])
    latent_BTC = model.trunk_of_levels(level_BAJF)[..., : c.codec.num_latent_channels]
    return jnp.mean(jnp.square(model.decode_levels(latent_BTC) - level_BAJF))

  fresh, model = (task.build(jax.random.key(0)) for _ in range(2))
  model = task.initialise(model, source)
  assert float(error(model)) < 0.1 * float(error(fresh))


def test_losses_of_codec_and_discriminators_have_separate_gradients():
  task, c = _task('codec', adversarial_weight=1.0, log_magnitude_weight=0.0, kl_weight=0.0)
  graphdef, state = _random(task)
  batch = _batch(task, c)

  def gradient_sizes(name):
    def value(state):
      model = nnx.merge(graphdef, state)
      output = task_lib.sampled_loss(task, model, batch, jax.random.key(1), jnp.zeros((), int))
      return output.metrics[name]

    grads = jax.jit(jax.grad(value))(state)
    size = lambda tree: sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(tree))
    of_discriminators = size(grads['discriminators'])
    return of_discriminators, size(grads) - of_discriminators

  for name, owner in (('adversarial', 1), ('judged', 0)):
    sizes = gradient_sizes(name)
    assert sizes[owner] > 0 and sizes[1 - owner] == pytest.approx(0, abs=1e-6), name


def test_codec_statistics_are_those_of_the_latents():
  task, c = _task('codec')
  spec = schema.clip_spec(c)
  source = records.InMemorySource([fake_records.make(spec, seed) for seed in range(6)], spec)
  model = task.finalize(task.build(jax.random.key(0)), source)
  waves = np.stack([record_schema.wave_to_float(source[i]['wave_NA']) for i in range(6)])
  mean_BTC, std_BTC = nnx.jit(lambda model, wave_BNA: model.encode(wave_BNA))(model, jnp.asarray(waves))
  np.testing.assert_allclose(mean_BTC.mean((0, 1)), 0, atol=1e-3)
  np.testing.assert_allclose((mean_BTC**2 + std_BTC**2).mean((0, 1)), 1, atol=1e-2)


def test_codebooks_are_initialised_from_the_data():
  task, c = _task('codec', bottleneck='rvq')
  spec = schema.clip_spec(c)
  source = records.InMemorySource([fake_records.make(spec, seed) for seed in range(16)], spec)
  fresh, model = (task.build(jax.random.key(0)) for _ in range(2))
  model = task.initialise(model, source)
  batch = task.collate([source[index] for index in range(16)], np.random.default_rng(0))

  @nnx.jit
  def quantized(model):
    latent_BTC = model.trunk(batch['wave_BNA'])
    quantized_BTC, codes_BTK, _, _ = model.quantizer(latent_BTC)
    return jnp.mean(jnp.square(quantized_BTC - latent_BTC)), codes_BTK

  error, codes_BTK = quantized(model)
  assert float(error) < 0.3 * float(quantized(fresh)[0])
  for k in range(c.codec.num_codebooks):
    assert len(np.unique(codes_BTK[..., k])) >= 0.8 * c.codec.codebook_size
  again = task.initialise(task.build(jax.random.key(0)), source)
  np.testing.assert_array_equal(again.quantizer.codebook_KVC[...], model.quantizer.codebook_KVC[...])


def test_an_rvq_codec_is_initialised_from_the_trunk_of_a_kl_codec(tmp_path):
  kl_task, kl_c = _task('codec')
  kl = nnx.merge(*_random(kl_task))
  weights.export(kl, tmp_path / 'kl', kl_c.copy_and_resolve_references(), 'float32')
  c = schema.tiny(schema.base()).unlock()
  c.task, c.codec.bottleneck, c.codec.adversarial_weight = 'codec', 'rvq', 1.0
  c.init_from.codec = str(tmp_path / 'kl')
  task = tasks.make(c.lock())
  source = records.InMemorySource(
    [fake_records.make(schema.clip_spec(c), seed) for seed in range(4)], schema.clip_spec(c)
  )
  model = task.initialise(task.build(jax.random.key(0)), source)
  wave_BNA = task.collate([source[0]], np.random.default_rng(0))['wave_BNA']
  np.testing.assert_allclose(model.trunk(wave_BNA), kl.posterior(wave_BNA)[0], atol=1e-5)
  latent_BTC = kl.posterior(wave_BNA)[0]
  np.testing.assert_array_equal(
    model.decode_features(latent_BTC).log_magnitude_BJF, kl.decode_features(latent_BTC).log_magnitude_BJF
  )
  # From a codec of the same kind, everything is loaded but the codebooks.
  c.codec.bottleneck, c.codec.adversarial_weight = 'kl', 0.0
  task = tasks.make(c)
  mine, theirs = nnx.state(task.initialise(task.build(jax.random.key(0)), source)), nnx.state(kl)
  jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def test_a_codec_is_not_initialised_from_one_of_another_kind(tmp_path):
  kl_task, kl_c = _task('codec')
  state = nnx.merge(*_random(kl_task))
  weights.export(state, tmp_path / 'kl', kl_c.copy_and_resolve_references(), 'float32')
  for change, message in [
    ({'codec.architecture': 'stereo_magnitude'}, 'architecture=stereo_magnitude; got magnitude'),
    ({'clip.sample_rate_hz': 48000}, 'clip.sample_rate_hz=48000; got 16000'),
    (
      {'init_from.codec': str(tmp_path / 'none')},
      'init_from.codec=.*none: No model.*Train that codec',
    ),
  ]:
    c = schema.tiny(schema.base()).unlock()
    c.task, c.init_from.codec = 'codec', str(tmp_path / 'kl')
    c.update_from_flattened_dict(change)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
      tasks.make(c.lock())._initial_codec()


def test_sync_loss_of_an_untrained_model_is_that_of_chance():
  task, c = _task('sync')
  model = task.build(jax.random.key(0))
  model.log_scale.set_value(jnp.asarray(-20.0))
  batch = _batch(task, c)
  run = nnx.jit(
    lambda model: task_lib.sampled_loss(task, model, batch, jax.random.key(1), jnp.zeros((), int))
  )
  value = run(model).loss
  num_segments = 4 * (batch['sync_frame_BLYX3'].shape[1] // round(c.sync.segment_s * c.clip.sync_fps))
  assert float(value) == pytest.approx(np.log(num_segments), rel=1e-4)


def test_the_sync_loss_excludes_clips_without_audio():
  task, c = _task('sync')
  some = np.repeat([[True], [True], [False], [True]], c.clip.clip_s * 25, axis=1)
  changed = _batch(task, c)['latent_BTC'].copy()
  changed[2] = 9.0
  before, _ = _loss(task, c, is_valid_BT=some)
  after, _ = _loss(task, c, is_valid_BT=some, latent_BTC=changed)
  assert before == pytest.approx(after, rel=1e-6)


@pytest.mark.parametrize('kind', [('flow', 'loss_t3'), ('tokens', 'loss_codebook1')])
@pytest.mark.parametrize('name', ['sync_frame_BLYX3', 'semantic_frame_BMYX3'])
def test_generators_read_frames_unless_there_is_no_video(kind, name):
  task, c = _task(kind[0])
  other = 255 - _batch(task, c)[name]
  value, metrics = _loss(task, c)
  assert kind[1] in metrics
  assert abs(_loss(task, c, **{name: other})[0] - value) > 1e-4
  none = {'has_video_B': np.zeros(4, bool)}
  assert _loss(task, c, **none, **{name: other})[0] == pytest.approx(_loss(task, c, **none)[0], rel=1e-6)


def test_records_without_latents_are_refused():
  for name, missing in (('sync', 'latents'), ('flow', 'latents'), ('tokens', 'codes')):
    task, c = _task(name)
    with pytest.raises(ValueError, match=f'has no {missing}; encode the records by data_pipelines.encode'):
      task.collate([fake_records.make(schema.clip_spec(c))], np.random.default_rng(0))


@pytest.mark.parametrize(('sizes', 'got'), [((3, 16), '3 codebooks'), ((2, 900), '2 codebooks up to 8')])
def test_codes_of_another_codec_are_refused(sizes, got):
  task, c = _task('tokens')
  wanted = 'wanted config.codec.num_codebooks=2 of codebook_size=16'
  with pytest.raises(ValueError, match=f'codes of {got}.*{wanted}'):
    task.collate([fake_records.make(schema.clip_spec(c), 0, 0, *sizes)], np.random.default_rng(0))


@pytest.mark.parametrize('is_causal', [True, False])
def test_an_untrained_model_gives_all_tokens_the_same_probability(is_causal):
  task, c = _tokens(is_causal)
  model, batch = task.build(jax.random.key(0)), _batch(task, c)
  run = nnx.jit(lambda model, key: task_lib.sampled_loss(task, model, batch, key, jnp.zeros((), int)))
  output = run(model, jax.random.key(1))
  by_codebook = [float(output.metrics[f'loss_codebook{k}'].mean()) for k in range(c.codec.num_codebooks)]
  assert [float(output.loss), *by_codebook] == pytest.approx([np.log(c.codec.codebook_size)] * 3, rel=1e-5)


def _tokens(is_causal):
  c = schema.tiny(schema.base()).unlock()
  c.task, c.tokens.is_causal = 'tokens', is_causal
  return tasks.make(c.lock()), c


@pytest.mark.parametrize('token_dropout_probability', [0.0, 0.9])
def test_a_causal_model_predicts_each_token_once_codebook_k_with_delay_k_from_steps_not_dropped(
  token_dropout_probability,
):
  task, c = _tokens(True)
  c.conditioning.update(dict.fromkeys(_INPUTS, 0.0))
  c.tokens.token_dropout_probability = token_dropout_probability
  task = tasks.make(c)
  batch, model = _batch(task, c), nnx.merge(*_random(task))
  B, T, K = batch['code_BTK'].shape
  code_BSK = np.full((B, T + K - 1, K), model.decoder.padding_token)
  for k in range(K):
    code_BSK[:, k : k + T, k] = batch['code_BTK'][..., k]

  @nnx.jit
  def run(model):
    inputs = batch | task.sample_random_inputs(batch, jax.random.key(1))
    condition = task.conditioning.encode(model, inputs)
    value = task.loss(model, inputs, jnp.zeros((), int)).loss
    is_dropped_BS = inputs.get('is_dropped_BS', jnp.zeros(code_BSK.shape[:2], bool))
    input_BSK = jnp.where(is_dropped_BS[..., None], model.decoder.mask_token, code_BSK)
    return value, jax.nn.log_softmax(model.decoder(input_BSK, condition)), is_dropped_BS

  value, log_p_BSKV, is_dropped_BS = map(np.asarray, run(model))
  assert is_dropped_BS.any() == (token_dropout_probability > 0)
  log_p = [log_p_BSKV[b, t + k, k, batch['code_BTK'][b, t, k]] for b, t, k in np.ndindex(B, T, K)]
  assert float(value) == pytest.approx(-np.mean(log_p), rel=1e-5)


@pytest.mark.parametrize('name', schema.TASKS)
def test_bfloat16_stays_close_to_float32(name):
  assert set(schema.DTYPES) == {'float32', 'bfloat16'}
  task, c = _task(name)
  assert c.training.compute_dtype == 'float32'
  value, _ = _loss(task, c)
  c = c.copy_and_resolve_references().unlock()
  c.training.compute_dtype = 'bfloat16'
  assert value != _loss(tasks.make(c.lock()), c)[0] == pytest.approx(value, rel=0.03)


@pytest.mark.parametrize('name', schema.TASKS)
def test_every_task_rematerializes_with_remat_full(name):
  def num_flops(remat):
    c = schema.tiny(schema.base()).unlock()
    c.task, c.training.remat = name, remat
    c.codec.bottleneck = 'rvq' if name == 'tokens' else 'kl'
    return flops.count(program.trace(c.lock(), mesh_lib.make({}, jax.devices()[:1]))[0].jaxpr)

  assert num_flops('full') > num_flops('none')


_INPUTS = {
  'drop_video': ('semantic_frame_BMYX3', 'sync_frame_BLYX3'),
  'drop_text': ('text_byte_BU',),
  'drop_transcript': ('transcript_byte_BW',),
}


@pytest.mark.parametrize('name', ['flow', 'tokens'])
@pytest.mark.parametrize('dropped', _INPUTS)
def test_a_dropped_condition_has_no_effect_and_the_others_have(dropped, name):
  c = schema.tiny(schema.base()).unlock()
  c.task = name
  c.conditioning.update(dict.fromkeys(_INPUTS, 0.0) | {dropped: 1 - 1e-9})
  task = tasks.make(c.lock())
  batch = _batch(task, c)
  batch |= {'text_length_B': np.full(4, 6, np.int32), 'transcript_length_B': np.full(4, 6, np.int32)}
  graphdef, state = _random(task)
  run = functools.partial(
    jax.jit(
      lambda state, batch: (
        task_lib.sampled_loss(
          task, nnx.merge(graphdef, state), batch, jax.random.key(1), jnp.zeros((), int)
        ).loss
      )
    ),
    state,
  )
  base = float(run(batch))
  for drop, inputs in _INPUTS.items():
    other = float(run(batch | {key: (batch[key].astype(int) + 90).astype(np.uint8) for key in inputs}))
    assert (other == base) == (drop == dropped), drop


def test_latents_are_sampled_from_their_distribution():
  shape = (200, 50)
  item = {
    'id': 'a',
    'latent_mean_TC': np.full(shape, 3.0, np.float16),
    'latent_std_TC': np.full(shape, 0.5, np.float16),
  }
  latent_TC = latents.sample([item], np.random.default_rng(0))[0]
  assert latent_TC.mean() == pytest.approx(3.0, abs=0.02)
  assert latent_TC.std() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize('name', ['flow', 'tokens'])
def test_the_sync_encoder_is_initialised_from_the_sync_model(name, tmp_path):
  sync_task, sync_c = _task('sync')
  trained = nnx.merge(*_random(sync_task))
  weights.export(trained, tmp_path / 'sync', sync_c.copy_and_resolve_references(), 'float32')
  c = schema.tiny(schema.base()).unlock()
  c.task, c.init_from.sync = name, str(tmp_path / 'sync')
  task = tasks.make(c.lock())
  model = task.initialise(task.build(jax.random.key(0)), records.InMemorySource([], schema.clip_spec(c)))
  mine, theirs = nnx.state(model.conditioner.sync), nnx.state(trained.video)
  jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def test_augmentation_differs_at_every_visit_and_leaves_audio_unchanged():
  c = schema.tiny(schema.base()).unlock()
  item = fake_records.make(schema.clip_spec(c), 0, c.codec.num_latent_channels)
  collate = lambda probability, seed: _flow_with_augmentation(c, probability).collate(
    [item], np.random.default_rng(seed)
  )
  np.testing.assert_array_equal(collate(0.0, 0)['sync_frame_BLYX3'][0], item['sync_frame_LYX3'])
  augmented = [collate(1.0, seed)['sync_frame_BLYX3'].tobytes() for seed in range(8)]
  assert len(set(augmented)) == 8
  item['latent_std_TC'] = 0 * item['latent_std_TC']
  np.testing.assert_array_equal(collate(1.0, 3)['latent_BTC'], collate(0.0, 4)['latent_BTC'])


def _flow_with_augmentation(c, probability):
  c = c.copy_and_resolve_references().unlock()
  c.data.augment_probability = probability
  return tasks.make(c.lock())


class _RecordingSource(records.InMemorySource):
  """Records the indices that are read."""

  def __init__(self, items, spec):
    super().__init__(items, spec)
    self.read = []

  def __getitem__(self, index):
    self.read.append(index)
    return super().__getitem__(index)


def test_records_of_latent_statistics_are_spread_over_the_set(monkeypatch):
  monkeypatch.setattr(codec_task.CodecTask, '__init__', lambda self, c: setattr(self, 'c', c))
  monkeypatch.setattr(codec_task, 'NUM_STATISTIC_RECORDS', 8)
  c = schema.tiny(files.find('codec_synthetic'))
  spec = schema.clip_spec(c)
  items = [fake_records.make(spec, seed) | {'has_audio': seed % 2 == 0} for seed in range(40)]
  source = _RecordingSource(items, spec)
  found = [index for index, _ in codec_task.CodecTask(c)._sample(source)]
  assert len(source.read) == 8 and max(source.read) > 25 and min(source.read) < 15
  assert found == [index for index in source.read if index % 2 == 0], 'records without audio are left out'
  assert found == [index for index, _ in codec_task.CodecTask(c)._sample(source)]
  with pytest.raises(ValueError, match='none of the 40 records has audio that is not silent'):
    silent = records.InMemorySource([record | {'has_audio': False} for record in items], spec)
    list(codec_task.CodecTask(c)._sample(silent))
