"""Signals of mixtures against what is known of them."""

import numpy as np
import pytest

from data_pipelines import acoustics

RATE_HZ = 16000


def rng():
  """Returns a generator of random numbers."""
  return np.random.default_rng(3)


def correlation(wave_NA):
  """Returns the correlation of both channels."""
  return np.corrcoef(wave_NA.T)[0, 1]


def tone(frequency_hz, seconds=1.0, rate_hz=RATE_HZ):
  """Returns a mono tone."""
  time_N1 = np.arange(round(seconds * rate_hz))[:, None] / rate_hz
  return np.sin(2 * np.pi * frequency_hz * time_N1).astype(np.float32)


def peak_hz(wave_N, rate_hz=RATE_HZ):
  """Returns the frequency with the most power."""
  spectrum_F = np.abs(np.fft.rfft(wave_N * np.hanning(len(wave_N))))
  return np.argmax(spectrum_F) * rate_hz / len(wave_N)


def test_resampling_changes_pitch():
  semitones = 5
  found_NA = acoustics.resample(tone(440), 2 ** (-semitones / 12))
  assert peak_hz(found_NA[:, 0]) == pytest.approx(440 * 2 ** (semitones / 12), abs=3)
  # Of another rate, with the pitch it had; what is above the new band is not there.
  high_NA = acoustics.resample(tone(7000, rate_hz=44100), 8000 / 44100)
  assert len(high_NA) == 8000 and np.abs(high_NA[500:-500]).max() < 0.02


def test_sustained_sounds_have_no_gap_and_keep_their_level():
  noise_NA = rng().standard_normal((4000, 1)).astype(np.float32)
  found_NA = acoustics.sustain(noise_NA, 30000, 800)
  power = (found_NA[4000:28000].reshape(-1, 400) ** 2).mean(axis=1)
  assert len(found_NA) == 30000 and 0.6 < power.min() and power.max() < 1.5


@pytest.mark.parametrize('position', [-1.0, -0.3, 0.0, 0.6, 1.0])
def test_pan(position):
  wave_N = rng().standard_normal(RATE_HZ).astype(np.float32)
  left_N, right_N = acoustics.pan(wave_N, position, RATE_HZ).T
  level_db = 20 * np.log10(np.std(right_N) / np.std(left_N))
  assert level_db == pytest.approx(15 * position, abs=0.1)
  assert np.mean(left_N**2) + np.mean(right_N**2) == pytest.approx(2 * np.mean(wave_N**2), rel=0.01)
  lag = np.argmax(np.correlate(right_N, left_N[100:-100], 'valid')) - 100
  assert lag == -round(position * 0.0008 * RATE_HZ)  # the nearer ear is earlier


def test_diffuse_sound_is_wide_and_as_loud():
  wave_N = rng().standard_normal(RATE_HZ).astype(np.float32)
  found_NA = acoustics.diffuse(rng(), wave_N, RATE_HZ)
  assert abs(correlation(found_NA)) < 0.25
  np.testing.assert_allclose(np.std(found_NA, axis=0), 1, rtol=0.2)


def test_reverberation_decays_and_has_two_channels():
  decays_s = set()
  for seed in range(8):
    response_NA = acoustics.impulse_response(np.random.default_rng(seed), RATE_HZ)
    np.testing.assert_allclose(np.sum(response_NA**2, axis=0), 1, rtol=1e-4)
    assert correlation(response_NA) < 0.8
    power = np.array([np.sum(part**2) for part in np.array_split(response_NA, 8)])
    assert power[-1] < 1e-4 * power.max()
    decays_s.add(len(response_NA))
  assert max(decays_s) > 3 * min(decays_s)


@pytest.mark.parametrize('wanted', [0.0, 0.5, 1.0])
def test_correlated_noise(wanted):
  found_NA = acoustics.correlated_noise(rng(), 50000, wanted)
  assert correlation(found_NA) == pytest.approx(wanted, abs=0.02)
  assert np.std(found_NA) == pytest.approx(1, abs=0.02)


def test_background_has_unit_power_and_many_spectra():
  slopes = []
  for seed in range(12):
    found_NA = acoustics.background(np.random.default_rng(seed), 2 * RATE_HZ, RATE_HZ)
    assert np.mean(found_NA**2) == pytest.approx(1, rel=1e-3)
    power_F = np.abs(np.fft.rfft(found_NA[:, 0])) ** 2
    slopes.append(10 * np.log10(power_F[200:400].mean() / power_F[8000:12000].mean()))
  assert max(slopes) > 25 and min(np.abs(slopes)) < 1


def test_band_limit():
  for frequency_hz, level in ((1000, 1), (6000, 0)):
    found_NA = acoustics.band_limit(tone(frequency_hz), 3000, 'lowpass', 8, RATE_HZ)
    assert np.abs(found_NA[2000:]).max() == pytest.approx(level, abs=0.01)


def test_limit():
  quiet_NA, loud_NA = 0.5 * tone(100), 3 * tone(100)
  assert acoustics.limit(quiet_NA, 0.9) is quiet_NA
  limited_NA = acoustics.limit(loud_NA, 0.9)
  assert np.abs(limited_NA).max() == pytest.approx(0.9, abs=1e-3)
  assert np.mean(limited_NA**2) > 1.3 * 0.9**2 / 2  # more than a lower gain alone gives
