"""What is known about the sound of a clip: captions, transcript, events, tags, and who wrote each of them."""

import dataclasses
from typing import Any
from typing import Literal

from v2a.media import transcript as transcript_lib

CaptionStyle = Literal['label', 'short', 'detailed', 'negative']


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

  def within(self, start_s: float, end_s: float) -> 'Annotations':
    """Returns what belongs to a segment, with times relative to its start.

    Words outside the segment are left out, and events are cut to it. A transcript whose words have no times
    is left as it is: those spoken in the segment are not known.

    Args:
      start_s, end_s: the segment in the media.
    """
    spoken = self.transcript
    if spoken.times_s is not None:
      spoken = spoken.within(start_s, end_s)
    events = (
      dataclasses.replace(
        each, start_s=max(each.start_s, start_s) - start_s, end_s=min(each.end_s, end_s) - start_s
      )
      for each in self.events
      if each.start_s < end_s and (each.end_s > start_s or each.start_s >= start_s)
    )
    return dataclasses.replace(self, transcript=spoken, events=tuple(events))

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
