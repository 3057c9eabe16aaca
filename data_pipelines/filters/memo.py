"""Values of a clip that several filters read."""

from collections.abc import Callable
import functools
import threading
from typing import TypeVar

from data_pipelines import decoded

T = TypeVar('T')


def of_last_clip(function: Callable[[decoded.DecodedClip], T]) -> Callable[[decoded.DecodedClip], T]:
  """Decorates a function so that each thread holds its result for the clip of the last call."""
  latest = threading.local()

  @functools.wraps(function)
  def remembered(clip: decoded.DecodedClip) -> T:
    if getattr(latest, 'clip', None) is not clip:
      latest.value = function(clip)
      latest.clip = clip
    return latest.value

  return remembered
