"""Masked means: against NumPy, in parts of a batch, and without valid steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from v2a import masks

VALID_BT = np.arange(4)[None] < np.array([4, 1, 0, 2])[:, None]


def test_batch_mean_is_over_valid_clips_of_means_over_valid_steps():
  x_BTC = np.random.default_rng(0).standard_normal((4, 4, 3)).astype(np.float32)
  x_BTC[~VALID_BT] = np.nan
  mean_B = masks.clip_mean(jnp.asarray(x_BTC), jnp.asarray(VALID_BT))
  wanted = [np.mean(x_BTC[b][VALID_BT[b]]) if VALID_BT[b].any() else 0.0 for b in range(4)]
  np.testing.assert_allclose(mean_B, wanted, rtol=1e-6)
  weight_B = masks.clip_weights(VALID_BT)
  assert float(masks.batch_mean(mean_B, weight_B)) == pytest.approx(np.sum(wanted) / 3, rel=1e-6)
  weight_BT = masks.step_weights(VALID_BT, weight_B)
  assert float(jnp.mean(weight_BT)) == pytest.approx(1)
  flat = jnp.mean(weight_BT * jnp.mean(jnp.nan_to_num(x_BTC), axis=-1))
  assert float(flat) == pytest.approx(np.sum(wanted) / 3, rel=1e-5)


@pytest.mark.parametrize('num_parts', [1, 2, 4])
def test_the_mean_over_parts_equals_that_of_the_batch(num_parts):
  value_B = jnp.array([1.0, 2.0, 0.0, 5.0])
  parts = zip(jnp.split(value_B, num_parts), jnp.split(masks.clip_weights(VALID_BT), num_parts))
  assert float(jnp.mean(jnp.stack([masks.batch_mean(*part) for part in parts]))) == pytest.approx(8 / 3)


def test_a_batch_without_valid_steps_has_a_loss_of_zero():
  weight_B = masks.clip_weights(np.zeros((2, 4), bool))
  assert not weight_B.any() and float(masks.batch_mean(jnp.ones(2), weight_B)) == 0
  assert not masks.step_weights(np.zeros((2, 4), bool), weight_B).any()


def test_without_masks_all_steps_weigh_the_same():
  x_BT = jnp.arange(8.0).reshape(2, 4)
  mean_B = masks.clip_mean(x_BT)
  assert mean_B.tolist() == [1.5, 5.5] and float(masks.batch_mean(mean_B)) == 3.5
