"""Channel levels: bands that sum to one, gains that invert the analysis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a.codecs import channel_level

WEIGHT_FR = channel_level.band_weights(16000, 481, 16)


def test_bands_sum_to_one_and_follow_the_scale():
  np.testing.assert_allclose(WEIGHT_FR.sum(axis=1), 1, atol=1e-6)
  assert (WEIGHT_FR >= 0).all() and WEIGHT_FR[0, 0] == 1 and WEIGHT_FR[-1, -1] == 1
  centre_R = WEIGHT_FR.argmax(axis=0)
  assert (np.diff(centre_R) > 0).all() and np.diff(centre_R)[-1] > 3 * np.diff(centre_R)[0]


@pytest.mark.parametrize('share', [0.0, 0.2, 0.5, 1.0])
def test_gains_restore_the_power_of_both_channels(share):
  power_BAJF = np.broadcast_to(np.array([share, 1 - share])[None, :, None, None], (1, 2, 8, 481))
  balance_BTR = channel_level.from_power(jnp.asarray(power_BAJF, jnp.float32), WEIGHT_FR, 4)
  assert balance_BTR.shape == (1, 2, 16)
  np.testing.assert_allclose(balance_BTR, 2 * share - 1, atol=1e-4)
  gain_BAJF = channel_level.gains(balance_BTR, WEIGHT_FR, 4)
  np.testing.assert_allclose(np.square(gain_BAJF) / 2, power_BAJF, atol=1e-4)


def test_silence_is_centred():
  assert float(jnp.abs(channel_level.from_power(jnp.zeros((1, 2, 4, 481)), WEIGHT_FR, 4)).max()) == 0


def test_a_source_on_one_side_alone_has_finite_gradients():
  weight_FR = channel_level.band_weights(16000, 9, 4)

  def power(level_BTR):
    return jnp.sum(jnp.square(channel_level.gains(jnp.tanh(level_BTR), weight_FR, 1)))

  gradient_BTR = jax.grad(power)(jnp.full((1, 2, 4), 20.0))
  assert np.isfinite(gradient_BTR).all()
