"""Checks the arguments of v2a before anything is submitted; otherwise a typo would only fail in the job.

The check runs v2a as a separate program, since launchers do not need its dependencies. If v2a is not
installed, the arguments are not checked, and a note is printed.
"""

from collections.abc import Sequence
import functools
import importlib.util
import os
import pathlib
import subprocess
import sys

_PROGRAM = 'import sys\nfrom v2a.cli import main\nsys.exit(main.check(sys.argv[1:]))'
_BAD_INPUT = 2
_ROOT = str(pathlib.Path(__file__).resolve().parents[1])


def check(v2a_argv: Sequence[str]) -> None:
  """Raises ValueError if v2a rejects the arguments: commands, flags, keys and values of the config.

  Files and folders are not checked, since they are on the machine that runs the job.
  """
  error = _check(tuple(v2a_argv))
  if error:
    raise ValueError(f'invalid arguments of v2a after --: {error}')


@functools.lru_cache
def _check(v2a_argv: tuple[str, ...]) -> str:
  if any(importlib.util.find_spec(name) is None for name in ('v2a', 'ml_collections')):
    print('launch: note: v2a is not installed here; the arguments after -- are not checked', file=sys.stderr)
    return ''
  line = [sys.executable, '-c', _PROGRAM, *v2a_argv]
  path = os.pathsep.join(filter(None, (_ROOT, os.environ.get('PYTHONPATH'))))  # the v2a of this checkout
  result = subprocess.run(
    line, capture_output=True, text=True, check=False, env=os.environ | {'PYTHONPATH': path}
  )
  if result.returncode == 0:
    return ''
  lines = result.stderr.strip().splitlines()
  if result.returncode != _BAD_INPUT or not lines:
    raise OSError(f'v2a could not check the arguments after --: {lines[-1] if lines else result.returncode}')
  return lines[-1].removeprefix('v2a: ')
