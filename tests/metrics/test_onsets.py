"""Onset matching against the Hungarian algorithm, and the spectral flux detector on noise bursts."""

import numpy as np
import pytest
from scipy import optimize

from v2a.metrics import onsets
from v2a.metrics import spectra


@pytest.mark.parametrize('seed', range(20))
def test_match_is_a_maximum_matching(seed):
  rng = np.random.default_rng(seed)
  known_s, detected_s = np.sort(rng.uniform(0, 1, 12)), np.sort(rng.uniform(0, 1, 15))
  is_near = np.abs(known_s[:, None] - detected_s) <= onsets.TOLERANCE_S
  rows, columns = optimize.linear_sum_assignment(~is_near)
  pairs = onsets.match(known_s, detected_s)
  assert len(pairs) == is_near[rows, columns].sum()
  assert all(is_near[i, j] for i, j in pairs)
  assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


def test_f1_by_hand():
  assert onsets.Counts(3, 4, 5).f1 == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
  assert onsets.Counts(0, 0, 0).f1 == 1.0
  assert onsets.Counts(0, 4, 0).f1 == 0.0


def test_recall_and_precision_by_hand():
  assert onsets.count(np.array([0.5, 1.0, 1.5]), np.array([0.54, 1.2])) == (1, 3, 2)
  counts = onsets.total([(1, 3, 2), (0, 1, 0)])
  assert counts == (1, 4, 2) and counts.recall == 1 / 4 and counts.precision == 1 / 2
  assert onsets.Counts(0, 0, 2).recall is None and onsets.Counts(0, 2, 0).precision is None
  assert onsets.total([]) == (0, 0, 0)


def decays(times_s, shift_s=0.0, channel=0):
  """Returns noise bursts with 40 ms decay at times, in one of two channels."""
  rng = np.random.default_rng(0)
  wave_NA = np.zeros((2 * spectra.RATE_HZ, 2))
  for time_s in times_s:
    first = int((time_s + shift_s) * spectra.RATE_HZ)
    burst_N = rng.standard_normal(3200) * np.exp(-np.arange(3200) / (0.04 * spectra.RATE_HZ)) * 0.2
    wave_NA[first : first + 3200, channel] += burst_N[: len(wave_NA) - first]
  return wave_NA


def test_flux_detector_finds_bursts():
  times_s = np.array([0.2, 0.45, 0.9, 1.3, 1.7])
  for channel in (0, 1):
    detected_s = onsets.detect(decays(times_s, channel=channel), spectra.RATE_HZ)
    assert len(detected_s) == len(times_s)
    np.testing.assert_allclose(detected_s, times_s, atol=0.015)


def test_flux_detector_follows_a_shift_and_finds_nothing_in_silence():
  times_s = np.array([0.3, 0.8, 1.4])
  late_s = onsets.detect(decays(times_s, shift_s=0.1), spectra.RATE_HZ)
  assert not onsets.match(times_s, late_s)
  np.testing.assert_allclose(late_s, times_s + 0.1, atol=0.015)
  assert len(onsets.detect(np.zeros((16000, 2)), spectra.RATE_HZ)) == 0
