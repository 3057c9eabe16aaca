"""Spectrogram and motion curve against what is known of simple inputs."""

import numpy as np
import pytest

from v2a.reports import spectrogram

RATE_HZ = 16000


def tone(frequency_hz: float, duration_s: float = 1.0, num_channels: int = 2) -> np.ndarray:
  """Returns wave_NA of a sine."""
  time_N = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
  return np.repeat(np.sin(2 * np.pi * frequency_hz * time_N)[:, None], num_channels, axis=1).astype(
    np.float32
  )


def test_filters_share_out_every_bin():
  frequency_F = np.fft.rfftfreq(2048, 1 / RATE_HZ)
  filter_RF = spectrogram.mel_filters(40, frequency_F)
  total_F = filter_RF.sum(axis=0)
  inside_F = (frequency_F > 200) & (frequency_F < 7000)
  np.testing.assert_allclose(total_F[inside_F], 1.0, atol=1e-9)
  assert (filter_RF >= 0).all()


@pytest.mark.parametrize('frequency_hz', [220.0, 1000.0, 4000.0])
def test_a_tone_lies_in_its_band(frequency_hz):
  level_RJ = spectrogram.mel_spectrogram(tone(frequency_hz), RATE_HZ, num_bands=64)
  window = 2 * round(spectrogram.WINDOW_S * RATE_HZ / 2)
  frequency_F = np.fft.rfftfreq(window, 1 / RATE_HZ)
  wanted = spectrogram.mel_filters(64, frequency_F)[:, np.argmin(np.abs(frequency_F - frequency_hz))].argmax()
  assert abs(int(level_RJ[:, level_RJ.shape[1] // 2].argmax()) - wanted) <= 1
  assert level_RJ.max() == 0.0
  assert level_RJ.min() >= spectrogram.FLOOR_DB


def test_a_click_lies_in_its_column():
  wave_NA = np.zeros((2 * RATE_HZ, 2), np.float32)
  wave_NA[RATE_HZ // 2] = 1.0
  level_RJ = spectrogram.mel_spectrogram(wave_NA, RATE_HZ)
  column = int(level_RJ.sum(axis=0).argmax())
  assert column / level_RJ.shape[1] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize('num_samples', [0, 1, 100, 700 * RATE_HZ])
def test_any_length(num_samples):
  level_RJ = spectrogram.mel_spectrogram(np.zeros((num_samples, 1), np.float32), RATE_HZ, num_bands=8)
  assert 1 <= level_RJ.shape[1] <= spectrogram.MAX_COLUMNS
  assert (level_RJ == spectrogram.FLOOR_DB).all()


def test_envelope_keeps_peaks():
  track = np.zeros(1000)
  track[777] = 3.0
  reduced = spectrogram.envelope(track, 50)
  assert len(reduced) == 50 and reduced.max() == 3.0 and reduced.argmax() == 777 // 20
  assert list(spectrogram.envelope([1.0, 2.0], 50)) == [1.0, 2.0]
