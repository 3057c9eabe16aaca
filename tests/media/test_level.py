"""Levels against their definitions, over several blocks."""

import numpy as np

from v2a.media import level


def test_levels_match_their_definition():
  wave_NA = np.random.default_rng(0).standard_normal((150_001, 2)).astype(np.float32)
  for tested_NA in (wave_NA, -wave_NA, wave_NA[:3]):
    assert level.peak(tested_NA) == np.abs(tested_NA).max()
    np.testing.assert_allclose(
      level.rms(tested_NA), np.sqrt(np.mean(tested_NA.astype(np.float64) ** 2)), rtol=1e-12
    )


def test_an_empty_waveform_is_silent():
  empty_NA = np.zeros((0, 2), np.float32)
  assert level.peak(empty_NA) == 0.0 and level.rms(empty_NA) == 0.0
