"""Where this machine keeps what can be computed or downloaded again."""

import os
import pathlib

VARIABLE = 'V2A_CACHE'


def find(name: str) -> pathlib.Path | None:
  """Returns the folder of a cache: NAME below V2A_CACHE, or v2a/NAME in XDG_CACHE_HOME or ~/.cache.

  Args:
    name: of the cache.

  Returns:
    The folder; None where V2A_CACHE is empty, or it is not set and the user has no home folder.

  Raises:
    ValueError: V2A_CACHE begins with an unknown home folder.
  """
  named = os.environ.get(VARIABLE)
  if named == '':
    return None
  try:
    if named is not None:
      return pathlib.Path(named).expanduser() / name
    return pathlib.Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'v2a' / name
  except RuntimeError as error:  # containers run as users without an entry, and without HOME
    if named is not None:
      raise ValueError(f'{VARIABLE}={named}: unknown home folder; wanted a whole path.') from error
    return None
