"""Mounts of containers, and checks that the workdir is on one of them."""

from collections.abc import Sequence
import pathlib

_STORES = ('gs://', 's3://')  # object stores, whose paths v2a reads and writes


def check_mounts(mounts: Sequence[str], flag: str) -> list[str]:
  """Returns the paths of mounts inside the container.

  Args:
    mounts: HOST:INSIDE, where HOST is a folder or the name of a claim.
    flag: the flag that gave them, for messages.

  Raises:
    ValueError: a mount is malformed.
  """
  inside = []
  for mount in mounts:
    host, separator, path = mount.partition(':')
    path = path.partition(':')[0]  # options such as ro may follow
    if not (host and separator and path.startswith('/')):
      name = 'CLAIM' if flag == '--claim' else 'HOST'
      raise ValueError(f'{flag} must look like {name}:/folder; got {mount!r}')
    inside.append(path)
  return inside


def check_workdir(v2a_argv: Sequence[str], inside: Sequence[str], flag: str) -> None:
  """Raises ValueError if --workdir of `v2a train` is only inside a container: neither persistent nor shared.

  One in an object store is both.

  Args:
    v2a_argv: arguments of v2a.
    inside: mounted folders of the container.
    flag: the flag that adds a mount, for messages.
  """
  workdir = flag_value(v2a_argv, '--workdir')
  if workdir is None or workdir.startswith(_STORES):
    return
  path = pathlib.PurePosixPath(workdir)
  if not any(path.is_relative_to(folder) for folder in inside):
    found = ', '.join(inside) or 'none'
    raise ValueError(
      f'--workdir {workdir} would be lost with its container: wanted an absolute path below a '
      f'folder mounted by {flag}; mounted: {found}'
    )


def flag_value(v2a_argv: Sequence[str], flag: str) -> str | None:
  """Returns the last value of a flag in the arguments of v2a; None if it is absent."""
  found = None
  for index, word in enumerate(v2a_argv):
    if word == flag and index + 1 < len(v2a_argv):
      found = v2a_argv[index + 1]
    elif word.startswith(f'{flag}='):
      found = word.partition('=')[2]
  return found
