"""What a codec is trained to keep.

  L_level = mean w (x - y)^2 / 2 + sum w |e^x - e^y| / sum w e^x   of levels (autoencoder eq. 1)   (0)
  L_balance = sum a |b - b'| / sum a                             of balances (balance eq. 1)     (4)
  L_stft = mean over resolutions of  mean |log|X| - log|Y|| + || |X| - |Y| ||_1 / || |X| ||_1    (1)
  L_mel  = mean over resolutions of  mean |log mel X - log mel Y|                               (2)
  L_kl   = mean of 0.5 (mu^2 + s^2 - 1 - log s^2)                                               (3)

with w the root of the density of the mel scale at each bin, and a how loud a latent step is in each band.
Squares, not magnitudes, in eq. 0: a partial is a few bins that stand far out of many. Under |x - y| and the
density itself, 7,000 steps gave up the partials above 2 kHz and reached a lower loss on the noise between.
L_stft and L_mel are taken on the channels and, for stereo, on their sum and difference, so that the two
sides keep their phase relation. Yamamoto et al. 2020, arXiv 1910.11480, eq. 6 (multi-resolution STFT);
Kumar et al. 2023, arXiv 2306.06546, sec. 3.5 (multi-scale mel).
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2a import shapes
from v2a.codecs import mel
from v2a.codecs import stft

RESOLUTIONS = ((2048, 512), (512, 128), (128, 32))
MEL_BANDS = {2048: 80, 512: 40}
FLOOR = 1e-3


def views(wave_BNA: jax.Array) -> jax.Array:
  """Returns the channels, and for stereo also their half sum and half difference."""
  if wave_BNA.shape[-1] == 1:
    return wave_BNA
  left, right = wave_BNA[..., :1], wave_BNA[..., 1:]
  return jnp.concatenate([wave_BNA, (left + right) / 2, (left - right) / 2], axis=-1)


def magnitude(wave_BNA: jax.Array, n_fft: int, hop_samples: int) -> jax.Array:
  """Returns |STFT| (BAJF), scaled so that a full-scale sine is near 1; smooth at zero."""
  num_samples = wave_BNA.shape[1] - wave_BNA.shape[1] % hop_samples
  spec = stft.forward(wave_BNA[:, :num_samples], n_fft, hop_samples)
  power = jnp.square(spec.real) + jnp.square(spec.imag)
  return jnp.sqrt(power + 1e-9) * (4.0 / n_fft)


def spectral(target_BNA: jax.Array, output_BNA: jax.Array, sample_rate_hz: int) -> dict[str, jax.Array]:
  """Returns the scalars of eq. 1 and 2, named stft and mel."""
  target_BNA, output_BNA = views(target_BNA), views(output_BNA)
  stft_terms, mel_terms = [], []
  for n_fft, hop in RESOLUTIONS:
    x, y = magnitude(target_BNA, n_fft, hop), magnitude(output_BNA, n_fft, hop)
    log_term = jnp.mean(jnp.abs(jnp.log(x + FLOOR) - jnp.log(y + FLOOR)))
    linear_term = jnp.sum(jnp.abs(x - y)) / (jnp.sum(jnp.abs(x)) + FLOOR * x.size)
    stft_terms.append(log_term + linear_term)
    if n_fft in MEL_BANDS:
      mel_FR = mel.filterbank(sample_rate_hz, n_fft, MEL_BANDS[n_fft])
      weight_FR = jnp.asarray(mel_FR / mel_FR.sum(axis=0, keepdims=True).clip(1e-6))
      mel_terms.append(jnp.mean(jnp.abs(
          jnp.log(x @ weight_FR + FLOOR) - jnp.log(y @ weight_FR + FLOOR))))
  return {'stft': sum(stft_terms) / len(stft_terms), 'mel': sum(mel_terms) / len(mel_terms)}


def level(target_BJF: jax.Array, output_BJF: jax.Array, sample_rate_hz: int) -> jax.Array:
  """Returns eq. 0: half for what is heard, half for what is loud."""
  shapes.check(target_BJF=target_BJF, output_BJF=output_BJF)
  frequency_hz = np.linspace(0, sample_rate_hz / 2, target_BJF.shape[-1])
  weight_F = np.sqrt(np.gradient(mel.hz_to_mel(frequency_hz)))
  weight_11F = jnp.asarray((weight_F / weight_F.mean())[None, None], jnp.float32)
  x_BJF, y_BJF = jnp.exp(target_BJF) * weight_11F, jnp.exp(output_BJF) * weight_11F
  loud_B = jnp.mean(jnp.abs(x_BJF - y_BJF), axis=(1, 2)) / jnp.mean(x_BJF, axis=(1, 2))
  return jnp.mean(weight_11F * jnp.square(target_BJF - output_BJF)) / 2 + jnp.mean(loud_B)


def balance(target_BTR: jax.Array, output_BTR: jax.Array, loudness_BTR: jax.Array) -> jax.Array:
  """Returns eq. 4; loudness_BTR is a."""
  shapes.check(target_BTR=target_BTR, output_BTR=output_BTR, loudness_BTR=loudness_BTR)
  error_BTR = loudness_BTR * jnp.abs(target_BTR - output_BTR)
  return jnp.mean(jnp.sum(error_BTR, axis=(1, 2)) / (jnp.sum(loudness_BTR, axis=(1, 2)) + FLOOR))


def kl(mean_BTC: jax.Array, log_std_BTC: jax.Array) -> jax.Array:
  """Returns eq. 3: the divergence from a standard normal, a latent value."""
  return jnp.mean(
      0.5 * (jnp.square(mean_BTC) + jnp.exp(2 * log_std_BTC) - 1 - 2 * log_std_BTC))
