"""The flow-matching loss: mean squared error of the predicted velocity.

  L = E_{t, e} || predict(z_t, t) - (e - x) ||^2            (arXiv 2209.03003, eq. 1)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.diffusion import process

NUM_BANDS = 4


def flow_matching(predict_fn: Callable, x_BTC: jax.Array, key: jax.Array, *, time_mean: float,
                  time_std: float, mask_BT: jax.Array | None = None) -> tuple[jax.Array, dict]:
  """Returns the loss and its mean in four bands of time.

  Args:
    predict_fn: (z_BTC, t_B) -> velocity BTC.
    x_BTC: normalised data latents.
    key: PRNG key of times and noise.
    time_mean: m of process eq. 4.
    time_std: s of process eq. 4.
    mask_BT: which latent steps count; all where None.
  """
  shapes.check(x_BTC=x_BTC, mask_BT=mask_BT)
  time_key, noise_key = jax.random.split(key)
  t_B = process.sample_times(time_key, x_BTC.shape[0], time_mean, time_std)
  e_BTC = jax.random.normal(noise_key, x_BTC.shape, jnp.float32)
  v_BTC = predict_fn(process.corrupt(x_BTC, e_BTC, t_B), t_B).astype(jnp.float32)
  error_BT = jnp.mean(jnp.square(v_BTC - process.velocity(x_BTC, e_BTC)), axis=-1)
  if mask_BT is None:
    error_B = jnp.mean(error_BT, axis=-1)
  else:
    # where, not a product: NaN in padding must not leak into the sum.
    kept_BT = jnp.where(mask_BT, error_BT, 0.0)
    error_B = jnp.sum(kept_BT, axis=-1) / jnp.maximum(jnp.sum(mask_BT, axis=-1), 1)
  metrics = {}
  for band in range(NUM_BANDS):
    inside_B = (t_B >= band / NUM_BANDS) & (t_B < (band + 1) / NUM_BANDS)
    total = jnp.sum(jnp.where(inside_B, error_B, 0.0))
    metrics[f'loss_t{band}'] = total / jnp.maximum(jnp.sum(inside_B), 1)
  return jnp.mean(error_B), metrics
