"""Words in a sound: recognizers behind one protocol, and the word error rate of a set of clips.

  WER = (substitutions + deletions + insertions) / words of the references,  all clips together       (1)

by jiwer, on words as `normalize` leaves them: Unicode NFKC, lower case, curly apostrophes straight,
anything but letters, digits and apostrophes within words a space; every Chinese or Japanese character is a
word. Numbers are not spelled out: "20" and "twenty" are different words, here as in jiwer and unlike
Whisper's normalizer. A clip without words counts what is heard in it as insertions.

  world          the project's own, for the world's voice and vocabulary alone
  pocketsphinx   English, with the model of its package
  whisper-NAME   faster-whisper with the folder faster-whisper-NAME of the weights, see embedders.checkpoints
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import functools
import hashlib
import importlib
import importlib.metadata
import pathlib
import re
from typing import Protocol
import unicodedata

import jiwer
import numpy as np

from v2a.evaluation import distances
from v2a.evaluation import instruments
from v2a.evaluation import sets
from v2a.evaluation import spectra
from v2a.evaluation.embedders import cache as cache_lib
from v2a.evaluation.embedders import checkpoints
from v2a.evaluation.embedders import embedder as embedder_lib

FIGURE = 'wer'
EXTRA = "pip install 'v2a[speech]'"
WHISPERS = ('tiny.en', 'base.en', 'small.en', 'medium.en', 'large-v3', 'large-v3-turbo')
_TEXT = 'text'
_APOSTROPHES = str.maketrans('\u2018\u2019\u02bc\u00b4`', "'''''")
_CHARACTER_WORDS = re.compile('([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])')


def normalize(text: str) -> list[str]:
  """Returns the words of a text, see the module."""
  text = unicodedata.normalize('NFKC', text.translate(_APOSTROPHES)).lower()
  text = re.sub(r"[^\w']|_", ' ', _CHARACTER_WORDS.sub(r' \1 ', text))
  return [word for word in (part.strip("'") for part in text.split()) if word]


class Recognizer(embedder_lib.Embedder, Protocol):
  """A speech recognizer: an embedder whose one array is a text, so that it shares their cache."""

  reads, figures = ('wave',), (FIGURE,)

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the words heard in a mono wave at spectra.RATE_HZ, as the recognizer writes them."""

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns the text as the array 'text'."""
    wave_N = spectra.prepare(clip.wave_NA, clip.sample_rate_hz).mean(axis=1)
    return {_TEXT: np.array(self.transcribe(wave_N))}


class World(Recognizer):
  """The project's own, see v2a.evaluation.recognizer."""

  name = 'world'

  def __init__(self):
    self._tools = instruments.load_some(instruments.FOLDER, ('words',))
    self.digest = hashlib.sha256((instruments.FOLDER / 'words.npz').read_bytes()).hexdigest()

  def transcribe(self, wave_N: np.ndarray) -> str:
    """Returns the words of the world's vocabulary that are heard."""
    return ' '.join(self._tools.words(wave_N[:, None]))


class Pocketsphinx(Recognizer):
  """CMU Sphinx with the English model that its package carries; words must be in its dictionary."""

  name = 'pocketsphinx'

  def __init__(self):
    package = importlib.import_module('pocketsphinx')
    version = importlib.metadata.version('pocketsphinx')
    self.digest = hashlib.sha256(f'pocketsphinx {version}'.encode()).hexdigest()
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
    version = importlib.metadata.version('faster-whisper')
    parts = f'{self.name} {version} {checkpoints.digest(folder / "model.bin")}'
    self.digest = hashlib.sha256(parts.encode()).hexdigest()
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
  return _lacking('pocketsphinx') or Pocketsphinx()


def _whisper(path, name: str) -> Recognizer | str:
  where = checkpoints.folder(path)
  folder = where / f'faster-whisper-{name}' if where else None
  absent = None if folder and (folder / 'model.bin').is_file() else f'weights faster-whisper-{name} missing'
  reasons = [reason for reason in (_lacking('faster-whisper'), absent) if reason]
  return ', '.join(reasons) or Whisper(name, folder)


def _lacking(package: str) -> str | None:
  try:
    importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return f'package {package} missing ({EXTRA})'
  return None


# From the folder of weights to a recognizer, or to what is missing.
RECOGNIZERS: dict[str, Callable[[pathlib.Path | None], Recognizer | str]] = {
  'world': lambda path: World(),
  'pocketsphinx': _pocketsphinx,
  **{f'whisper-{name}': functools.partial(_whisper, name=name) for name in WHISPERS},
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
  return [embedder_lib.Missing(name, got, (FIGURE,)) if isinstance(got, str) else got for name, got in made]


def errors(spoken: str, heard: str) -> tuple[int, int]:
  """Returns the errors of what was heard, and the words of what was spoken, both normalized."""
  known, found = normalize(spoken), normalize(heard)
  result = jiwer.process_words(' '.join(known), ' '.join(found))
  return result.substitutions + result.deletions + result.insertions, len(known)


def table(
  true: Iterable[embedder_lib.Clip],
  drawn: Iterable[embedder_lib.Clip],
  transcripts: Sequence[str],
  recognizers: Sequence[Recognizer | embedder_lib.Missing],
  cache: cache_lib.Cache | None = None,
  num_draws: int = sets.NUM_DRAWS,
) -> list[sets.Figure]:
  """Returns the word error rate by every recognizer, eq. 1; none is left out.

  Args:
    true: the true sounds, whose rate says how well the recognizer hears this speech at all.
    drawn: the drawn ones, in the same order.
    transcripts: what is spoken in each.
    recognizers: of load.
    cache: of texts; None keeps none.
    num_draws: of the bootstrap over clips; 0 leaves the intervals out.

  Raises:
    ValueError: the numbers of clips and transcripts differ.
  """
  heard = [sets.embed(clips, recognizers, cache) for clips in (true, drawn)]
  nums = [len(transcripts), *(each.num_clips for each in heard)]
  if len(set(nums)) > 1:
    raise ValueError(
      f'wer needs one transcript a clip; got {nums[0]}, {nums[1]} true and {nums[2]} drawn clips.'
    )
  return [_figure(recognizer, heard, transcripts, num_draws) for recognizer in recognizers]


def _figure(
  recognizer, heard: list[sets.Embedded], transcripts: Sequence[str], num_draws: int
) -> sets.Figure:
  if isinstance(recognizer, embedder_lib.Missing):
    return sets.Figure(FIGURE, recognizer.name, None, note=recognizer.note)
  true_N2, drawn_N2 = (
    np.array(
      [errors(text, str(arrays[_TEXT])) for text, arrays in zip(transcripts, each.arrays[recognizer.name])]
    )
    for each in heard
  )
  num_words = int(drawn_N2[:, 1].sum()) if len(drawn_N2) else 0
  if not num_words:
    return sets.Figure(FIGURE, recognizer.name, None, note='not computed: nothing is spoken in these clips')

  def rate(pick) -> float:
    # A draw may hold nothing but clips without words.
    return float(drawn_N2[pick, 0].sum() / max(1, drawn_N2[pick, 1].sum()))

  every = np.arange(len(drawn_N2))
  interval = distances.bootstrap(rate, every, num=num_draws) if num_draws else None
  true_value = float(true_N2[:, 0].sum() / num_words)
  return sets.Figure(
    FIGURE,
    recognizer.name,
    rate(every),
    interval,
    len(true_N2),
    len(drawn_N2),
    true_value,
    f'{num_words} words.',
  )
