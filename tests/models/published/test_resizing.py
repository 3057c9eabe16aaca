"""Image resizing against torch's values."""

import numpy as np

from v2a.models.published import resizing


def test_resize_square_equals_torch_bilinear():
  # Of torch 2.13.0 `interpolate(..., mode='bilinear', align_corners=False)`, images 0 and 1 of nine.
  image_LYX3 = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
  small_YX3, large_YX3 = resizing.resize_square(image_LYX3[0], 13), resizing.resize_square(image_LYX3[1], 224)
  np.testing.assert_array_equal(small_YX3[3, 4], [91, 101, 28])
  np.testing.assert_array_equal(large_YX3[100, 37], [118, 179, 135])
  assert small_YX3.shape == (13, 13, 3) and large_YX3.shape == (224, 224, 3)


def test_resize_short_side_keeps_the_aspect_ratio():
  image_YX3 = np.zeros((30, 50, 3), np.uint8)
  assert resizing.resize_short_side(image_YX3, 21).size == (35, 21)
  assert resizing.resize_short_side(image_YX3.swapaxes(0, 1), 21).size == (21, 35)


def test_resize_short_side_equals_torch_bicubic():
  # Of torch 2.13.0 `interpolate(..., mode='bicubic', antialias=True)` on uint8, as torchvision's Resize.
  image_YX3 = np.random.default_rng(3).integers(0, 256, (2, 48, 70, 3), dtype=np.uint8)[0]
  found_YX3 = np.asarray(resizing.resize_short_side(image_YX3, 224)).astype(int)
  assert found_YX3.shape == (224, 326, 3)
  expected = [[121, 167, 49], [141, 99, 190], [165, 154, 163]]
  np.testing.assert_allclose(found_YX3[100, [0, 17, 200]], expected, atol=1)
