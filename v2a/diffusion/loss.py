"""The flow-matching loss: mean squared error of the predicted velocity.

L = E_{t, e} || predict(z_t, t) - (e - x) ||^2            (arXiv 2209.03003, eq. 1)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from v2a import masks
from v2a import shapes
from v2a.diffusion import process

NUM_BANDS = 4


def flow_matching(
  predict_fn: Callable,
  x_BTC: jax.Array,
  e_BTC: jax.Array,
  t_B: jax.Array,
  *,
  mask_BT: jax.Array | None = None,
  weight_B: jax.Array | None = None,
) -> tuple[jax.Array, dict]:
  """Returns the loss, and metrics loss_t0 .. loss_t3: that of each clip in one of four bands of t, else NaN.

  Args:
    predict_fn: (z_BTC, t_B) -> velocity BTC.
    x_BTC: normalised data latents.
    e_BTC: standard normal noise.
    t_B: times, see `process.sample_times`.
    mask_BT: which latent steps are valid; None for all.
    weight_B: of the clips, see `masks.clip_weights`; None for 1.
  """
  shapes.check(x_BTC=x_BTC, e_BTC=e_BTC, t_B=t_B, mask_BT=mask_BT, weight_B=weight_B)
  v_BTC = predict_fn(process.corrupt(x_BTC, e_BTC, t_B), t_B).astype(jnp.float32)
  error_B = masks.clip_mean(jnp.square(v_BTC - process.velocity(x_BTC, e_BTC)), mask_BT)
  is_valid_B = jnp.full(t_B.shape, True) if mask_BT is None else jnp.any(mask_BT, axis=-1)
  metrics = {}
  for band in range(NUM_BANDS):
    in_band_B = is_valid_B & (t_B >= band / NUM_BANDS) & (t_B < (band + 1) / NUM_BANDS)
    metrics[f'loss_t{band}'] = jnp.where(in_band_B, error_B, jnp.nan)
  return masks.batch_mean(error_B, weight_B), metrics
