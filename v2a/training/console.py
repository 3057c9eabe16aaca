"""Progress lines on stdout and stderr; a closed pipe or a full disk never stops training."""

import os
import sys
from typing import TextIO


def line(text: str, stream: TextIO | None = None) -> None:
  """Prints one line and flushes; if that fails, only the line is lost.

  Ctrl-C on `v2a train | tee log` ends `tee` first. Writing to a pipe without a reader raises, and Python
  raises again when it flushes at exit; so the stream is redirected to /dev/null.

  Args:
    text: the line, without a line break.
    stream: None for stdout.
  """
  stream = sys.stdout if stream is None else stream
  try:
    print(text, file=stream, flush=True)
  except BrokenPipeError:
    try:
      descriptor = stream.fileno()
    except (OSError, ValueError):
      return  # a stream without a file descriptor, such as io.StringIO
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
  except OSError:
    return  # such as a full disk or a closed terminal


def error(text: str) -> None:
  """Prints one line to stderr; see `line`."""
  line(text, sys.stderr)
