"""Sampling: known distributions, prefixes, guidance, independence of rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from v2a import guidance
from v2a.autoregressive import patterns
from v2a.autoregressive import sampling

K, V = 2, 7
PADDING, MASK = V, V + 1
TABLE_SKVV = 1.5 * np.random.default_rng(0).standard_normal((1, K, V + 2, V)).astype(np.float32)


def _chain(code_BK, cache, index):
  """A step of a chain: the logits of each codebook depend on its own last token. The cache counts steps."""
  logits = [jnp.asarray(TABLE_SKVV[0, k])[code_BK[:, k]] for k in range(K)]
  return jnp.stack(logits, axis=1) + 0.1 * index, cache + 1


def _keys(*seeds):
  return jnp.stack([jax.random.key(seed) for seed in seeds])


def _empty_prefix(num_rows, num_steps):
  return jnp.zeros((num_rows, num_steps, K), int), jnp.zeros((num_rows, num_steps, K), bool)


def _sample(num_rows=2, num_steps=6, step_fn=_chain, prefix=None, key_B=None, **settings):
  key_B = _keys(*range(num_rows)) if key_B is None else key_B
  prefix = prefix or _empty_prefix(num_rows, num_steps)
  run = jax.jit(lambda key_B: sampling.sample(step_fn, 0, key_B, *prefix, padding_token=PADDING, **settings))
  return np.asarray(run(key_B))


def _passes(logits, **settings):
  logit_BSV = jnp.asarray(logits, jnp.float32)[None, None]
  return np.isfinite(np.asarray(sampling.filter_logits(logit_BSV, sampling.Settings(**settings)))[0, 0])


def _softmax(logits):
  weights = np.exp(np.asarray(logits, np.float64))
  return weights / weights.sum(-1, keepdims=True)


def _fit(counts_V, p_V):
  """Returns the p-value of counts of samples from p_V (chi-square test)."""
  return scipy.stats.chisquare(counts_V, counts_V.sum() * p_V / p_V.sum()).pvalue


def test_top_k_keeps_k_of_equal_logits():
  assert _passes([1, 3, 2, 5, 4], top_k=2).nonzero()[0].tolist() == [3, 4]
  assert _passes([0, 0, 0, 0], top_k=2).sum() == 2
  assert _passes([1, 2], top_k=5).all() and _passes([1, 2, 3]).all()


@pytest.mark.parametrize(
  ('top_p', 'wanted'),
  [(0.05, [2]), (0.49, [2]), (0.51, [0, 2]), (0.79, [0, 2]), (0.81, [0, 2, 3]), (0.999, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_smallest_set(top_p, wanted):
  assert _passes(np.log([0.3, 0.05, 0.5, 0.15]), top_p=top_p).nonzero()[0].tolist() == wanted


def test_top_p_applies_after_top_k_and_temperature():
  p = np.log([0.3, 0.05, 0.5, 0.15])
  assert _passes(p, top_k=2, top_p=0.6).nonzero()[0].tolist() == [2]  # 0.625 of the two
  assert _passes(p, top_p=0.6).nonzero()[0].tolist() == [0, 2]
  assert _passes(p, top_p=0.6, temperature=0.25).nonzero()[0].tolist() == [2]


@pytest.mark.parametrize(
  'settings',
  [
    sampling.Settings(),
    sampling.Settings(temperature=0.6),
    sampling.Settings(top_k=3),
    sampling.Settings(top_p=0.9),
  ],
  ids=repr,
)
def test_frequencies_follow_the_softmax(settings):
  num = 4000
  logit_V = 1.2 * np.random.default_rng(3).standard_normal(V)
  key_B = jax.random.split(jax.random.key(5), num)
  logit_BSV = jnp.broadcast_to(jnp.asarray(logit_V, jnp.float32), (num, 2, V))
  # As arguments: XLA would spend seconds on folding constants.
  code_BS = np.asarray(jax.jit(sampling.sample_from_logits, static_argnums=2)(key_B, logit_BSV, settings))
  order = np.argsort(-logit_V)
  p_V = _softmax(logit_V / settings.temperature)
  num_passed = settings.top_k or int(np.searchsorted(np.cumsum(p_V[order]), settings.top_p) + 1)
  p_V[order[num_passed:]] = 0
  p_V /= p_V.sum()
  counts_V = np.bincount(code_BS.ravel(), minlength=V)
  assert not counts_V[p_V == 0].any()
  is_possible_V = p_V > 0
  assert _fit(counts_V[is_possible_V], p_V[is_possible_V]) > 0.01
  assert not np.array_equal(code_BS[:, 0], code_BS[:, 1])


def test_the_first_steps_of_a_chain_follow_its_distribution():
  num = 3000
  code_BTK = _sample(num, 2, key_B=jax.random.split(jax.random.key(1), num))
  for k in range(K):
    first_V = _softmax(TABLE_SKVV[0, k, PADDING])
    wanted_VV = first_V[:, None] * _softmax(TABLE_SKVV[0, k, :V])
    counts_VV = np.zeros((V, V))
    np.add.at(counts_VV, (code_BTK[:, 0, k], code_BTK[:, 1, k]), 1)
    is_often_VV = num * wanted_VV > 5
    # Rare pairs are counted as one.
    both = (np.append(x_VV[is_often_VV], x_VV[~is_often_VV].sum()) for x_VV in (counts_VV, wanted_VV))
    assert _fit(*both) > 0.01


def test_top_k_of_one_is_greedy():
  code_BTK = _sample(settings=sampling.Settings(top_k=1, temperature=5.0))
  wanted, code_K = [], np.full(K, PADDING)
  for _ in range(6):
    code_K = np.array([TABLE_SKVV[0, k, code_K[k]].argmax() for k in range(K)])
    wanted.append(code_K)
  np.testing.assert_array_equal(code_BTK, np.stack([wanted, wanted]))


def test_prefix_tokens_are_preserved_and_conditioned_on():
  prefix_BTK = jax.random.randint(jax.random.key(1), (2, 6, K), 0, V)
  prefix_mask_BTK = jnp.arange(6)[None, :, None] < jnp.array([3, 0])[:, None, None]
  prefix = prefix_BTK, jnp.broadcast_to(prefix_mask_BTK, prefix_BTK.shape)
  greedy = sampling.Settings(top_k=1)
  code_BTK = _sample(prefix=prefix, settings=greedy)
  np.testing.assert_array_equal(code_BTK[0, :3], prefix_BTK[0, :3])
  wanted_K = [TABLE_SKVV[0, k, prefix_BTK[0, 2, k]].argmax() for k in range(K)]
  np.testing.assert_array_equal(code_BTK[0, 3], wanted_K)
  np.testing.assert_array_equal(code_BTK[1], _sample(settings=greedy)[1])


def test_continuing_a_prefix_gives_the_same_window():
  """A prefix of sampled tokens gives the tokens that were sampled after it."""
  whole_BTK = _sample(num_steps=8)
  prefix_mask_BTK = jnp.broadcast_to(jnp.arange(8)[None, :, None] < 5, whole_BTK.shape)
  np.testing.assert_array_equal(_sample(prefix=(jnp.asarray(whole_BTK), prefix_mask_BTK)), whole_BTK)


def test_a_sampled_pattern_reverts_without_padding():
  delays = patterns.codebook_delays('delay', K)
  prefix = _empty_prefix(2, 5)
  prefix = patterns.build(prefix[0], delays, PADDING), patterns.build(prefix[1], delays, True)
  code_BSK = _sample(prefix=prefix)
  assert (code_BSK[:, 0, 1] == PADDING).all() and (code_BSK[:, -1, 0] == PADDING).all()
  code_BTK = patterns.revert(jnp.asarray(code_BSK), delays)
  assert code_BTK.shape == (2, 5, K) and int(code_BTK.max()) < V


def test_a_row_does_not_depend_on_the_batch():
  together = _sample(key_B=_keys(7, 8, 9), num_rows=3, num_steps=12)
  np.testing.assert_array_equal(_sample(key_B=_keys(8), num_rows=1, num_steps=12)[0], together[1])
  assert not np.array_equal(together[0], together[1])
  assert not np.array_equal(together[1, :6], together[1, 6:])
  longer = _sample(key_B=_keys(8), num_rows=1, num_steps=15)
  np.testing.assert_array_equal(longer[0, :12], together[1])


def _branched(rows, code_BK, cache, index):
  """`_chain`, with other logits for each branch; appends the number of its rows to `rows`."""
  rows.append(len(code_BK))
  logit_BKV, cache = _chain(code_BK, cache, index)
  branch_B = jnp.arange(len(code_BK)) // 2
  return logit_BKV * (1 - 0.4 * branch_B)[:, None, None], cache


@pytest.mark.parametrize(
  ('scales', 'num_branches', 'factor'),
  [
    ({}, 1, 1.0),
    ({'joint': 1.0}, 1, 1.0),
    ({'joint': 3.0}, 2, 1 + 2 * 0.4),
    ({'joint': 3.0, 'text': 2.0}, 3, 1 + 2 * 0.4 + 1 * 0.8),
  ],
)
def test_guidance_scales_logits_and_scale_one_costs_one_evaluation(scales, num_branches, factor):
  branches = guidance.branches(guidance.Scales(**scales), ('video', 'text'))
  assert len(branches) == num_branches
  rows = []
  weights_G = tuple(branch.weight for branch in branches)
  found = _sample(step_fn=functools.partial(_branched, rows), weights_G=weights_G)
  assert set(rows) == {2 * num_branches}
  scaled = lambda code_BK, cache, index: (factor * _chain(code_BK, cache, index)[0], cache)
  np.testing.assert_array_equal(found, _sample(step_fn=scaled))


def _independent(code_BTK):
  """Logits that do not mind other tokens."""
  logit_TKV = jnp.asarray(np.random.default_rng(2).standard_normal((code_BTK.shape[1], K, V)), jnp.float32)
  return jnp.broadcast_to(logit_TKV[None], (*code_BTK.shape, V))


def _decode(
  num_rows=2, num_steps=5, predict_fn=_independent, prefix=None, key_B=None, num_iterations=4, **settings
):
  key_B = _keys(*range(num_rows)) if key_B is None else key_B
  prefix = prefix or _empty_prefix(num_rows, num_steps)
  run = jax.jit(
    lambda key_B: sampling.decode_masked(
      predict_fn, key_B, *prefix, mask_token=MASK, num_iterations=num_iterations, **settings
    )
  )
  return np.asarray(run(key_B))


def _counting(iterations, code_BTK):
  """`_independent`, and the number of masked tokens of each row goes to `iterations`."""
  jax.debug.callback(
    lambda code_BTK: iterations.append((code_BTK == MASK).sum((1, 2)).tolist()), code_BTK, ordered=True
  )
  return _independent(code_BTK)


def test_masked_tokens_per_iteration_follow_the_cosine():
  prefix_mask_BTK = jnp.zeros((2, 50, K), bool).at[1, :25].set(True)
  iterations = []
  code_BTK = _decode(
    prefix=(jnp.zeros((2, 50, K), int), prefix_mask_BTK), predict_fn=functools.partial(_counting, iterations)
  )
  jax.effects_barrier()
  # 100 and 50 times 1, cos 22.5, cos 45, cos 67.5 degrees, rounded down.
  assert iterations == [[100, 50], [92, 46], [70, 35], [38, 19]]
  assert code_BTK.max() < V


@pytest.mark.parametrize('num_iterations', [1, 3, 40])
def test_masked_decoding_ends_without_masks_and_keeps_the_prefix(num_iterations):
  prefix_BTK = jax.random.randint(jax.random.key(1), (2, 5, K), 0, V)
  prefix_mask_BTK = jax.random.bernoulli(jax.random.key(2), 0.4, prefix_BTK.shape)
  code_BTK = _decode(prefix=(prefix_BTK, prefix_mask_BTK), num_iterations=num_iterations)
  assert code_BTK.max() < V
  np.testing.assert_array_equal(code_BTK[prefix_mask_BTK], prefix_BTK[prefix_mask_BTK])


def test_tokens_of_high_confidence_are_decoded_first():
  inputs = []

  def predict(code_BTK):
    jax.debug.callback(lambda code_BTK: inputs.append(np.array(code_BTK)), code_BTK, ordered=True)
    logit_TV = jnp.array([0.0, 9.0, 1.0, 5.0])[:, None] * jax.nn.one_hot(3, V)[None]
    return jnp.broadcast_to(logit_TV[None, :, None], (*code_BTK.shape, V))

  _decode(1, 4, predict, num_iterations=3, choice_temperature=0.0, settings=sampling.Settings(top_k=1))
  jax.effects_barrier()
  num_decoded = [(code_BTK[0] != MASK).sum(-1).tolist() for code_BTK in inputs]
  # Of 8 tokens 6 and then 4 are masked again: 2 and then 4 of highest confidence are decoded.
  assert num_decoded == [[0, 0, 0, 0], [0, 2, 0, 0], [0, 2, 0, 2]]


def test_choice_temperature_changes_the_order_and_falls_to_zero():
  orders = set()
  for seed in range(5):
    iterations = []
    _decode(
      1,
      6,
      functools.partial(_watched, iterations),
      key_B=_keys(seed),
      num_iterations=2,
      settings=sampling.Settings(top_k=1),
      choice_temperature=50.0,
    )
    jax.effects_barrier()
    orders.add(iterations[1])
  assert len(orders) > 1


def _watched(iterations, code_BTK):
  jax.debug.callback(
    lambda code_BTK: iterations.append(np.asarray(code_BTK == MASK).tobytes()), code_BTK, ordered=True
  )
  return _independent(code_BTK)


def test_one_iteration_follows_the_softmax():
  num = 4000
  code_BTK = _decode(num, 1, num_iterations=1, key_B=jax.random.split(jax.random.key(0), num))
  p_KV = _softmax(_independent(jnp.zeros((1, 1, K), int)))[0, 0]
  for k in range(K):
    counts_V = np.bincount(code_BTK[:, 0, k], minlength=V)
    assert _fit(counts_V, p_KV[k]) > 0.01


def test_a_masked_decoded_row_does_not_depend_on_the_batch():
  together = _decode(3, key_B=_keys(7, 8, 9))
  np.testing.assert_array_equal(_decode(1, key_B=_keys(8))[0], together[1])
  assert not np.array_equal(together[0], together[1])


def test_guided_masked_decoding_weighs_branches():
  rows = []

  def branched(code_BTK):
    rows.append(len(code_BTK))
    branch_B = jnp.arange(len(code_BTK)) // 2
    return _independent(code_BTK) * (1 - 0.5 * branch_B)[:, None, None, None]

  found = _decode(predict_fn=branched, weights_G=(3.0, -2.0))
  assert set(rows) == {4}
  np.testing.assert_array_equal(found, _decode(predict_fn=lambda code_BTK: 2 * _independent(code_BTK)))


@pytest.mark.parametrize(
  ('change', 'wanted'),
  [
    ({'temperature': 0.0}, 'temperature must lie in'),
    ({'top_k': -1}, 'top_k must lie in'),
    ({'top_p': 0.0}, 'top_p must lie in'),
    ({'top_p': 1.5}, 'top_p must lie in'),
  ],
)
def test_wrong_settings_are_errors(change, wanted):
  with pytest.raises(ValueError, match=wanted):
    sampling.Settings(**change)


def test_wrong_numbers_of_iterations_are_errors():
  with pytest.raises(
    ValueError, match='num_iterations must be at least 1 and choice_temperature at least 0; got 0'
  ):
    _decode(num_iterations=0)
