"""Types of the arguments of public functions: an error is one line with the name, what was got and wanted.

Values are checked, never converted. Numbers may be of NumPy, whose scalars are registered in `numbers`.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Sized
import dataclasses
import numbers
import os
import pathlib
import reprlib
import threading
import types
from typing import Any
from typing import get_args
from typing import get_origin

_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 3
_REPR.maxstring = _REPR.maxother = 40  # letters
# A list of values of one kind, each of which is checked.
_LISTS = (Sequence, tuple)


def _is_number(value: object, kind: type) -> bool:
  return isinstance(value, kind) and not isinstance(value, bool)


# What an annotation is called in a message, and which values have it.
_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
  int: ('a whole number', lambda value: _is_number(value, numbers.Integral)),
  float: ('a number', lambda value: _is_number(value, numbers.Real)),
  bool: ('True or False', lambda value: isinstance(value, bool) or type(value).__name__ == 'bool'),
  str: ('a str', lambda value: isinstance(value, str)),
  pathlib.Path: ('a str or pathlib.Path', lambda value: isinstance(value, str | os.PathLike)),
  dict: ('a dict', lambda value: isinstance(value, Mapping)),
  Callable: ('a function', callable),
  # Events of other modules, such as multiprocessing, have the method too.
  threading.Event: ('a threading.Event', lambda value: callable(getattr(value, 'is_set', None))),
  types.NoneType: ('None', lambda value: value is None),
}


def check(name: str, value: object, wanted: Any) -> None:
  """Checks the type of an argument.

  Args:
    name: of the argument.
    value: what was given.
    wanted: an annotation: of _KINDS, a union of them, or a Sequence or tuple[..., ...] of one of them.

  Raises:
    TypeError: it has another type.
  """
  options = get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
  for option in options:
    kind = get_origin(option) or option
    if kind in _LISTS and _is_list(value):
      for index, each in enumerate(value):  # ty: ignore[invalid-argument-type]
        check(f'{name}[{index}]', each, get_args(option)[0])
      return
    if kind not in _LISTS and _KINDS[kind][1](value):
      return
  raise TypeError(f'{name} must be {" or ".join(map(_words, options))}; got {_shown(value)}.')


def check_fields(instance: Any) -> None:
  """Checks the fields of a dataclass against their annotations; raises TypeError, see `check`."""
  for field in dataclasses.fields(instance):
    check(field.name, getattr(instance, field.name), field.type)


def _is_list(value: object) -> bool:
  is_text = isinstance(value, str | bytes | bytearray | Mapping)
  has_elements = isinstance(value, Sized) and isinstance(value, Iterable)
  return has_elements and not is_text and getattr(value, 'ndim', 1) == 1


def _words(option: Any) -> str:
  kind = get_origin(option) or option
  if kind in _LISTS:
    return f'a list (each element {_words(get_args(option)[0])})'
  return _KINDS[kind][0]


def _shown(value: object) -> str:
  """Returns a value and its type on one line, of an array its shape alone."""
  kind, shape = type(value).__name__, getattr(value, 'shape', None)
  if value is None:
    return 'None'
  if shape:
    return f'{kind} of shape {shape}'
  return f'{" ".join(_REPR.repr(value).split())} ({kind})'
