"""How every command here ends: exit codes, and one line for what is not its own fault."""

from collections.abc import Callable
import os
import sys

from v2a import input_errors
from v2a import termination


def run(name: str, work: Callable[[], int], interrupted: str = 'interrupted') -> int:
  """Runs a command.

  Args:
    name: of the command, at the begin of its messages.
    work: returns the exit code.
    interrupted: what is said where a signal ends it.

  Returns:
    The exit code of `work`; 2 where the input is at fault; 130 after Ctrl-C, 143 after SIGTERM, 129 after
    SIGHUP. Whatever is half-written is removed before.
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
