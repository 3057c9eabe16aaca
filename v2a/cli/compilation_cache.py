"""The persistent compilation cache, so that the second process starts without compiling."""

import os
import pathlib
import sys


def folder() -> pathlib.Path | None:
  """Returns where compiled programs are kept.

  V2A_CACHE names the folder, an empty V2A_CACHE turns the cache off; without it, v2a/jax in
  XDG_CACHE_HOME or ~/.cache. None where it is off, or none is named and the user has no home folder.

  Raises:
    ValueError: V2A_CACHE begins with a home folder that is not known.
  """
  named = os.environ.get('V2A_CACHE')
  if named == '':
    return None
  try:
    if named is not None:
      return pathlib.Path(named).expanduser() / 'jax'
    return pathlib.Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'v2a' / 'jax'
  except RuntimeError as error:  # containers run as users without an entry, and without HOME
    if named is not None:
      raise ValueError(f'V2A_CACHE={named}: this home folder is not known; name the whole path.') from error
    return None


def enable() -> pathlib.Path | None:
  """Turns the cache on for this process; call before anything is compiled.

  Returns:
    The folder in use, or None where the cache is off or its folder cannot be written, which is said on
    stderr where V2A_CACHE does not turn it off.
  """
  import jax  # Not at the top: doctor and help want the folder without the second that this takes.

  place = folder()
  if place is None or not _is_writable(place):
    if os.environ.get('V2A_CACHE') != '':
      why = 'there is no home folder' if place is None else f'{place} cannot be written'
      print(
        f'v2a: note: compiled programs are not kept, so every start compiles: {why}; V2A_CACHE names '
        'another folder, or turns this off where it is empty',
        file=sys.stderr,
        flush=True,
      )
    return None
  jax.config.update('jax_compilation_cache_dir', str(place))
  # JAX keeps only programs that took a second to compile; many small ones add up to more than the large one.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  return place


def _is_writable(place: pathlib.Path) -> bool:
  try:
    place.mkdir(parents=True, exist_ok=True)
  except OSError:
    return False
  return os.access(place, os.W_OK)
