"""Losses and masks: closed forms, and invalid tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a.autoregressive import loss
from v2a.autoregressive import masking

V = 8
MASK = V + 1


def _codes(shape=(3, 6, 2)):
  return jax.random.randint(jax.random.key(0), shape, 0, V)


def test_cross_entropy_equals_numpy():
  code_BTK = _codes()
  logit_BTKV = jax.random.normal(jax.random.key(1), (*code_BTK.shape, V))
  counted_BTK = jax.random.bernoulli(jax.random.key(2), 0.6, code_BTK.shape)
  value, metrics = loss.cross_entropy(logit_BTKV, code_BTK, counted_BTK)
  p_BTKV = np.exp(np.asarray(logit_BTKV, np.float64))
  p_BTKV /= p_BTKV.sum(-1, keepdims=True)
  nats_BTK = -np.log(np.take_along_axis(p_BTKV, np.asarray(code_BTK)[..., None], -1)[..., 0])
  clips = [nats_BTK[b][np.asarray(counted_BTK)[b]].mean() for b in range(3)]
  assert float(value) == pytest.approx(np.mean(clips), rel=1e-5)
  for b, k in np.ndindex(3, 2):
    wanted = nats_BTK[b, :, k][np.asarray(counted_BTK)[b, :, k]].mean()
    assert float(metrics[f'loss_codebook{k}'][b]) == pytest.approx(wanted, rel=1e-5)


def test_cross_entropy_of_uniform_and_of_perfect_predictions():
  code_BTK = _codes()
  assert float(loss.cross_entropy(jnp.zeros((*code_BTK.shape, V)), code_BTK)[0]) == pytest.approx(np.log(V))
  assert float(loss.cross_entropy(100.0 * jax.nn.one_hot(code_BTK, V), code_BTK)[0]) < 1e-6


def test_invalid_tokens_reach_neither_the_loss_nor_its_gradient():
  counted_BTK = jnp.zeros((3, 6, 2), bool).at[:, :4, 1].set(True)
  code_BTK = jnp.where(counted_BTK, _codes(), V)
  logit_BTKV = jnp.where(counted_BTK[..., None], 0.5, jnp.nan) * jnp.ones((1, 1, 1, V))
  value, grad_BTKV = jax.value_and_grad(
    lambda logit_BTKV: loss.cross_entropy(logit_BTKV, code_BTK, counted_BTK)[0]
  )(logit_BTKV)
  assert float(value) == pytest.approx(np.log(V))
  assert not grad_BTKV[~counted_BTK].any() and np.abs(grad_BTKV[counted_BTK]).min() > 0


def test_a_clip_without_valid_tokens_has_a_finite_loss():
  value, metrics = loss.cross_entropy(jnp.ones((1, 6, 2, V)), _codes()[:1], jnp.zeros((1, 6, 2), bool))
  assert float(value) == 0 and np.isnan(metrics['loss_codebook0']).all()


def _seen_by_the_network(key, code_BTK, counted_BTK=None):
  """Returns the input that the loss gives to the network, and the loss of a network with constant logits."""
  inputs = []

  def predict(code_BTK):
    inputs.append(code_BTK)
    return jnp.zeros((*code_BTK.shape, V))

  is_masked_BTK = masking.sample_mask(
    key, jnp.ones(code_BTK.shape, bool) if counted_BTK is None else counted_BTK
  )
  value, _ = loss.masked_cross_entropy(predict, code_BTK, is_masked_BTK, mask_token=MASK)
  assert len(inputs) == 1
  return np.asarray(inputs[0]), float(value)


def test_only_masked_tokens_are_replaced_and_count():
  code_BTK = _codes()
  seen_BTK, value = _seen_by_the_network(jax.random.key(3), code_BTK)
  is_masked_BTK = seen_BTK == MASK
  assert is_masked_BTK.any(axis=(1, 2)).all() and not is_masked_BTK.all()
  np.testing.assert_array_equal(seen_BTK[~is_masked_BTK], code_BTK[~is_masked_BTK])
  assert value == pytest.approx(np.log(V), rel=1e-6)
  # Correct predictions of tokens that are not masked do not lower the loss.
  copy = lambda seen_BTK: jnp.where((seen_BTK < V)[..., None], 50.0 * jax.nn.one_hot(seen_BTK, V), 0.0)
  copied, _ = loss.masked_cross_entropy(copy, code_BTK, jnp.asarray(is_masked_BTK), mask_token=MASK)
  assert float(copied) == pytest.approx(np.log(V), rel=1e-6)


def test_invalid_tokens_are_never_masked():
  counted_BTK = jnp.arange(6)[None, :, None] < jnp.array([6, 3, 0])[:, None, None]
  counted_BTK = jnp.broadcast_to(counted_BTK, (3, 6, 2))
  for i in range(8):
    seen_BTK, _ = _seen_by_the_network(jax.random.key(i), _codes(), counted_BTK=counted_BTK)
    assert not (seen_BTK == MASK)[~np.asarray(counted_BTK)].any()


def test_masked_fractions_follow_the_cosine():
  code_BTK = _codes((2000, 25, 2))
  seen_BTK, _ = _seen_by_the_network(jax.random.key(4), code_BTK)
  share_B = (seen_BTK == MASK).mean(axis=(1, 2))
  # P(cos(pi r / 2) < x) = 1 - 2 / pi arccos(x), r uniform.
  for x in (0.25, 0.5, 0.9):
    assert (share_B <= x).mean() == pytest.approx(1 - 2 / np.pi * np.arccos(x), abs=0.035)
  assert np.abs((seen_BTK == MASK).mean(axis=0) - 2 / np.pi).max() < 0.07


def test_mask_schedule_by_hand_and_lowest_k_with_ties():
  share_N = masking.mask_schedule(jnp.array([0, 1 / 3, 2 / 3, 1]))
  np.testing.assert_allclose(share_N, [1, 0.75**0.5, 0.5, 0], atol=1e-6)
  assert float(masking.mask_schedule(jnp.array(1.0))) == 0
  found_BTK = masking.lowest_k_mask(jnp.zeros((2, 2, 2)), jnp.array([3, 0]))
  np.testing.assert_array_equal(found_BTK, [[[True, True], [True, False]], np.zeros((2, 2), bool)])


def test_token_dropout_has_a_rate_per_clip():
  hidden_BS = np.asarray(masking.sample_dropped_steps(jax.random.key(0), 4000, 50, 0.4))
  share_B = hidden_BS.mean(axis=1)
  some_B = share_B > 0
  # A clip with a very small rate may drop none: 1 / 51 of those with dropout.
  assert some_B.mean() == pytest.approx(0.4 * 50 / 51, abs=0.025)
  assert np.quantile(share_B[some_B], (0.1, 0.5, 0.9)) == pytest.approx((0.12, 0.51, 0.9), abs=0.05)
  assert (hidden_BS[some_B][:, 0] == hidden_BS[some_B][:, 1]).mean() < 0.75
