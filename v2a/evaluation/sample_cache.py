"""Soundtracks on disk: a cache of generated ones, and folders of those of other systems.

The key of a cached soundtrack is the hash of all that determines it: weights, settings, version of this
package, and the condition (frames, texts and seed). It is stored as 16-bit WAV and evaluated as read from the
file, so that a continued comparison gives the same result as an uninterrupted one.

A folder of another system contains one WAV file per clip, NAME.wav for the clip NAME.
"""

import collections
from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import statistics
import time

import numpy as np
import soundfile

import v2a
from v2a import file_names
from v2a import files
from v2a import weights
from v2a.data import examples as examples_lib
from v2a.evaluation import costs
from v2a.evaluation import evaluator
from v2a.evaluation import systems
from v2a.media import audio_file
from v2a.media import level
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

# Fields of a request that are part of the condition.
_CONDITION_FIELDS = (
  'generator', 'num_samples', 'seed', 'prompt', 'negative_prompt', 'transcript', 'word_times_s')  # fmt: skip
FOLDER = 'soundtracks'  # in the folder of an evaluation
_ABOUT = 'about.json'
# Largest difference in length of a soundtrack and its clip; it is truncated, or padded with silence. The
# soundtrack of a video may be longer by any amount.
LENGTH_TOLERANCE_S = 0.05
# Number of names in an error message.
_NUM_NAMED = 3


def cache_key(model: bundle.Bundle, request: request_lib.Request, batch_size: int) -> dict:
  """Returns, JSON-able, all that determines a soundtrack except the condition.

  Args:
    model: see v2a.sampling.bundle.load.
    request: its sampling settings; texts and seed are part of the condition.
    batch_size: matmul results depend on the batch size.
  """
  # The weights identify the generator, whether it was named or is the model's first.
  settings = {
    name: value for name, value in dataclasses.asdict(request).items() if name not in _CONDITION_FIELDS
  }
  platform = model.mesh.devices.flat[0].platform
  # Sharded matmuls sum in another order.
  sharding = {name: model.mesh.shape[name] for name in ('context', 'tensor') if model.mesh.shape[name] > 1}
  return {
    'version': v2a.__version__,
    'model': model.digest(request.generator),
    'request': settings,
    'batch_size': batch_size,
    'platform': platform,
    **({'mesh': sharding} if sharding else {}),
  }


def adapt(
  model: bundle.Bundle, request: request_lib.Request, batch_size: int, folder: pathlib.Path
) -> tuple[evaluator.System, 'SampleCache']:
  """Returns a model as a system whose soundtracks are cached, see `systems.adapt`, and the cache.

  Args:
    model: see v2a.sampling.bundle.load.
    request: its generator and sampling settings.
    batch_size: soundtracks generated at once.
    folder: of an evaluation; soundtracks are in FOLDER below it.
  """
  cache = SampleCache(folder / FOLDER, cache_key(model, request, batch_size))
  return cache.wrap(systems.adapt(model, request)), cache


def inputs_hash(condition: examples_lib.GenerationInputs) -> str:
  """Returns the hash of the condition of one soundtrack."""
  texts = (condition.text, condition.negative_text, condition.transcript, condition.seed,
           condition.word_times_s, condition.num_audio_samples)  # fmt: skip
  frames = weights.array_hash(condition.semantic_frame_MYX3, condition.sync_frame_LYX3)
  return hashlib.sha256(json.dumps([*texts, frames]).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class MeasuredCosts:
  """Measured costs of generation.

  Attributes:
    wall_s: median time per soundtrack, in batches, without compilation; None if nothing was generated.
    peak_bytes: peak memory during generation.
  """

  wall_s: float | None
  peak_bytes: int | None


class SampleCache:
  """A cache of the soundtracks of a system in a folder."""

  def __init__(self, folder: pathlib.Path, key: Mapping):
    """Args: folder: of the soundtracks of all models. key: of `cache_key`."""
    text = json.dumps(key, sort_keys=True)
    self._folder = pathlib.Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
    self._key = dict(key)
    self._batches_s: list[float] = []
    self._peak_bytes: int | None = None
    if (self._folder / _ABOUT).is_file():
      about = json.loads((self._folder / _ABOUT).read_text())
      self._batches_s, self._peak_bytes = about['batches_s'], about['peak_bytes']
    self._seen: set[tuple[bool, bool]] = set()
    self._memory: costs.PeakMemory | None = None

  def wrap(self, system: evaluator.System) -> evaluator.System:
    """Returns the system with a cache: a batch is generated only if one of its soundtracks is not cached.

    Batches are generated whole, since soundtracks depend on the batch size by rounding.
    """
    return dataclasses.replace(system, generate=lambda conditions: self._generate(system, conditions))

  @property
  def measured_costs(self) -> MeasuredCosts:
    """Costs of generation."""
    wall_s = statistics.median(self._batches_s) if self._batches_s else None
    return MeasuredCosts(wall_s, self._peak_bytes)

  def _generate(
    self, system: evaluator.System, conditions: Sequence[examples_lib.GenerationInputs]
  ) -> np.ndarray:
    paths = [self._folder / f'{inputs_hash(condition)[:32]}.wav' for condition in conditions]
    if not all(path.is_file() for path in paths):
      wave_BNA = self._run(system, conditions)
      self._folder.mkdir(parents=True, exist_ok=True)
      for path, wave_NA in dict(zip(paths, wave_BNA)).items():
        audio_file.wav(path, wave_NA, system.sample_rate_hz)
      self._write_costs()
    return np.stack([_read_wav(path)[0] for path in paths])

  def _run(self, system: evaluator.System, conditions: Sequence[examples_lib.GenerationInputs]) -> np.ndarray:
    self._memory = self._memory or costs.PeakMemory()
    start = time.perf_counter()
    wave_BNA = np.asarray(system.generate(conditions))
    # The first batch of each kind includes compilation, and is not timed.
    kind = any(each.transcript for each in conditions), any(each.negative_text for each in conditions)
    if kind not in self._seen and not self._batches_s:
      start = time.perf_counter()
      system.generate(conditions)
      self._seen.add(kind)
    if kind in self._seen:
      self._batches_s.append((time.perf_counter() - start) / len(conditions))
    self._seen.add(kind)
    if wave_BNA.ndim != 3 or not np.isfinite(wave_BNA).all():
      raise ValueError(f"model '{system.name}' returned {wave_BNA.shape}, or NaN or infinity.")
    self._peak_bytes = max(self._peak_bytes or 0, self._memory.read())
    return wave_BNA

  def _write_costs(self) -> None:
    about = {'key': self._key, 'batches_s': self._batches_s, 'peak_bytes': self._peak_bytes}
    files.write_text(self._folder / _ABOUT, json.dumps(about, indent=1))


@dataclasses.dataclass(frozen=True)
class ExternalSamples:
  """The soundtracks of another system.

  Attributes:
    system: for `evaluator.evaluate`.
    silent: names of clips with a silent soundtrack; they are evaluated like others.
    length_adjusted: names of clips whose soundtrack was truncated, or padded by at most LENGTH_TOLERANCE_S.
    unused: names of files in the folder without an evaluated clip.
    num_channels: numbers of channels of the files, ascending; mixed to that of the clips.
  """

  system: evaluator.System
  silent: list[str]
  length_adjusted: list[str]
  unused: list[str]
  num_channels: list[int]


def is_wav_folder(path: pathlib.Path) -> bool:
  """Returns whether a folder contains WAV files, not counting subfolders."""
  return path.is_dir() and any(_wavs(path))


def _wavs(path: pathlib.Path) -> list[pathlib.Path]:
  return sorted(child for child in path.iterdir() if child.suffix.lower() == '.wav' and child.is_file())


def read_folder(
  path: pathlib.Path, examples: Sequence[examples_lib.Example], clip_rate_hz: int, name: str = ''
) -> ExternalSamples:
  """Returns the soundtracks in a folder as a system.

  A soundtrack with another number of channels than the clips is downmixed to mono, and repeated.

  Args:
    path: contains NAME.wav for each clip NAME.
    examples: the clips.
    clip_rate_hz: rate of their sounds.
    name: of the system in reports; '' is the folder's name.

  Raises:
    ValueError: a soundtrack is missing, unreadable, too long or too short, or sample rates differ; the
      message names the file.
  """
  path, name = pathlib.Path(path), name or pathlib.Path(path).name
  wavs = {file_names.printable(file.stem): file for file in _wavs(path)}
  num_named = collections.Counter(example.name for example in examples)
  if shared := sorted(name for name, num in num_named.items() if num > 1):
    raise ValueError(
      f'{path}: several clips share the name {_some(shared)}; a soundtrack must belong to one clip.'
    )
  missing = [example.name for example in examples if example.name not in wavs]
  unused = sorted(set(wavs) - {example.name for example in examples})
  if missing:
    others = f'; it holds {_some(unused)}, of no clip of the set' if unused else ''
    raise ValueError(
      f'{path} lacks {len(missing)} of {len(examples)} soundtracks: wanted {_some(missing)}{others}.'
    )
  waves: dict[str, np.ndarray] = {}
  silent, length_adjusted, nums_channels = [], [], set()
  rate_hz = _common_rate_hz(path, [wavs[example.name] for example in examples])
  num_samples, num_channels = examples[0].wave_NA.shape
  for example in examples:
    wave_NA = _read(wavs[example.name])
    nums_channels.add(wave_NA.shape[1])
    num_expected = round(num_samples / clip_rate_hz * rate_hz)
    # Only the first seconds of a video and its soundtrack are evaluated.
    too_long = example.video is None and len(wave_NA) - num_expected > LENGTH_TOLERANCE_S * rate_hz
    if too_long or num_expected - len(wave_NA) > LENGTH_TOLERANCE_S * rate_hz:
      raise ValueError(
        f'{wavs[example.name]} lasts {len(wave_NA) / rate_hz:.3f} s; '
        f'its clip lasts {num_expected / rate_hz:.3f} s.'
      )
    length_adjusted += [example.name] if len(wave_NA) != num_expected else []
    silent += [example.name] if level.peak(wave_NA) == 0 else []
    wave_NA = np.pad(wave_NA[:num_expected], ((0, max(0, num_expected - len(wave_NA))), (0, 0)))
    if wave_NA.shape[1] != num_channels:
      wave_NA = np.repeat(wave_NA.mean(axis=1, keepdims=True), num_channels, axis=1)
    waves[example.name] = wave_NA
  generate = lambda conditions: np.stack([waves[condition.name] for condition in conditions])
  system = evaluator.System(name, generate, None, rate_hz, is_external=True)
  return ExternalSamples(system, silent, length_adjusted, unused, sorted(nums_channels))


def _read_wav(path: pathlib.Path) -> tuple[np.ndarray, int]:
  # By file object, since soundfile encodes names strictly.
  with path.open('rb') as file:
    return soundfile.read(file, dtype='float32', always_2d=True)


@contextlib.contextmanager
def _unreadable_is_value_error(path: pathlib.Path) -> Generator[None]:
  try:
    yield
  except (soundfile.SoundFileError, OSError) as error:
    raise ValueError(f'{path} cannot be read as a wav file: {" ".join(str(error).split())}') from error


def _common_rate_hz(folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> int:
  """Returns the sample rate of all files, from their headers.

  A system has one rate: level and bandwidth are measured at it, and depend on it.
  """
  by_rate: dict[int, list[pathlib.Path]] = {}
  for path in paths:
    with _unreadable_is_value_error(path), path.open('rb') as file:
      by_rate.setdefault(soundfile.info(file).samplerate, []).append(path)
  if len(by_rate) > 1:
    counts = ', '.join(
      f'{rate_hz} Hz in {len(found)} (such as {found[0].name})' for rate_hz, found in sorted(by_rate.items())
    )
    raise ValueError(f'{folder} must hold wav files of one sample rate; got {counts}.')
  return next(iter(by_rate))


def _read(path: pathlib.Path) -> np.ndarray:
  with _unreadable_is_value_error(path):
    wave_NA, _ = _read_wav(path)
  if not wave_NA.size or not np.isfinite(wave_NA).all():
    raise ValueError(f'{path} holds no sound, or NaN or infinity.')
  return wave_NA


def _some(names: Sequence[str]) -> str:
  more = len(names) - _NUM_NAMED
  return ', '.join(names[:_NUM_NAMED]) + (f' and {more} more' if more > 0 else '')
