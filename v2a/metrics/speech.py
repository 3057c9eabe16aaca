"""Words in a sound: recognizers behind one protocol, and the word error rate of a set of clips.

  WER = (substitutions + deletions + insertions) / words of the references,  all clips together       (1)

by jiwer, on words as `normalize` leaves them: Unicode NFKC, lower case, curly apostrophes straight,
anything but letters, digits and apostrophes within words a space; every Chinese or Japanese character is a
word. Numbers are not spelled out: "20" and "twenty" are different words, here as in jiwer and unlike
Whisper's normalizer. Clips in which nothing is spoken are not counted.

  world          the project's own, for the world's voice and vocabulary alone
  pocketsphinx   English, with the model of its package
  whisper-NAME   faster-whisper with the folder faster-whisper-NAME of the weights, see embedders.checkpoints
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import functools
import importlib
import importlib.metadata
import pathlib
import re
from typing import Protocol
import unicodedata

import jiwer
import numpy as np

from v2a.data import examples
from v2a.metrics import classifiers
from v2a.metrics import spectra
from v2a.metrics import tables
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import checkpoints

METRIC = 'wer'
INSTALL_COMMAND = "pip install 'v2a[speech]'"
WHISPER_MODELS = ('tiny.en', 'base.en', 'small.en', 'medium.en', 'large-v3', 'large-v3-turbo')
_APOSTROPHES = str.maketrans('\u2018\u2019\u02bc\u00b4`', "'''''")
_CHARACTER_WORDS = re.compile('([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])')


def normalize(text: str) -> list[str]:
  """Returns the words of a text, see the module."""
  text = unicodedata.normalize('NFKC', text.translate(_APOSTROPHES)).lower()
  text = re.sub(r"[^\w']|_", ' ', _CHARACTER_WORDS.sub(r' \1 ', text))
  return [word for word in (part.strip("'") for part in text.split()) if word]


class Recognizer(Protocol):
  """A speech recognizer.

  Attributes:
    name: as in RECOGNIZERS.
  """

  name: str

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the words heard in a mono wave at spectra.RATE_HZ, as the recognizer writes them."""


class SyntheticRecognizer(Recognizer):
  """The project's own, see v2a.metrics.recognizer."""

  name = 'world'

  def __init__(self):
    self._tools = classifiers.load_some(classifiers.FOLDER, ('words',))

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the words of the world's vocabulary that are heard."""
    return ' '.join(self._tools.words(wave_N[:, None]))


class Pocketsphinx(Recognizer):
  """CMU Sphinx with the English model that its package carries; words must be in its dictionary."""

  name = 'pocketsphinx'

  def __init__(self):
    package = importlib.import_module('pocketsphinx')
    self._decoder = package.Decoder(samprate=float(spectra.RATE_HZ), loglevel='FATAL')

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the best path through the package's language model."""
    # Dither of one step, the same each time: in exact zeros the decoder hears words, and not always the same.
    dither_N = np.random.default_rng(0).uniform(-1.0, 1.0, len(wave_N))
    sample_N = np.rint(np.clip(wave_N, -1.0, 1.0) * 32766 + dither_N).astype('<i2')
    self._decoder.start_utt()
    # The whole at once: its levels are its own, not those of what was heard before.
    self._decoder.process_raw(sample_N.tobytes(), full_utt=True)
    self._decoder.end_utt()
    found = self._decoder.hyp()
    return re.sub(r'\([0-9]+\)|<[^>]*>|\[[^\]]*\]', ' ', found.hypstr) if found else ''


class Whisper(Recognizer):
  """Whisper by faster-whisper: English, beams of 5, no temperature, every clip by itself."""

  def __init__(self, name: str, folder: pathlib.Path):
    package = importlib.import_module('faster_whisper')
    self.name = f'whisper-{name}'
    self._model = package.WhisperModel(str(folder), local_files_only=True)

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the text of all segments."""
    segments, _ = self._model.transcribe(
      wave_N.astype(np.float32),
      language='en',
      beam_size=5,
      temperature=0.0,
      condition_on_previous_text=False,
    )
    return ' '.join(segment.text.strip() for segment in segments)


def _pocketsphinx(path) -> Recognizer | str:
  del path
  return ', '.join(checkpoints.missing_package('pocketsphinx', INSTALL_COMMAND)) or Pocketsphinx()


def _whisper(path, name: str) -> Recognizer | str:
  where = checkpoints.folder(path)
  folder = where / f'faster-whisper-{name}' if where else None
  reasons = checkpoints.missing_package('faster-whisper', INSTALL_COMMAND)
  if not folder or not (folder / 'model.bin').is_file():
    reasons.append(f'weights faster-whisper-{name} missing')
  return ', '.join(reasons) or Whisper(name, folder)


# From the folder of weights to a recognizer, or to what is missing.
RECOGNIZERS: dict[str, Callable[[pathlib.Path | None], Recognizer | str]] = {
  'world': lambda path: SyntheticRecognizer(),
  'pocketsphinx': _pocketsphinx,
  **{f'whisper-{name}': functools.partial(_whisper, name=name) for name in WHISPER_MODELS},
}


def load(
  names: Iterable[str], path: pathlib.Path | str | None = None
) -> list[Recognizer | embedder_lib.Missing]:
  """Returns recognizers in the order of their names, a Missing for each that cannot be had.

  Args:
    names: some of RECOGNIZERS.
    path: folder of weights, see checkpoints.folder.

  Raises:
    ValueError: an unknown name.
  """
  names = list(names)
  unknown = [name for name in names if name not in RECOGNIZERS]
  if unknown:
    raise ValueError(f'recognizers must be of {", ".join(RECOGNIZERS)}; got {", ".join(unknown)}.')
  made = [(name, RECOGNIZERS[name](path)) for name in names]
  return [embedder_lib.Missing(name, got, (METRIC,)) if isinstance(got, str) else got for name, got in made]


def load_available() -> list[Recognizer | embedder_lib.Missing]:
  """Returns all recognizers that can be had, and what lacks to one where none of its kind can."""
  found = load(RECOGNIZERS)
  has_whisper = any(isinstance(each, Whisper) for each in found)
  hidden = set(WHISPER_MODELS) if has_whisper else set(WHISPER_MODELS[:-1])
  return [
    each
    for each in found
    if not isinstance(each, embedder_lib.Missing) or each.name.removeprefix('whisper-') not in hidden
  ]


def count_word_errors(spoken: str, heard: str) -> tuple[int, int]:
  """Returns the errors of what was heard, and the words of what was spoken, both normalized."""
  known, found = normalize(spoken), normalize(heard)
  result = jiwer.process_words(' '.join(known), ' '.join(found))
  return result.substitutions + result.deletions + result.insertions, len(known)


def word_error_rate(scores: Sequence[tuple[int, int]]) -> float | None:
  """Returns eq. 1 of errors and words of each clip; None where no word is spoken."""
  num_errors, num_words = np.sum(scores, axis=0)
  return float(num_errors / num_words) if num_words else None


class SpeechMetrics:
  """The table of word error rates by clips that have words, a figure a recognizer; see `tables.Table`."""

  key, title = 'speech', 'words, by recognizers'

  def __init__(self, recognizers: Sequence[Recognizer | embedder_lib.Missing] | None = None):
    """Args: recognizers; None for all that can be had, and what is missing of one of each kind."""
    self._recognizers = recognizers

  @functools.cached_property
  def metrics(self) -> dict[str, tables.Metric]:
    """Its figures by name."""
    return {
      f'{METRIC}_{each.name}': tables.Metric(
        f'word error rate by {each.name}',
        word_error_rate,
        unavailable_reason=each.note if isinstance(each, embedder_lib.Missing) else '',
      )
      for each in self._loaded
    }

  @functools.cached_property
  def _loaded(self) -> Sequence[Recognizer | embedder_lib.Missing]:
    return load_available() if self._recognizers is None else self._recognizers

  def make_references(self, cases: Sequence[examples.Example], sample_rate_hz: int) -> list[str]:
    """Returns what is spoken in each clip."""
    del sample_rate_hz
    return [case.truth['transcript'] or '' for case in cases]

  def scores(self, waves: Sequence[np.ndarray], sample_rate_hz: int, known: Sequence[str]) -> dict[str, list]:
    """Returns by figure errors and words of each soundtrack; None where nothing is spoken."""
    heard = [
      spectra.resample(wave_NA, sample_rate_hz).mean(axis=1) if normalize(text) else None
      for wave_NA, text in zip(waves, known)
    ]
    return {f'{METRIC}_{each.name}': _scores(each, heard, known) for each in self._loaded}


def _scores(recognizer: Recognizer | embedder_lib.Missing, heard: Sequence, known: Sequence[str]) -> list:
  if isinstance(recognizer, embedder_lib.Missing):
    return [None] * len(known)
  return [
    None if wave_N is None else count_word_errors(text, recognizer.transcribe(wave_N))
    for wave_N, text in zip(heard, known)
  ]
