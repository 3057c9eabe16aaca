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
import tempfile
from typing import Any
from typing import Literal
from typing import Protocol

from v2a.media import transcript as transcript_lib

CaptionStyle = Literal['label', 'short', 'detailed', 'negative']
# What happened to a clip of a data set.
ProblemKind = Literal['missing', 'malformed', 'duplicate']
_COPY_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Caption:
  """A text about the sound of a clip.

  Attributes:
    text: one line.
    style: 'label' names classes; 'short' is a sentence; 'detailed' describes sources, order, mood and music;
      'negative' says what is not heard.
    origin: who wrote it: 'human', or the name and version of an annotator.
    confidence: of the annotator, in [0, 1]; None if it is not known.
  """

  text: str
  style: CaptionStyle
  origin: str = 'human'
  confidence: float | None = None


@dataclasses.dataclass(frozen=True)
class Event:
  """Something heard in a clip at a known time.

  Attributes:
    start_s, end_s: in the media, in seconds; equal for an instant.
    label: what is heard.
    origin, confidence: see `Caption`.
  """

  start_s: float
  end_s: float
  label: str
  origin: str = 'human'
  confidence: float | None = None


@dataclasses.dataclass(frozen=True)
class Provenance:
  """Who wrote a field that has no origin of its own.

  Attributes:
    field: 'transcript' (its words), 'transcript.times', or 'tags.' and the name of a tag.
    origin, confidence: see `Caption`.
  """

  field: str
  origin: str
  confidence: float | None = None


@dataclasses.dataclass(frozen=True)
class Annotations:
  """What is known about a clip. Times are seconds in the media, not in the segment.

  Attributes:
    captions: texts about the sound.
    transcript: spoken words, with times where they are known.
    events: sounds with their times.
    tags: further values by name, such as 'quality'.
    provenance: of the transcript and the tags; what it does not name is by humans.
  """

  captions: tuple[Caption, ...] = ()
  transcript: transcript_lib.Transcript = transcript_lib.Transcript()
  events: tuple[Event, ...] = ()
  tags: tuple[tuple[str, str], ...] = ()
  provenance: tuple[Provenance, ...] = ()

  def provenance_of(self, field: str) -> Provenance:
    """Returns who wrote a field, see `Provenance.field`."""
    return next((each for each in self.provenance if each.field == field), Provenance(field, 'human'))

  def to_json(self) -> dict[str, Any]:
    """Returns the annotations as values of JSON."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, value: Any) -> 'Annotations':
    """Returns the annotations of `to_json`.

    Raises:
      ValueError: the value is not that of annotations.
    """
    try:
      spoken = dict(value['transcript'])
      times_s = spoken.pop('times_s')
      return cls(
        captions=tuple(Caption(**each) for each in value['captions']),
        transcript=transcript_lib.Transcript(times_s=None if times_s is None else tuple(times_s), **spoken),
        events=tuple(Event(**each) for each in value['events']),
        tags=tuple((str(name), str(text)) for name, text in value['tags']),
        provenance=tuple(Provenance(**each) for each in value['provenance']),
      )
    except (TypeError, KeyError, AttributeError) as error:
      raise ValueError(f'wanted annotations as JSON; got {str(value)[:80]!r} ({error}).') from error


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


@dataclasses.dataclass(frozen=True)
class LocalFile:
  """A media file of its own."""

  path: pathlib.Path

  @property
  def name(self) -> str:
    """See `Media`."""
    return str(self.path)

  def as_file(self) -> contextlib.AbstractContextManager[pathlib.Path]:
    """See `Media`."""
    return contextlib.nullcontext(self.path)


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
  annotations: Annotations = Annotations()
  licence: str | None = None
  split: str | None = None

  def __post_init__(self):
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
      earlier clip has its id.
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
