"""Parametric stereo: the channel level difference in each band and latent step.

The direction of a source is heard from how its power is divided between the channels. So the codec codes one
spectrum of the mean power of both, and in every band r of every latent step the channel level difference

  b = (P_left - P_right) / (P_left + P_right + e),     -1 (right) .. 1 (left)                 (1)
  |X_left|, |X_right| = |X| sqrt(1 + b), |X| sqrt(1 - b)                                      (2)

with P the power in the band and |X| the root of the mean power of the channels (Breebaart et al. 2005,
"Parametric coding of stereo audio", sec. 2.1, normalised to -1 .. 1 instead of in decibels). Bands are
triangles on the mel scale that sum to one at every bin, so that eq. 2 has no steps in frequency.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from v2a import mel
from v2a import shapes

MIN_POWER = 1e-6


@functools.lru_cache(maxsize=32)
def band_weights(sample_rate_hz: int, num_bins: int, num_bands: int) -> np.ndarray:
  """Returns weight_FR from bins to bands; every row sums to 1.

  Args:
    sample_rate_hz: of the waveform.
    num_bins: F, from 0 Hz to half the sample rate.
    num_bands: R.
  """
  bin_mel_F = mel.from_hz(np.linspace(0, sample_rate_hz / 2, num_bins))
  # In bands: 0 Hz is the centre of the first, half the sample rate that of the last.
  position_F = bin_mel_F / bin_mel_F[-1] * (num_bands - 1)
  return mel.triangles(position_F, np.arange(-1.0, num_bands + 1)).astype(np.float32)


def from_power(power_BAJF: jax.Array, weight_FR: np.ndarray, patch_frames: int) -> jax.Array:
  """Returns channel_level_BTR (eq. 1) of a stereo power spectrogram.

  Args:
    power_BAJF: |STFT|^2, scaled so that a full-scale sine is near 1.
    weight_FR: see `band_weights`.
    patch_frames: STFT frames in a latent step.
  """
  shapes.check(power_BAJF=power_BAJF, weight_FR=weight_FR)
  B, A, J, F = power_BAJF.shape
  power_BATF = power_BAJF.reshape(B, A, J // patch_frames, patch_frames, F).sum(axis=3)
  left_BTR, right_BTR = (power_BATF[:, a] @ weight_FR for a in range(2))
  return (left_BTR - right_BTR) / (left_BTR + right_BTR + MIN_POWER)


def gains(channel_level_BTR: jax.Array, weight_FR: np.ndarray, patch_frames: int) -> jax.Array:
  """Returns gain_BAJF of both channels (eq. 2).

  Args:
    channel_level_BTR: eq. 1.
    weight_FR: see `band_weights`.
    patch_frames: STFT frames in a latent step.
  """
  shapes.check(channel_level_BTR=channel_level_BTR, weight_FR=weight_FR)
  level_BJF = jnp.repeat(channel_level_BTR @ weight_FR.T, patch_frames, axis=1)
  power_BAJF = jnp.stack([1 + level_BJF, 1 - level_BJF], axis=1)
  # The root has no gradient at 0, which a source on one side alone has.
  is_positive_BAJF = power_BAJF > 0
  return jnp.where(is_positive_BAJF, jnp.sqrt(jnp.where(is_positive_BAJF, power_BAJF, 1.0)), 0.0)
