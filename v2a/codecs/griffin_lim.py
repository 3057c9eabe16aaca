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

With magnitudes of left, right, mid and side, each channel is reconstructed with phases of its own:

  L_{k+1} = (p_L + p_M + p_S) / 2,  R_{k+1} = (p_R + p_M - p_S) / 2,   p_v = |v| e^(i arg c_v)        (3)

with c the spectrograms of the views after S, accelerated: c + 0.7 (c - previous c). After 16 iterations noise
is worse without acceleration, and harmonics with 0.99.
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2a.codecs import stft

HANN_WIDTH = 0.25645
ACCELERATION = 0.7


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


def prefix_spectrogram(prefix_BNA: jax.Array, n_fft: int, hop_samples: int) -> jax.Array:
  """Returns spec_BAJF of a waveform that another continues: the frames that do not extend past its end."""
  reach = -(-(n_fft - hop_samples) // (2 * hop_samples))
  return stft.forward(prefix_BNA, n_fft, hop_samples)[:, :, :-reach]


def unit_phasor(spec: jax.Array) -> jax.Array:
  """Returns a complex array scaled to magnitude 1 (1 where it is zero)."""
  size = jnp.sqrt(jnp.square(spec.real) + jnp.square(spec.imag))
  return jnp.where(size > 1e-12, spec / jnp.maximum(size, 1e-12), 1.0)


def reconstruct_stereo(
  magnitude_BAJF: jax.Array,
  n_fft: int,
  hop_samples: int,
  num_iterations: int,
  prefix_BAJF: jax.Array | None = None,
) -> jax.Array:
  """Returns wave_BNA of the magnitudes of left, right, mid and side (eq. 3), or of a mono waveform.

  Args:
    magnitude_BAJF: |STFT| of each view.
    n_fft, hop_samples: of the transform.
    num_iterations: of eq. 3.
    prefix_BAJF: phasors of the channels in the first frames, see `reconstruct`.
  """
  unit_BAJF = _initial_phasors(magnitude_BAJF, n_fft, hop_samples, prefix_BAJF)
  num_channels = unit_BAJF.shape[1]

  def keep_prefix(spec_BAJF):
    if prefix_BAJF is None:
      return spec_BAJF
    num_frames = prefix_BAJF.shape[2]
    return spec_BAJF.at[:, :, :num_frames].set(magnitude_BAJF[:, :num_channels, :num_frames] * prefix_BAJF)

  def step(previous, _):
    spec_BAJF, last_BAJF = previous
    wave_BNA = stft.inverse(spec_BAJF, n_fft, hop_samples)
    consistent_BAJF = stft.forward(wave_BNA, n_fft, hop_samples)
    ahead_BAJF = consistent_BAJF + ACCELERATION * (consistent_BAJF - last_BAJF)
    return (keep_prefix(_project(ahead_BAJF, magnitude_BAJF)), consistent_BAJF), None

  spec_BAJF = keep_prefix(magnitude_BAJF[:, :num_channels] * unit_BAJF)
  (spec_BAJF, _), _ = jax.lax.scan(step, (spec_BAJF, spec_BAJF), None, length=num_iterations)
  return stft.inverse(spec_BAJF, n_fft, hop_samples)


def _initial_phasors(
  magnitude_BAJF: jax.Array, n_fft: int, hop_samples: int, prefix_BAJF: jax.Array | None
) -> jax.Array:
  """Returns phasors BAJF of the channels: those of eq. 1 for the left one, turned for the right one.

  Args:
    magnitude_BAJF, n_fft, hop_samples, prefix_BAJF: see `reconstruct_stereo`.
  """
  is_stereo = magnitude_BAJF.shape[1] == 4
  # The power of mid and side is half that of left and right.
  mean_BJF = jnp.sqrt(jnp.mean(jnp.square(magnitude_BAJF[:, -2:]), axis=1))
  phase_BJF = integrate(mean_BJF, n_fft, hop_samples)
  sign_BJF = jnp.ones_like(phase_BJF)
  if prefix_BAJF is not None:
    last = prefix_BAJF.shape[2] - 1
    phase_BJF = phase_BJF - phase_BJF[:, last : last + 1] + jnp.angle(prefix_BAJF[:, 0, last:])
    if is_stereo:
      turn_B1F = prefix_BAJF[:, 1, last:] * jnp.conj(prefix_BAJF[:, 0, last:])
      sign_BJF = sign_BJF * jnp.where(turn_B1F.imag < 0, -1.0, 1.0)
  left_BJF = jax.lax.complex(jnp.cos(phase_BJF), jnp.sin(phase_BJF))
  if not is_stereo:
    return left_BJF[:, None]
  cos_BJF = _cosine_between_channels(magnitude_BAJF)
  turn_BJF = jax.lax.complex(cos_BJF, sign_BJF * jnp.sqrt(1 - jnp.square(cos_BJF)))
  return jnp.stack([left_BJF, left_BJF * turn_BJF], axis=1)


def _cosine_between_channels(magnitude_BAJF: jax.Array) -> jax.Array:
  """Returns the cosine of the phase between left and right (`log_magnitude` eq. 2); not differentiable."""
  left_BJF, right_BJF, mid_BJF, _ = jnp.moveaxis(jax.lax.stop_gradient(magnitude_BAJF), 1, 0)
  product_BJF = 2 * left_BJF * right_BJF
  difference_BJF = 4 * jnp.square(mid_BJF) - jnp.square(left_BJF) - jnp.square(right_BJF)
  return jnp.clip(difference_BJF / jnp.maximum(product_BJF, 1e-9), -1, 1)


def _project(spec_BAJF: jax.Array, magnitude_BAJF: jax.Array) -> jax.Array:
  """Returns the channels, in stereo the mean of what the magnitudes of all views make of them (eq. 3)."""
  if magnitude_BAJF.shape[1] != 4:
    return magnitude_BAJF * unit_phasor(spec_BAJF)
  left_BJF, right_BJF = spec_BAJF[:, 0], spec_BAJF[:, 1]
  views_BAJF = jnp.stack(
    [left_BJF, right_BJF, (left_BJF + right_BJF) / 2, (left_BJF - right_BJF) / 2], axis=1
  )
  left_BJF, right_BJF, mid_BJF, side_BJF = jnp.moveaxis(magnitude_BAJF * unit_phasor(views_BAJF), 1, 0)
  return jnp.stack([(left_BJF + mid_BJF + side_BJF) / 2, (right_BJF + mid_BJF - side_BJF) / 2], axis=1)
