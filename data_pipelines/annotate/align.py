"""Forced alignment: times for the words of a given transcript without times, by CMU Sphinx.

The transcript must hold what is spoken in the clip and nothing else. Words that the dictionary does not have,
numbers among them, are pronounced by espeak-ng. The confidence is

  c = clip(1 + (s + 1) / 4, 0, 1)                                                                       (1)

of the mean score s of the words (`sphinx`): 0.9 where clear speech is aligned with what was said, 0.5 for
synthetic voices, below 0.4 for another text.
"""

import dataclasses
import importlib.metadata

import numpy as np

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import pronunciation
from data_pipelines.annotate import sphinx
from v2a.data import annotations as annotations_lib
from v2a.media import transcript as transcript_lib
from v2a.metrics import spectra
from v2a.metrics import speech

_REVISION = 1


@dataclasses.dataclass(frozen=True)
class Aligner:
  """See the module.

  Attributes:
    min_confidence: times below it are not added; a tag `alignment_rejected` says why.
    decoders: of this process.
  """

  min_confidence: float = 0.4
  decoders: sphinx.Decoders = dataclasses.field(default_factory=sphinx.Decoders, repr=False, compare=False)

  @property
  def name(self) -> str:
    """See `Annotator`."""
    return 'pocketsphinx-align'

  @property
  def version(self) -> str:
    """Version of the package, which holds the model, and the settings."""
    return f'{importlib.metadata.version("pocketsphinx")}-{_REVISION}-{self.min_confidence:g}'

  @property
  def reads(self) -> tuple[str, ...]:
    """The transcript."""
    return ('transcript',)

  def check(self) -> None:
    """See `Annotator`.

    Raises:
      ServiceError: the package is missing.
    """
    if reason := sphinx.missing():
      raise annotator.ServiceError(f'forced alignment: {reason}.')

  def annotate(
    self, clip: decoded.DecodedClip, known: annotations_lib.Annotations
  ) -> annotations_lib.Annotations:
    """See `Annotator`: adds times to a transcript that has none.

    Raises:
      AnnotationError: the transcript has no words, or a word has no pronunciation.
    """
    spoken = known.transcript
    if not spoken.text or spoken.times_s is not None or not clip.has_audio:
      return annotations_lib.Annotations()
    wave_NA = spectra.resample(clip.mono_N[:, None], clip.sample_rate_hz)
    found = align(self.decoders, wave_NA[:, 0], spoken.text)
    if found is None:
      return annotator.tags(self, [('alignment_rejected', 'the sound cannot be these words', 0.0)])
    times_s, confidence = found
    if confidence < self.min_confidence:
      text = f'confidence {confidence:.2f} below {self.min_confidence:g}'
      return annotator.tags(self, [('alignment_rejected', text, confidence)])
    timed = transcript_lib.Transcript(spoken.text, tuple(clip.start_s + time_s for time_s in times_s))
    return annotator.transcript(self, timed, confidence)


def align(decoders: sphinx.Decoders, wave_N: np.ndarray, text: str) -> tuple[list[float], float] | None:
  """Returns the time of the middle of each word of a text, and the confidence of eq. 1.

  None where the sound cannot be these words.

  A word such as "twenty-one" is aligned in parts. A sign without words, such as a dash, has the time of the
  word before it, or 0.

  Args:
    decoders: aligns.
    wave_N: mono, at spectra.RATE_HZ.
    text: words, separated by blanks.

  Raises:
    AnnotationError: there are no words, or one has no pronunciation.
  """
  parts = [speech.normalize(word) for word in text.split()]
  words = [part for each in parts for part in each]
  if not words:
    raise annotator.AnnotationError(f'the transcript {text[:60]!r} has no words')
  phones = {word: pronunciation.pronounce(word) for word in decoders.unknown(words)}
  unspoken = [word for word, found in phones.items() if found is None]
  if unspoken:
    raise annotator.AnnotationError(f'no pronunciation is known for {", ".join(unspoken[:5])}')
  decoders.add_words({word: found for word, found in phones.items() if found is not None})
  aligned = decoders.align(wave_N, words)
  if aligned is None:
    return None
  times_s, index, time_s = [], 0, 0.0
  for each in parts:
    if each:
      time_s = (aligned[index].start_s + aligned[index + len(each) - 1].end_s) / 2
      index += len(each)
    times_s.append(time_s)
  return times_s, float(np.clip(1 + (sphinx.weighted_mean(aligned, 'score') + 1) / 4, 0.0, 1.0))
