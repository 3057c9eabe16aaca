"""What a source of training data yields: items, and problems in place of items that cannot be used.

A source reads what a data set says about its clips, not the media: it is cheap, and lazy. For each clip of
the data set it yields, in the order of its metadata, either

  an `Item`     an id, where the media is, which segment of it, annotations, licence and split, or
  a `Problem`   why there is none: a file that is not there, a line that cannot be read.

So no clip disappears silently, and no error ends the reading of a data set of millions of clips.
"""

from collections.abc import Generator
from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import re
import tempfile
from typing import Literal
from typing import Protocol

from v2a import input_errors
from v2a import storage
from v2a.data import annotations as annotations_lib

# What happened to a clip of a data set.
ProblemKind = Literal['missing', 'malformed', 'duplicate', 'unreadable']
_COPY_BYTES = 1 << 20


# A split is a folder of the data set, beside `build` and the files of the set.
_SPLIT = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_-]{0,63}')
_RESERVED_SPLITS = ('build',)


def check_split(name: str) -> None:
  """Raises ValueError where the name of a split cannot be that of a folder of a data set."""
  if not _SPLIT.fullmatch(name) or name.lower() in _RESERVED_SPLITS:
    reserved = ', '.join(_RESERVED_SPLITS)
    raise ValueError(f"a split must be named by letters, digits, '-' and '_', not {reserved}; got {name!r}")


class Media(Protocol):
  """A video or audio file, wherever it is stored."""

  @property
  def name(self) -> str:
    """Name of the file, for messages; its suffix tells the kind of the file."""
    ...

  def as_file(self) -> contextlib.AbstractContextManager[pathlib.Path]:
    """Returns a context in which the media is a local file, which may be temporary.

    Raises:
      OSError: it cannot be read.
    """
    ...


class StoreError(OSError):
  """An object store cannot be used, so that other media would fail as well."""


@contextlib.contextmanager
def named_in_errors(copy: pathlib.Path, name: str) -> Generator[pathlib.Path]:
  """Gives a temporary file whose name is replaced in errors by that of the media, which stays the same.

  Args:
    copy: the temporary file.
    name: of the media, see `Media`.
  """
  try:
    yield copy
  except Exception as error:
    error.args = tuple(arg.replace(str(copy), name) if isinstance(arg, str) else arg for arg in error.args)
    if isinstance(error, OSError) and error.filename == str(copy):
      error.filename = name
    raise


def is_of_all(error: BaseException) -> bool:
  """Whether an error of an item would be that of other items, too: of the machine, or of an object store."""
  return isinstance(error, StoreError) or input_errors.is_of_machine(error)


@dataclasses.dataclass(frozen=True)
class MediaFile:
  """A media file of its own, on this machine or in an object store."""

  path: storage.Path

  @property
  def name(self) -> str:
    """See `Media`."""
    return str(self.path)

  @contextlib.contextmanager
  def as_file(self) -> Generator[pathlib.Path]:
    """See `Media`; a file of an object store is downloaded, and is temporary.

    Raises:
      FileNotFoundError: the object is not there.
      PermissionError: it may not be read.
      StoreError: the store cannot be used.
    """
    with contextlib.ExitStack() as stack:
      try:
        path = stack.enter_context(storage.local_file(self.path))
      except (FileNotFoundError, PermissionError):
        raise
      except OSError as error:
        if input_errors.is_of_machine(error):
          raise
        raise StoreError(str(error)) from error
      yield stack.enter_context(named_in_errors(path, self.name)) if path != self.path else path


@dataclasses.dataclass(frozen=True)
class FileRange:
  """A media file inside another file, such as a tar archive.

  Attributes:
    path: the outer file.
    member: name of the inner file.
    offset_bytes, num_bytes: where it is.
  """

  path: pathlib.Path
  member: str
  offset_bytes: int
  num_bytes: int

  @property
  def name(self) -> str:
    """See `Media`."""
    return f'{self.path}/{self.member}'

  @contextlib.contextmanager
  def as_file(self) -> Generator[pathlib.Path]:
    """See `Media`; the file is temporary.

    Raises:
      OSError: the outer file cannot be read, or ends too early.
    """
    with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
      copy = pathlib.Path(folder) / ('media' + pathlib.PurePosixPath(self.member).suffix)
      with open(self.path, 'rb') as outer, open(copy, 'wb') as inner:
        outer.seek(self.offset_bytes)
        rest = self.num_bytes
        while rest:
          block = outer.read(min(rest, _COPY_BYTES))
          if not block:
            raise OSError(
              f'{self.name}: wanted {self.num_bytes} bytes at {self.offset_bytes}; '
              f'got {self.num_bytes - rest}.'
            )
          inner.write(block)
          rest -= len(block)
      with named_in_errors(copy, self.name):
        yield copy


@dataclasses.dataclass(frozen=True)
class Item:
  """A clip of a data set.

  Attributes:
    id: unique in its data set, such as '-0BIyqJj9ZU_000030'.
    media: where its video or sound is.
    group: what must never be in two splits, such as the id of the video from which it was cut.
    start_s, end_s: segment of the media in seconds; end_s None is the end of the media.
    annotations: what the data set says about it.
    licence: SPDX identifier or name; None if the data set does not say.
    split: 'train', 'validation', 'test', or another name of the data set's own; None if it does not say.
  """

  id: str
  media: Media
  group: str
  start_s: float = 0.0
  end_s: float | None = None
  annotations: annotations_lib.Annotations = annotations_lib.Annotations()
  licence: str | None = None
  split: str | None = None

  def __post_init__(self):
    if self.split is not None:
      check_split(self.split)
    if not self.id or not self.group:
      raise ValueError(f'an item needs an id and a group; got id {self.id!r}, group {self.group!r}.')
    if self.start_s < 0 or (self.end_s is not None and self.end_s <= self.start_s):
      raise ValueError(
        f'{self.id}: a segment must be 0 <= start < end in seconds; got {self.start_s} to {self.end_s}.'
      )


@dataclasses.dataclass(frozen=True)
class Problem:
  """Why a clip of a data set gave no item.

  Attributes:
    kind: 'missing': its media is not on disk; 'malformed': its metadata cannot be used; 'duplicate': an
      earlier clip has its id; 'unreadable': its media cannot be read as a whole, which a source does not try.
    id: of the clip; '' if it is not known.
    where: file of the metadata and line (counted from 1), such as 'train.csv:17'.
    reason: what was got, and what was wanted.
  """

  kind: ProblemKind
  id: str
  where: str
  reason: str

  def __str__(self) -> str:
    return f'{self.where}: {self.id or "a clip"}: {self.reason}'


class Source(Protocol):
  """A data set whose items can be read repeatedly, in the same order."""

  @property
  def name(self) -> str:
    """Short name of the data set, such as 'vggsound'."""
    ...

  def __iter__(self) -> Iterator[Item | Problem]:
    """Yields an item or a problem for each clip."""
    ...


def where(path: str | os.PathLike, line: int | None = None) -> str:
  """Returns `Problem.where` of a line of a file."""
  return f'{os.fspath(path)}:{line}' if line else os.fspath(path)
