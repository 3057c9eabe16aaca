"""Transforms against scipy, their inverses, and phases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from v2a.codecs import griffin_lim
from v2a.codecs import stft

RATE_HZ = 16000


def _noise(num_samples=3200, num_channels=2):
  return jax.random.normal(jax.random.key(0), (1, num_samples, num_channels))


@pytest.mark.parametrize('n_fft, hop', [(960, 160), (640, 160), (512, 128), (128, 32)])
def test_inverse_of_forward_is_the_identity(n_fft, hop):
  wave_BNA = _noise()[:, : 3200 - 3200 % hop]
  again_BNA = stft.inverse(stft.forward(wave_BNA, n_fft, hop), n_fft, hop)
  np.testing.assert_allclose(again_BNA, wave_BNA, atol=2e-5)


def test_forward_equals_scipy():
  wave_BNA = _noise()
  ours_JF = np.asarray(stft.forward(wave_BNA, 640, 160))[0, 1]
  padded_N = np.pad(np.asarray(wave_BNA)[0, :, 1], 240)
  engine = signal.ShortTimeFFT(signal.windows.hann(640, sym=False), 160, RATE_HZ, phase_shift=None)
  theirs_FJ = engine.stft(padded_N, p0=2, p1=22)  # scipy's slice p is centred at sample p * hop
  np.testing.assert_allclose(ours_JF, theirs_FJ.T, atol=1e-3)


def test_frames_are_centred_on_the_latent_grid():
  wave_BNA = jnp.zeros((1, 1600, 1)).at[0, 880, 0].set(1.0)
  energy_J = jnp.sum(jnp.abs(stft.forward(wave_BNA, 960, 160))[0, 0], axis=-1)
  assert int(jnp.argmax(energy_J)) == 5  # frame j is centred at (j + 0.5) * 160


def test_griffin_lim_reconstructs_a_chord_and_a_click():
  t_N = np.arange(RATE_HZ) / RATE_HZ
  wave_N = 0.2 * np.sin(2 * np.pi * 440 * t_N) + 0.1 * np.sin(2 * np.pi * 1333 * t_N)
  wave_N[8000] += 0.8
  wave_BNA = jnp.asarray(np.stack([wave_N, 0.3 * wave_N], axis=1)[None], jnp.float32)
  magnitude_BAJF = jnp.abs(stft.forward(wave_BNA, 960, 160))
  found_BNA = griffin_lim.reconstruct(magnitude_BAJF, 960, 160, 24)
  again_BAJF = jnp.abs(stft.forward(found_BNA, 960, 160))
  error = jnp.linalg.norm(again_BAJF - magnitude_BAJF) / jnp.linalg.norm(magnitude_BAJF)
  assert float(error) < 0.1
  assert abs(int(jnp.argmax(jnp.abs(found_BNA[0, :, 0]))) - 8000) < 80


def test_griffin_lim_continues_the_phases_of_a_prefix():
  t_N = np.arange(2 * RATE_HZ) / RATE_HZ
  wave_BNA = jnp.asarray(0.5 * np.sin(2 * np.pi * 523.25 * t_N)[None, :, None], jnp.float32)
  spec_BAJF = stft.forward(wave_BNA, 960, 160)
  known_BJF = griffin_lim.unit_phasor(spec_BAJF[:, 0, :97])
  found_BNA = griffin_lim.reconstruct(jnp.abs(spec_BAJF), 960, 160, 24, known_BJF)
  middle = slice(2000, 20000)
  correlation = np.corrcoef(found_BNA[0, middle, 0], wave_BNA[0, middle, 0])[0, 1]
  assert correlation > 0.98


def test_wrong_lengths_are_errors():
  with pytest.raises(ValueError, match='multiples of hop_samples'):
    stft.forward(_noise(1601), 640, 160)
