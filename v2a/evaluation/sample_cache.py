"""Soundtracks on disk: those that a model drew, kept by content, and those that another system made.

A drawn soundtrack is named by the hash of all that decides what is drawn: the weights, the settings, the
program's version, and the condition, which holds pictures, texts and seed. It lies as 16-bit wav, and is
measured as it lies there, so that a comparison that was interrupted ends as if it had not been.

A folder of another system holds one wav a clip, NAME.wav for the clip NAME.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
import time

import numpy as np
import soundfile
import soxr

import v2a
from v2a import file_names
from v2a import files
from v2a import weights
from v2a.data import examples
from v2a.evaluation import costs
from v2a.evaluation import evaluator
from v2a.media import level
from v2a.media import write
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

# What of a request the conditions tell.
_OF_CONDITIONS = (
  'generator', 'num_samples', 'seed', 'prompt', 'negative_prompt', 'transcript', 'word_times_s')  # fmt: skip
FOLDER = 'soundtracks'  # where they are kept, in the folder of an evaluation
_ABOUT = 'about.json'
# So much longer or shorter than its clip a soundtrack may be; it is cut, or followed by silence. One of a
# video may be as much longer as it likes.
LENGTH_TOLERANCE_S = 0.05
# Names that a message lists.
_NUM_NAMED = 3


def cache_key(model: bundle.Bundle, request: request_lib.Request, batch_size: int) -> dict:
  """Returns, JSON-able, all that decides a soundtrack but the condition.

  Args:
    model: see v2a.sampling.bundle.load.
    request: how it draws; its texts and seed are those of the conditions.
    batch_size: products of another size round otherwise, and phases carry rounding far.
  """
  # The generator is told by its weights, whether it was named or is the model's first.
  given = {name: value for name, value in dataclasses.asdict(request).items() if name not in _OF_CONDITIONS}
  platform = model.mesh.devices.flat[0].platform
  # Products that are split add up in another order.
  split = {name: model.mesh.shape[name] for name in ('context', 'tensor') if model.mesh.shape[name] > 1}
  return {
    'version': v2a.__version__,
    'model': model.digest(request.generator),
    'request': given,
    'batch_size': batch_size,
    'platform': platform,
    **({'mesh': split} if split else {}),
  }


def inputs_hash(condition: examples.GenerationInputs) -> str:
  """Returns the hash of what a model is given for one soundtrack."""
  texts = (condition.text, condition.negative_text, condition.transcript, condition.seed,
           condition.word_times_s, condition.num_samples)  # fmt: skip
  pictures = weights.array_hash(condition.semantic_frame_MYX3, condition.sync_frame_LYX3)
  return hashlib.sha256(json.dumps([*texts, pictures]).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class MeasuredCosts:
  """What drawing took, as far as it is known.

  Attributes:
    wall_s: median time of a soundtrack, in batches, without compiling; None where nothing was drawn.
    peak_bytes: the most memory that was held meanwhile.
  """

  wall_s: float | None
  peak_bytes: int | None


class SampleCache:
  """A model of the runner whose soundtracks are drawn once, and read from a folder from then on."""

  def __init__(self, folder: pathlib.Path, key: Mapping):
    """Args: folder: where soundtracks of all models lie. key: JSON-able, all but the condition."""
    text = json.dumps(key, sort_keys=True)
    self._folder = pathlib.Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
    self._about = {'key': dict(key), 'batches_s': [], 'peak_bytes': None}
    if (self._folder / _ABOUT).is_file():
      self._about = json.loads((self._folder / _ABOUT).read_text())
    self._seen: set[tuple[bool, bool]] = set()
    self._memory: costs.PeakMemory | None = None

  def wrap(self, model: evaluator.System) -> evaluator.System:
    """Returns the model, drawing only batches of which a soundtrack is missing.

    Always whole batches, so that a row never stands among others than it would have without a pause.
    """
    return dataclasses.replace(model, generate=lambda conditions: self._generate(model, conditions))

  @property
  def measured_costs(self) -> MeasuredCosts:
    """What drawing took."""
    seconds = self._about['batches_s']
    return MeasuredCosts(statistics.median(seconds) if seconds else None, self._about['peak_bytes'])

  def _generate(self, model: evaluator.System, conditions: Sequence[examples.GenerationInputs]) -> np.ndarray:
    paths = [self._folder / f'{inputs_hash(condition)[:32]}.wav' for condition in conditions]
    if not all(path.is_file() for path in paths):
      wave_BNA = self._draw(model, conditions)
      self._folder.mkdir(parents=True, exist_ok=True)
      for path, wave_NA in dict(zip(paths, wave_BNA)).items():
        write.wav(path, wave_NA, model.sample_rate_hz)
      self._note()
    return np.stack([soundfile.read(os.fsencode(path), dtype='float32', always_2d=True)[0] for path in paths])

  def _draw(self, model: evaluator.System, conditions: Sequence[examples.GenerationInputs]) -> np.ndarray:
    self._memory = self._memory or costs.PeakMemory()
    start = time.perf_counter()
    wave_BNA = np.asarray(model.generate(conditions))
    # Each kind of batch has a program of its own, and the first of a kind compiles it.
    kind = any(each.transcript for each in conditions), any(each.negative_text for each in conditions)
    if kind not in self._seen and not self._about['batches_s']:
      start = time.perf_counter()
      model.generate(conditions)
      self._seen.add(kind)
    if kind in self._seen:
      self._about['batches_s'].append((time.perf_counter() - start) / len(conditions))
    self._seen.add(kind)
    if wave_BNA.ndim != 3 or not np.isfinite(wave_BNA).all():
      raise ValueError(f"model '{model.name}' returned {wave_BNA.shape}, or NaN or infinity; wanted sound.")
    self._about['peak_bytes'] = max(self._about['peak_bytes'] or 0, self._memory.read())
    return wave_BNA

  def _note(self) -> None:
    files.write_text(self._folder / _ABOUT, json.dumps(self._about, indent=1))


@dataclasses.dataclass(frozen=True)
class ExternalSamples:
  """The soundtracks of another system.

  Attributes:
    model: as the runner evaluates it.
    silent: clips whose soundtrack is silence; they count like all others.
    fitted: clips whose soundtrack was cut, or filled up by at most SLACK_S.
    num_unused: files in the folder that are of no clip that is evaluated.
  """

  system: evaluator.System
  silent: list[str]
  length_adjusted: list[str]
  num_unused: int


def is_wav_folder(path: pathlib.Path) -> bool:
  """Returns whether a folder holds wav files right in it."""
  return path.is_dir() and any(_wavs(path))


def _wavs(path: pathlib.Path) -> list[pathlib.Path]:
  return sorted(child for child in path.iterdir() if child.suffix.lower() == '.wav' and child.is_file())


def read_folder(
  path: pathlib.Path, cases: Sequence[examples.Example], clip_rate_hz: int, name: str = ''
) -> ExternalSamples:
  """Returns the soundtracks in a folder as a model that the runner evaluates.

  A soundtrack with other channels than the clips is heard in both channels, or mixed to one.

  Args:
    path: holds NAME.wav for each clip NAME.
    cases: the clips.
    clip_rate_hz: rate of their sounds.
    name: how reports call it; '' is the folder's name.

  Raises:
    ValueError: a soundtrack is missing, cannot be read, is too long or too short, or has another rate than
      the others; the message names it.
  """
  path, name = pathlib.Path(path), name or pathlib.Path(path).name
  wavs = {file_names.printable(file.stem): file for file in _wavs(path)}
  missing = [case.name for case in cases if case.name not in wavs]
  strangers = sorted(set(wavs) - {case.name for case in cases})
  if missing:
    others = f'; it holds {_some(strangers)}, of no clip here' if strangers else ''
    raise ValueError(
      f'{path} lacks {len(missing)} of {len(cases)} soundtracks: wanted {_some(missing)}{others}.'
    )
  waves, silent, fitted, rate_hz = {}, [], [], None
  num_samples, num_channels = cases[0].wave_NA.shape
  for case in cases:
    wave_NA, rate_hz = _read(wavs[case.name], rate_hz)
    wanted = round(num_samples / clip_rate_hz * rate_hz)
    # Of a video the first seconds are evaluated, and so those of the soundtrack of all of it.
    too_long = case.video is None and len(wave_NA) - wanted > LENGTH_TOLERANCE_S * rate_hz
    if too_long or wanted - len(wave_NA) > LENGTH_TOLERANCE_S * rate_hz:
      raise ValueError(
        f'{wavs[case.name]} lasts {len(wave_NA) / rate_hz:.3f} s; its clip lasts {wanted / rate_hz:.3f} s.'
      )
    fitted += [case.name] if len(wave_NA) != wanted else []
    silent += [case.name] if level.peak(wave_NA) == 0 else []
    wave_NA = np.pad(wave_NA[:wanted], ((0, max(0, wanted - len(wave_NA))), (0, 0)))
    if wave_NA.shape[1] != num_channels:
      wave_NA = np.repeat(wave_NA.mean(axis=1, keepdims=True), num_channels, axis=1)
    waves[case.name] = wave_NA
  found = lambda conditions: np.stack([waves[condition.name] for condition in conditions])
  model = evaluator.System(name, found, _resample(clip_rate_hz, rate_hz), rate_hz, is_external=True)
  return ExternalSamples(model, silent, fitted, len(strangers))


def _resample(from_hz: int, to_hz: int) -> Callable[[np.ndarray], np.ndarray]:
  """Returns the round trip that is the ceiling where there is no codec: the sound itself, at another rate."""
  if from_hz == to_hz:
    return lambda wave_BNA: wave_BNA
  return lambda wave_BNA: np.stack([soxr.resample(wave_NA, from_hz, to_hz) for wave_NA in wave_BNA])


def _read(file: pathlib.Path, rate_hz: int | None) -> tuple[np.ndarray, int]:
  try:
    wave_NA, found_hz = soundfile.read(os.fsencode(file), dtype='float32', always_2d=True)
  except (soundfile.SoundFileError, OSError) as error:
    raise ValueError(f'{file} cannot be read as a wav file: {" ".join(str(error).split())}') from error
  if not wave_NA.size or not np.isfinite(wave_NA).all():
    raise ValueError(f'{file} holds no sound, or NaN or infinity.')
  if rate_hz is not None and found_hz != rate_hz:
    raise ValueError(f'{file} has {found_hz} samples a second; the files before it have {rate_hz}.')
  return wave_NA, found_hz


def _some(names: Sequence[str]) -> str:
  more = len(names) - _NUM_NAMED
  return ', '.join(names[:_NUM_NAMED]) + (f' and {more} more' if more > 0 else '')
