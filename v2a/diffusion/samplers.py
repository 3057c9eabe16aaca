"""ODE solvers from noise (t=1) to data (t=0) along the learned velocity.

  Euler:  z' = z + (t' - t) v(z, t)                                                        (1)
  Heun:   z' = z + (t' - t) (v(z, t) + v(z + (t' - t) v(z, t), t')) / 2                    (2)
  DPM-Solver++(2M): with a = 1 - t, s = t, l = log(a / s), h = l' - l, r = h_last / h
          D  = (1 + 1 / (2 r)) x_t - 1 / (2 r) x_last,   x_t = z - t v(z, t)
          z' = (s' / s) z - a' (exp(-h) - 1) D                                             (3)

Karras et al. 2022, arXiv 2206.00364, alg. 1 (Heun); Lu et al. 2022, arXiv 2211.01095, alg. 2 (2M).
Times form a uniform grid with a timestep shift w towards noise: t -> w t / (1 + (w - 1) t)     (4)
(Esser et al. 2024, arXiv 2403.03206, eq. 23). The last step is Euler's (first order) in (2), (3).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from v2a.diffusion import process

# 2M uses log((1 - t) / t), infinite at both ends; steps that touch an end fall back to eq. 1.
_EDGE = 1e-4


def time_grid(num_steps: int, timestep_shift: float = 1.0) -> np.ndarray:
  """Returns num_steps + 1 times from 1 to 0 (eq. 4).

  Args:
    num_steps: steps of the solver.
    timestep_shift: w; 1 for a uniform grid.

  Raises:
    ValueError: num_steps below 1 or timestep_shift not positive.
  """
  if num_steps < 1:
    raise ValueError(f'steps must be at least 1; got {num_steps}.')
  if timestep_shift <= 0:
    raise ValueError(f'timestep_shift must be positive; got {timestep_shift}.')
  uniform = np.linspace(1.0, 0.0, num_steps + 1)
  return (timestep_shift * uniform / (1 + (timestep_shift - 1) * uniform)).astype(np.float32)


def _full(t: jax.Array, z_BTC: jax.Array) -> jax.Array:
  return jnp.full(z_BTC.shape[0], t, jnp.float32)


def euler(predict_fn: Callable, z_BTC: jax.Array, times: np.ndarray) -> jax.Array:
  """Returns the solution at the last of `times` by eq. 1; one evaluation per step.

  Args:
    predict_fn: (z_BTC, t_B) -> velocity BTC.
    z_BTC: latents at the first of `times`.
    times: in descending order, such as those of `time_grid`.
  """

  def step(z_BTC, pair):
    t, next_t = pair
    return z_BTC + (next_t - t) * predict_fn(z_BTC, _full(t, z_BTC)), None

  return jax.lax.scan(step, z_BTC, _pairs(times))[0]


def heun(predict_fn: Callable, z_BTC: jax.Array, times: np.ndarray) -> jax.Array:
  """Returns the solution at the last of `times` by eq. 2; two evaluations per step, one in the last.

  Args:
    predict_fn: (z_BTC, t_B) -> velocity BTC.
    z_BTC: latents at the first of `times`.
    times: in descending order, such as those of `time_grid`.
  """

  def step(z_BTC, pair):
    t, next_t = pair
    v_BTC = predict_fn(z_BTC, _full(t, z_BTC))
    trial_BTC = z_BTC + (next_t - t) * v_BTC
    next_v_BTC = predict_fn(trial_BTC, _full(next_t, z_BTC))
    return z_BTC + (next_t - t) * (v_BTC + next_v_BTC) / 2, None

  z_BTC = jax.lax.scan(step, z_BTC, _pairs(times[:-1]))[0]
  return euler(predict_fn, z_BTC, times[-2:])


def dpmpp2m(predict_fn: Callable, z_BTC: jax.Array, times: np.ndarray) -> jax.Array:
  """Returns the solution at the last of `times` by eq. 3; one evaluation per step, second order.

  Args:
    predict_fn: (z_BTC, t_B) -> velocity BTC.
    z_BTC: latents at the first of `times`.
    times: in descending order, such as those of `time_grid`.
  """
  times = np.asarray(times, np.float64)
  inner = np.clip(times, _EDGE, 1 - _EDGE)
  log_snr = np.log((1 - inner) / inner)
  h = np.diff(log_snr)
  # Weight of the previous data estimate: 0 in the first step, which has none, and 0 where one of the two
  # steps touches an end, where the log-SNR is infinite.
  extra = np.zeros(len(h))
  extra[1:] = h[1:] / (2 * h[:-1])
  touches_end = (times[:-1] > 1 - _EDGE) | (times[1:] < _EDGE)
  extra[touches_end] = 0.0
  extra[1:][touches_end[:-1]] = 0.0
  decay = times[1:] / times[:-1]
  gain = (1 - times[1:]) - decay * (1 - times[:-1])

  def step(carry, coefficients):
    z_BTC, last_BTC = carry
    t, decay, gain, extra = coefficients
    t_B = _full(t, z_BTC)
    x_BTC = process.data(z_BTC, predict_fn(z_BTC, t_B), t_B)
    blend_BTC = (1 + extra) * x_BTC - extra * last_BTC
    return (decay * z_BTC + gain * blend_BTC, x_BTC), None

  coefficients = tuple(jnp.asarray(c, jnp.float32) for c in (times[:-1], decay, gain, extra))
  (z_BTC, _), _ = jax.lax.scan(step, (z_BTC, jnp.zeros_like(z_BTC)), coefficients)
  return z_BTC


def _pairs(times: np.ndarray) -> tuple[jax.Array, jax.Array]:
  return jnp.asarray(times[:-1], jnp.float32), jnp.asarray(times[1:], jnp.float32)


SOLVERS = {'euler': euler, 'heun': heun, 'dpmpp2m': dpmpp2m}


def num_evaluations(solver: str, num_steps: int) -> int:
  """Returns how often `sample` calls predict_fn."""
  return 2 * num_steps - 1 if solver == 'heun' else num_steps


def sample(
  predict_fn: Callable, noise_BTC: jax.Array, *, solver: str, num_steps: int, timestep_shift: float = 1.0
) -> jax.Array:
  """Returns data latents, sampled from noise.

  Args:
    predict_fn: (z_BTC, t_B) -> velocity BTC.
    noise_BTC: standard normal noise.
    solver: a key of SOLVERS.
    num_steps: steps of the grid.
    timestep_shift: eq. 4; above 1 spends more steps near noise.

  Raises:
    ValueError: an unknown solver or a bad grid.
  """
  if solver not in SOLVERS:
    raise ValueError(f'solver must be one of {sorted(SOLVERS)}; got {solver!r}.')
  return SOLVERS[solver](predict_fn, noise_BTC, time_grid(num_steps, timestep_shift))
