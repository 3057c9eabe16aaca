"""Soundtracks on disk: a cache of those that a model generated, and folders of those of another system.

A cached soundtrack is named by the hash of all that determines it: the weights, the settings, the program's
version, and the condition (pictures, texts and seed). It is a 16-bit wav file, and is evaluated as read from
that file, so that an interrupted comparison gives the same result when it is continued.

A folder of another system holds one wav file per clip, NAME.wav for the clip NAME.
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
from v2a.data import examples as examples_lib
from v2a.evaluation import costs
from v2a.evaluation import evaluator
from v2a.media import level
from v2a.media import write
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

# The part of a request that the conditions hold.
_OF_CONDITIONS = (
  'generator', 'num_samples', 'seed', 'prompt', 'negative_prompt', 'transcript', 'word_times_s')  # fmt: skip
FOLDER = 'soundtracks'  # where they are kept, in the folder of an evaluation
_ABOUT = 'about.json'
# By how much a soundtrack may be longer or shorter than its clip; it is cut, or padded with silence. One of a
# video may be longer by any amount.
LENGTH_TOLERANCE_S = 0.05
# Names that an error message lists.
_NUM_NAMED = 3


def cache_key(model: bundle.Bundle, request: request_lib.Request, batch_size: int) -> dict:
  """Returns, JSON-able, all that determines a soundtrack but the condition.

  Args:
    model: see v2a.sampling.bundle.load.
    request: how it generates; its texts and seed are those of the conditions.
    batch_size: matmul results depend on the batch size.
  """
  # The weights identify the generator, whether it was named or is the model's first.
  given = {name: value for name, value in dataclasses.asdict(request).items() if name not in _OF_CONDITIONS}
  platform = model.mesh.devices.flat[0].platform
  # Sharded products are summed in another order.
  split = {name: model.mesh.shape[name] for name in ('context', 'tensor') if model.mesh.shape[name] > 1}
  return {
    'version': v2a.__version__,
    'model': model.digest(request.generator),
    'request': given,
    'batch_size': batch_size,
    'platform': platform,
    **({'mesh': split} if split else {}),
  }


def inputs_hash(condition: examples_lib.GenerationInputs) -> str:
  """Returns the hash of what a model is given for one soundtrack."""
  texts = (condition.text, condition.negative_text, condition.transcript, condition.seed,
           condition.word_times_s, condition.num_samples)  # fmt: skip
  pictures = weights.array_hash(condition.semantic_frame_MYX3, condition.sync_frame_LYX3)
  return hashlib.sha256(json.dumps([*texts, pictures]).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class MeasuredCosts:
  """Costs of generation, as far as they are known.

  Attributes:
    wall_s: median time of a soundtrack, in batches, without compiling; None where nothing was generated.
    peak_bytes: peak memory meanwhile.
  """

  wall_s: float | None
  peak_bytes: int | None


class SampleCache:
  """Generates each soundtrack of a system once, and reads it from a folder from then on."""

  def __init__(self, folder: pathlib.Path, key: Mapping):
    """Args: folder: of the soundtracks of all models. key: of `cache_key`."""
    text = json.dumps(key, sort_keys=True)
    self._folder = pathlib.Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
    self._about = {'key': dict(key), 'batches_s': [], 'peak_bytes': None}
    if (self._folder / _ABOUT).is_file():
      self._about = json.loads((self._folder / _ABOUT).read_text())
    self._seen: set[tuple[bool, bool]] = set()
    self._memory: costs.PeakMemory | None = None

  def wrap(self, system: evaluator.System) -> evaluator.System:
    """Returns the system, generating only batches of which a soundtrack is missing.

    Always whole batches, so that a soundtrack does not depend on interruptions.
    """
    return dataclasses.replace(system, generate=lambda conditions: self._generate(system, conditions))

  @property
  def measured_costs(self) -> MeasuredCosts:
    """Costs of generation."""
    seconds = self._about['batches_s']
    return MeasuredCosts(statistics.median(seconds) if seconds else None, self._about['peak_bytes'])

  def _generate(
    self, system: evaluator.System, conditions: Sequence[examples_lib.GenerationInputs]
  ) -> np.ndarray:
    paths = [self._folder / f'{inputs_hash(condition)[:32]}.wav' for condition in conditions]
    if not all(path.is_file() for path in paths):
      wave_BNA = self._run(system, conditions)
      self._folder.mkdir(parents=True, exist_ok=True)
      for path, wave_NA in dict(zip(paths, wave_BNA)).items():
        write.wav(path, wave_NA, system.sample_rate_hz)
      self._write_costs()
    return np.stack([soundfile.read(os.fsencode(path), dtype='float32', always_2d=True)[0] for path in paths])

  def _run(self, system: evaluator.System, conditions: Sequence[examples_lib.GenerationInputs]) -> np.ndarray:
    self._memory = self._memory or costs.PeakMemory()
    start = time.perf_counter()
    wave_BNA = np.asarray(system.generate(conditions))
    # The first batch of each kind compiles a program, which is not timed.
    kind = any(each.transcript for each in conditions), any(each.negative_text for each in conditions)
    if kind not in self._seen and not self._about['batches_s']:
      start = time.perf_counter()
      system.generate(conditions)
      self._seen.add(kind)
    if kind in self._seen:
      self._about['batches_s'].append((time.perf_counter() - start) / len(conditions))
    self._seen.add(kind)
    if wave_BNA.ndim != 3 or not np.isfinite(wave_BNA).all():
      raise ValueError(f"model '{system.name}' returned {wave_BNA.shape}, or NaN or infinity; wanted sound.")
    self._about['peak_bytes'] = max(self._about['peak_bytes'] or 0, self._memory.read())
    return wave_BNA

  def _write_costs(self) -> None:
    files.write_text(self._folder / _ABOUT, json.dumps(self._about, indent=1))


@dataclasses.dataclass(frozen=True)
class ExternalSamples:
  """The soundtracks of another system.

  Attributes:
    system: for `evaluator.evaluate`.
    silent: clips whose soundtrack is silence; they count like all others.
    length_adjusted: clips whose soundtrack was cut, or padded by at most LENGTH_TOLERANCE_S.
    num_unused: files in the folder that belong to no evaluated clip.
  """

  system: evaluator.System
  silent: list[str]
  length_adjusted: list[str]
  num_unused: int


def is_wav_folder(path: pathlib.Path) -> bool:
  """Returns whether a folder holds wav files, not counting subfolders."""
  return path.is_dir() and any(_wavs(path))


def _wavs(path: pathlib.Path) -> list[pathlib.Path]:
  return sorted(child for child in path.iterdir() if child.suffix.lower() == '.wav' and child.is_file())


def read_folder(
  path: pathlib.Path, examples: Sequence[examples_lib.Example], clip_rate_hz: int, name: str = ''
) -> ExternalSamples:
  """Returns the soundtracks in a folder as a system that is evaluated.

  A soundtrack with other channels than the clips is mixed to one channel, and repeated in each.

  Args:
    path: holds NAME.wav for each clip NAME.
    examples: the clips.
    clip_rate_hz: rate of their sounds.
    name: how reports call it; '' is the folder's name.

  Raises:
    ValueError: a soundtrack is missing, unreadable, too long or too short, or has another rate than the
      others; the message names it.
  """
  path, name = pathlib.Path(path), name or pathlib.Path(path).name
  wavs = {file_names.printable(file.stem): file for file in _wavs(path)}
  missing = [example.name for example in examples if example.name not in wavs]
  unused = sorted(set(wavs) - {example.name for example in examples})
  if missing:
    others = f'; it holds {_some(unused)}, of no clip of the set' if unused else ''
    raise ValueError(
      f'{path} lacks {len(missing)} of {len(examples)} soundtracks: wanted {_some(missing)}{others}.'
    )
  waves: dict[str, np.ndarray] = {}
  silent, length_adjusted, rate_hz = [], [], None
  num_samples, num_channels = examples[0].wave_NA.shape
  for example in examples:
    wave_NA, rate_hz = _read(wavs[example.name], rate_hz)
    wanted = round(num_samples / clip_rate_hz * rate_hz)
    # Of a video and its soundtrack only the first seconds are evaluated.
    too_long = example.video is None and len(wave_NA) - wanted > LENGTH_TOLERANCE_S * rate_hz
    if too_long or wanted - len(wave_NA) > LENGTH_TOLERANCE_S * rate_hz:
      raise ValueError(
        f'{wavs[example.name]} lasts {len(wave_NA) / rate_hz:.3f} s; its clip lasts {wanted / rate_hz:.3f} s.'
      )
    length_adjusted += [example.name] if len(wave_NA) != wanted else []
    silent += [example.name] if level.peak(wave_NA) == 0 else []
    wave_NA = np.pad(wave_NA[:wanted], ((0, max(0, wanted - len(wave_NA))), (0, 0)))
    if wave_NA.shape[1] != num_channels:
      wave_NA = np.repeat(wave_NA.mean(axis=1, keepdims=True), num_channels, axis=1)
    waves[example.name] = wave_NA
  generate = lambda conditions: np.stack([waves[condition.name] for condition in conditions])
  system = evaluator.System(name, generate, _resample(clip_rate_hz, rate_hz), rate_hz, is_external=True)
  return ExternalSamples(system, silent, length_adjusted, len(unused))


def _resample(from_hz: int, to_hz: int) -> Callable[[np.ndarray], np.ndarray]:
  """Returns what stands for the codec where there is none: the sound itself, at another rate."""
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
