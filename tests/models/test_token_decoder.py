"""The token decoder: cached steps equal the full pass; causality, masks, effects of every condition."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import execution
from v2a.autoregressive import patterns
from v2a.autoregressive import sampling
from v2a.conditioning import condition as condition_lib
from v2a.models import token_decoder
from v2a.sharding import mesh as mesh_lib
from v2a.sharding import rules

K, V, T = 3, 14, 20
SIZES = {
  'num_codebooks': K,
  'codebook_size': V,
  'latent_rate_hz': 25.0,
  'semantic_rate_hz': 10.0,
  'sync_rate_hz': 12.5,
  'condition_width': 8,
  'width': 16,
  'num_heads': 2,
  'num_joint_layers': 2,
  'num_audio_layers': 2,
  'mlp_ratio': 2.0,
}


@functools.cache
def _random_decoder(**settings):
  """Returns graph and state of a decoder with random weights: at initialization, some are zero."""
  graphdef, state = nnx.split(
    nnx.eval_shape(lambda: token_decoder.TokenDecoder(**SIZES, **settings, rngs=nnx.Rngs(0)))
  )
  rng = np.random.default_rng(1)
  return graphdef, jax.tree.map(
    lambda leaf: jnp.asarray(0.25 * rng.standard_normal(leaf.shape), jnp.float32), state
  )


def _model(**settings):
  return nnx.merge(*_random_decoder(**settings))


@functools.cache
def _full(**settings):
  model = _model(**settings)
  return jax.jit(lambda code_BTK, condition: model(code_BTK, condition))


@functools.cache
def _stepwise(**settings):
  """Returns (code_BTK, condition, number of steps of the cache) -> logits, from one scan over steps."""
  model = _model(**settings)

  @functools.partial(jax.jit, static_argnums=2)
  def run(code_BTK, condition, num_steps):
    def step(cache, given):
      logit_BKV, cache = model.step(given[1], cache, given[0])
      return cache, logit_BKV

    shown = jnp.pad(code_BTK[:, :-1], ((0, 0), (1, 0), (0, 0)), constant_values=model.padding_token)
    given = jnp.arange(code_BTK.shape[1]), jnp.moveaxis(shown, 1, 0)
    return jnp.moveaxis(jax.lax.scan(step, model.prefill(condition, num_steps), given)[1], 0, 1)

  return run


def _condition():
  keys = iter(jax.random.split(jax.random.key(2), 4))
  normal = lambda *shape: jax.random.normal(next(keys), shape)
  return condition_lib.Condition(
    semantic_BMD=normal(2, 8, 8),
    sync_BLD=normal(2, 10, 8),
    text_BUD=normal(2, 6, 8),
    text_mask_BU=jnp.arange(6)[None] < jnp.array([[6], [2]]),
    transcript_BWD=normal(2, 5, 8),
    transcript_mask_BW=jnp.arange(5)[None] < jnp.array([[1], [4]]),
  )


def _dropped(condition):
  """Returns the condition with something constant in put of all; of texts the first position is read."""
  first = lambda mask_BS: jnp.broadcast_to(jnp.arange(mask_BS.shape[1])[None] == 0, mask_BS.shape)
  return condition_lib.Condition(
    0 * condition.semantic_BMD + 0.3,
    0 * condition.sync_BLD - 0.2,
    0 * condition.text_BUD + 0.5,
    first(condition.text_mask_BU),
    0 * condition.transcript_BWD + 0.1,
    first(condition.transcript_mask_BW),
  )


def _codes():
  return jax.random.randint(jax.random.key(5), (2, T, K), 0, V)


@pytest.mark.parametrize('is_dropped', [False, True])
def test_cached_steps_equal_the_full_pass(is_dropped):
  condition = _dropped(_condition()) if is_dropped else _condition()
  delays = patterns.codebook_delays('delay', K)
  code_BSK = patterns.build(_codes()[:, : T - 2], delays, V)  # with padding at both ends
  wanted_BTKV = _full()(code_BSK, condition)
  assert float(jnp.abs(wanted_BTKV).max()) > 0.5
  np.testing.assert_allclose(_stepwise()(code_BSK, condition, T), wanted_BTKV, atol=1e-4)
  np.testing.assert_allclose(_stepwise()(code_BSK, condition, T + 7), wanted_BTKV, atol=1e-4)


def test_predict_masked_equals_the_full_pass():
  code_BTK = jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, (2, T, K)), V + 1, _codes())
  model = _model(is_causal=False)
  revise = jax.jit(lambda code_BTK, condition: model.predict_masked(code_BTK, model.prefill(condition, T)))
  wanted_BTKV = _full(is_causal=False)(code_BTK, _condition())
  np.testing.assert_allclose(revise(code_BTK, _condition()), wanted_BTKV, atol=1e-4)


def test_bfloat16_steps_are_close_to_float32():
  settings = {'dtype': jnp.bfloat16}
  found_BTKV = _stepwise(**settings)(_codes(), _condition(), T)
  assert found_BTKV.dtype == jnp.float32
  wanted_BTKV = np.asarray(_full()(_codes(), _condition()))
  assert np.abs(np.asarray(found_BTKV) - wanted_BTKV).mean() < 0.05 * np.abs(wanted_BTKV).mean()


@pytest.mark.parametrize('is_causal', [True, False])
def test_causal_decoders_see_only_earlier_tokens(is_causal):
  full = _full(is_causal=is_causal)
  code_BTK = _codes()
  for k in range(K):
    other_BTK = code_BTK.at[:, 12, k].set((code_BTK[:, 12, k] + 1) % V)
    change_BT = np.abs(full(other_BTK, _condition()) - full(code_BTK, _condition())).max(axis=(2, 3))
    assert (change_BT[:, 13:] > 1e-5).all()
    assert (change_BT[:, :13] == 0).all() if is_causal else (change_BT[:, :13] > 1e-5).all()


def test_every_condition_changes_every_step():
  condition = _condition()
  wanted_BTKV = _full()(_codes(), condition)
  for name in ('semantic_BMD', 'sync_BLD', 'text_BUD', 'transcript_BWD'):
    other = condition.replace(**{name: getattr(condition, name) * 0.5})
    change_BTK = np.abs(_full()(_codes(), other) - wanted_BTKV).max(axis=3)
    assert (change_BTK > 1e-4).all(), name


def test_masked_tokens_are_never_read():
  condition = _condition()
  for run in (_full(), _run_steps):
    wanted_BTKV = np.asarray(run(_codes(), condition))
    assert np.isfinite(wanted_BTKV).all()
    for tokens, mask in (('text_BUD', 'text_mask_BU'), ('transcript_BWD', 'transcript_mask_BW')):
      keep_BS1 = getattr(condition, mask)[..., None]
      poisoned = condition.replace(**{tokens: jnp.where(keep_BS1, getattr(condition, tokens), jnp.nan)})
      np.testing.assert_array_equal(run(_codes(), poisoned), wanted_BTKV)


def test_nan_in_masked_tokens_leaves_gradients_finite():
  condition = _condition()
  keep_BU1, keep_BW1 = condition.text_mask_BU[..., None], condition.transcript_mask_BW[..., None]
  poisoned = condition.replace(
    text_BUD=jnp.where(keep_BU1, condition.text_BUD, jnp.nan),
    transcript_BWD=jnp.where(keep_BW1, condition.transcript_BWD, jnp.nan),
  )
  for leaf in jax.tree.leaves(_gradient()(_random_decoder()[1], poisoned)):
    assert jnp.isfinite(leaf).all()


@functools.cache
def _gradient(remat='none'):
  graphdef, _ = _random_decoder()

  def loss(state, condition):
    with execution.use(remat=remat):
      return jnp.sum(jnp.square(nnx.merge(graphdef, state)(_codes(), condition)))

  return jax.jit(jax.grad(loss))


def _run_steps(code_BTK, condition):
  return _stepwise()(code_BTK, condition, T)


def test_padding_changes_nothing():
  condition = jax.tree.map(lambda x: x[1:], _condition())
  short = condition.replace(text_BUD=condition.text_BUD[:, :2], text_mask_BU=condition.text_mask_BU[:, :2])
  wanted_BTKV = _full()(_codes()[1:], condition)
  np.testing.assert_allclose(_full()(_codes()[1:], short), wanted_BTKV, atol=1e-5)


def test_sync_features_act_at_their_time():
  condition = _condition()
  # Frame 6 of 10 at 12.5 Hz lasts from 0.48 to 0.56 s, steps 12 and 13 at 25 Hz.
  moved = condition.replace(sync_BLD=condition.sync_BLD.at[:, 6].add(3.0))
  change_BT = np.abs(_full()(_codes(), moved) - _full()(_codes(), condition)).mean(axis=(2, 3))
  assert np.isin(change_BT.argmax(axis=1), [11, 12, 13, 14]).all()
  assert (change_BT[:, 12:14].min(axis=1) > 5 * np.median(change_BT[:, :9], axis=1)).all()


def test_codebooks_have_their_own_embeddings():
  change_BTKV = np.abs(_full()(_codes()[..., ::-1], _condition()) - _full()(_codes(), _condition()))
  assert change_BTKV[:, 1:].max() > 1e-3


def _swapped(x, first=3):
  """Returns the array with two neighbours along its second axis in each other's put."""
  return x.at[:, first].set(x[:, first + 1]).at[:, first + 1].set(x[:, first])


def test_all_streams_but_text_have_positions():
  # Without causality and motion, nothing but a position tells one step from another.
  condition = _condition()
  condition = condition.replace(sync_BLD=jnp.ones_like(condition.sync_BLD))

  def change(code_BTK=None, **change):
    codes = _codes() if code_BTK is None else code_BTK
    found_BTKV = _full(is_causal=False)(codes, condition.replace(**change))
    return float(jnp.abs(found_BTKV - _full(is_causal=False)(_codes(), condition))[:, 6:].max())

  assert change(_swapped(_codes())) > 1e-4
  assert change(semantic_BMD=_swapped(condition.semantic_BMD)) > 1e-4
  assert change(transcript_BWD=_swapped(condition.transcript_BWD, 1)) > 1e-4
  assert change(text_BUD=_swapped(condition.text_BUD, 0)) < 1e-5


def test_clips_of_a_batch_are_independent():
  alone_BTKV = _full()(_codes()[1:], jax.tree.map(lambda x: x[1:], _condition()))
  np.testing.assert_allclose(alone_BTKV[0], _full()(_codes(), _condition())[1], atol=1e-5)


def test_initial_logits_are_zero():
  graphdef, state = nnx.split(token_decoder.TokenDecoder(**SIZES, rngs=nnx.Rngs(0)))
  run = jax.jit(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs))
  assert not run(state, _codes(), _condition()).any()


def test_steps_compile_once():
  model, traces = _model(), []

  @jax.jit
  def step(code_BK, cache, index):
    traces.append(index)
    return model.step(code_BK, cache, index)

  cache = jax.jit(lambda condition: model.prefill(condition, T))(_condition())
  before = jax.tree.map(lambda x: (x.shape, x.dtype), cache)
  for index in range(4):
    _, cache = step(_codes()[:, index], cache, jnp.asarray(index))
  assert len(traces) == 1
  assert jax.tree.map(lambda x: (x.shape, x.dtype), cache) == before


def test_remat_changes_no_gradient():
  state = _random_decoder()[1]
  wanted, found = _gradient()(state, _condition()), _gradient('full')(state, _condition())
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), wanted, found)
  # What no gradient reaches would never be trained; the mask token's rows are of no use to a causal decoder.
  for path, leaf in nnx.to_flat_state(wanted):
    assert jnp.abs(leaf[...]).max() > 0, path


@pytest.mark.parametrize('sizes', [{'data': 8}, {'fsdp': 8}, {'data': 2, 'fsdp': 2, 'tensor': 2}])
def test_sharded_decoder_equals_one_device(sizes):
  mesh = mesh_lib.make(sizes)
  graphdef, state = _random_decoder()
  specs = rules.shardings(state, mesh)
  put = lambda leaf, spec: leaf.replace(jax.device_put(leaf.get_value(), spec.get_value()))
  is_leaf = lambda leaf: isinstance(leaf, nnx.Variable)
  spread = jax.tree.map(put, state, specs, is_leaf=is_leaf)
  table_KVD = spread['table_KVD'].get_value()
  assert table_KVD.sharding.shard_shape(table_KVD.shape) == (
    K,
    (V + 2) // sizes.get('tensor', 1),
    16 // sizes.get('fsdp', 1),
  )
  run = jax.jit(lambda state, code_BTK, condition: nnx.merge(graphdef, state)(code_BTK, condition))
  np.testing.assert_allclose(run(spread, _codes(), _condition()), _full()(_codes(), _condition()), atol=1e-4)


def _greedy(condition, weights_G, prefix_BTK, prefix_mask_BTK):
  """Returns the likeliest tokens of a causal decoder in the delay pattern, sampled in one program."""
  delays = patterns.codebook_delays('delay', K)
  model, settings = _model(), sampling.Settings(top_k=1)

  @jax.jit
  def run(condition, prefix_BTK, prefix_mask_BTK):
    prefix_BSK = patterns.build(prefix_BTK, delays, model.padding_token)
    prefix_mask_BSK = patterns.build(prefix_mask_BTK, delays, True)
    key_B = jax.random.split(jax.random.key(0), len(prefix_BTK))
    return sampling.sample(
      model.step,
      model.prefill(condition, prefix_BSK.shape[1]),
      key_B,
      prefix_BSK,
      prefix_mask_BSK,
      padding_token=model.padding_token,
      weights_G=weights_G,
      settings=settings,
    )

  return run(condition, prefix_BTK, prefix_mask_BTK)


@pytest.mark.parametrize('weights_G', [(1.0,), (2.5, -1.5)])
def test_greedy_sampling_takes_the_likeliest_tokens_of_the_full_pass(weights_G):
  condition, num_prefix_steps = _condition(), 5
  branches = [condition, _dropped(condition)][: len(weights_G)]
  prefix_mask_BTK = jnp.broadcast_to(jnp.arange(T - 2)[None, :, None] < num_prefix_steps, (2, T - 2, K))
  code_BSK = _greedy(condition_lib.concatenate(branches), weights_G, _codes()[:, : T - 2], prefix_mask_BTK)
  logit_BSKV = sum(weight * _full()(code_BSK, branch) for weight, branch in zip(weights_G, branches))
  delays = patterns.codebook_delays('delay', K)
  code_BTK = patterns.revert(code_BSK, delays)
  wanted_BTK = patterns.revert(jnp.argmax(logit_BSKV, axis=-1), delays)
  np.testing.assert_array_equal(code_BTK[:, :num_prefix_steps], _codes()[:, :num_prefix_steps])
  np.testing.assert_array_equal(code_BTK[:, num_prefix_steps:], wanted_BTK[:, num_prefix_steps:])
  assert len(np.unique(code_BTK)) > 4


def test_masked_decoding_with_a_cache_equals_the_full_pass():
  model = _model(is_causal=False)
  nothing = jnp.zeros((2, T, K), int), jnp.zeros((2, T, K), bool)
  key_B = jax.random.split(jax.random.key(0), 2)

  def run(predict_fn):
    return sampling.decode_masked(predict_fn, key_B, *nothing, mask_token=model.mask_token, num_iterations=3)

  cached = jax.jit(
    lambda condition: run(functools.partial(model.predict_masked, cache=model.prefill(condition, T)))
  )(_condition())
  uncached = jax.jit(lambda condition: run(lambda code_BTK: model(code_BTK, condition)))(_condition())
  np.testing.assert_array_equal(cached, uncached)


def test_wrong_arguments_are_errors():
  with pytest.raises(ValueError, match='tokens must be of num_codebooks=3; got 2'):
    _model()(_codes()[..., :2], _condition())
  with pytest.raises(ValueError, match='is_causal=False has no steps; use predict_masked'):
    _model(is_causal=False).step(_codes()[:, 0], None, 0)
  with pytest.raises(ValueError, match='is_causal=True sees no later tokens; use step'):
    _model().predict_masked(_codes(), None)
