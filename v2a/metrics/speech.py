"""Speech recognizers, and the word error rate of a set of clips.

  WER = (substitutions + deletions + insertions) / words of the references,  all clips together       (1)

by jiwer, on normalized words (`normalize`): Unicode NFKC, lower case, straight apostrophes, everything but
letters, digits and apostrophes within words replaced by spaces; each Chinese or Japanese character is a word.
Numbers are not spelled out: "20" and "twenty" are different words, as in jiwer and unlike Whisper's
normalizer. Clips without speech are not counted.

  synthetic      the project's own, only for the synthetic voice and its vocabulary
  pocketsphinx   English, with the model of its package
  whisper-NAME   faster-whisper with the folder faster-whisper-NAME of the weights, see `checkpoints.folder`
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import functools
import importlib
import importlib.metadata
import pathlib
import re
from typing import Protocol
import unicodedata

import jiwer
import numpy as np

from v2a.metrics import classifiers
from v2a.metrics import metric
from v2a.metrics import spectra
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import checkpoints

METRIC = 'wer'
NO_TRANSCRIPT = 'no clip of the set has a transcript'
INSTALL_COMMAND = "pip install 'v2a[speech]'"
WHISPER_MODELS = ('tiny.en', 'base.en', 'small.en', 'medium.en', 'large-v3', 'large-v3-turbo')
_DESCRIPTIONS = {
  'synthetic': 'the recognizer of the synthetic voice, which is no evidence of intelligibility'
}
_APOSTROPHES = str.maketrans('\u2018\u2019\u02bc\u00b4`', "'''''")
_CHARACTER_WORDS = re.compile('([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])')


def normalize(text: str) -> list[str]:
  """Returns the normalized words of a text, see the module docstring."""
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
    """Returns the transcription of a mono waveform at spectra.RATE_HZ, not normalized."""


class SyntheticRecognizer(Recognizer):
  """The project's own recognizer, see v2a.metrics.recognizer."""

  name = 'synthetic'

  def __init__(self):
    self._classifiers = classifiers.load_some(classifiers.FOLDER, ('words',))

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the recognized words, all of the synthetic vocabulary."""
    return ' '.join(self._classifiers.words(wave_N[:, None]))


class Pocketsphinx(Recognizer):
  """CMU Sphinx with the English model of its package; it recognizes only words of its dictionary."""

  name = 'pocketsphinx'

  def __init__(self):
    package = importlib.import_module('pocketsphinx')
    self._decoder = package.Decoder(samprate=float(spectra.RATE_HZ), loglevel='FATAL')

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the best hypothesis."""
    # Dither of one quantization step, with a fixed seed: on digital silence the decoder outputs random words.
    dither_N = np.random.default_rng(0).uniform(-1.0, 1.0, len(wave_N))
    sample_N = np.rint(np.clip(wave_N, -1.0, 1.0) * 32766 + dither_N).astype('<i2')
    # Features are normalized by statistics of earlier utterances, unless these are reset.
    self._decoder.reinit_feat()
    self._decoder.start_utt()
    self._decoder.process_raw(sample_N.tobytes(), full_utt=True)
    self._decoder.end_utt()
    found = self._decoder.hyp()
    return re.sub(r'\([0-9]+\)|<[^>]*>|\[[^\]]*\]', ' ', found.hypstr) if found else ''


class Whisper(Recognizer):
  """Whisper by faster-whisper: English, beam size 5, temperature 0, no context from other segments."""

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


def _pocketsphinx(path: pathlib.Path | str | None) -> Recognizer | str:
  del path
  return ', '.join(_missing_pocketsphinx()) or Pocketsphinx()


def _missing_pocketsphinx() -> list[str]:
  return checkpoints.missing_package('pocketsphinx', INSTALL_COMMAND)


def _whisper(path: pathlib.Path | str | None, name: str) -> Recognizer | str:
  if reasons := _missing_whisper(path, name):
    return ', '.join(reasons)
  weights = checkpoints.folder(path)
  assert weights is not None  # else they are missing
  return Whisper(name, weights / f'faster-whisper-{name}')


def _missing_whisper(path: pathlib.Path | str | None, name: str) -> list[str]:
  reasons = checkpoints.missing_package('faster-whisper', INSTALL_COMMAND)
  weights = checkpoints.folder(path)
  if weights is None or not (weights / f'faster-whisper-{name}' / 'model.bin').is_file():
    reasons = [*reasons, f'weights faster-whisper-{name} missing']
  return reasons


# Functions from the folder of weights to a recognizer, or to what is missing.
RECOGNIZERS: dict[str, Callable[[pathlib.Path | str | None], Recognizer | str]] = {
  'synthetic': lambda path: SyntheticRecognizer(),
  'pocketsphinx': _pocketsphinx,
  **{f'whisper-{name}': functools.partial(_whisper, name=name) for name in WHISPER_MODELS},
}


def load(
  names: Iterable[str], path: pathlib.Path | str | None = None
) -> list[Recognizer | embedder_lib.Missing]:
  """Returns recognizers in the order of their names, a `Missing` for each that is not installed.

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
  loaded = [(name, RECOGNIZERS[name](path)) for name in names]
  return [
    embedder_lib.Missing(name, found, (METRIC,)) if isinstance(found, str) else found
    for name, found in loaded
  ]


def missing(path: pathlib.Path | str | None = None) -> dict[str, list[str]]:
  """Returns what recognizers lack, without loading them; of Whisper the largest model, if none is there.

  Args:
    path: folder of weights, see checkpoints.folder.
  """
  of_whisper = {name: _missing_whisper(path, name) for name in WHISPER_MODELS}
  has_whisper = not all(of_whisper.values())
  found = {
    'pocketsphinx': _missing_pocketsphinx(),
    f'whisper-{WHISPER_MODELS[-1]}': [] if has_whisper else of_whisper[WHISPER_MODELS[-1]],
  }
  return {name: reasons for name, reasons in found.items() if reasons}


def load_one(name: str) -> Recognizer:
  """Returns a recognizer.

  Raises:
    ValueError: an unknown name, or it is not installed.
  """
  (found,) = load([name])
  if isinstance(found, embedder_lib.Missing):
    raise ValueError(f'recognizer {name}: {found.reason}.')
  return found


def load_available() -> list[Recognizer | embedder_lib.Missing]:
  """Returns all installed recognizers, and one `Missing` for each kind of which none is installed."""
  found = load(RECOGNIZERS)
  has_whisper = any(isinstance(each, Whisper) for each in found)
  hidden = set(WHISPER_MODELS) if has_whisper else set(WHISPER_MODELS[:-1])
  return [
    each
    for each in found
    if not isinstance(each, embedder_lib.Missing) or each.name.removeprefix('whisper-') not in hidden
  ]


def count_word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
  """Returns the errors of a hypothesis, and the words of the reference, both normalized."""
  reference_words, hypothesis_words = normalize(reference), normalize(hypothesis)
  result = jiwer.process_words(' '.join(reference_words), ' '.join(hypothesis_words))
  return result.substitutions + result.deletions + result.insertions, len(reference_words)


@dataclasses.dataclass(eq=False, kw_only=True)
class WordErrorRate(metric.Metric):
  """Word error rate over the clips with speech; a score is (errors, words).

  Attributes:
    recognizer: a name of RECOGNIZERS, loaded on first use, or a recognizer.
  """

  group: str = 'speech'
  needs: tuple[metric.Need, ...] = ('truth', 'transcript', 'recognizer')
  no_score_reason: str = NO_TRANSCRIPT
  smallest_effect: float | None = 0.02
  recognizer: str | Recognizer

  def load(self, context: metric.LoadContext) -> 'WordErrorRate | None':
    """Returns a copy with its recognizer loaded; None where `load_available` leaves it out."""
    recognizer, unavailable_reason = self.recognizer, ''
    if isinstance(recognizer, str):
      found = context.memo('recognizers', lambda: {each.name: each for each in load_available()})
      if recognizer not in found:
        return None
      if isinstance(found[recognizer], embedder_lib.Missing):
        unavailable_reason = found[recognizer].note
      else:
        recognizer = found[recognizer]
    return dataclasses.replace(self, recognizer=recognizer, unavailable_reason=unavailable_reason, scores=[])

  def score(self, sample: metric.Sample) -> tuple[int, int] | None:
    """Returns errors and words; None without speech, or where the recognizer is missing."""
    text = sample.reference.ground_truth['transcript'] or ''
    if self.unavailable_reason or not normalize(text):
      return None
    if isinstance(self.recognizer, str):
      self.recognizer = load_one(self.recognizer)
    mono_N = sample.sound.memo('mono', lambda: sample.sound.resampled_NA.astype(np.float64).mean(axis=1))
    return count_word_errors(text, self.recognizer.transcribe(mono_N))

  def combine(self, scores: Sequence[tuple[int, int]]) -> float | None:
    """Returns eq. 1; None without words."""
    num_errors, num_words = np.sum(scores, axis=0)
    return float(num_errors / num_words) if num_words else None


def make_metric(recognizer: str | Recognizer) -> WordErrorRate:
  """Returns the metric of a recognizer, or of a name of RECOGNIZERS, which is loaded on first use."""
  name = recognizer if isinstance(recognizer, str) else recognizer.name
  return WordErrorRate(
    name=f'{METRIC}_{name}',
    description=f'word error rate by {_DESCRIPTIONS.get(name, name)}',
    recognizer=recognizer,
    domain='synthetic' if name == SyntheticRecognizer.name else 'any',
  )
