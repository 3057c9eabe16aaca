"""The loader of av-benchmark: its resampler against torchaudio's, its mix and its offset."""

import numpy as np
import pytest

from v2a.metrics.embedders import waves

WAVE_N = np.sin(0.37 * np.arange(3000) ** 1.01).astype(np.float32)
# Of torchaudio 2.9.0 `transforms.Resample(old, new)`: samples, the first three, 500 to 502, sum of sizes.
KNOWN = {
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


@pytest.mark.parametrize('rates', KNOWN, ids=str)
def test_resampler_against_torchaudio(rates):
  num, first, later, total = KNOWN[rates]
  found_N = waves.resample(WAVE_N, *rates)
  assert len(found_N) == num and found_N.dtype == np.float32
  np.testing.assert_allclose(found_N[:3], first, atol=1e-5)
  np.testing.assert_allclose(found_N[500:503], later, atol=1e-5)
  assert np.abs(found_N).sum() == pytest.approx(total, rel=2e-6)


def test_a_long_sound_is_resampled_as_its_parts():
  wave_N = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
  whole_N, part_N = waves.resample(wave_N, 48000, 16000), waves.resample(wave_N[150_000:], 48000, 16000)
  np.testing.assert_allclose(whole_N[50_100:], part_N[100:], atol=1e-6)


def test_mono_is_the_mean_without_its_offset():
  wave_NA = np.stack([WAVE_N, 0.5 * WAVE_N], axis=1) + 0.25
  mono_N = waves.mono(wave_NA, 16000, 16000)
  np.testing.assert_allclose(mono_N, 0.75 * (WAVE_N - WAVE_N.mean()), atol=1e-6)
  kept_N = waves.mono(wave_NA, 16000, 16000, is_centred=False)
  np.testing.assert_allclose(kept_N, 0.75 * WAVE_N + 0.25, atol=1e-6)
  # 3000 samples at 44.1 kHz are 1088.4 at 16 kHz.
  assert len(waves.mono(wave_NA, 44100, 16000)) == 1088
