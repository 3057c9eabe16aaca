"""The interface of metrics: one score per sample, and one value of all scores.

A metric maps a sample (a soundtrack and its reference) to a score, and the scores of all samples to its
value. A score is a number, a small tuple, or whatever `combine` reads; None where the metric is not defined
for the sample. Since a value depends on scores alone, intervals and paired tests resample scores without
measuring again, and scores of several processes are merged by concatenation:

  metric = registry.get('onset_flux_f1')
  metric.update(samples)
  metric.merge(metric_of_another_process)
  metric.compute()
"""

import abc
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any
from typing import Literal

import numpy as np

from v2a.data import examples
from v2a.data import record_schema
from v2a.media import probe
from v2a.media import read
from v2a.metrics import bootstrap
from v2a.metrics import spectra
from v2a.metrics.embedders import frames as frames_lib
from v2a.synthetic import truth as truth_lib

Score = Any
SMALLEST_RELATIVE_EFFECT = 0.02
NO_MEASUREMENT = 'the sounds allow no measurement (one channel, or a truth without variation)'
Direction = Literal['higher', 'lower']
# The floor (mismatched-condition baseline) is measured on the soundtrack of the next example that the metric
# selects, or of the next one whose true sound has no music; statistics of sets have none.
Floor = Literal['next', 'without_music', 'none']
# The ceiling (codec upper bound) is measured on the true sounds through the codec, as they are or without
# off-screen music that the annotation does not mention, which no system has to generate.
Ceiling = Literal['codec', 'codec_without_music']


class NotComputableError(ValueError):
  """The value is not defined for the scores; the message is the reason."""


class _Memo:
  """Caches values that are computed from an object, so that several metrics share them."""

  def memo(self, key: Any, compute: Callable[[], Any]) -> Any:
    """Returns what `compute` returned on the first call with this key."""
    cached = self.__dict__.setdefault('_memo', {})
    if key not in cached:
      cached[key] = compute()
    return cached[key]


@dataclasses.dataclass(eq=False)
class Sound(_Memo):
  """A waveform.

  Attributes:
    wave_NA: the waveform, full scale 1.
    sample_rate_hz: its rate.
  """

  wave_NA: np.ndarray
  sample_rate_hz: int

  @functools.cached_property
  def resampled_NA(self) -> np.ndarray:
    """The waveform at spectra.RATE_HZ, float32."""
    if self.sample_rate_hz == spectra.RATE_HZ:
      return self.wave_NA.astype(np.float32, copy=False)
    return spectra.resample(self.wave_NA, self.sample_rate_hz).astype(np.float32)


@dataclasses.dataclass(eq=False)
class Reference(_Memo):
  """The reference of the soundtracks of one clip. Scoring raises where a metric needs a field that is None.

  Attributes:
    sound: the true sound.
    truth: as v2a.synthetic.clips.SyntheticClip.truth; for a video, the fields of its sidecar.
    frame_LYX3: the frames of the video.
    fps: their rate.
    video: the video file that starts with the clip; None where there is no file.
    onset_shift_s: circular shift of the known onsets or motion peaks, for the time-shifted floor.
  """

  sound: Sound | None = None
  truth: Mapping | None = None
  frame_LYX3: np.ndarray | None = None
  fps: float | None = None
  video: pathlib.Path | None = None
  onset_shift_s: float = 0.0

  @classmethod
  def of_example(cls, example: examples.Example, sample_rate_hz: int) -> 'Reference':
    """Returns the reference of an example.

    Args:
      example: the clip.
      sample_rate_hz: rate of its waveform.
    """
    frame_LYX3 = example.frames[1]
    fps = len(frame_LYX3) * sample_rate_hz / len(example.wave_NA)
    sound = Sound(record_schema.wave_to_float(example.wave_NA), sample_rate_hz)
    return cls(sound, example.truth, frame_LYX3, fps, example.video)

  @property
  def true_sound(self) -> Sound:
    """The true sound; raises ValueError where there is none."""
    if self.sound is None:
      raise ValueError('the reference has no true sound.')
    return self.sound

  @property
  def ground_truth(self) -> Mapping:
    """The truth; raises ValueError where there is none."""
    if self.truth is None:
      raise ValueError('the reference has no truth.')
    return self.truth

  @property
  def frames_and_fps(self) -> tuple[np.ndarray, float]:
    """The frames of the video and their rate; raises ValueError where either is missing."""
    if self.frame_LYX3 is None or self.fps is None:
      raise ValueError('the reference has no frames, or no frame rate.')
    return self.frame_LYX3, self.fps

  @property
  def is_synthetic(self) -> bool:
    """Whether the clip is one of the synthetic set."""
    return (self.truth or {}).get('scene', truth_lib.VIDEO_SCENE) != truth_lib.VIDEO_SCENE

  @property
  def duration_s(self) -> float:
    """Length of the true sound in seconds."""
    return len(self.true_sound.wave_NA) / self.true_sound.sample_rate_hz

  def shift_onsets(self, time_s: np.ndarray) -> np.ndarray:
    """Returns times of onsets with the shift of this reference, ascending."""
    return np.sort((time_s + self.onset_shift_s) % self.duration_s) if self.onset_shift_s else time_s

  def with_onset_shift(self, onset_shift_s: float) -> 'Reference':
    """Returns this reference with onsets at shifted times; both share the cached results of the clip."""
    found = dataclasses.replace(self, onset_shift_s=onset_shift_s)
    found.__dict__['_memo'] = self.__dict__.setdefault('_memo', {})
    return found

  def frame_source(self) -> frames_lib.FrameSource | None:
    """Returns the frames: of a video those of the file, at their own size and rate; None without any."""
    if self.video is not None:
      return frames_lib.Video(self.video, self.duration_s)
    return None if self.frame_LYX3 is None else frames_lib.Frames(*self.frames_and_fps)

  def native_sound(self) -> Sound:
    """Returns the true sound at its own rate; that of a video is read from the file, without resampling.

    It has the number of channels of the clip, as soundtracks do, since a sound is 3 LU louder in two channels
    than in one.
    """
    if self.video is None:
      return self.true_sound
    rate_hz = probe.probe(self.video).audio_sample_rate_hz
    num_channels = self.true_sound.wave_NA.shape[1]
    return Sound(read.wave(self.video, rate_hz, num_channels, 0.0, self.duration_s), rate_hz)


@dataclasses.dataclass(eq=False)
class Sample(_Memo):
  """A soundtrack and its reference."""

  sound: Sound
  reference: Reference


Need = Literal[
  'reference_sound', 'truth', 'frames', 'transcript', 'prompt', 'classifiers', 'recognizer', 'embedder'
]
# Whether a reference has what a metric needs; the metric loads the other needs itself.
_HAS_NEED: dict[Need, Callable[[Reference], bool]] = {
  'reference_sound': lambda reference: reference.sound is not None,
  'truth': lambda reference: reference.truth is not None,
  'prompt': lambda reference: reference.truth is not None,
  'frames': lambda reference: reference.frame_LYX3 is not None or reference.video is not None,
}


@dataclasses.dataclass(eq=False)
class LoadContext(_Memo):
  """How metrics load their networks; those of one network share it by `memo`.

  Attributes:
    embeddings: folder of the cache of embeddings; None caches nothing.
    use_optical_flow: whether metrics that need the optical flow of the video are available.
  """

  embeddings: pathlib.Path | None = None
  use_optical_flow: bool = False


@dataclasses.dataclass(frozen=True)
class Variant:
  """The condition of the soundtracks of a metric: a corruption of the video, and a negative prompt."""

  corruption: str = 'clean'
  negative_text: str = ''


CLEAN_VARIANT = Variant()


@dataclasses.dataclass(eq=False, kw_only=True)
class Metric(abc.ABC):
  """One metric.

  Attributes:
    name: key in the registry and in reports.
    group: of registry.GROUPS.
    description: what it measures, in a few words.
    label: a short name for pages; '' for the name.
    unit: of the value; '' where it has none.
    direction: whether higher or lower values are better; None where neither is.
    needs: its inputs besides the soundtrack.
    domain: clips for which it is defined; 'synthetic' where it uses a network trained on the synthetic set.
    variant: condition of the soundtracks on which it is measured.
    relative_to: of a ratio, the name of the metric in the denominator; None for others.
    floor: see Floor.
    ceiling: see Ceiling.
    has_shifted_floor: whether it also has a floor against onsets or motion peaks shifted in time: a
      regular sound matches some by chance.
    is_set_statistic: whether the value is a statistic of the set of clips, not a mean of scores.
    smallest_effect: smallest difference of two systems that matters, in the unit; None is
      SMALLEST_RELATIVE_EFFECT of the value of the reference system.
    is_per_seed: whether each seed is measured, or only the first.
    unavailable_reason: why it cannot be computed, such as missing weights; '' where it can.
    no_score_reason: the reason to report where none of the selected clips has a score.
    scores: those added by `update` and `merge`.
  """

  name: str
  group: str
  description: str
  label: str = ''
  unit: str = ''
  direction: Direction | None = 'lower'
  needs: tuple[Need, ...] = ()
  domain: Literal['any', 'synthetic'] = 'any'
  variant: Variant = CLEAN_VARIANT
  relative_to: str | None = None
  floor: Floor = 'next'
  ceiling: Ceiling = 'codec'
  has_shifted_floor: bool = False
  is_set_statistic: bool = False
  smallest_effect: float | None = None
  is_per_seed: bool = True
  unavailable_reason: str = ''
  no_score_reason: str = NO_MEASUREMENT
  scores: list[Score | None] = dataclasses.field(default_factory=list, repr=False)

  def __post_init__(self):
    self.label = self.label or self.name

  def load(self, context: LoadContext) -> 'Metric | None':
    """Returns a copy without scores for an evaluation, with its networks loaded.

    A metric that cannot be computed has the reason in `unavailable_reason`.

    Args:
      context: see LoadContext.

    Returns:
      The copy; None where an evaluation leaves the metric out.

    Raises:
      ValueError: weights that are not the published ones.
    """
    del context
    return dataclasses.replace(self, scores=[])

  def selects(self, truth: Mapping) -> bool:
    """Returns whether a clip with this truth counts."""
    del truth
    return True

  @abc.abstractmethod
  def score(self, sample: Sample) -> Score | None:
    """Returns the score of one sample; None where the metric is not defined for it."""

  @abc.abstractmethod
  def combine(self, scores: Sequence[Score]) -> float | None:
    """Returns the value of scores that are not None; None where it is not defined.

    Raises:
      NotComputableError: it is not defined, for a reason that a report should state.
    """

  def score_all(self, samples: Sequence[Sample]) -> list[Score | None]:
    """Returns the score of each sample.

    Raises:
      ValueError: a reference lacks a field that the metric needs.
    """
    for sample in samples:
      for need, is_met in _HAS_NEED.items():
        if need in self.needs and not is_met(sample.reference):
          raise ValueError(f'metric {self.name} needs {need}; a reference has none.')
    return [self.score(sample) for sample in samples]

  def extra_values(self, scores: Sequence[Score]) -> dict[str, float]:
    """Returns further numbers for the entry of the report, by key."""
    del scores
    return {}

  def note(self, scores: Sequence[Score]) -> str:
    """Returns caveats of the value for the report; '' for none."""
    del scores
    return ''

  def interval(self, observed: bootstrap.ObservedScores) -> list[float] | None:
    """Returns the 95 % interval of the value; None where there is none."""
    return bootstrap.interval(observed)

  def has_paired_test(self, scores: Sequence[Score]) -> bool:
    """Returns whether differences of two systems are tested."""
    del scores
    return True

  def update(self, samples: Sequence[Sample]) -> None:
    """Adds the scores of samples."""
    self.scores += self.score_all(samples)

  def merge(self, other: 'Metric') -> None:
    """Adds the scores of the same metric of another process.

    Raises:
      ValueError: it is another metric.
    """
    if other.name != self.name:
      raise ValueError(f'metric {self.name} cannot be merged with {other.name}.')
    self.scores += other.scores

  def compute(self) -> float | None:
    """Returns the value of all scores; None without scores."""
    valid = [score for score in self.scores if score is not None]
    return self.combine(valid) if valid else None
