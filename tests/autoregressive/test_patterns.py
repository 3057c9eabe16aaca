"""Patterns: by hand, and round trips for any length and number of codebooks."""

import jax
import numpy as np
import pytest

from v2a.autoregressive import patterns

PADDING = 99


def _codes(num_steps, num_codebooks):
  return jax.random.randint(jax.random.key(0), (2, num_steps, num_codebooks), 0, 16)


def test_delay_by_hand():
  code_BTK = np.array([[[1, 2, 3], [4, 5, 6]]])
  delays = patterns.codebook_delays('delay', 3)
  wanted_SK = [[1, 99, 99], [4, 2, 99], [99, 5, 3], [99, 99, 6]]
  np.testing.assert_array_equal(patterns.build(code_BTK, delays, PADDING)[0], wanted_SK)


def test_parallel_pattern_is_the_identity():
  code_BTK = _codes(5, 3)
  np.testing.assert_array_equal(
    patterns.build(code_BTK, patterns.codebook_delays('parallel', 3), PADDING), code_BTK
  )


@pytest.mark.parametrize('pattern', sorted(patterns.PATTERNS))
@pytest.mark.parametrize('num_codebooks', [1, 2, 5, 9])
@pytest.mark.parametrize('num_steps', [1, 2, 7, 101])
def test_round_trip(pattern, num_codebooks, num_steps):
  code_BTK, delays = _codes(num_steps, num_codebooks), patterns.codebook_delays(pattern, num_codebooks)
  code_BSK = patterns.build(code_BTK, delays, PADDING)
  assert code_BSK.shape == (2, num_steps + max(delays), num_codebooks) and code_BSK.dtype == code_BTK.dtype
  assert int((code_BSK == PADDING).sum()) == 2 * max(delays) * num_codebooks
  np.testing.assert_array_equal(patterns.revert(code_BSK, delays), code_BTK)


def test_masks_are_delayed_like_their_tokens():
  delays = patterns.codebook_delays('delay', 3)
  mask_BSK = patterns.build(np.arange(5)[None, :, None] < np.full((1, 1, 3), 2), delays, True)
  assert mask_BSK.dtype == bool
  wanted_SK = [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]]
  np.testing.assert_array_equal(mask_BSK[0], np.array(wanted_SK, bool))


def test_wrong_arguments_are_errors():
  with pytest.raises(ValueError, match='pattern must be one of .*; got .flat.'):
    patterns.codebook_delays('flat', 2)
  with pytest.raises(ValueError, match='are of 2 codebooks; got 3 codebooks'):
    patterns.build(_codes(4, 3), (0, 1), PADDING)
  with pytest.raises(ValueError, match='has more than 2 steps; got 2'):
    patterns.revert(_codes(2, 3), (0, 1, 2))
