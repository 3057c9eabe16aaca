"""Messages about arguments of another type: one line with the name, what was got and what was wanted."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import multiprocessing
import pathlib
import re
import threading

import numpy as np
import pytest

from v2a import arguments

FLOATS = Sequence[float] | None


@pytest.mark.parametrize(
  ('value', 'wanted'),
  [
    *((value, int) for value in (0, -1, 10**30, np.int64(3), np.uint8(3))),
    *((value, float) for value in (1, 1.5, np.float32(2), np.int32(2), float('nan'))),
    *((value, bool) for value in (True, np.bool_(False))),
    *((value, str | None) for value in ('', 'rain', None, np.str_('rain'))),
    *((value, pathlib.Path | None) for value in ('a.mp4', pathlib.Path('a.mp4'), None)),
    *((value, FLOATS) for value in ((), [0, 0.5], (1.0,), np.zeros(3), np.zeros(0), None)),
    (('a', 'b'), tuple[str, ...]),
    (['a', pathlib.Path('b')], Sequence[pathlib.Path]),
    (print, Callable | None),
    *((make(), threading.Event | None) for make in (threading.Event, multiprocessing.Event)),
    ({}, dict),
    ({'data': 2}, dict[str, int] | None),
  ],
  ids=lambda value: re.sub(r' at 0x[0-9a-f]+', '', repr(value)),  # the same in every process
)
def test_right_types_pass(value, wanted):
  arguments.check('x', value, wanted)


@pytest.mark.parametrize(
  ('value', 'wanted', 'message'),
  [
    ('2', int, "x must be a whole number; got '2' (str)."),
    (1.5, int | None, 'x must be a whole number or None; got 1.5 (float).'),
    (True, int, 'x must be a whole number; got True (bool).'),
    (np.bool_(True), float, 'x must be a number; got np.True_ (bool).'),
    (1j, float, 'x must be a number; got 1j (complex).'),
    (None, float, 'x must be a number; got None.'),
    (1, bool, 'x must be True or False; got 1 (int).'),
    (b'a', str, "x must be a str; got b'a' (bytes)."),
    (['a'], str | None, "x must be a str or None; got ['a'] (list)."),
    (np.zeros((2, 3)), pathlib.Path, 'x must be a str or pathlib.Path; got ndarray of shape (2, 3).'),
    ('abc', Sequence[str], "x must be a list (each element a str); got 'abc' (str)."),
    (3, FLOATS, 'x must be a list (each element a number) or None; got 3 (int).'),
    ([0.5, '1'], FLOATS, "x[1] must be a number; got '1' (str)."),
    (np.array(3.0), FLOATS, 'x must be a list (each element a number) or None; got array(3.) (ndarray).'),
    (3, Callable | None, 'x must be a function or None; got 3 (int).'),
    (True, threading.Event | None, 'x must be a threading.Event or None; got True (bool).'),
    ([], dict, 'x must be a dict; got [] (list).'),
  ],
  ids=lambda value: re.sub(r' at 0x[0-9a-f]+', '', repr(value)),  # the same in every process
)
def test_other_types_are_refused_in_one_line(value, wanted, message):
  with pytest.raises(TypeError) as caught:
    arguments.check('x', value, wanted)
  assert str(caught.value) == message


def test_a_long_value_is_shown_in_part():
  for value in ('x' * 10**6, list(range(10**6)), dict.fromkeys(range(99), 'x\n' * 99)):
    with pytest.raises(TypeError) as caught:
      arguments.check('x', value, int)
    assert len(str(caught.value)) < 250 and '\n' not in str(caught.value)


@dataclasses.dataclass(frozen=True)
class _Settings:
  size: int = 1
  names: tuple[str, ...] | None = None


def test_all_fields_of_a_dataclass_are_checked():
  arguments.check_fields(_Settings())
  for change, name in (({'size': '1'}, 'size'), ({'names': ('a', 2)}, r'names\[1\]')):
    with pytest.raises(TypeError, match=f'^{name} must be'):
      arguments.check_fields(_Settings(**change))
