"""Reads the manifests of folders of records, of media records, of columns and of data sets."""

from collections.abc import Iterable
import json
from typing import Any

from v2a import storage


def read(
  file: storage.Path, absent: str, kind: tuple[str, int | str], keys: Iterable[str] = ()
) -> dict[str, Any]:
  """Returns the content of a manifest.

  Args:
    file: the manifest.
    absent: what is said where there is none.
    kind: the key that tells manifests apart, and its value in the wanted kind.
    keys: further keys that it must have.

  Returns:
    Its content.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is damaged, or another one.
  """
  if not storage.is_file(file):
    raise FileNotFoundError(f'{absent}: {file} does not exist.')
  try:
    found = json.loads(storage.read_text(file))
  except ValueError as error:
    raise ValueError(f'{file} is no JSON: {error}.') from error
  if not isinstance(found, dict) or found.get(kind[0]) != kind[1]:
    raise ValueError(f'{file} must be a manifest of {kind[0]} {kind[1]!r}; got {str(found)[:80]}.')
  if missing := [key for key in keys if key not in found]:
    raise ValueError(f'{file} lacks {missing}.')
  return found
