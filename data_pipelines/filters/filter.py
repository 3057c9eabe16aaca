"""What a filter is: a number of a clip, and a threshold on it.

  measured = filter.measure_all(clip, filters)            numbers, with the reason where there is none
  filter.decide(measured, thresholds)                     None, or why the clip is rejected

Measuring and deciding are separate: the numbers of all clips are stored, so that other thresholds need no
decoding. To add a filter, write a function from a clip to a number, make a `FunctionFilter` of it, and name
it in `registry.py`.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import math
from typing import Any
from typing import Protocol

import numpy as np

from data_pipelines import decoded

NO_SOUND = 'no sound'
NO_VIDEO = 'no video'


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What a filter says about a clip.

  Attributes:
    value: the number; None where there is none.
    reason: why there is none; '' where there is one.
    details: further numbers by name, such as the sides of a crop box.
  """

  value: float | None
  reason: str = ''
  details: tuple[tuple[str, float], ...] = ()

  def __post_init__(self):
    if (self.value is None) != bool(self.reason):
      raise ValueError(f'a measurement has a value or a reason; got {self.value} and {self.reason!r}.')

  def to_json(self) -> dict[str, Any]:
    """Returns the measurement as values of JSON, without what is empty."""
    found: dict[str, Any] = {'value': self.value}
    if self.reason:
      found['reason'] = self.reason
    return found | ({'details': dict(self.details)} if self.details else {})

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> 'Measurement':
    """Returns the measurement of `to_json`."""
    return cls(values['value'], values.get('reason', ''), tuple(values.get('details', {}).items()))


class Filter(Protocol):
  """A number of a clip. Filters are sent to worker processes and must be picklable."""

  @property
  def name(self) -> str:
    """Key in the registry, in records and in thresholds."""
    ...

  @property
  def unit(self) -> str:
    """Of the number; '' where it has none."""
    ...

  @property
  def description(self) -> str:
    """What the number means, in a line."""
    ...

  @property
  def unavailable_reason(self) -> str:
    """Why it measures no clip at all, such as missing weights; '' where it does."""
    ...

  @property
  def needs_sync_frames(self) -> bool:
    """Whether it reads DecodedClip.sync_frame_LYX3."""
    ...

  def measure(self, clip: decoded.DecodedClip) -> Measurement:
    """Returns the number of a clip, or why there is none."""
    ...


# A number, or a text that says why there is none.
MeasureFn = Callable[[decoded.DecodedClip], float | str | Measurement]


@dataclasses.dataclass(frozen=True)
class FunctionFilter:
  """A filter by a function of the module level.

  Attributes:
    name, unit, description: see `Filter`.
    function: measures a clip that has what is needed.
    needs_audio, needs_video: whether clips without it have no number.
    needs_sync_frames, unavailable_reason: see `Filter`.
  """

  name: str
  unit: str
  description: str
  function: MeasureFn
  needs_audio: bool = False
  needs_video: bool = False
  needs_sync_frames: bool = False
  unavailable_reason: str = ''

  def measure(self, clip: decoded.DecodedClip) -> Measurement:
    """See `Filter`."""
    reason = self.unavailable_reason or self._missing(clip)
    if reason:
      return Measurement(None, reason)
    found = self.function(clip)
    if isinstance(found, str):
      return Measurement(None, found)
    return found if isinstance(found, Measurement) else Measurement(float(found))

  def _missing(self, clip: decoded.DecodedClip) -> str:
    if self.needs_audio and not clip.has_audio:
      return NO_SOUND
    if self.needs_video and not clip.has_video:
      return NO_VIDEO
    if self.needs_audio and not np.isfinite(clip.wave_NA).all():
      return 'the sound has samples that are not finite'
    return ''


@dataclasses.dataclass(frozen=True)
class UnavailableFilter:
  """A filter for which there is no detector: all clips have the reason in place of a number.

  Attributes:
    name, unit, description, unavailable_reason: see `Filter`.
  """

  name: str
  unit: str
  description: str
  unavailable_reason: str
  needs_sync_frames: bool = False

  def measure(self, clip: decoded.DecodedClip) -> Measurement:
    """See `Filter`."""
    del clip
    return Measurement(None, self.unavailable_reason)


@dataclasses.dataclass(frozen=True)
class Threshold:
  """Which numbers of a filter are accepted. Without limits the number is only recorded.

  Attributes:
    min, max: inclusive limits, in the unit of the filter; None for no limit.
    is_required: whether a clip without a number is rejected.
  """

  min: float | None = None
  max: float | None = None
  is_required: bool = False

  def __post_init__(self):
    limits = [limit for limit in (self.min, self.max) if limit is not None]
    if any(not math.isfinite(limit) for limit in limits) or limits != sorted(limits):
      raise ValueError(f'a threshold needs finite min <= max; got min={self.min}, max={self.max}.')


@dataclasses.dataclass(frozen=True)
class Rejection:
  """Why a clip is rejected.

  Attributes:
    filter: name of the filter, by which rejections are counted.
    text: the number and the limit.
  """

  filter: str
  text: str

  def __str__(self) -> str:
    return f'{self.filter}: {self.text}'


def measure_all(clip: decoded.DecodedClip, filters: Iterable[Filter]) -> dict[str, Measurement]:
  """Returns the measurement of each filter by its name."""
  return {each.name: each.measure(clip) for each in filters}


def decide(
  measured: Mapping[str, Measurement | float | None], thresholds: Mapping[str, Threshold]
) -> Rejection | None:
  """Returns why a clip is rejected, by the first threshold that it misses; None if it is accepted.

  A clip without a number is accepted, unless the threshold requires one: a filter that does not apply to a
  clip says nothing against it.

  Args:
    measured: numbers, or measurements, by the name of the filter.
    thresholds: by the name of the filter; see `check`.

  Raises:
    KeyError: a filter with a threshold was not measured.
  """
  for name, threshold in thresholds.items():
    found = measured[name]
    value = found.value if isinstance(found, Measurement) else found
    if value is None:
      if threshold.is_required:
        reason = found.reason if isinstance(found, Measurement) else ''
        return Rejection(name, f'no value ({reason or "not measured"})')
    elif threshold.min is not None and not value >= threshold.min:
      return Rejection(name, f'{value:.6g} is below {threshold.min:g}')
    elif threshold.max is not None and not value <= threshold.max:
      return Rejection(name, f'{value:.6g} is above {threshold.max:g}')
  return None


def check(thresholds: Mapping[str, Threshold], filters: Iterable[Filter]) -> None:
  """Checks thresholds before any work is done.

  Raises:
    ValueError: a threshold has no filter, or that of a filter that cannot be computed has limits.
  """
  by_name = {each.name: each for each in filters}
  for name, threshold in thresholds.items():
    if name not in by_name:
      raise ValueError(f'there is no filter {name!r}; the filters are {", ".join(by_name)}.')
    reason = by_name[name].unavailable_reason
    if reason and threshold != Threshold():
      raise ValueError(f'filter {name} has a threshold, but cannot be computed: {reason}.')


def thresholds_from_json(values: Mapping[str, Any]) -> dict[str, Threshold]:
  """Returns thresholds of a configuration, such as {'peak': {'min': -40, 'is_required': true}}.

  Raises:
    ValueError: a key is unknown, or a limit is not a number.
  """
  fields = {field.name for field in dataclasses.fields(Threshold)}
  found = {}
  for name, limits in values.items():
    limits = dict(limits) if isinstance(limits, Mapping) else {'': limits}
    if unknown := sorted(set(limits) - fields):
      raise ValueError(f'threshold of {name}: got {", ".join(map(repr, unknown))}; wanted {sorted(fields)}.')
    for key in ('min', 'max'):
      value = limits.get(key)
      if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f'threshold of {name}: {key} must be a number or null; got {value!r}.')
    if not isinstance(limits.get('is_required', False), bool):
      raise ValueError(f'threshold of {name}: is_required must be true or false.')
    found[name] = Threshold(**limits)
  return found


def thresholds_to_json(thresholds: Mapping[str, Threshold]) -> dict[str, Any]:
  """Returns thresholds as values of JSON, for a manifest."""
  return {name: dataclasses.asdict(threshold) for name, threshold in thresholds.items()}
