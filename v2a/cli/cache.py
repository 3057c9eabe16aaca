"""The persistent compilation cache, so that the second process starts without compiling."""

import os
import pathlib


def folder() -> pathlib.Path | None:
  """Returns where compiled programs are kept.

  V2A_CACHE names the folder, an empty V2A_CACHE turns the cache off; without it, v2a/jax in
  XDG_CACHE_HOME or ~/.cache.
  """
  named = os.environ.get('V2A_CACHE')
  if named is not None:
    return pathlib.Path(named).expanduser() / 'jax' if named else None
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(home).expanduser() / 'v2a' / 'jax'


def enable() -> pathlib.Path | None:
  """Turns the cache on for this process; call before anything is compiled.

  Returns:
    The folder in use, or None where the cache is off or its folder cannot be written.
  """
  import jax  # Not at the top: doctor and help want the folder without the second that this takes.

  place = folder()
  if place is None:
    return None
  try:
    place.mkdir(parents=True, exist_ok=True)
  except OSError:
    return None
  if not os.access(place, os.W_OK):
    return None
  jax.config.update('jax_compilation_cache_dir', str(place))
  # JAX keeps only programs that took a second to compile; many small ones add up to more than the large one.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  return place
