"""Metrics of a reconstruction: known changes give known values."""

import numpy as np
import pytest
from scipy import signal as scipy_signal

from v2a.metrics import reconstruction

RATE_HZ = 16000


@pytest.fixture(name='noise', scope='module')
def make_noise():
  return 0.1 * np.random.default_rng(0).standard_normal((2 * RATE_HZ, 2))


def test_a_sound_is_itself(noise):
  found = reconstruction.measure(noise, noise, RATE_HZ)
  assert found['log_spectral_db'] == found['stft'] == found['log_mel_db'] == 0.0
  assert found['stereo_correlation_error'] == 0.0 and found['si_sdr_db'] == 120.0
  assert set(found['band_db'].values()) == {0.0}


def test_a_gain_is_its_decibels_and_no_distortion(noise):
  found = reconstruction.measure(noise, noise / 2, RATE_HZ)
  assert found['log_spectral_db'] == pytest.approx(20 * np.log10(2), abs=1e-3)
  assert found['log_mel_db'] == pytest.approx(20 * np.log10(2), abs=0.05)
  assert found['band_db'] == pytest.approx(dict.fromkeys(found['band_db'], -20 * np.log10(2)))
  assert found['si_sdr_db'] > 100


def test_octaves_reach_half_the_sample_rate():
  bands = reconstruction.octaves(RATE_HZ)
  assert list(bands) == ['63', '125', '250', '500', '1000', '2000', '4000', '8000']
  edges = list(bands.values())
  assert [low for low, _ in edges[1:]] == pytest.approx([high for _, high in edges[:-1]])
  assert edges[-1][1] > RATE_HZ / 2


def test_a_low_pass_is_missing_in_its_octaves_alone(noise):
  sos = scipy_signal.butter(8, 2000, fs=RATE_HZ, output='sos')
  found = reconstruction.measure(noise, scipy_signal.sosfiltfilt(sos, noise, axis=0), RATE_HZ)['band_db']
  assert abs(found['500']) < 0.1 and found['4000'] < -40 and found['8000'] < -40


def sine(frequency_hz, left, right):
  wave_N = np.sin(2 * np.pi * frequency_hz * np.arange(RATE_HZ) / RATE_HZ)
  return np.stack([left * wave_N, right * wave_N], axis=1)


def test_level_of_a_band_is_that_of_its_sines():
  wave_NA = sine(5000, 1.0, 1.0) + sine(1000, 0.1, 0.1)
  assert reconstruction.band_db(wave_NA, RATE_HZ, 4000, 8000) == pytest.approx(-3.01, abs=0.01)
  assert reconstruction.band_db(wave_NA, RATE_HZ, 0, 4000) == pytest.approx(-23.01, abs=0.01)
  # One channel alone has half of the power.
  assert reconstruction.band_db(sine(5000, 1.0, 0.0), RATE_HZ, 4000, 8000) == pytest.approx(-6.02, abs=0.01)
  assert reconstruction.band_db(0 * wave_NA, RATE_HZ, 0, 8000) == -120.0


def test_bands_without_sound_are_left_out():
  wave_NA = sine(500, 0.1, 0.1)
  assert list(reconstruction.band_changes_db(wave_NA, wave_NA, RATE_HZ)) == ['500']


def test_a_mono_mix_has_the_error_of_its_correlation(noise):
  mono = np.repeat(noise.mean(axis=1, keepdims=True), 2, axis=1)
  assert reconstruction.stereo_correlation_error(noise, mono) == pytest.approx(1.0, abs=0.02)
  assert reconstruction.stereo_correlation_error(mono[:, :1], mono[:, :1]) is None


def test_si_sdr_is_the_ratio_to_added_noise(noise):
  other = np.random.default_rng(1).standard_normal(noise.shape)
  other *= np.linalg.norm(noise) / np.linalg.norm(other) / 10
  assert reconstruction.si_sdr_db(noise, 3 * (noise + other)) == pytest.approx(20.0, abs=0.2)
  assert reconstruction.si_sdr_db(noise, other) < -20
  assert reconstruction.si_sdr_db(0 * noise, other) is None


def test_smeared_onsets_are_less_sharp():
  clicks = np.zeros((2 * RATE_HZ, 1))
  burst = np.random.default_rng(0).standard_normal(400) * np.exp(-np.arange(400) / 100)
  for start in range(4000, 30000, 6000):
    clicks[start : start + 400, 0] = burst
  smeared = scipy_signal.fftconvolve(clicks, np.hanning(1600)[:, None] / 800, mode='same')
  assert reconstruction.onset_sharpness(clicks, clicks, RATE_HZ) == 1.0
  assert reconstruction.onset_sharpness(clicks, smeared, RATE_HZ) < 0.7
  assert reconstruction.onset_sharpness(0 * clicks, smeared, RATE_HZ) is None


def test_means_leave_out_what_is_not_defined():
  first = {'si_sdr_db': 1.0, 'stereo_correlation_error': None, 'band_db': {'500': 1.0, '1000': 2.0}}
  second = {'si_sdr_db': None, 'stereo_correlation_error': None, 'band_db': {'500': 3.0}}
  assert reconstruction.mean([first, second]) == {
    'si_sdr_db': 1.0,
    'stereo_correlation_error': None,
    'band_db': {'500': 2.0, '1000': 2.0},
  }
