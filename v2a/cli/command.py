"""The command line that was given, for reports that say how they were made."""

import argparse
from collections.abc import Callable
import shlex


def line(name: str, add_flags: Callable[[argparse.ArgumentParser], None], args: argparse.Namespace) -> str:
  """Returns the command line that gives these arguments, without what is at its default.

  Args:
    name: of the command.
    add_flags: adds its flags to a parser.
    args: what they were.
  """
  parser = argparse.ArgumentParser(add_help=False)
  add_flags(parser)
  words = ['v2a', name]
  for action in parser._actions:
    value = getattr(args, action.dest)
    if value != action.default:
      values = value if isinstance(value, list) else [] if action.nargs == 0 else [value]
      words += [action.option_strings[0], *map(str, values)]
  return shlex.join(words)
