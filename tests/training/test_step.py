import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from v2a import execution
from v2a.aot import program
from v2a.config import files
from v2a.config import schema
from v2a.data import loader
from v2a.models import layers
from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import task as task_lib
from v2a.training.tasks import tokens

MESHES = (
  {'data': 8},
  {'fsdp': 8},
  {'data': 2, 'fsdp': 2, 'tensor': 2},
  {'replica': 2, 'fsdp': 2, 'context': 2},
)


def _batches(c, task, num_steps):
  items = loader.source(c)
  return loader.Batches(task, items, loader.order(c, items, 1), num_steps)


def run(c, sizes=None, num_steps=3, noise=0.1, make_task=toy.Task):
  """Returns the state after some steps on a mesh, and the metrics of the last."""
  task = make_task(noise)
  sizes = sizes or {}
  mesh = mesh_lib.make(sizes, jax.devices()[: math.prod(sizes.values())])
  optimizer = optimizer_lib.make(c.training, task.param_groups)
  abstract = state_lib.abstract(task, optimizer, mesh)
  state = state_lib.init(task, optimizer, abstract, jax.random.key(c.seed))
  step = step_lib.make(c, task, state_lib.graph(task), optimizer, mesh, abstract)
  batches = _batches(c, task, num_steps)
  leaves, tree = jax.tree.flatten(state)
  for index in range(num_steps):
    previous = leaves
    leaves, metrics = step(previous, loader.to_devices(batches[index], mesh, [c.training.batch_size]))
    assert all(leaf.is_deleted() for leaf in previous), 'the step donates the state'
  return jax.tree.unflatten(tree, leaves), {name: float(value) for name, value in metrics.items()}


def assert_close(a, b, rtol=2e-5, atol=2e-6):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol, atol), a, b)


@pytest.fixture(scope='module')
def single():
  return run(toy.configuration(batch_size=16, clip_norm=0.1))


@pytest.mark.parametrize('sizes', MESHES)
def test_every_mesh_has_the_result_of_one_device(single, sizes):
  state, metrics = run(toy.configuration(batch_size=16, clip_norm=0.1), sizes)
  for name in ('params', 'ema', 'frozen', 'opt_state', 'step'):
    assert_close(getattr(state, name), getattr(single[0], name))
  assert metrics == pytest.approx(single[1], rel=2e-5)
  fsdp, tensor = sizes.get('fsdp', 1), sizes.get('tensor', 1)
  inner = state.params['inner'].get_value()
  assert inner.sharding.shard_shape(inner.shape) == (16 // fsdp, 32 // tensor)
  moment = state.opt_state[0].mu['layers'].get_value()
  assert moment.sharding.shard_shape(moment.shape) == (2, 32 // fsdp, 32 // tensor)


@pytest.mark.parametrize('sizes', [{}, *MESHES[1:]])
def test_microbatches_sum_to_the_batch_on_every_mesh(single, sizes):
  microbatches = 2 if sizes == {'fsdp': 8} else 4
  parts, metrics = run(toy.configuration(batch_size=16, clip_norm=0.1, microbatches=microbatches), sizes)
  assert_close(parts.params, single[0].params)
  assert metrics == pytest.approx(single[1], rel=1e-5)


class BatchVariance(toy.Task):
  """The toy task, whose loss depends on all clips of a batch together."""

  has_per_clip_loss = False

  def loss(self, model, batch, step):
    output = super().loss(model, batch, step)
    output_B = model(batch['x_BF'])
    target_B = jnp.where(batch['x_BF'][:, 0] > 0, batch['y_B'], jnp.nan)
    metrics = {'num_clips': jnp.float32(output_B.size), 'target': target_B}
    return task_lib.LossOutput(output.loss + jnp.var(output_B), output.metrics | metrics)


def test_dependent_clips_share_a_microbatch_and_metrics_may_cover_some_clips():
  c = toy.configuration(batch_size=16, microbatches=2)
  one, metrics = run(c, make_task=BatchVariance)
  eight, same = run(c, MESHES[2], make_task=BatchVariance)
  assert_close(eight.params, one.params)
  assert same == pytest.approx(metrics, rel=1e-5)
  assert metrics['num_clips'] == 8
  batch = _batches(c, toy.Task(), 3)[2]
  assert metrics['target'] == pytest.approx(batch['y_B'][batch['x_BF'][:, 0] > 0].mean(), rel=1e-6)


def test_kernels_are_cast_and_biases_are_not():
  class Cast(nnx.Module):
    def __init__(self):
      self.layer = layers.Linear(16, 1, ('embed', None), rngs=nnx.Rngs(0), dtype=jnp.bfloat16)

  _, params = nnx.split(Cast())
  for gradient_dtype in ('float32', 'bfloat16'):
    cast = layers.cast(params, gradient_dtype)
    first, *master = jax.tree.leaves(cast['layer']['kernel_IO'])
    assert first.dtype == jnp.bfloat16 and len(master) == (gradient_dtype == 'float32')
    assert cast['layer']['bias_O'].get_value().dtype == jnp.float32


class HalfPrecision(toy.Task):
  """The toy task with a linear model whose product runs in bfloat16."""

  class Model(nnx.Module):
    def __init__(self, rngs):
      self.layer = layers.Linear(16, 1, ('embed', None), rngs=rngs, dtype=jnp.bfloat16)

    def __call__(self, x_BF):
      return self.layer(x_BF)[:, 0].astype(jnp.float32)

  def build(self, key):
    return self.Model(nnx.Rngs(key))


def test_gradients_are_summed_in_float32_by_default_and_in_bfloat16_where_named():
  # Without a memory, Adam's first moment is the gradient.
  settings = {'batch_size': 16, 'clip_norm': 0.0, 'betas': (0.0, 0.95)}
  for named, is_rounded in (({}, False), ({'gradient_dtype': 'bfloat16'}, True)):
    state, _ = run(toy.configuration(**settings, **named), num_steps=1, make_task=HalfPrecision)
    gradient_IO = state.opt_state[0].mu['layer']['kernel_IO'].get_value()
    assert bool((gradient_IO == gradient_IO.astype(jnp.bfloat16)).all()) == is_rounded


def test_frozen_parameters_do_not_change_and_have_no_moments(single):
  state, _ = single
  assert set(state.params) == {'inner', 'bias', 'layers', 'outer'}
  assert set(state.opt_state[0].mu) == set(state.params)
  assert set(state.frozen) == {'gain', 'scale'}
  assert float(state.frozen['gain'][0]) == 1.0 and float(state.frozen['scale'][...]) == 2.0


@pytest.mark.parametrize(('sizes', 'microbatches'), [({}, 1), ({}, 4), (MESHES[2], 4)])
def test_ema_statistics_are_updated_once_per_step_with_means_over_the_batch(sizes, microbatches):
  c = toy.configuration(batch_size=16, microbatches=microbatches)
  state, metrics = run(c, sizes, num_steps=2, make_task=toy.EmaTask)
  batches = _batches(c, toy.Task(), 2)
  wanted = 2.0
  for step in range(2):
    wanted = 0.9 * wanted + 0.1 * batches[step]['y_B'].mean()
  assert float(state.frozen['scale'][...]) == metrics['scale'] == pytest.approx(wanted, rel=1e-5)
  assert float(state.frozen['gain'][0]) == 1.0


def test_changing_the_model_does_not_change_the_state(single):
  state, _ = single
  model = state_lib.model(state_lib.graph(toy.Task()), state)
  model.scale[...] = model.scale[...] * 3
  model.bias[...] = model.bias[...] + 1
  assert float(state.frozen['scale'][...]) == 2.0
  assert not np.array_equal(state.ema['bias'][...], model.bias[...])


def test_the_gradient_is_clipped():
  # Adam's updates do not depend on the scale of gradients; its first moment after one step, (1 - b1) g, does.
  c = toy.configuration(batch_size=16, clip_norm=0.01)
  state, metrics = run(c, num_steps=1)
  assert metrics['grad_norm'] > 0.1
  first = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(state.opt_state[0].mu)))
  assert float(first) == pytest.approx((1 - c.training.betas[0]) * 0.01, rel=1e-3)


def test_ema_follows_its_equation():
  c = toy.configuration(batch_size=16, ema_decay=0.5)
  before, _ = run(c, num_steps=1)
  after, _ = run(c, num_steps=2)
  # Eq. 2 of training.optimizer with step 1: min(0.5, 2 / 11).
  wanted = jax.tree.map(lambda old, new: 2 / 11 * old + 9 / 11 * new, before.ema, after.params)
  assert_close(after.ema, wanted)
  assert float(optimizer_lib.ema_weight(0.5, jnp.asarray(100))) == 0.5


def test_learning_rate():
  c = toy.configuration(
    schedule='cosine', warmup_steps=4, num_steps=12, learning_rate=1.0, final_learning_rate_ratio=0.1
  ).training
  rate = optimizer_lib.learning_rate(c)
  got = [float(rate(step)) for step in (0, 1, 3, 4, 8, 12, 100)]
  assert got == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.55, 0.1, 0.1], abs=1e-6)
  constant = optimizer_lib.learning_rate(toy.configuration(warmup_steps=2, learning_rate=1.0).training)
  assert [float(constant(step)) for step in (0, 1, 50)] == [0.5, 1.0, 1.0]


def test_matrices_decay_and_biases_do_not():
  task = toy.Task()
  abstract = state_lib.abstract(task, optimizer_lib.make(toy.configuration().training), mesh_lib.single())
  decayed = optimizer_lib.weight_decay_mask(abstract.params)
  assert {name: decayed[name].get_value() for name in decayed} == {
    'inner': True,
    'layers': True,
    'outer': True,
    'bias': False,
  }
  stacked = nnx.State({'bias': nnx.Param(jnp.zeros((3, 32)), axes=('mlp',))})
  assert not optimizer_lib.weight_decay_mask(stacked)['bias'].get_value()


@pytest.mark.parametrize('training', [{'batch_size': 12}, {'batch_size': 8, 'microbatches': 2}])
def test_a_batch_must_divide_over_the_devices(training):
  with pytest.raises(ValueError, match='must be a multiple of microbatches x replica x data x fsdp'):
    run(toy.configuration(**training), {'data': 8})


def test_noise_is_a_function_of_seed_and_step():
  key = step_lib.step_key(3, jnp.asarray(5))
  assert jnp.array_equal(jax.random.key_data(key), jax.random.key_data(step_lib.step_key(3, 5)))
  assert not jnp.array_equal(jax.random.key_data(key), jax.random.key_data(step_lib.step_key(3, 6)))
  assert not jnp.array_equal(jax.random.key_data(key), jax.random.key_data(step_lib.step_key(4, 5)))


def test_nothing_to_train_is_an_error():
  task = toy.Task()
  task.is_trainable = lambda path: False
  with pytest.raises(ValueError, match='freezes every parameter'):
    state_lib.abstract(task, optimizer_lib.make(toy.configuration().training), mesh_lib.single())


@pytest.mark.parametrize(
  ('change', 'context', 'wanted'),
  [
    ({'task': 'flow'}, 4, '50 audio steps of a clip; got 4. .* 1, 2'),
    ({'task': 'tokens', 'tokens.is_causal': False}, 4, '50 audio steps of a clip; got 4. .* 1, 2'),
    ({'task': 'codec'}, 4, '10 audio steps of a crop of config.codec.crop_s; got 4. .* 1, 2'),
    ({'task': 'codec', 'codec.bottleneck': 'kl', 'codec.crop_s': 1.0}, 2, '25 audio steps of a crop .* 1'),
    ({'task': 'sync'}, 4, '50 audio steps of a clip; got 4. .* 1, 2'),
    ({'task': 'sync', 'clip.sync_fps': 24}, 5, '48 frames of a clip; got 5. .* 1, 2, 3, 4'),
    ({'task': 'sync'}, 5, '4 patches of a frame; got 5. .* 1, 2, 4'),
  ],
)
def test_context_must_divide_the_sequences_of_a_task(change, context, wanted):
  change = {'codec.bottleneck': 'rvq', 'training.batch_size': 8} | change
  c = files.override(schema.tiny(schema.base()), [f'--config.{k}={v}' for k, v in change.items()])
  with pytest.raises(ValueError, match=f'must divide the {wanted}[.]$'):
    program.trace(c, mesh_lib.make({'context': context}, jax.devices()[:context]))


@pytest.mark.parametrize(
  'change', [{'task': 'codec'}, {'task': 'codec', 'codec.bottleneck': 'kl'}, {'task': 'sync'}]
)
def test_context_splits_a_codec_and_a_sync_model(change):
  change = {'codec.bottleneck': 'rvq', 'training.batch_size': 8} | change
  c = files.override(schema.tiny(schema.base()), [f'--config.{k}={v}' for k, v in change.items()])

  def flops_per_device(context):
    traced, _ = program.trace(c, mesh_lib.make({'context': context}, jax.devices()[:context]))
    return traced.lower().compile().cost_analysis()['flops']

  # Everything is split but the STFT of a codec, and the products of all segments of a sync model.
  assert flops_per_device(2) < 0.8 * flops_per_device(1)


def test_steps_of_the_delay_pattern_are_padded_to_a_multiple_of_context():
  inputs = []

  def decoder(code_BSK, condition):
    inputs.append(np.asarray(code_BSK))
    return code_BSK

  decoder.padding_token = 9
  code_BSK = jnp.arange(2 * 51 * 2).reshape(2, 51, 2)
  for context, wanted in ((1, 51), (2, 52), (4, 52)):
    with execution.use(mesh=mesh_lib.make({'data': -1, 'context': context})):
      np.testing.assert_array_equal(tokens._logits(decoder, code_BSK, None), code_BSK)
    assert inputs[-1].shape[1] == wanted and (inputs[-1][:, 51:] == 9).all()


class Grouped(toy.Task):
  """The toy task, whose last layer has its own optimizer."""

  param_groups = {'outer': {'learning_rate': 0.5, 'clip_norm': 0.02}}


@pytest.mark.parametrize('sizes', [{}, MESHES[2]])
def test_a_group_of_parameters_has_its_own_optimizer_and_clip_norm(sizes):
  c = toy.configuration(batch_size=16, clip_norm=0.01, learning_rate=1e-3, warmup_steps=0, weight_decay=0.0)
  state, metrics = run(c, sizes, num_steps=1, make_task=Grouped)
  assert set(state.opt_state) == {'model', 'outer'}

  for name, wanted in (('model', 0.01), ('outer', 0.02)):
    moments = state.opt_state[name][0].mu
    assert set(moments) == ({'outer'} if name == 'outer' else {'inner', 'bias', 'layers'})
    norm = float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(moments))))
    assert norm == pytest.approx((1 - c.training.betas[0]) * wanted, rel=1e-3), name
    assert metrics[f'grad_norm_{name}'] > wanted
  total_norm = math.hypot(metrics['grad_norm_model'], metrics['grad_norm_outer'])
  assert metrics['grad_norm'] == pytest.approx(total_norm, rel=1e-5)
  # The first step of Adam changes each parameter by the learning rate.
  start = nnx.split(Grouped().build(jax.random.key(c.seed)), nnx.Param, ...)[1]
  for name, rate in (('inner', 1e-3), ('outer', 0.5)):
    change = jnp.abs(state.params[name].get_value() - start[name].get_value())
    assert float(jnp.median(change)) == pytest.approx(rate, rel=1e-2), name
