"""Log-magnitudes of the channels of a waveform, and for stereo of mid and side, which STFT codecs encode.

  level = log(|X| 4 / n_fft + 1e-5)                                                              (1)

so that a full-scale sine is near 0 and silence is -11.5. The levels of left, right, mid and side together
give the phase between left and right, except for its sign:

  cos(phi) = (4 |M|^2 - |L|^2 - |R|^2) / (2 |L| |R|),   M = (L + R) / 2                          (2)
"""

import jax
import jax.numpy as jnp

from v2a.codecs import loss
from v2a.codecs import stft

FLOOR = 1e-5
# Of eq. 1, over sounds of many kinds: for networks.
MEAN, STD = -7.0, 2.5
MAX = 2.0


def from_waveform(wave_BNA: jax.Array, n_fft: int, hop_samples: int) -> jax.Array:
  """Returns eq. 1 of left, right, mid and side, or of a mono waveform, as level_BAJF.

  Args:
    wave_BNA: waveforms; N a multiple of hop_samples.
    n_fft, hop_samples: of the STFT, see `stft.forward`.
  """
  spec_BAJF = stft.forward(loss.views(wave_BNA), n_fft, hop_samples)
  magnitude_BAJF = jnp.sqrt(jnp.square(spec_BAJF.real) + jnp.square(spec_BAJF.imag) + 1e-12)
  return jnp.log(magnitude_BAJF * (4 / n_fft) + FLOOR)


def to_magnitude(level_BAJF: jax.Array, n_fft: int) -> jax.Array:
  """Returns |X| of levels (eq. 1); at or below the floor it is 0."""
  return jax.nn.relu(jnp.exp(level_BAJF) - FLOOR) * (n_fft / 4)
