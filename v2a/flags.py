"""The parser of all commands; values from text: numbers of flags and of configuration keys, paths."""

import argparse
from collections.abc import Callable
import math
import pathlib
import re
from typing import Any
from typing import NoReturn

from v2a import files
from v2a import storage

DEFAULT_MODEL = 'default'
MAX_SEED = 2**31 - 1
MAX_WORKERS = 1024  # threads or processes
MAX_COUNT = 10**6  # of clips, seeds and soundtracks that one command takes on
MAX_SAMPLES = 1000  # soundtracks of one input
# Of one soundtrack or clip. Shorter ones are less than a frame and a few samples.
MIN_DURATION_S, MAX_DURATION_S = 0.001, 86_400.0
MAX_START_S = 1e6
_MAX_DIGITS = 100  # beyond all that any flag takes; int() gives up at 4300 by itself
_FORMS: dict[type, re.Pattern] = {
  int: re.compile(r'[+-]?[0-9]+'),
  float: re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?'),
}
_NAMES: dict[type, str] = {int: 'a whole number', float: 'a number'}
_MAX_SHOWN = 40


class Parser(argparse.ArgumentParser):
  """An argument parser that raises ValueError where argparse prints a page of usage and exits."""

  def error(self, message: str) -> NoReturn:
    """Raises ValueError with argparse's message."""
    raise ValueError(f'{message} (see {self.prog} --help)')


def add_model(group: argparse._ActionsContainer) -> None:
  """Adds --model, a packaged model or a folder of one.

  Args:
    group: parser or group.
  """
  group.add_argument(
    '--model',
    default=DEFAULT_MODEL,
    metavar='NAME-or-DIR',
    help='a packaged model or a folder (%(default)s)',
  )


def parse_number(
  kind: type, text: str, least: float = -math.inf, most: float = math.inf, is_open: bool = False
) -> Any:
  """Returns the number of a text: ASCII digits, finite, within bounds.

  Args:
    kind: int or float.
    text: digits with a sign, for float also a point and an exponent; no blanks, underscores, nan or inf.
    least, most: bounds, included.
    is_open: whether `least` itself is left out.

  Raises:
    ValueError: it is none; the message says what is allowed.
  """
  if _FORMS[kind].fullmatch(text) and (kind is float or len(text) <= _MAX_DIGITS):
    value = kind(text)
    is_inside = least < value <= most if is_open else least <= value <= most
    if is_inside and not (kind is float and math.isinf(value)):
      return value
  shown = repr(text) if len(text) <= _MAX_SHOWN else f'{text[:_MAX_SHOWN]!r}... ({len(text)} characters)'
  raise ValueError(f'wanted {_NAMES[kind]}{_bounds(least, most, is_open)}; got {shown}')


def number(kind: type, least: float = -math.inf, most: float = math.inf, is_open: bool = False) -> Callable:
  """Returns an argparse type that parses a number, see `parse_number`.

  Args:
    kind: int or float.
    least, most: bounds, included.
    is_open: whether `least` itself is left out.
  """

  def convert(text: str):
    try:
      return parse_number(kind, text, least, most, is_open)
    except ValueError as error:
      raise argparse.ArgumentTypeError(str(error)) from None  # its words are the message

  return convert


# The argparse types that several commands take.
count = number(int, 1, MAX_COUNT)
seed = number(int, 0, MAX_SEED)
num_workers = number(int, 1, MAX_WORKERS)
duration_s = number(float, MIN_DURATION_S, MAX_DURATION_S)


def local_path(text: str) -> pathlib.Path:
  """An argparse type: a path in the file system, see `files.check_local`; else raises ArgumentTypeError."""
  try:
    files.check_local('it', text)
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from None
  return pathlib.Path(text)


def path(text: str) -> storage.Path:
  """An argparse type: a path in the file system, or with gs:// or s3://; else raises ArgumentTypeError."""
  try:
    return storage.parse(text, 'it')
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from None


def _bounds(least: float, most: float, is_open: bool) -> str:
  has_least, has_most = least > -math.inf, most < math.inf
  if has_least and has_most and not is_open:
    return f' in {_shown(least)}..{_shown(most)}'
  parts = [f'{"above" if is_open else "of at least"} {_shown(least)}'] if has_least else []
  parts += [f'of at most {_shown(most)}'] if has_most else []
  return ' ' + ' and '.join(parts) if parts else ''


def _shown(value: float) -> str:
  return f'{value:d}' if isinstance(value, int) else f'{value:.12g}'
