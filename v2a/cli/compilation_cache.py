"""The persistent compilation cache, so that the second process starts without compiling."""

import os
import pathlib
import sys

from v2a import cache_folder


def folder() -> pathlib.Path | None:
  """Returns the folder of the cache, see `cache_folder.find`; an empty V2A_CACHE turns the cache off."""
  return cache_folder.find('jax')


def enable() -> pathlib.Path | None:
  """Turns the cache on for this process; call before anything is compiled.

  Returns:
    The folder in use, or None where the cache is off or its folder cannot be written, with a note
    on stderr where V2A_CACHE does not turn it off.
  """
  import jax  # Not at the top: `doctor` and help need the folder without the second that this takes.

  path = folder()
  if path is None or not _is_writable(path):
    if os.environ.get('V2A_CACHE') != '':
      why = 'there is no home folder' if path is None else f'{path} cannot be written'
      print(
        f'v2a: note: no compilation cache, so every start compiles: {why}; set V2A_CACHE to '
        'another folder, or to nothing to turn the cache off',
        file=sys.stderr,
        flush=True,
      )
    return None
  jax.config.update('jax_compilation_cache_dir', str(path))
  # By default only programs that took a second to compile are cached; many small ones take longer together.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  return path


def _is_writable(path: pathlib.Path) -> bool:
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError:
    return False
  return os.access(path, os.W_OK)
