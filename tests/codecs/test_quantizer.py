"""The quantizer: its equations, codebook updates, dead entries, k-means."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a.codecs import quantizer
from v2a.sharding import mesh as mesh_lib
from v2a.sharding import rules

K, V, C = 2, 8, 4


def _model(num_codebooks=K, size=V):
  return quantizer.ResidualQuantizer(num_codebooks, size, C, rngs=nnx.Rngs(0))


def _update(model, latent_BTC, key=0):
  """Updates the codebooks from latents, compiled, and returns the metrics."""
  graphdef, state = nnx.split(model)
  state, metrics = _step(graphdef)(state, latent_BTC, jax.random.key(key))
  nnx.update(model, state)
  return metrics


@functools.cache
def _step(graphdef):
  @jax.jit
  def run(state, latent_BTC, key):
    model = nnx.merge(graphdef, state)
    metrics = model.update_ema(model(latent_BTC)[3], key)
    return nnx.state(model), metrics

  return run


def _latents(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), (*shape, C))


def test_fewer_codebooks_leave_out_the_later_ones_and_change_no_code():
  model = _model(4, 64)
  latent_BTC = 0.5 * _latents(4, 50)
  whole_BTC, codes_BTK, loss, statistics = model(latent_BTC)
  np.testing.assert_allclose(model.decode(codes_BTK), whole_BTC, atol=1e-5)
  np.testing.assert_array_equal(model.encode(latent_BTC), codes_BTK)
  codebook_KVC = model.codebook_KVC[...]
  for num in (1, 2):
    part_BTC, part_BTK, part_loss, part_statistics = model(latent_BTC, jnp.full(4, num))
    wanted_BTC = sum(codebook_KVC[k][codes_BTK[..., k]] for k in range(num))
    np.testing.assert_allclose(part_BTC, wanted_BTC, atol=1e-5)
    np.testing.assert_array_equal(part_BTK, codes_BTK)
    assert float(part_loss) == float(loss)
    jax.tree.map(np.testing.assert_array_equal, part_statistics, statistics)


def test_every_codebook_quantizes_to_the_entry_nearest_to_the_residual():
  model = _model()
  residual_BTC = _latents(3, 20)
  codes_BTK, codebook_KVC, wanted_loss = model.encode(residual_BTC), model.codebook_KVC[...], 0.0
  for k in range(K):
    distance_BTV = jnp.sum(jnp.square(residual_BTC[:, :, None] - codebook_KVC[k][None, None]), axis=-1)
    np.testing.assert_array_equal(codes_BTK[..., k], jnp.argmin(distance_BTV, axis=-1))
    residual_BTC = residual_BTC - codebook_KVC[k][codes_BTK[..., k]]
    wanted_loss += quantizer.COMMITMENT_WEIGHT * float(jnp.mean(jnp.square(residual_BTC)))
  assert float(model(_latents(3, 20))[2]) == pytest.approx(wanted_loss, rel=1e-5)


def test_gradients_pass_straight_through_and_none_reaches_the_codebooks():
  model = _model()
  latent_BTC = _latents(1, 3)
  slope_BTC = jax.grad(lambda x_BTC: jnp.sum(model(x_BTC)[0]))(latent_BTC)
  np.testing.assert_allclose(slope_BTC, jnp.ones_like(latent_BTC))
  pull_BTC = jax.grad(lambda x_BTC: model(x_BTC)[2])(latent_BTC)
  closer = float(model(latent_BTC - 0.1 * pull_BTC)[2])
  assert closer < float(model(latent_BTC)[2])
  assert not jax.tree.leaves(nnx.state(model, nnx.Param)), 'nothing here is for the optimizer'


def _by_hand(codebook_KVC, share_KV, latent_BTC):
  """Returns entries and shares of eq. 3, one entry at a time."""
  residual_SC = np.asarray(latent_BTC, np.float64).reshape(-1, C)
  codebook_KVC, share_KV = np.array(codebook_KVC, np.float64), np.array(share_KV, np.float64)
  for k in range(len(codebook_KVC)):
    entry_VC = codebook_KVC[k].copy()
    code_S = np.argmin(((residual_SC[:, None] - entry_VC[None]) ** 2).sum(-1), axis=1)
    for v in range(len(entry_VC)):
      chosen_SC = residual_SC[code_S == v]
      old = quantizer.EMA_DECAY * share_KV[k, v]
      new = old + (1 - quantizer.EMA_DECAY) * len(chosen_SC) / len(residual_SC)
      codebook_KVC[k, v] = (
        old * entry_VC[v] + (1 - quantizer.EMA_DECAY) * chosen_SC.sum(0) / len(residual_SC)
      ) / new
      share_KV[k, v] = new
    residual_SC = residual_SC - entry_VC[code_S]
  return codebook_KVC, share_KV


def test_entries_are_moving_averages_of_their_residuals():
  model = _model()
  codebook_KVC, share_KV = model.codebook_KVC[...], model.share_KV[...]
  for seed in range(2):
    latent_BTC = _latents(4, 25, seed=seed)
    codebook_KVC, share_KV = _by_hand(codebook_KVC, share_KV, latent_BTC)
    _update(model, latent_BTC)
  np.testing.assert_allclose(model.codebook_KVC[...], codebook_KVC, atol=1e-5)
  np.testing.assert_allclose(model.share_KV[...], share_KV, atol=1e-6)
  np.testing.assert_allclose(jnp.sum(model.share_KV[...], axis=1), 1, atol=1e-6)


def test_statistics_of_parts_of_a_batch_average_to_those_of_the_batch():
  model, latent_BTC = _model(), _latents(6, 10)
  parts = [model(part_BTC)[3] for part_BTC in jnp.split(latent_BTC, 3)]
  mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *parts)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), mean, model(latent_BTC)[3])


def test_dead_entries_are_reset_near_the_entry_with_the_largest_error():
  model = _model(1)
  codebook_1VC = np.zeros((1, V, C), np.float32)
  codebook_1VC[0, :, 0] = 10 * np.arange(V)
  share_1V = np.full((1, V), 1 / V, np.float32)
  share_1V[0, [2, 5]] = 0.0
  model.codebook_KVC.set_value(jnp.asarray(codebook_1VC))
  model.share_KV.set_value(jnp.asarray(share_1V))
  # Latents near every entry that is not dead, farthest from 7, then from 3; those of 0 equal it.
  offset_V = np.array([0, 0.1, 0, 2, 0.1, 0, 0.1, 4])
  alive = [v for v in range(V) if v not in (2, 5)]
  latent_BTC = jnp.asarray(
    [
      [
        codebook_1VC[0, v] + [0, 0, 0, offset_V[v] * sign]
        for v in [*alive, *alive, 0, 0, 0, 0]
        for sign in (-1, 1)
      ]
    ],
    jnp.float32,
  )
  metrics = _update(model, latent_BTC)
  assert float(metrics['usage_codebook0']) == 6 / 8
  entry_VC, share_V = np.asarray(model.codebook_KVC[0]), np.asarray(model.share_KV[0])
  spread = quantizer.RESET_NOISE_SCALE * codebook_1VC[0, :, 0].std()
  for child, parent in ((2, 7), (5, 3)):
    distance = np.abs(entry_VC[child] - entry_VC[parent])
    assert 0 < distance.max() < 5 * spread + 0.1
    assert share_V[child] == share_V[parent] == pytest.approx(1 / V / 2, rel=0.1)
  assert share_V.sum() == pytest.approx(quantizer.EMA_DECAY * 6 / 8 + 1 - quantizer.EMA_DECAY, abs=1e-5)
  np.testing.assert_allclose(entry_VC[alive], codebook_1VC[0][alive], atol=0.01)


def test_a_reset_kills_no_other_entry():
  size = 1024
  threshold = quantizer.DEAD_CODE_THRESHOLD / size
  # One dead entry; a hundred that are hardly used, with outliers; the others are used often.
  share_V = np.full(size, 1.1 / size, np.float32)
  share_V[:100], share_V[100] = 1.5 * threshold, 0.0
  error_V = np.where(np.arange(size) < 100, 100.0, 1.0).astype(np.float32)
  entry_VC = np.random.default_rng(0).standard_normal((size, C)).astype(np.float32)
  for seed in range(20):
    entry_VC, share_V = quantizer._reset_dead(
      jnp.asarray(entry_VC), jnp.asarray(share_V), jnp.asarray(error_V), jax.random.key(seed)
    )
    assert (share_V >= threshold).all()
  # All dead at once, and few that can be divided: a reset a step, until all are alive.
  share_V = jnp.asarray(np.where(np.arange(size) < 2, 0.5, 0.0).astype(np.float32))
  for seed in range(10):
    entry_VC, share_V = quantizer._reset_dead(
      jnp.asarray(entry_VC), share_V, jnp.asarray(error_V), jax.random.key(seed)
    )
    assert float(share_V.sum()) == pytest.approx(1)
  assert (share_V >= threshold).all()


def test_collapsed_codebooks_recover():
  model = _model()
  model.codebook_KVC.set_value(jnp.zeros((K, V, C)))

  before = float(model(_latents(4, 50))[2])
  for index in range(500):
    metrics = _update(model, _latents(4, 50, seed=index), index)
  assert float(metrics['usage_codebook0']) == float(metrics['usage_codebook1']) == 1
  assert float(metrics['perplexity_codebook0']) > 0.8 * V
  assert float(model(_latents(4, 50))[2]) < 0.6 * before


def test_usage_and_perplexity_by_hand():
  model = _model(1, 4)
  model.share_KV.set_value(jnp.asarray([[0.5, 0.5, 0.0, 0.0]]))
  model.codebook_KVC.set_value(jnp.asarray([[[0.0] * C, [1.0] * C, [90.0] * C, [99.0] * C]]))
  metrics = _update(model, jnp.asarray([[[0.0] * C, [1.0] * C]]))
  assert float(metrics['usage_codebook0']) == 0.5
  assert float(metrics['perplexity_codebook0']) == pytest.approx(2, rel=1e-5)


def test_kmeans_entries_are_the_means_of_their_residuals():
  latent_SC = jnp.sign(_latents(400)) * jnp.arange(1.0, C + 1)[None] + 0.2 * _latents(400, seed=1)
  model = _model()
  model.init_kmeans(latent_SC, jax.random.key(0))
  codebook_KVC, share_KV = np.asarray(model.codebook_KVC[...]), np.asarray(model.share_KV[...])
  residual_SC = np.asarray(latent_SC)
  for k, codes_S in enumerate(np.asarray(model.encode(latent_SC[None]))[0].T):
    assert len(np.unique(codes_S)) == V
    mean_VC = np.stack([residual_SC[codes_S == v].mean(axis=0) for v in range(V)])
    np.testing.assert_allclose(codebook_KVC[k], mean_VC, atol=0.1)
    np.testing.assert_allclose(share_KV[k], np.bincount(codes_S) / 400, atol=0.02)
    residual_SC = residual_SC - codebook_KVC[k][codes_S]
  # The eight best entries code the signs of three of four channels: of 1 + 4 + 9 + 16 the 1 remains, and
  # noise, for the second codebook.
  assert np.square(residual_SC).sum(axis=1).mean() < 1.0


def test_kmeans_with_fewer_latents_than_entries():
  model = _model()
  model.init_kmeans(_latents(5), jax.random.key(0))
  assert np.isfinite(model.codebook_KVC[...]).all()
  assert float(model(_latents(1, 5))[2]) < 0.05


@pytest.mark.parametrize('sizes', [{'data': 8}, {'data': 2, 'fsdp': 2, 'tensor': 2}])
def test_ema_update_on_a_mesh_equals_one_device(sizes):
  mesh = mesh_lib.make(sizes)
  model, latent_BTC = _model(), _latents(8, 25)
  model.share_KV.set_value(model.share_KV[...].at[:, 3].set(0.0))  # a dead entry
  graphdef, state = nnx.split(model)
  specs = rules.shardings(state, mesh)
  is_leaf = lambda leaf: isinstance(leaf, nnx.Variable)
  put = lambda leaf, spec: leaf.replace(jax.device_put(leaf.get_value(), spec.get_value()))

  spread = jax.tree.map(put, state, specs, is_leaf=is_leaf)
  run, key = _step(graphdef), jax.random.key(0)
  found = run(spread, jax.device_put(latent_BTC, mesh_lib.batch_sharding(mesh)), key)
  wanted = run(state, latent_BTC, key)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, wanted)
