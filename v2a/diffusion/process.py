"""Rectified flow: data to noise along a straight line.

Time runs from t=0 (data x) to t=1 (noise e ~ N(0, I)); here and everywhere.

  z_t = (1 - t) x + t e                                                     (1)
  v   = dz_t / dt = e - x                                                   (2)
  x   = z_t - t v,      e = z_t + (1 - t) v                                 (3)
  t_i = sigmoid(m + s n_i),  n_i ~ N(0, 1)    (logit-normal training times) (4)
  n_i = P^-1((i + u) / B),   u ~ U(0, 1), i = 0 .. B - 1, P the normal cdf  (5)

Each n_i of eq. 5 is standard normal, but a batch covers the distribution evenly (stratified sampling).
Liu et al. 2022, arXiv 2209.03003, eq. 1 (with t reversed); Esser et al. 2024, arXiv 2403.03206,
sec. 3.1 for eq. 4; Kingma et al. 2021, arXiv 2107.00630, app. I.1 for eq. 5.
"""

import jax
import jax.numpy as jnp

from v2a import shapes


def corrupt(x_BTC: jax.Array, e_BTC: jax.Array, t_B: jax.Array) -> jax.Array:
  """Returns z_t of eq. 1.

  Args:
    x_BTC: data latents, unit variance per channel.
    e_BTC: standard normal noise.
    t_B: times in [0, 1]; float32 even when the latents are bfloat16.
  """
  shapes.check(x_BTC=x_BTC, e_BTC=e_BTC, t_B=t_B)
  t_B11 = t_B[:, None, None].astype(x_BTC.dtype)
  return (1 - t_B11) * x_BTC + t_B11 * e_BTC


def velocity(x_BTC: jax.Array, e_BTC: jax.Array) -> jax.Array:
  """Returns v of eq. 2."""
  shapes.check(x_BTC=x_BTC, e_BTC=e_BTC)
  return e_BTC - x_BTC


def data(z_BTC: jax.Array, v_BTC: jax.Array, t_B: jax.Array) -> jax.Array:
  """Returns the data predicted by a velocity (eq. 3).

  Args:
    z_BTC: noisy latents at the times t_B.
    v_BTC: velocity there.
    t_B: times in [0, 1]; float32 even when the latents are bfloat16.
  """
  shapes.check(z_BTC=z_BTC, v_BTC=v_BTC, t_B=t_B)
  return z_BTC - t_B[:, None, None].astype(z_BTC.dtype) * v_BTC


def noise(z_BTC: jax.Array, v_BTC: jax.Array, t_B: jax.Array) -> jax.Array:
  """Returns the noise predicted by a velocity (eq. 3).

  Args:
    z_BTC: noisy latents at the times t_B.
    v_BTC: velocity there.
    t_B: times in [0, 1]; float32 even when the latents are bfloat16.
  """
  shapes.check(z_BTC=z_BTC, v_BTC=v_BTC, t_B=t_B)
  return z_BTC + (1 - t_B[:, None, None].astype(z_BTC.dtype)) * v_BTC


def sample_times(key: jax.Array, num: int, mean: float, std: float) -> jax.Array:
  """Returns training times t_B of eq. 4 and 5, in random order.

  Args:
    key: PRNG key.
    num: batch size.
    mean: m; 0 is symmetric, above 0 favours noise.
    std: s, positive.
  """
  offset_key, order_key = jax.random.split(key)
  quantile_B = (jax.random.permutation(order_key, num) + jax.random.uniform(offset_key)) / num
  # ppf is infinite at 0 and 1.
  normal_B = jax.scipy.stats.norm.ppf(jnp.clip(quantile_B, 1e-6, 1 - 1e-6))
  return jax.nn.sigmoid(mean + std * normal_B)
