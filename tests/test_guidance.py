"""Guidance: which branches are evaluated, and their weighted sum."""

import jax.numpy as jnp
import numpy as np
import pytest

from v2a import guidance

ALL = ('video', 'text', 'transcript')


def test_scale_one_costs_a_single_conditional_evaluation():
  branches = guidance.branches(guidance.Scales(), ALL)
  assert [branch.dropped for branch in branches] == [()]
  assert branches[0].weight == 1


def test_scales_of_absent_modalities_cost_nothing():
  branches = guidance.branches(guidance.Scales(video=3.0, transcript=2.0), ('video',))
  assert [branch.dropped for branch in branches] == [(), ('video',)]


def test_weights_follow_equation_one():
  branches = guidance.branches(guidance.Scales(joint=2.0, video=3.0, text=1.5), ALL)
  weights = {branch.dropped: branch.weight for branch in branches}
  assert weights == {(): 1 + 1 + 2 + 0.5, ALL: -1, ('video',): -2, ('text',): -0.5}


@pytest.mark.parametrize('weights', [(1.0,), (2.5, -1.5), (4.0, -1.0, -2.0)])
def test_guided_is_the_weighted_sum_of_its_branches(weights):
  z_BTC, t_B = jnp.ones((2, 3, 1)), jnp.array([0.2, 0.6])

  def predict(z_GTC, t_G):
    branch_G = jnp.arange(z_GTC.shape[0]) // 2 + 1.0
    return z_GTC * branch_G[:, None, None] + t_G[:, None, None]

  found_BTC = guidance.guided(predict, weights)(z_BTC, t_B)
  wanted_BTC = sum(w * (z_BTC * (i + 1) + t_B[:, None, None]) for i, w in enumerate(weights))
  np.testing.assert_allclose(found_BTC, wanted_BTC, rtol=1e-6)


def test_combine_weighs_rows_of_the_same_clip():
  logit_BKV = jnp.arange(2 * 2 * 3 * 5, dtype=jnp.float32).reshape(4, 3, 5)
  wanted_BKV = 2.5 * logit_BKV[:2] - 1.5 * logit_BKV[2:]
  np.testing.assert_allclose(guidance.combine(logit_BKV, jnp.array([2.5, -1.5])), wanted_BKV)
  np.testing.assert_array_equal(guidance.combine(logit_BKV, (1.0,)), logit_BKV)


def test_wrong_arguments_are_errors():
  with pytest.raises(ValueError, match='guidance text must lie in'):
    guidance.Scales(text=-1.0)
  with pytest.raises(ValueError, match='modalities must be among'):
    guidance.branches(guidance.Scales(), ('smell',))
