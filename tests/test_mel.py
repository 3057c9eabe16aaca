"""Mel scales and filterbanks against their definitions."""

import numpy as np
import pytest

from v2a import mel

RATE_HZ = 16000


@pytest.mark.parametrize('scale', mel.SCALES)
def test_scales_are_inverted(scale):
  frequency_hz = np.array([0.0, 80.0, 999.0, 1000.0, 5000.0])
  np.testing.assert_allclose(mel.to_hz(mel.from_hz(frequency_hz, scale), scale), frequency_hz, atol=1e-9)


def test_scales_have_their_published_values():
  assert mel.from_hz(1000.0, 'slaney') == pytest.approx(15.0)
  assert mel.from_hz(6400.0, 'slaney') == pytest.approx(42.0)
  assert mel.from_hz(1000.0, 'htk') == pytest.approx(2595 * np.log10(1 + 1000 / 700), rel=1e-5)
  with pytest.raises(ValueError, match="scale must be one of .*; got 'bark'"):
    mel.from_hz(1000.0, 'bark')


@pytest.mark.parametrize('is_linear_in_mel', [False, True])
@pytest.mark.parametrize('scale', mel.SCALES)
def test_triangles_overlap_by_half(scale, is_linear_in_mel):
  weight_FR = mel.filterbank(RATE_HZ, 2048, 40, 100.0, 7000.0, scale=scale, is_linear_in_mel=is_linear_in_mel)
  bin_hz_F = np.fft.rfftfreq(2048, 1 / RATE_HZ)
  edge_hz_R = mel.to_hz(mel.band_edges(40, 100.0, 7000.0, scale), scale)
  is_inside_F = (bin_hz_F >= edge_hz_R[1]) & (bin_hz_F <= edge_hz_R[-2])
  np.testing.assert_allclose(weight_FR.sum(axis=1)[is_inside_F], 1.0)
  assert not weight_FR[(bin_hz_F < 100.0) | (bin_hz_F > 7000.0)].any()
  # Sides are straight lines over hertz or over mel.
  position_F = mel.from_hz(bin_hz_F, scale) if is_linear_in_mel else bin_hz_F
  edge_R = mel.from_hz(edge_hz_R, scale) if is_linear_in_mel else edge_hz_R
  for band in (5, 30):
    wanted_F = np.interp(position_F, edge_R[band : band + 3], [0, 1, 0])
    np.testing.assert_allclose(weight_FR[:, band], wanted_F, atol=1e-12)


def test_area_normalized_bands_have_unit_area():
  weight_FR = mel.area_normalized(RATE_HZ, 2048, 40)
  assert weight_FR.dtype == np.float32
  np.testing.assert_allclose(weight_FR.sum(axis=0)[10:] * RATE_HZ / 2048, 1.0, atol=0.05)


def test_cached_filterbanks_are_read_only():
  with pytest.raises(ValueError, match='read-only'):
    mel.filterbank(RATE_HZ, 512, 20)[0, 0] = 1.0
