"""What a container sees of the machine that it runs on."""

from collections.abc import Sequence
import pathlib


def check_mounts(mounts: Sequence[str], flag: str) -> list[str]:
  """Returns where mounts lie inside the container.

  Args:
    mounts: HOST:INSIDE, the first a folder or the name of a claim.
    flag: that gave them.

  Raises:
    ValueError: one has another form.
  """
  inside = []
  for mount in mounts:
    host, separator, path = mount.partition(':')
    path = path.partition(':')[0]  # what follows are options, such as ro
    if not (host and separator and path.startswith('/')):
      name = 'CLAIM' if flag == '--claim' else 'HOST'
      raise ValueError(f'{flag} must look like {name}:/folder; got {mount!r}')
    inside.append(path)
  return inside


def check_workdir(v2a_argv: Sequence[str], inside: Sequence[str], flag: str) -> None:
  """Raises ValueError where --workdir of `v2a train` lies in a container alone: lost with it, and not shared.

  Args:
    v2a_argv: of v2a.
    inside: folders of the container that outlive it.
    flag: that would add one.
  """
  workdir = flag_value(v2a_argv, '--workdir')
  if workdir is None:
    return
  path = pathlib.PurePosixPath(workdir)
  if not any(path.is_relative_to(folder) for folder in inside):
    found = ', '.join(inside) or 'none'
    raise ValueError(
      f'--workdir {workdir} would be lost with its container: wanted an absolute path below a '
      f'folder that {flag} mounts; there: {found}'
    )


def flag_value(v2a_argv: Sequence[str], flag: str) -> str | None:
  """Returns the value of a flag among the words of v2a, the last one; None where it is not there."""
  found = None
  for index, word in enumerate(v2a_argv):
    if word == flag and index + 1 < len(v2a_argv):
      found = v2a_argv[index + 1]
    elif word.startswith(f'{flag}='):
      found = word.partition('=')[2]
  return found
