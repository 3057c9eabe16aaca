"""What a metric is: a number for a set of soundtracks, made of one score for each of them.

A metric maps a sample (a soundtrack and what it is measured against) to a score, and the scores of all
samples to its value. A score is a small tuple, a number, or whatever `combine` reads; None where the sample
allows no measurement. Since a value depends on scores alone, intervals and paired tests resample scores and
measure nothing again, and scores of several processes are merged by joining them:

  metric = registry.get('onset_flux_f1')
  metric.update(samples)
  metric.merge(metric_of_another_process)
  metric.compute()
"""

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
from v2a.synthetic import truth as truth_lib

Score = Any
SMALLEST_RELATIVE_EFFECT = 0.02
NO_MEASUREMENT = 'the sounds allow no measurement (one channel, or a truth without variation)'
Direction = Literal['higher', 'lower']
# What a floor (mismatched-condition baseline) is measured on: the soundtrack of the next example that the
# metric selects, or of the next one whose true sound has no music; a metric of a set has none.
Floor = Literal['next', 'without_music', 'none']
# What a ceiling (codec upper bound) is measured on: the true sounds through the codec, as they are or without
# off-screen music that the annotation leaves open, which no system has to generate.
Ceiling = Literal['codec', 'codec_without_music']


class NotComputableError(ValueError):
  """The scores do not allow a value; the message is the reason."""


class _Memo:
  """Keeps what was computed of an object, so that several metrics share it."""

  def memo(self, key: Any, compute: Callable[[], Any]) -> Any:
    """Returns what `compute` returned on the first call with this key."""
    known = self.__dict__.setdefault('_memo', {})
    if key not in known:
      known[key] = compute()
    return known[key]


@dataclasses.dataclass(eq=False)
class Sound(_Memo):
  """A waveform.

  Attributes:
    wave_NA: samples, full scale 1.
    sample_rate_hz: their rate.
  """

  wave_NA: np.ndarray
  sample_rate_hz: int

  @functools.cached_property
  def resampled_NA(self) -> np.ndarray:
    """The samples at spectra.RATE_HZ, float32."""
    if self.sample_rate_hz == spectra.RATE_HZ:
      return self.wave_NA.astype(np.float32, copy=False)
    return spectra.resample(self.wave_NA, self.sample_rate_hz).astype(np.float32)


@dataclasses.dataclass(eq=False)
class Reference(_Memo):
  """What soundtracks of one clip are measured against; a metric that needs a part that is None is an error.

  Attributes:
    sound: the true sound.
    truth: as v2a.synthetic.clips.SyntheticClip.truth; of a video with what its sidecar holds.
    frame_LYX3: the picture.
    fps: its rate.
    video: the file whose first seconds the clip is; None where there is none.
    onset_shift_s: by how much the known onsets are shifted, circularly; for the time-shifted floor.
  """

  sound: Sound | None = None
  truth: Mapping | None = None
  frame_LYX3: np.ndarray | None = None
  fps: float | None = None
  video: pathlib.Path | None = None
  onset_shift_s: float = 0.0

  @classmethod
  def of_example(cls, example: examples.Example, sample_rate_hz: int) -> 'Reference':
    """Returns what soundtracks of an example are measured against.

    Args:
      example: the clip.
      sample_rate_hz: rate of its wave.
    """
    frame_LYX3 = example.frames[1]
    fps = len(frame_LYX3) * sample_rate_hz / len(example.wave_NA)
    sound = Sound(record_schema.wave_to_float(example.wave_NA), sample_rate_hz)
    return cls(sound, example.truth, frame_LYX3, fps, example.video)

  @property
  def is_synthetic(self) -> bool:
    """Whether the clip is one of the synthetic set."""
    return (self.truth or {}).get('scene', truth_lib.VIDEO_SCENE) != truth_lib.VIDEO_SCENE

  @property
  def duration_s(self) -> float:
    """Length of the true sound in seconds."""
    return len(self.sound.wave_NA) / self.sound.sample_rate_hz

  def shift_onsets(self, time_s: np.ndarray) -> np.ndarray:
    """Returns known times of onsets with the shift of this reference, ascending."""
    return np.sort((time_s + self.onset_shift_s) % self.duration_s) if self.onset_shift_s else time_s

  def native_sound(self) -> Sound:
    """Returns the true sound at its own rate: of a video read from the file, since resampling changes it."""
    if self.video is None:
      return self.sound
    found = probe.probe(self.video)
    rate_hz, num_channels = found.audio_sample_rate_hz, min(found.audio_channels, 2)
    return Sound(read.wave(self.video, rate_hz, num_channels, 0.0, self.duration_s), rate_hz)


@dataclasses.dataclass(eq=False)
class Sample(_Memo):
  """A soundtrack, and what it is measured against."""

  sound: Sound
  reference: Reference


# What a metric may need, and the field of a Reference that holds it; the others are loaded by the metric.
_REFERENCE_FIELDS = {'reference_sound': 'sound', 'truth': 'truth', 'frames': 'frame_LYX3'}
Need = Literal[
  'reference_sound', 'truth', 'frames', 'transcript', 'prompt', 'classifiers', 'recognizer', 'embedder'
]


@dataclasses.dataclass(frozen=True)
class Variant:
  """Which soundtracks a metric is measured on: those of a picture corruption and a negative prompt."""

  corruption: str = 'clean'
  negative_text: str = ''


CLEAN_VARIANT = Variant()


@dataclasses.dataclass(eq=False, kw_only=True)
class Metric:
  """One metric.

  Attributes:
    name: its key in the registry and in reports.
    group: of registry.GROUPS.
    description: what it measures, a few words.
    label: a short name for pages.
    unit: of the value; '' for a plain ratio.
    direction: which values are better; None where neither is.
    needs: what it reads besides the soundtrack.
    domain: the clips for which it is defined: networks that were trained on the synthetic set have no other.
    variant: the soundtracks that it is measured on.
    relative_to: name of the metric by whose value it is divided; None for none.
    floor: see Floor.
    ceiling: see Ceiling.
    has_shifted_floor: whether it is also measured against onsets at shifted times: any regular sound matches
      some of them.
    is_set_statistic: whether the value is a statistic of the set of clips, not an average over them.
    smallest_effect: the smallest difference of two systems that matters, in the unit; None is
      SMALLEST_RELATIVE_EFFECT of the value of the system that is compared with.
    is_per_seed: whether each seed is measured, or the first alone.
    unavailable_reason: why it cannot be computed, such as missing weights; '' where it can.
    no_score_reason: why no clip has a score, where it selects some.
    scores: what `update` and `merge` collected.
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

  def selects(self, truth: Mapping) -> bool:
    """Returns whether a clip with this truth counts."""
    del truth
    return True

  def score(self, sample: Sample) -> Score | None:
    """Returns the score of one sample; None where it allows none."""
    raise NotImplementedError

  def combine(self, scores: Sequence[Score]) -> float | None:
    """Returns the value of scores that are not None; None where they allow none.

    Raises:
      NotComputableError: they allow none, for a reason that a report should state.
    """
    raise NotImplementedError

  def score_all(self, samples: Sequence[Sample]) -> list[Score | None]:
    """Returns the score of each sample.

    Raises:
      ValueError: a sample lacks what the metric needs.
    """
    for sample in samples:
      for need, field in _REFERENCE_FIELDS.items():
        if need in self.needs and getattr(sample.reference, field) is None:
          raise ValueError(f'metric {self.name} needs {need}; a reference has none.')
    return [self.score(sample) for sample in samples]

  def extra_values(self, scores: Sequence[Score]) -> dict[str, float]:
    """Returns further numbers that stand in the report's entry, by key."""
    del scores
    return {}

  def note(self, scores: Sequence[Score]) -> str:
    """Returns what a reader must know to believe the value, '' for nothing."""
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
    """Returns the value of all scores; None where there are none."""
    known = [score for score in self.scores if score is not None]
    return self.combine(known) if known else None
