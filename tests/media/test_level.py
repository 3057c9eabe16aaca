"""Levels against their definitions, over more than one piece."""

import numpy as np

from v2a.media import level


def test_levels_are_those_of_the_definition():
  wave_NA = np.random.default_rng(0).standard_normal((150_001, 2)).astype(np.float32)
  for one_NA in (wave_NA, -wave_NA, wave_NA[:3]):
    assert level.peak(one_NA) == np.abs(one_NA).max()
    np.testing.assert_allclose(
      level.rms(one_NA), np.sqrt(np.mean(one_NA.astype(np.float64) ** 2)), rtol=1e-12
    )


def test_an_empty_wave_is_silent():
  empty_NA = np.zeros((0, 2), np.float32)
  assert level.peak(empty_NA) == 0.0 and level.rms(empty_NA) == 0.0
