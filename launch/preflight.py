"""The words after `--`, checked by v2a itself before anything is submitted; a typo would fail when they run.

v2a runs as a program of its own, since launchers work without what it imports; where it is not installed, the
words go unchecked and a line says so.
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
  """Raises ValueError where v2a would refuse the words: commands, flags, keys and values of the config.

  Files and folders are not looked for, since they lie where the words will run.
  """
  fault = _fault(tuple(v2a_argv))
  if fault:
    raise ValueError(f'v2a refuses the words after --: {fault}')


@functools.lru_cache
def _fault(words: tuple[str, ...]) -> str:
  if any(importlib.util.find_spec(name) is None for name in ('v2a', 'ml_collections')):
    print('launch: note: v2a is not installed here; the words after -- are not checked', file=sys.stderr)
    return ''
  line = [sys.executable, '-c', _PROGRAM, *words]
  beside = os.pathsep.join(filter(None, (_ROOT, os.environ.get('PYTHONPATH'))))  # the v2a of these launchers
  found = subprocess.run(
    line, capture_output=True, text=True, check=False, env=os.environ | {'PYTHONPATH': beside}
  )
  if found.returncode == 0:
    return ''
  lines = found.stderr.strip().splitlines()
  if found.returncode != _BAD_INPUT or not lines:
    raise OSError(f'v2a could not check the words after --: {lines[-1] if lines else found.returncode}')
  return lines[-1].removeprefix('v2a: ')
