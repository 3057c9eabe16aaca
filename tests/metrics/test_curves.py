"""Level, pitch, stereo position and lag of sounds with known values."""

import numpy as np
import pytest

from v2a.metrics import curves
from v2a.metrics import spectra

SECONDS = 2
TIME_N = np.arange(SECONDS * spectra.RATE_HZ) / spectra.RATE_HZ
NUM_FRAMES = SECONDS * curves.CURVE_HZ


def harmonic(pitch_hz_N):
  """Returns a stereo tone of six harmonics that follows a pitch."""
  phase_N = 2 * np.pi * np.cumsum(pitch_hz_N) / spectra.RATE_HZ
  mono_N = sum(np.sin(k * phase_N) / k for k in range(1, 7)) * 0.2
  return np.stack([mono_N, mono_N], axis=1)


@pytest.mark.parametrize('pitch_hz', [60.0, 97.3, 150.0, 251.0])
def test_pitch_of_a_steady_tone(pitch_hz):
  pitch_J, clarity_J = curves.pitch(harmonic(np.full(len(TIME_N), pitch_hz)), NUM_FRAMES)
  inner = slice(10, -10)
  np.testing.assert_allclose(pitch_J[inner], pitch_hz, rtol=0.01)
  assert clarity_J[inner].min() > 0.4


def test_pitch_follows_a_glide_and_noise_has_low_clarity():
  glide_N = 80 + 120 * TIME_N / SECONDS
  pitch_J, _ = curves.pitch(harmonic(glide_N), NUM_FRAMES)
  known_J = glide_N[:: spectra.RATE_HZ // curves.CURVE_HZ]
  assert curves.correlate(pitch_J[10:-10], known_J[10:-10]) > 0.999
  noise_NA = np.random.default_rng(0).standard_normal((len(TIME_N), 2))
  assert np.median(curves.pitch(noise_NA, NUM_FRAMES)[1]) < 0.1


@pytest.mark.parametrize('x', [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_pan_position_inverts_constant_power_panning(x):
  angle = (x + 1) * np.pi / 4
  wave_NA = np.random.default_rng(1).standard_normal(8000)[:, None] * [np.cos(angle), np.sin(angle)]
  position, energy = curves.pan_position(wave_NA, 0.1, 0.2)
  assert position == pytest.approx(x, abs=1e-6)
  assert energy > 0


def test_pan_position_subtracts_the_background():
  rng = np.random.default_rng(4)
  wave_NA = rng.standard_normal((16000, 2)) * [0.3, 0.1]
  wave_NA[8000:9600] += 0.4 * rng.standard_normal(1600)[:, None] * [0.0, 1.0]
  assert curves.pan_position(wave_NA, 0.5, 0.1)[0] < 0.5
  assert curves.pan_position(wave_NA, 0.5, 0.1, background_s=0.1)[0] > 0.8
  assert curves.pan_position(np.zeros((16000, 2)), 0.5, 0.1, background_s=0.1) == (0.0, 0.0)


def test_level_follows_an_amplitude():
  known_N = 0.5 + 0.4 * np.sin(2 * np.pi * 0.8 * TIME_N)
  wave_NA = np.random.default_rng(2).standard_normal((len(TIME_N), 2)) * known_N[:, None]
  level_J = curves.level(wave_NA, NUM_FRAMES)
  assert curves.correlate(level_J, known_N[:: spectra.RATE_HZ // curves.CURVE_HZ]) > 0.97
  assert level_J.mean() == pytest.approx(known_N.mean(), rel=0.05)


@pytest.mark.parametrize('lag_s', [-0.2, -0.03, 0.0, 0.05, 0.31])
def test_lag_is_the_shift(lag_s):
  rng = np.random.default_rng(3)
  curve_J = np.convolve(rng.standard_normal(600), np.hanning(15), mode='same')
  shift = round(lag_s * curves.CURVE_HZ)
  assert curves.lag(curve_J[100:500], curve_J[100 - shift : 500 - shift]) == pytest.approx(lag_s)


def test_lag_of_a_constant_is_the_limit():
  assert curves.lag(np.sin(np.arange(100.0)), np.zeros(100)) == 0.5


def test_correlation_of_a_constant_is_none_and_lengths_must_agree():
  assert curves.correlate(np.ones(5), np.arange(5.0)) is None
  with pytest.raises(ValueError, match='same length'):
    curves.correlate(np.ones(5), np.ones(6))


def test_resample_checks_its_input():
  wave_NA = np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)[:, None].repeat(2, axis=1)
  resampled_NA = spectra.resample(wave_NA, 48000)
  assert resampled_NA.shape == (16000, 2)
  spectrum_F = np.abs(np.fft.rfft(resampled_NA[:, 0]))
  assert spectrum_F.argmax() == 440
  with pytest.raises(ValueError, match='finite'):
    spectra.resample(np.full((10, 2), np.nan), 16000)
  with pytest.raises(ValueError, match='shape'):
    spectra.resample(np.zeros(10), 16000)


def test_spectrogram_frame_is_centred_on_its_time():
  wave_N = np.zeros(16000)
  wave_N[8000] = 1.0
  mel_JR = spectra.log_mel(wave_N)
  assert mel_JR.shape == (101, spectra.NUM_MELS)
  assert mel_JR.sum(axis=1).argmax() == 50
