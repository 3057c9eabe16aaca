"""Files that are whole or not there: written beside their name, then renamed."""

from collections.abc import Iterator
import contextlib
import pathlib
import uuid


@contextlib.contextmanager
def beside(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a new name in the folder of a file; renames it to the file on success and removes it on failure.

  Every writer has a name of its own, so that two may write one file at once: the last one's stays.

  Args:
    path: of the file, whose folder is there. Its suffix is kept, by which libraries tell formats.
  """
  path = pathlib.Path(path)
  partial = path.absolute().with_name(f'.{path.stem[:80]}.{uuid.uuid4().hex[:8]}.partial{path.suffix}')
  try:
    yield partial
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def write_text(path: str | pathlib.Path, text: str) -> None:
  """Writes a text in UTF-8, see `beside`."""
  with beside(path) as partial:
    partial.write_text(text, encoding='utf-8')
