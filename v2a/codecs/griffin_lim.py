"""Phase reconstruction: integration along time, then Griffin-Lim.

Absolute phases are hardly audible and do not follow from the video. So latents code magnitudes only, and
phases that are consistent with them are reconstructed here.

Initial phases, for magnitude M at frame j, bin m, hop a, window length n (Hann, c = 0.25645):

  phi(j + 1, m) = phi(j, m) + 2 pi a m / n + a / (c n) d/dm log M                        (1)

(Prusa, Balazs and Sondergaard 2017, arXiv 1609.00291, eq. 10 and 12, the time direction alone), then

  c_{k+1} = S(M e^(i arg c_k))                                                            (2)

where S is the inverse STFT followed by the STFT (Griffin and Lim 1984, eq. 8). The accelerated form
(Perraudin et al. 2013) was no better after 24 iterations on predicted magnitudes (relative error 0.14 against
0.13), and amplified rounding errors ten times as much.
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2a.codecs import stft

HANN_WIDTH = 0.25645


def integrate(magnitude_BJF: jax.Array, n_fft: int, hop_samples: int) -> jax.Array:
  """Returns phases BJF of eq. 1 in radians, from zero in the first frame."""
  level_BJF = jnp.log(magnitude_BJF + 1e-5)
  padded = jnp.pad(level_BJF, ((0, 0), (0, 0), (1, 1)), mode='edge')
  slope_BJF = (padded[..., 2:] - padded[..., :-2]) / 2
  centre_F = 2 * np.pi * hop_samples * np.arange(level_BJF.shape[-1]) / n_fft
  # Modulo 2 pi, since only the remainder matters, and small values keep float32 accurate over long clips.
  centre_F = np.mod(centre_F, 2 * np.pi).astype(np.float32)
  advance_BJF = centre_F[None, None] + slope_BJF * (hop_samples / (HANN_WIDTH * n_fft))
  advance_BJF = (advance_BJF[:, 1:] + advance_BJF[:, :-1]) / 2
  phase_BJF = jnp.cumsum(advance_BJF, axis=1)
  return jnp.pad(phase_BJF, ((0, 0), (1, 0), (0, 0)))


def reconstruct(
  magnitude_BAJF: jax.Array,
  n_fft: int,
  hop_samples: int,
  num_iterations: int,
  prefix_BJF: jax.Array | None = None,
) -> jax.Array:
  """Returns wave_BNA whose spectrogram has (nearly) the given magnitudes.

  All channels share the phases of their mean, so that a source keeps its panning.

  Args:
    magnitude_BAJF: |STFT| of every channel.
    n_fft, hop_samples: of the transform.
    num_iterations: of eq. 2.
    prefix_BJF: phasors of the first frames, of a waveform that this one continues: eq. 1 starts from the last
      of them, and eq. 2 does not change them.
  """
  mean_BJF = jnp.mean(magnitude_BAJF, axis=1)
  phase_BJF = integrate(mean_BJF, n_fft, hop_samples)
  if prefix_BJF is not None:
    last = prefix_BJF.shape[1] - 1
    phase_BJF = phase_BJF - phase_BJF[:, last : last + 1] + jnp.angle(prefix_BJF[:, last:])
  unit_BJF = jax.lax.complex(jnp.cos(phase_BJF), jnp.sin(phase_BJF))

  def keep_prefix(unit_BJF):
    if prefix_BJF is None:
      return unit_BJF
    return unit_BJF.at[:, : prefix_BJF.shape[1]].set(prefix_BJF)

  def step(unit_BJF, _):
    wave = stft.inverse((mean_BJF * unit_BJF)[:, None], n_fft, hop_samples)
    return keep_prefix(unit_phasor(stft.forward(wave, n_fft, hop_samples)[:, 0])), None

  unit_BJF, _ = jax.lax.scan(step, keep_prefix(unit_BJF), None, length=num_iterations)
  return stft.inverse(magnitude_BAJF * unit_BJF[:, None], n_fft, hop_samples)


def unit_phasor(spec: jax.Array) -> jax.Array:
  """Returns a complex array scaled to magnitude 1 (1 where it is zero)."""
  size = jnp.sqrt(jnp.square(spec.real) + jnp.square(spec.imag))
  return jnp.where(size > 1e-12, spec / jnp.maximum(size, 1e-12), 1.0)
