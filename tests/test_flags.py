"""Numbers from text."""

import argparse

import pytest

from v2a import flags


@pytest.mark.parametrize(
  ('kind', 'text', 'value'),
  [(int, '7', 7), (int, '+7', 7), (int, '-7', -7), (int, '007', 7), (float, '.5', 0.5), (float, '5.', 5.0),
   (float, '-1e-3', -0.001), (float, '+2E2', 200.0), (float, '9' * 401, None),
   (int, '9' * 90, int('9' * 90))],
)  # fmt: skip
def test_numbers(kind, text, value):
  if value is None:
    with pytest.raises(ValueError, match='wanted a number; got'):
      flags.parse_number(kind, text)
  else:
    assert flags.parse_number(kind, text) == value and type(flags.parse_number(kind, text)) is kind


@pytest.mark.parametrize('kind', [int, float])
@pytest.mark.parametrize('text', ['', ' ', ' 1', '1 ', '1_000', '٣', '１', '0x10', 'nan', 'inf', '-inf',
                                  'Infinity', '1e', 'e1', '.', '--1', '1,5', '1\n'])  # fmt: skip
def test_what_is_none(kind, text):
  with pytest.raises(ValueError, match='wanted a') as caught:
    flags.parse_number(kind, text)
  assert str(caught.value).endswith(f'; got {text!r}')


def test_allowed_values_are_listed():
  for bounds, words in [((), 'wanted a number'), ((0, 2.5), 'wanted a number in 0..2.5'),
                        ((1,), 'wanted a number of at least 1'),
                        ((1, 2, True), 'wanted a number above 1 and of at most 2'),
                        ((1, float('inf'), True), 'wanted a number above 1')]:  # fmt: skip
    with pytest.raises(ValueError, match='got') as caught:
      flags.parse_number(float, '-3' if bounds else 'x', *bounds)
    assert str(caught.value).split(';')[0] == words
  with pytest.raises(argparse.ArgumentTypeError, match=r"got '9{40}'\.\.\. \(5000 characters\)"):
    flags.seed('9' * 5000)
  assert flags.seed(str(2**31 - 1)) == 2**31 - 1
  assert flags.parse_number(float, '0.5', 0, 1, is_open=True) == 0.5
  with pytest.raises(ValueError, match='above 0'):
    flags.parse_number(float, '0', 0, 1, is_open=True)
