"""What an annotator is, and how what it adds is merged with what is known already.

An annotator reads a decoded clip and what is known about it, and returns only what it adds. Every field that
it adds has an origin (`origin` of the annotator) and a confidence, which is None only where the annotator
gives none. An annotator of 20 lines:

  class Loud(annotator.Annotator):
    name, version, reads = 'loud', '1', ()

    def check(self) -> None:
      pass

    def annotate(self, clip, known):
      level = 'loud' if abs(clip.wave_NA).max(initial=0.0) > 0.5 else 'quiet'
      return annotator.tags(self, [('level', level, 0.5)])
"""

from collections.abc import Iterable
import dataclasses
from typing import Protocol

from data_pipelines import decoded
from v2a.data import annotations as annotations_lib
from v2a.media import transcript as transcript_lib

HUMAN = 'human'
TRANSCRIPT, TIMES = 'transcript', 'transcript.times'
HUMAN_CAPTIONS = 'captions.human'


class AnnotationError(ValueError):
  """A clip cannot be annotated; other clips can. The message is the reason, in one line."""


class ServiceError(OSError):
  """No clip can be annotated: an endpoint refuses, or what an annotator needs is not installed.

  The message is one line. What is in the cache stays there, so that a later run continues.
  """


class Annotator(Protocol):
  """Something that annotates clips. It is pickled to workers; it opens models and connections on first use.

  Attributes:
    name: such as 'pocketsphinx'; without '@'.
    version: changes whenever its results may change: with a prompt, with weights, with settings.
    reads: fields of `Annotations` that its results depend on; `annotate` gets the others empty.
      'captions.human' are the captions by humans alone.
  """

  @property
  def name(self) -> str:
    """See the class."""
    ...

  @property
  def version(self) -> str:
    """See the class."""
    ...

  @property
  def reads(self) -> tuple[str, ...]:
    """See the class."""
    ...

  def check(self) -> None:
    """Checks before any work that the annotator can work at all.

    Raises:
      ServiceError: it cannot; the message says why, in one line.
    """
    ...

  def annotate(
    self, clip: decoded.DecodedClip, known: annotations_lib.Annotations
  ) -> annotations_lib.Annotations:
    """Returns what the annotator adds.

    Args:
      clip: the decoded clip.
      known: what is known about it, in those fields that the annotator reads.

    Raises:
      AnnotationError: this clip cannot be annotated.
      ServiceError: no clip can be annotated.
    """
    ...


def origin(annotator: Annotator) -> str:
  """Returns the origin of what an annotator adds: 'NAME@VERSION'."""
  return f'{annotator.name}@{annotator.version}'


def tags(
  annotator: Annotator, values: Iterable[tuple[str, str, float | None]]
) -> annotations_lib.Annotations:
  """Returns annotations of tags only.

  Args:
    annotator: whose they are.
    values: name, value and confidence of each tag.
  """
  found, by = list(values), origin(annotator)
  return annotations_lib.Annotations(
    tags=tuple((name, value) for name, value, _ in found),
    provenance=tuple(
      annotations_lib.Provenance(f'tags.{name}', by, confidence) for name, _, confidence in found
    ),
  )


def transcript(
  annotator: Annotator, spoken: transcript_lib.Transcript, confidence: float | None
) -> annotations_lib.Annotations:
  """Returns annotations of a transcript only, whose times are by the annotator, too."""
  fields = (TRANSCRIPT,) if spoken.times_s is None else (TRANSCRIPT, TIMES)
  by = origin(annotator)
  return annotations_lib.Annotations(
    transcript=spoken, provenance=tuple(annotations_lib.Provenance(field, by, confidence) for field in fields)
  )


def readable(annotator: Annotator, known: annotations_lib.Annotations) -> annotations_lib.Annotations:
  """Returns annotations with only the fields that an annotator reads, and their provenance.

  What it added earlier is left out, so that it adds the same again, from the cache.
  """
  known = _merge(known, annotations_lib.Annotations(), {annotator.name})
  kinds = annotator.reads
  fields = {kind: getattr(known, kind) for kind in kinds if kind not in ('provenance', HUMAN_CAPTIONS)}
  if HUMAN_CAPTIONS in kinds:
    fields['captions'] = tuple(each for each in known.captions if each.origin == HUMAN)
  return annotations_lib.Annotations(
    **fields,
    provenance=tuple(each for each in known.provenance if each.field.partition('.')[0] in kinds),
  )


def check_additions(annotator: Annotator, added: annotations_lib.Annotations) -> None:
  """Checks that every field that an annotator adds names it as the origin.

  Raises:
    ValueError: a field has another origin, or none; this is a fault of the annotator.
  """
  by = origin(annotator)
  named = {each.field: each.origin for each in added.provenance}
  fields = [f'tags.{name}' for name, _ in added.tags]
  if added.transcript.text:
    fields.append(TRANSCRIPT)
    fields += [TIMES] if added.transcript.times_s is not None else []
  wrong = [field for field in fields if named.get(field) != by]
  wrong += [f'captions.{each.style}' for each in added.captions if each.origin != by]
  wrong += [f'events.{each.label}' for each in added.events if each.origin != by]
  if wrong:
    raise ValueError(f'annotator {annotator.name}: {", ".join(wrong)} must have the origin {by!r}.')


def merge(
  known: annotations_lib.Annotations, added: annotations_lib.Annotations
) -> annotations_lib.Annotations:
  """Returns what is known together with what an annotator adds.

  What is by humans always stays as it is. Earlier additions of the same annotator, of whatever version, are
  replaced. Captions and events of others are kept beside the new ones. Where two annotators give a
  transcript, or a tag of the same name, the more confident one stays; the earlier one if they are equal.
  Times of words are added to a transcript by humans that has none, if the words are the same.

  Args:
    known: annotations by humans and by annotators.
    added: additions of one annotator, see `check_additions`.
  """
  names = {name_of(each.origin) for each in (*added.captions, *added.events, *added.provenance)}
  return _merge(known, added, names)


def _merge(
  known: annotations_lib.Annotations, added: annotations_lib.Annotations, names: set[str]
) -> annotations_lib.Annotations:
  """Returns `merge` where the earlier additions of annotators of these names are replaced."""
  is_stale = lambda by: by != HUMAN and name_of(by) in names
  spoken, by_field = _merge_transcripts(known, added, is_stale)
  tag_values = {
    name: value for name, value in known.tags if not is_stale(known.provenance_of(f'tags.{name}').origin)
  }
  by_field |= {f'tags.{name}': known.provenance_of(f'tags.{name}') for name in tag_values}
  for name, value in added.tags:
    field = f'tags.{name}'
    if name not in tag_values or _is_better(added.provenance_of(field), by_field[field]):
      tag_values[name], by_field[field] = value, added.provenance_of(field)
  return annotations_lib.Annotations(
    captions=_merge_lists(known.captions, added.captions, is_stale),
    transcript=spoken,
    events=_merge_lists(known.events, added.events, is_stale),
    tags=tuple(tag_values.items()),
    provenance=tuple(each for each in by_field.values() if each.origin != HUMAN),
  )


def name_of(by: str) -> str:
  """Returns the name of the annotator of an origin."""
  return by.partition('@')[0]


def _is_better(new: annotations_lib.Provenance, old: annotations_lib.Provenance) -> bool:
  return old.origin != HUMAN and (new.confidence or 0.0) > (old.confidence or 0.0)


def _merge_lists(known: tuple, added: tuple, is_stale) -> tuple:
  return (*(each for each in known if not is_stale(each.origin)), *added)


def _merge_transcripts(
  known: annotations_lib.Annotations, added: annotations_lib.Annotations, is_stale
) -> tuple[transcript_lib.Transcript, dict[str, annotations_lib.Provenance]]:
  """Returns the transcript, and the provenance of its words and times."""
  old, words, times = known.transcript, known.provenance_of(TRANSCRIPT), known.provenance_of(TIMES)
  if is_stale(words.origin):
    old = transcript_lib.Transcript()
  elif is_stale(times.origin):
    old = transcript_lib.Transcript(old.text)
  new = added.transcript
  if not old.text:
    chosen, source = new, added
  elif old.times_s is None and new.times_s is not None and new.text.split() == old.text.split():
    chosen = transcript_lib.Transcript(old.text, new.times_s)
    return chosen, {TRANSCRIPT: words, TIMES: added.provenance_of(TIMES)}
  elif new.text and _is_better(added.provenance_of(TRANSCRIPT), words):
    chosen, source = new, added
  else:
    chosen, source = old, known
  fields = [TRANSCRIPT] if chosen.text else []
  fields += [TIMES] if chosen.text and chosen.times_s is not None else []
  return chosen, {field: source.provenance_of(field) for field in fields}


@dataclasses.dataclass(frozen=True)
class Failure:
  """Why an annotator added nothing to a clip.

  Attributes:
    id: of the clip.
    annotator: its origin.
    reason: one line.
  """

  id: str
  annotator: str
  reason: str

  def to_json(self) -> dict[str, str]:
    """Returns the line of the failure in rejected.jsonl."""
    return {'id': self.id, 'stage': 'annotate', 'annotator': self.annotator, 'reason': self.reason}
