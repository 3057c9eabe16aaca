"""Solvers with the exact velocity of a Gaussian: final distribution, and order of convergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a.diffusion import samplers

MEAN, STD = 1.5, 0.4


def exact_velocity(z_BTC, t_B):
  """E[e - x | z_t] for x ~ N(MEAN, STD^2)."""
  t = t_B[:, None, None]
  variance = (1 - t) ** 2 * STD**2 + t**2
  centred = z_BTC - (1 - t) * MEAN
  return (t - (1 - t) * STD**2) / variance * centred - MEAN


def _error_at_the_end(solver, num_steps, timestep_shift=1.0):
  noise_BTC = jax.random.normal(jax.random.key(0), (1, 500, 4))
  found_BTC = samplers.sample(
    exact_velocity, noise_BTC, solver=solver, num_steps=num_steps, timestep_shift=timestep_shift
  )
  # The flow of a Gaussian is affine: noise e ends at MEAN + STD e.
  return float(jnp.max(jnp.abs(found_BTC - (MEAN + STD * noise_BTC))))


@pytest.mark.parametrize(
  'solver, steps, bound', [('euler', 400, 0.02), ('heun', 60, 0.01), ('dpmpp2m', 60, 0.02)]
)
def test_solvers_end_at_the_known_distribution(solver, steps, bound):
  assert _error_at_the_end(solver, steps) < bound


def _error_between(solver, num_steps):
  """Error after steps uniform in log-SNR from 3 to -3: inside (0, 1), where every solver is smooth."""
  times = 1 / (1 + np.exp(np.linspace(-3, 3, num_steps + 1)))
  noise_BTC = jax.random.normal(jax.random.key(0), (1, 100, 2))
  on_path = lambda t: (1 - t) * MEAN + np.sqrt((1 - t) ** 2 * STD**2 + t**2) * noise_BTC
  found_BTC = samplers.SOLVERS[solver](exact_velocity, on_path(times[0]), times)
  return float(jnp.max(jnp.abs(found_BTC - on_path(times[-1]))))


@pytest.mark.parametrize('solver, order', [('euler', 1), ('heun', 2), ('dpmpp2m', 2)])
def test_order_of_convergence(solver, order):
  ratio = _error_between(solver, 20) / _error_between(solver, 40)
  assert 2 ** (order - 0.3) < ratio < 2 ** (order + 0.5)


@pytest.mark.parametrize('solver', sorted(samplers.SOLVERS))
def test_one_step_equals_euler(solver):
  noise_BTC = jnp.ones((1, 3, 2))
  found_BTC = samplers.sample(exact_velocity, noise_BTC, solver=solver, num_steps=1)
  np.testing.assert_allclose(found_BTC, noise_BTC - exact_velocity(noise_BTC, jnp.ones(1)), atol=1e-5)


def test_time_grids_by_hand():
  np.testing.assert_allclose(samplers.time_grid(4), [1, 0.75, 0.5, 0.25, 0])
  np.testing.assert_allclose(samplers.time_grid(2, timestep_shift=3.0), [1, 0.75, 0])


def test_an_inpainted_part_stays_on_its_straight_path():
  known_BTC = jnp.full((1, 4, 2), 0.7)
  noise_BTC = jax.random.normal(jax.random.key(3), (1, 4, 2))
  for solver in samplers.SOLVERS:
    predict = lambda z_BTC, t_B: noise_BTC - known_BTC
    found_BTC = samplers.sample(predict, noise_BTC, solver=solver, num_steps=7)
    np.testing.assert_allclose(found_BTC, known_BTC, atol=1e-5)


@pytest.mark.parametrize(
  'change, wanted',
  [
    ({'solver': 'rk4'}, 'solver must be one of'),
    ({'num_steps': 0}, 'steps must be at least 1; got 0'),
    ({'timestep_shift': 0.0}, 'timestep_shift must be positive'),
  ],
)
def test_wrong_settings_are_errors(change, wanted):
  settings = {'solver': 'euler', 'num_steps': 2, 'timestep_shift': 1.0} | change
  with pytest.raises(ValueError, match=wanted):
    samplers.sample(exact_velocity, jnp.ones((1, 2, 2)), **settings)


def test_the_second_order_step_weighs_the_previous_estimate_by_the_ratio_of_steps():
  # Eq. 3 by hand over steps whose lengths in log-SNR differ by a factor of 3.
  log_snr = np.array([-1.0, -0.5, 1.0])
  times = 1 / (1 + np.exp(log_snr))
  estimates = {0: 2.0, 1: 5.0}

  def predict(z_BTC, t_B):
    x = jnp.where(t_B[0] > (times[0] + times[1]) / 2, estimates[0], estimates[1])
    return (z_BTC - x) / t_B[:, None, None]

  z = 0.7
  ratio = (1.5 / 0.5) / 2
  for (t, next_t), x in zip(zip(times, times[1:]), (2.0, 5.0 + ratio * (5.0 - 2.0))):
    z = next_t / t * z + (1 - next_t - next_t / t * (1 - t)) * x
  found = samplers.dpmpp2m(predict, jnp.full((1, 1, 1), 0.7), times)
  np.testing.assert_allclose(found, z, rtol=1e-4)
