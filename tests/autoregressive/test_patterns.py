"""Patterns: by hand, and back without loss for any length and number of books."""

import jax
import numpy as np
import pytest

from v2a.autoregressive import patterns

PADDING = 99


def _codes(num_steps, num_books):
  return jax.random.randint(jax.random.key(0), (2, num_steps, num_books), 0, 16)


def test_delay_by_hand():
  code_BTK = np.array([[[1, 2, 3], [4, 5, 6]]])
  late = patterns.codebook_delays('delay', 3)
  wanted_SK = [[1, 99, 99], [4, 2, 99], [99, 5, 3], [99, 99, 6]]
  np.testing.assert_array_equal(patterns.build(code_BTK, late, PADDING)[0], wanted_SK)


def test_parallel_is_the_codes_themselves():
  code_BTK = _codes(5, 3)
  np.testing.assert_array_equal(
    patterns.build(code_BTK, patterns.codebook_delays('parallel', 3), PADDING), code_BTK
  )


@pytest.mark.parametrize('pattern', sorted(patterns.PATTERNS))
@pytest.mark.parametrize('num_books', [1, 2, 5, 9])
@pytest.mark.parametrize('num_steps', [1, 2, 7, 101])
def test_round_trip(pattern, num_books, num_steps):
  code_BTK, late = _codes(num_steps, num_books), patterns.codebook_delays(pattern, num_books)
  code_BSK = patterns.build(code_BTK, late, PADDING)
  assert code_BSK.shape == (2, num_steps + max(late), num_books) and code_BSK.dtype == code_BTK.dtype
  assert int((code_BSK == PADDING).sum()) == 2 * max(late) * num_books
  np.testing.assert_array_equal(patterns.revert(code_BSK, late), code_BTK)


def test_what_is_known_goes_with_its_tokens():
  late = patterns.codebook_delays('delay', 3)
  is_known_BSK = patterns.build(np.arange(5)[None, :, None] < np.full((1, 1, 3), 2), late, True)
  assert is_known_BSK.dtype == bool
  wanted_SK = [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]]
  np.testing.assert_array_equal(is_known_BSK[0], np.array(wanted_SK, bool))


def test_errors_name_what_is_wrong():
  with pytest.raises(ValueError, match='pattern must be one of .*; got .flat.'):
    patterns.codebook_delays('flat', 2)
  with pytest.raises(ValueError, match='are of 2 books; got 3 books'):
    patterns.build(_codes(4, 3), (0, 1), PADDING)
  with pytest.raises(ValueError, match='has more than 2 steps; got 2'):
    patterns.revert(_codes(2, 3), (0, 1, 2))
