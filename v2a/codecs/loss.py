"""Reconstruction losses of codecs, and the KL divergence.

  L_log_magnitude = mean w (x - y)^2 / 2 + sum w |e^x - e^y| / sum w e^x
                    of log-magnitudes (`magnitude` eq. 1)                                          (0)
  L_stft = mean over resolutions of  mean |log|X| - log|Y|| + || |X| - |Y| ||_1 / || |X| ||_1      (1)
  L_mel  = mean over resolutions of  mean |log mel X - log mel Y|                                  (2)
  L_kl   = mean of 0.5 (mu^2 + s^2 - 1 - log s^2)                                                  (3)
  L_channel_level = sum a |b - b'| / sum a   of channel levels (`channel_level` eq. 1)             (4)
  L_levels = mean (x - y)^2 / 2 + sqrt(sum (e^x - e^y)^2 / sum e^2x) + mean |B(x) - B(y)|
             of levels of all views (`codecs.log_magnitude` eq. 1); B(x) = log(M e^2x) / 2,
             the levels of mel bands                                                              (5)

with w the square root of the density of the mel scale at each bin, and a the magnitude of a latent step in
each band. Each is the value of a clip, over its valid frames or steps (`v2a.masks`). Ratios are of sums over
one clip: the ratio of sums over a batch would not be the mean of those of its microbatches.
Eq. 0 has squares, not absolute values, since a partial is a few bins far above the others: with |x - y| and
the density itself, training for 7,000 steps lost the partials above 2 kHz in favour of the noise between.
L_stft and L_mel are computed on the channels and, for stereo, on their sum and difference, so that the phase
between the channels is kept. Yamamoto et al. 2020, arXiv 1910.11480, eq. 6 (multi-resolution STFT);
Kumar et al. 2023, arXiv 2306.06546, sec. 3.5 (multi-scale mel).
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2a import masks
from v2a import mel
from v2a import shapes
from v2a.codecs import stft

RESOLUTIONS = ((2048, 512), (512, 128), (128, 32))
MEL_BANDS = {2048: 80, 512: 40}
LEVEL_BANDS = 40
MAGNITUDE_FLOOR = 1e-3


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


def valid_frames(num_valid_B: jax.Array | None, num_frames: int, hop_samples: float) -> jax.Array | None:
  """Returns is_valid_BJ, the frames whose centre is before the end of the valid samples; None for all.

  Args:
    num_valid_B: number of valid samples of each clip, from the start; None for all.
    num_frames: of a spectrogram on the grid of `codecs.stft`.
    hop_samples: between frames.
  """
  if num_valid_B is None:
    return None
  return ((jnp.arange(num_frames) + 0.5) * hop_samples)[None] < num_valid_B[:, None]


def spectral(
  target_BNA: jax.Array,
  output_BNA: jax.Array,
  sample_rate_hz: int,
  num_valid_B: jax.Array | None = None,
  floor: float = MAGNITUDE_FLOOR,
) -> dict[str, jax.Array]:
  """Returns eq. 1 and 2 of each clip (B), named stft and mel.

  Args:
    target_BNA, output_BNA: waveforms; zeros beyond the valid samples.
    sample_rate_hz: of both.
    num_valid_B: number of valid samples, from the start; None for all.
    floor: added to magnitudes before their logarithm; a full-scale sine is 1.
  """
  target_BNA, output_BNA = views(target_BNA), views(output_BNA)
  stft_terms, mel_terms = [], []
  for n_fft, hop in RESOLUTIONS:
    x_BJAF, y_BJAF = (magnitude(wave_BNA, n_fft, hop).swapaxes(1, 2) for wave_BNA in (target_BNA, output_BNA))
    is_valid_BJ = valid_frames(num_valid_B, x_BJAF.shape[1], hop)
    log_B = masks.clip_mean(jnp.abs(jnp.log(x_BJAF + floor) - jnp.log(y_BJAF + floor)), is_valid_BJ)
    difference_B = masks.clip_mean(jnp.abs(x_BJAF - y_BJAF), is_valid_BJ)
    stft_terms.append(log_B + difference_B / (masks.clip_mean(x_BJAF, is_valid_BJ) + MAGNITUDE_FLOOR))
    if n_fft in MEL_BANDS:
      mel_FR = mel.area_normalized(sample_rate_hz, n_fft, MEL_BANDS[n_fft])
      weight_FR = jnp.asarray(mel_FR / mel_FR.sum(axis=0, keepdims=True).clip(1e-6))
      mel_terms.append(
        masks.clip_mean(
          jnp.abs(jnp.log(x_BJAF @ weight_FR + floor) - jnp.log(y_BJAF @ weight_FR + floor)),
          is_valid_BJ,
        )
      )
  return {'stft': sum(stft_terms) / len(stft_terms), 'mel': sum(mel_terms) / len(mel_terms)}


def log_magnitude(
  target_BJF: jax.Array, output_BJF: jax.Array, sample_rate_hz: int, is_valid_BJ: jax.Array | None = None
) -> jax.Array:
  """Returns eq. 0 of each clip (B): a loss of log-magnitudes and one of magnitudes.

  Args:
    target_BJF, output_BJF: log-magnitudes.
    sample_rate_hz: of the waveforms.
    is_valid_BJ: which frames are valid; None for all.
  """
  shapes.check(target_BJF=target_BJF, output_BJF=output_BJF, is_valid_BJ=is_valid_BJ)
  frequency_hz = np.linspace(0, sample_rate_hz / 2, target_BJF.shape[-1])
  weight_F = np.sqrt(np.gradient(mel.from_hz(frequency_hz)))
  weight_11F = jnp.asarray((weight_F / weight_F.mean())[None, None], jnp.float32)
  x_BJF, y_BJF = jnp.exp(target_BJF) * weight_11F, jnp.exp(output_BJF) * weight_11F
  # Clips without valid frames have a mean of 0; all others are above the floor of magnitudes.
  x_B = jnp.maximum(masks.clip_mean(x_BJF, is_valid_BJ), 1e-9)
  magnitude_B = masks.clip_mean(jnp.abs(x_BJF - y_BJF), is_valid_BJ) / x_B
  return masks.clip_mean(weight_11F * jnp.square(target_BJF - output_BJF), is_valid_BJ) / 2 + magnitude_B


def channel_level(
  target_BTR: jax.Array, output_BTR: jax.Array, magnitude_BTR: jax.Array, is_valid_BT: jax.Array | None = None
) -> jax.Array:
  """Returns eq. 4 of each clip (B).

  Args:
    target_BTR, output_BTR: channel levels.
    magnitude_BTR: a.
    is_valid_BT: which steps are valid; None for all.
  """
  shapes.check(
    target_BTR=target_BTR, output_BTR=output_BTR, magnitude_BTR=magnitude_BTR, is_valid_BT=is_valid_BT
  )
  if is_valid_BT is not None:
    magnitude_BTR = jnp.where(is_valid_BT[..., None], magnitude_BTR, 0.0)
  error_BTR = magnitude_BTR * jnp.abs(target_BTR - output_BTR)
  return jnp.sum(error_BTR, axis=(1, 2)) / (jnp.sum(magnitude_BTR, axis=(1, 2)) + MAGNITUDE_FLOOR)


def levels(
  target_BAJF: jax.Array, output_BAJF: jax.Array, sample_rate_hz: int, is_valid_BJ: jax.Array | None = None
) -> jax.Array:
  """Returns eq. 5 of each clip (B).

  The mean of log-magnitudes that are not certain, such as of noise, is below their root mean square, by
  2.5 dB for a normal distribution: the first term alone makes sounds too quiet. The second keeps peaks, the
  third the level of bands.

  Args:
    target_BAJF, output_BAJF: log-magnitudes of the views.
    sample_rate_hz: of the waveforms.
    is_valid_BJ: which frames are valid; None for all.
  """
  shapes.check(target_BAJF=target_BAJF, output_BAJF=output_BAJF, is_valid_BJ=is_valid_BJ)
  x_BJAF, y_BJAF = target_BAJF.swapaxes(1, 2), output_BAJF.swapaxes(1, 2)
  mean = lambda value_BJAF: masks.clip_mean(value_BJAF, is_valid_BJ)
  error_B = mean(jnp.square(jnp.exp(x_BJAF) - jnp.exp(y_BJAF)))
  scale_B = mean(jnp.exp(2 * x_BJAF)) + 1e-8
  n_fft = 2 * (target_BAJF.shape[-1] - 1)
  mel_FR = jnp.asarray(mel.area_normalized(sample_rate_hz, n_fft, LEVEL_BANDS))
  band = lambda level_BJAF: jnp.log(jnp.exp(2 * level_BJAF) @ mel_FR + 1e-12) / 2
  band_B = mean(jnp.abs(band(x_BJAF) - band(y_BJAF)))
  return mean(jnp.square(x_BJAF - y_BJAF)) / 2 + jnp.sqrt(error_B / scale_B + 1e-8) + band_B


def kl(mean_BTC: jax.Array, log_std_BTC: jax.Array, is_valid_BT: jax.Array | None = None) -> jax.Array:
  """Returns eq. 3 of each clip (B): the divergence from a standard normal, per latent value.

  Args:
    mean_BTC, log_std_BTC: of the posterior.
    is_valid_BT: which steps are valid; None for all.
  """
  divergence_BTC = 0.5 * (jnp.square(mean_BTC) + jnp.exp(2 * log_std_BTC) - 1 - 2 * log_std_BTC)
  return masks.clip_mean(divergence_BTC, is_valid_BT)
