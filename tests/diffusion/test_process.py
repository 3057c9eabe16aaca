"""Equations of the process, against autodiff and each other."""

import jax
import jax.numpy as jnp
import numpy as np

from v2a.diffusion import loss
from v2a.diffusion import process


def _pair(shape=(3, 4, 2)):
  return jax.random.normal(jax.random.key(0), shape), jax.random.normal(jax.random.key(1), shape)


def test_derivative_of_corrupt_is_the_velocity():
  x_BTC, e_BTC = _pair()
  t_B = jnp.array([0.1, 0.5, 0.9])
  _, slope_BTC = jax.jvp(lambda t_B: process.corrupt(x_BTC, e_BTC, t_B), (t_B,), (jnp.ones(3),))
  np.testing.assert_allclose(slope_BTC, process.velocity(x_BTC, e_BTC), atol=1e-6)


def test_data_and_noise_from_the_velocity():
  x_BTC, e_BTC = _pair()
  t_B = jnp.array([0.0, 0.3, 1.0])
  z_BTC, v_BTC = process.corrupt(x_BTC, e_BTC, t_B), process.velocity(x_BTC, e_BTC)
  np.testing.assert_allclose(process.data(z_BTC, v_BTC, t_B), x_BTC, atol=1e-5)
  np.testing.assert_allclose(process.noise(z_BTC, v_BTC, t_B), e_BTC, atol=1e-5)


def _times(num_batches, num):
  keys = jax.random.split(jax.random.key(0), num_batches)
  return jax.vmap(lambda key: process.sample_times(key, num, 0.5, 0.8))(keys)


def test_the_time_of_each_clip_is_logit_normal():
  t_N = _times(20_000, 8)[:, 3]
  logit_N = jnp.log(t_N / (1 - t_N))
  assert abs(float(logit_N.mean()) - 0.5) < 0.03
  assert abs(float(logit_N.std()) - 0.8) < 0.03


def test_the_times_of_a_batch_cover_the_distribution_evenly():
  t_NB = _times(50, 8)
  quantile_NB = jax.scipy.stats.norm.cdf((jnp.log(t_NB / (1 - t_NB)) - 0.5) / 0.8)
  np.testing.assert_array_equal(jnp.sort(jnp.floor(8 * quantile_NB), axis=1), np.tile(np.arange(8), (50, 1)))


def test_loss_of_the_true_velocity_is_zero_and_of_a_zero_velocity_is_two():
  x_BTC, e_BTC = jax.random.normal(jax.random.key(2), (2, 64, 50, 4))
  t_B = process.sample_times(jax.random.key(0), 64, 0.0, 1.0)
  exact = lambda z_BTC, t_B: (z_BTC - x_BTC) / t_B[:, None, None]
  assert float(loss.flow_matching(exact, x_BTC, e_BTC, t_B)[0]) < 1e-6
  nothing = lambda z_BTC, t_B: jnp.zeros_like(z_BTC)
  assert abs(float(loss.flow_matching(nothing, x_BTC, e_BTC, t_B)[0]) - 2) < 0.1


def test_nan_in_invalid_steps_never_reaches_the_loss():
  x_BTC = jax.random.normal(jax.random.key(2), (2, 6, 4)).at[:, 4:].set(jnp.nan)
  mask_BT = jnp.arange(6)[None] < jnp.array([[4], [4]])
  e_BTC, t_B = jax.random.normal(jax.random.key(3), x_BTC.shape), jnp.array([0.3, 0.8])
  value, bands = loss.flow_matching(lambda z_BTC, t_B: z_BTC * 0.5, x_BTC, e_BTC, t_B, mask_BT=mask_BT)
  assert np.isfinite(float(value))
  # Clip 0 is in the second band of time and clip 1 in the last.
  finite = [np.isfinite(bands[f'loss_t{band}']).tolist() for band in range(4)]
  assert finite == [[False, False], [True, False], [False, False], [False, True]]
