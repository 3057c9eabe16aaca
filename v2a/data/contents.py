"""Statistics of a set of records: how many have audio, and how long their texts are."""

import collections
from collections.abc import Mapping
import dataclasses


@dataclasses.dataclass
class Contents:
  """Counts of records; those of several sets are added by `+`.

  Attributes:
    num_records: number of counted records.
    num_with_audio: number of records with audio.
    text_bytes: length of an annotation in bytes of UTF-8 -> number of records.
    transcript_bytes: likewise for transcripts.
  """

  num_records: int = 0
  num_with_audio: int = 0
  text_bytes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  transcript_bytes: collections.Counter = dataclasses.field(default_factory=collections.Counter)

  def add(self, record: Mapping) -> None:
    """Counts a record."""
    self.num_records += 1
    self.num_with_audio += record['has_audio']
    # As in conditioning.text.to_bytes.
    self.text_bytes[len(record['text'].strip().encode())] += 1
    self.transcript_bytes[len(record['transcript'].strip().encode())] += 1

  def __add__(self, other: 'Contents') -> 'Contents':
    return Contents(
      self.num_records + other.num_records,
      self.num_with_audio + other.num_with_audio,
      self.text_bytes + other.text_bytes,
      self.transcript_bytes + other.transcript_bytes,
    )

  def to_json(self) -> dict:
    """Returns what `from_json` reads."""
    counters = {'text_bytes': self.text_bytes, 'transcript_bytes': self.transcript_bytes}
    return {
      'num_records': self.num_records,
      'num_with_audio': self.num_with_audio,
      **{key: {str(size): found[size] for size in sorted(found)} for key, found in counters.items()},
    }

  @classmethod
  def from_json(cls, found: Mapping) -> 'Contents':
    """Returns the counts of `to_json`."""
    counters = (
      collections.Counter({int(size): count for size, count in found[key].items()})
      for key in ('text_bytes', 'transcript_bytes')
    )
    return cls(found['num_records'], found['num_with_audio'], *counters)

  def truncation_notes(self, num_text_bytes: int, num_transcript_bytes: int) -> list[str]:
    """Returns a line for each kind of text of which some are longer than a model reads.

    Args:
      num_text_bytes, num_transcript_bytes: limits of the model, see clip.ClipSpec.
    """
    lines = []
    for what, sizes, key, limit in (
      ('annotations', self.text_bytes, 'num_text_bytes', num_text_bytes),
      ('transcripts', self.transcript_bytes, 'num_transcript_bytes', num_transcript_bytes),
    ):
      num_cut = sum(count for size, count in sizes.items() if size > limit)
      if num_cut:
        lines.append(
          f'{num_cut} of {self.num_records} {what} are longer than the {limit} bytes that the model reads '
          f'(config.clip.{key}), the longest {max(sizes)}; their ends are not read.'
        )
    return lines
