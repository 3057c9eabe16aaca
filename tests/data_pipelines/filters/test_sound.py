"""Filters of the sound on signals of known level, bandwidth and channels."""

import numpy as np
import pytest
import soxr

from data_pipelines import decoded
from data_pipelines.filters import sound

RATE_HZ = 44100
TIME_N = np.arange(2 * RATE_HZ) / RATE_HZ


def clip(wave_NA: np.ndarray, rate_hz: int = RATE_HZ, **more) -> decoded.DecodedClip:
  wave_NA = wave_NA[:, None] if wave_NA.ndim == 1 else wave_NA
  frame_MYX3 = np.zeros((0, 0, 0, 3), np.uint8)
  return decoded.DecodedClip(
    'a', frame_MYX3, wave_NA.astype('f4'), rate_hz, 0.0, len(wave_NA) / rate_hz, **more
  )


def sine(amplitude: float = 0.5, hz: float = 997.0) -> np.ndarray:
  return amplitude * np.sin(2 * np.pi * hz * TIME_N)


def noise(seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
  return 0.1 * np.random.default_rng(seed).standard_normal(2 * rate_hz)


def test_peak_and_loudness_of_a_sine():
  assert sound.peak_db(clip(sine(0.5))) == pytest.approx(-6.02, abs=0.01)
  assert sound.peak_db(clip(0 * sine())) == -120.0
  stereo_NA = np.stack([sine(0.1), sine(0.1)], axis=1)
  assert sound.loudness_lufs(clip(stereo_NA)) == pytest.approx(-20.0, abs=0.1)
  assert 'shorter than a block' in sound.loudness_lufs(clip(sine()[:4000]))


def test_silence_is_counted_in_time():
  wave_N = sine()
  wave_N[RATE_HZ // 2 : RATE_HZ] = 1e-5
  assert sound.silent_share(clip(wave_N)) == pytest.approx(0.25, abs=0.02)
  assert sound.zero_share(clip(wave_N)) == 0.0
  wave_N[RATE_HZ // 2 : RATE_HZ] = 0.0
  assert sound.zero_share(clip(wave_N)) == pytest.approx(0.25, abs=0.001)
  # One channel alone is no pause, and zero crossings are none.
  assert sound.zero_share(clip(np.stack([wave_N, sine()], axis=1))) == 0.0


def test_clipping_counts_flat_tops_and_not_peaks():
  assert sound.clipping_share(clip(sine(1.0, 5000.0))) < 0.001
  clipped_N = np.clip(sine(2.0, 200.0), -1, 1)
  expected = 1 - 2 * np.arcsin(0.99 / 2) / np.pi
  assert sound.clipping_share(clip(clipped_N)) == pytest.approx(expected, abs=0.01)
  # Single samples at full scale on alternating sides are none.
  assert sound.clipping_share(clip(np.tile([1.0, -1.0, 0.0], 1000))) == 0.0


@pytest.mark.parametrize('low_hz', [8000, 16000, 22050])
def test_the_bandwidth_of_upsampled_sound_is_that_of_its_source(low_hz):
  upsampled_N = soxr.resample(noise(rate_hz=low_hz), low_hz, RATE_HZ)
  assert sound.bandwidth_hz(clip(upsampled_N)) == pytest.approx(low_hz / 2, rel=0.07)
  assert sound.bandwidth_hz(clip(noise())) == pytest.approx(RATE_HZ / 2, rel=0.02)
  # Independent of level.
  assert sound.bandwidth_hz(clip(0.01 * upsampled_N)) == pytest.approx(low_hz / 2, rel=0.07)


def test_faint_noise_is_no_bandwidth():
  upsampled_N = 3 * soxr.resample(noise(rate_hz=8000), 8000, RATE_HZ)
  dithered_N = upsampled_N + 5e-4 * noise(1)
  assert sound.bandwidth_hz(clip(dithered_N)) == pytest.approx(4000, rel=0.07)


def test_silence_has_no_bandwidth():
  assert sound.bandwidth_hz(clip(0 * noise())) == sound.SILENT


def test_channels():
  mono_as_stereo_NA = np.stack([noise(), noise()], axis=1)
  assert sound.stereo_correlation(clip(mono_as_stereo_NA)) == pytest.approx(1.0)
  assert sound.stereo_correlation(clip(mono_as_stereo_NA * [1, -1])) == pytest.approx(-1.0)
  assert abs(sound.stereo_correlation(clip(np.stack([noise(1), noise(2)], axis=1)))) < 0.02
  assert sound.stereo_correlation(clip(noise())) == 'the sound is mono'
  assert sound.level_difference_db(clip(mono_as_stereo_NA * [0.1, 1])) == pytest.approx(20.0, abs=0.01)
  assert sound.level_difference_db(clip(mono_as_stereo_NA * [1, 0])) > 60
  assert sound.dc_offset(clip(noise() + 0.2)) == pytest.approx(0.2, abs=0.01)


def test_numbers_of_the_alignment():
  aligned = clip(noise(), alignment=decoded.Alignment(0.1, -0.2, 0.3))
  frames = {'frame_MYX3': np.zeros((2, 8, 8, 3), np.uint8)}
  aligned = decoded.DecodedClip(**vars(aligned) | frames)
  found = {each.name: each.measure(aligned).value for each in sound.ALIGNMENT_FILTERS}
  assert found == {'audio_offset': 0.1, 'audio_drift': -0.2, 'audio_gap': 0.3}
