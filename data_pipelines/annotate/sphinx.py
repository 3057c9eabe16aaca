"""CMU Sphinx with the English model of its package: words with times, and forced alignment.

A frame is 10 ms. The score of a word is the mean over its frames of log p(x | its states) - log p(x | the
best state in the search), at most 0: about -1.3 where clear speech is aligned with what was said, below -3.5
where it is aligned with another text, if that is possible at all.
"""

import dataclasses
import importlib
import math
import re
import threading
from typing import Any

import numpy as np

from v2a.metrics import spectra
from v2a.metrics import speech
from v2a.models.published import checkpoints

FRAME_S = 0.01
# Active states and words in a frame: noise takes a third of the time, and speech gives the same words.
_PRUNING = {'maxhmmpf': 3000, 'maxwpf': 10}
_NO_WORD = re.compile(r'[<\[+]')
_VARIANT = re.compile(r'\([0-9]+\)$')
# Of a whole score: exp(-700) is the smallest double.
_LOWEST_LOG = -700.0


@dataclasses.dataclass(frozen=True)
class Word:
  """A word that was recognized or aligned.

  Attributes:
    text: as in the dictionary.
    start_s, end_s: in the sound.
    posterior: share of the word in the lattice, 0 to 1; about 1 in alignments.
    score: see the module.
  """

  text: str
  start_s: float
  end_s: float
  posterior: float
  score: float


def missing() -> str:
  """Returns why it cannot be used, or ''."""
  return ', '.join(checkpoints.missing_package('pocketsphinx', speech.INSTALL_COMMAND))


class Decoders:
  """A decoder for recognition and one for alignment, loaded on first use; thread-safe, and can be pickled."""

  def __init__(self):
    self.__setstate__({})

  def __getstate__(self) -> dict[str, Any]:
    return {}

  def __setstate__(self, state: dict[str, Any]) -> None:
    del state
    self._lock = threading.Lock()
    self._loaded: dict[str, Any] = {}

  def recognize(self, wave_N: np.ndarray) -> list[Word]:
    """Returns the words in a mono sound at spectra.RATE_HZ."""
    with self._lock:
      return _decode(self._load('recognition', **_PRUNING), wave_N)

  def align(self, wave_N: np.ndarray, words: list[str]) -> list[Word] | None:
    """Returns given words with their times, or None where the sound cannot be these words.

    Args:
      wave_N: mono, at spectra.RATE_HZ.
      words: all that are spoken, in the dictionary or added to it.
    """
    with self._lock:
      decoder = self._load('alignment', lm=None)
      decoder.set_align_text(' '.join(words))
      found = _decode(decoder, wave_N)
    # The search may end before the last word.
    return found if [each.text for each in found] == words else None

  def add_words(self, pronunciations: dict[str, str]) -> None:
    """Adds words to the dictionary of alignments.

    Args:
      pronunciations: phones of the CMU dictionary, separated by blanks, by word.
    """
    with self._lock:
      decoder = self._load('alignment', lm=None)
      for word, phones in pronunciations.items():
        if decoder.lookup_word(word) is None:
          decoder.add_word(word, phones, True)

  def unknown(self, words: list[str]) -> list[str]:
    """Returns the words that the dictionary of alignments does not have, each once."""
    with self._lock:
      decoder = self._load('alignment', lm=None)
      return [word for word in dict.fromkeys(words) if decoder.lookup_word(word) is None]

  def _load(self, use: str, **settings: Any) -> Any:
    if use not in self._loaded:
      package = importlib.import_module('pocketsphinx')
      self._loaded[use] = package.Decoder(samprate=float(spectra.RATE_HZ), loglevel='FATAL', **settings)
    # Features are normalized by statistics of earlier utterances; without a reset, their order would matter.
    self._loaded[use].reinit_feat()
    return self._loaded[use]


def _decode(decoder: Any, wave_N: np.ndarray) -> list[Word]:
  # Dither of one quantization step, with a fixed seed: on digital silence the decoder outputs random words.
  dither_N = np.random.default_rng(0).uniform(-1.0, 1.0, len(wave_N))
  sample_N = np.rint(np.clip(wave_N, -1.0, 1.0) * 32766 + dither_N).astype('<i2')
  decoder.start_utt()
  decoder.process_raw(sample_N.tobytes(), full_utt=True)
  decoder.end_utt()
  if decoder.hyp() is None:
    return []
  decoder.get_prob()  # computes the posteriors of the words
  return [
    Word(
      _VARIANT.sub('', segment.word),
      segment.start_frame * FRAME_S,
      (segment.end_frame + 1) * FRAME_S,
      min(1.0, segment.prob),
      (math.log(segment.ascore) if segment.ascore > 0 else _LOWEST_LOG)
      / (segment.end_frame - segment.start_frame + 1),
    )
    for segment in decoder.seg()
    if not _NO_WORD.match(segment.word)
  ]


def weighted_mean(words: list[Word], field: str) -> float:
  """Returns the mean of a field over words, weighted by their durations."""
  return float(
    np.average([getattr(each, field) for each in words], weights=[e.end_s - e.start_s for e in words])
  )
