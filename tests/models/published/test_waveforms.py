"""Resampling against torchaudio's values; the mono mix."""

import numpy as np
import pytest

from v2a.models.published import waveforms

WAVE_N = np.sin(0.37 * np.arange(3000) ** 1.01).astype(np.float32)
# Of torchaudio 2.9.0 `transforms.Resample(old, new)`: number of samples, samples 0 to 2, samples 500 to
# 502, sum of absolute values.
EXPECTED = {
  (44100, 16000): (1089, (0.09866522, 0.8407334, 0.8836125), (0.9977231, 0.5161951, -0.53612095), 693.309326),
  (48000, 16000): (
    1000,
    (0.11069983, 0.8823176, 0.7802512),
    (0.20538104, 0.98791605, 0.49917477),
    636.821472,
  ),
  (22050, 32000): (
    4354,
    (0.00095362, 0.22890592, 0.5033582),
    (-0.05728016, -0.32418782, -0.56734306),
    2770.883301,
  ),
  (16000, 48000): (9000, (0.00095362, 0.0897032, 0.21943161), (0.8765976, 0.8067344, 0.722264), 5727.686523),
}


@pytest.mark.parametrize('rates', EXPECTED, ids=str)
def test_resample_equals_torchaudio(rates):
  num, first, later, total = EXPECTED[rates]
  found_N = waveforms.resample(WAVE_N, *rates)
  assert len(found_N) == num and found_N.dtype == np.float32
  np.testing.assert_allclose(found_N[:3], first, atol=1e-5)
  np.testing.assert_allclose(found_N[500:503], later, atol=1e-5)
  assert np.abs(found_N).sum() == pytest.approx(total, rel=2e-6)


def test_chunks_of_a_long_waveform_have_no_seams():
  wave_N = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
  whole_N = waveforms.resample(wave_N, 48000, 16000)
  part_N = waveforms.resample(wave_N[150_000:], 48000, 16000)
  np.testing.assert_allclose(whole_N[50_100:], part_N[100:], atol=1e-6)


def test_to_mono_averages_channels_and_subtracts_the_mean():
  wave_NA = np.stack([WAVE_N, 0.5 * WAVE_N], axis=1) + 0.25
  mono_N = waveforms.to_mono(wave_NA, 16000, 16000)
  np.testing.assert_allclose(mono_N, 0.75 * (WAVE_N - WAVE_N.mean()), atol=1e-6)
  with_mean_N = waveforms.to_mono(wave_NA, 16000, 16000, subtract_mean=False)
  np.testing.assert_allclose(with_mean_N, 0.75 * WAVE_N + 0.25, atol=1e-6)
  # 3000 samples at 44.1 kHz are 1088.4 at 16 kHz.
  assert len(waveforms.to_mono(wave_NA, 44100, 16000)) == 1088
