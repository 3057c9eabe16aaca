"""Left and right as one number a band and latent step.

A source's place is heard from how its power is shared by the channels. So the codec keeps one spectrum
of the power in both, and in every band r of every latent step the balance

  b = (P_left - P_right) / (P_left + P_right + e),     -1 (right) .. 1 (left)                 (1)
  |X_left|, |X_right| = |X| sqrt(1 + b), |X| sqrt(1 - b)                                      (2)

with P the power in the band and |X| the root of the mean power of the channels (Breebaart et al. 2005,
"Parametric coding of stereo audio", sec. 2.1, with a share for their level difference). Bands are
triangles on the mel scale that sum to one at every bin, so that eq. 2 has no steps in frequency.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from v2a import mel
from v2a import shapes

QUIET = 1e-6


@functools.lru_cache(maxsize=32)
def band_weights(sample_rate_hz: int, num_bins: int, num_bands: int) -> np.ndarray:
  """Returns weight_FR of bins to bands; every row sums to 1."""
  bin_mel_F = mel.from_hz(np.linspace(0, sample_rate_hz / 2, num_bins))
  # In bands: 0 Hz is the centre of the first, half the sample rate that of the last.
  position_F = bin_mel_F / bin_mel_F[-1] * (num_bands - 1)
  return mel.triangles(position_F, np.arange(-1.0, num_bands + 1)).astype(np.float32)


def from_power(power_BAJF: jax.Array, weight_FR: np.ndarray, patch_frames: int) -> jax.Array:
  """Returns balance_BTR (eq. 1) of a stereo power spectrogram.

  Args:
    power_BAJF: |STFT|^2, scaled so that a full-scale sine is near 1.
    weight_FR: of `band_weights`.
    patch_frames: STFT frames in a latent step.
  """
  shapes.check(power_BAJF=power_BAJF, weight_FR=weight_FR)
  B, A, J, F = power_BAJF.shape
  power_BATF = power_BAJF.reshape(B, A, J // patch_frames, patch_frames, F).sum(axis=3)
  left_BTR, right_BTR = (power_BATF[:, a] @ weight_FR for a in range(2))
  return (left_BTR - right_BTR) / (left_BTR + right_BTR + QUIET)


def gains(channel_level_BTR: jax.Array, weight_FR: np.ndarray, patch_frames: int) -> jax.Array:
  """Returns gain_BAJF of both channels (eq. 2)."""
  shapes.check(channel_level_BTR=channel_level_BTR, weight_FR=weight_FR)
  balance_BJF = jnp.repeat(channel_level_BTR @ weight_FR.T, patch_frames, axis=1)
  return jnp.sqrt(jnp.maximum(jnp.stack([1 + balance_BJF, 1 - balance_BJF], axis=1), 0.0))
