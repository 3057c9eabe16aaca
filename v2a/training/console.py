"""Lines for whoever watches a training; that nobody reads them any more never ends it."""

import os
import sys
from typing import TextIO


def line(text: str, stream: TextIO | None = None) -> None:
  """Prints one line at once; where that fails, the line is lost and nothing else.

  Ctrl-C on `v2a train | tee log` ends `tee` first. What is written to a pipe whose reader has left raises, in
  Python also at the end of the process; so the stream is pointed to nowhere.

  Args:
    text: without the line's end.
    stream: None for stdout.
  """
  stream = sys.stdout if stream is None else stream
  try:
    print(text, file=stream, flush=True)
  except BrokenPipeError:
    try:
      descriptor = stream.fileno()
    except (OSError, ValueError):
      return  # a stream of Python's own, such as a test's
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
  except OSError:
    return  # a full disk under a log, a terminal that was closed


def error(text: str) -> None:
  """Prints one line to stderr; see `line`."""
  line(text, sys.stderr)
