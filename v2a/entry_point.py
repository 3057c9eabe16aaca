"""Exit codes and one-line error messages of commands besides `v2a`: data pipelines, scripts, benchmarks."""

from collections.abc import Callable
import os
import sys

from v2a import input_errors
from v2a import termination


def run(name: str, work: Callable[[], int], interrupted: str = 'interrupted') -> int:
  """Runs a command.

  Args:
    name: name of the command, the prefix of its messages.
    work: function that does the work and returns the exit code.
    interrupted: message if a signal ends the command.

  Returns:
    The exit code of `work`; 2 for invalid input; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    Partial output is removed first.
  """
  try:
    with termination.raise_on_signals():
      return work()
  except (ValueError, OSError, MemoryError) as error:
    if os.environ.get('V2A_DEBUG') == '1':
      raise
    print(f'{name}: {input_errors.format_error(error)}', file=sys.stderr)
    return 2
  except RuntimeError as error:
    if os.environ.get('V2A_DEBUG') == '1' or not input_errors.is_out_of_memory(error):
      raise
    print(f'{name}: {input_errors.format_error(error)}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print(f'{name}: {interrupted}', file=sys.stderr)
    return 130
  except termination.Terminated as stop:
    print(f'{name}: {interrupted} ({stop.name})', file=sys.stderr)
    return stop.exit_code
