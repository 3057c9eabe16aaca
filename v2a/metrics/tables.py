"""What a further table of figures is, beside the figures of the world: measured on any clips' soundtracks.

A table scores each soundtrack against its own clip, and each of its figures makes one number of the scores
of all clips. Whoever evaluates draws the soundtracks, chooses the floor, averages over seeds, and draws clips
anew for intervals and tests (`resampling`), the same way for every table. `runner.TABLES` names those that
are reported.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Protocol

import numpy as np

from v2a.data import examples


@dataclasses.dataclass(frozen=True)
class Metric:
  """One figure of a table.

  Attributes:
    about: what it measures, a few words.
    combine: scores of clips, none of them None, to the figure; None where they allow none.
    is_higher_better: which way it improves.
    notes: scores to further numbers that stand in the report's entry, by key.
    absent: why it cannot be had, such as weights that are missing; '' where it can.
  """

  about: str
  combine: Callable[[Sequence], float | None]
  is_higher_better: bool = False
  extra_values: Callable[[Sequence], dict[str, float]] | None = None
  unavailable_reason: str = ''


class MetricTable(Protocol):
  """A table of figures.

  Attributes:
    key: of the report's object.
    title: over the table.
    figures: by name.
  """

  key: str
  title: str
  metrics: Mapping[str, Metric]

  def make_references(self, cases: Sequence[examples.Example], sample_rate_hz: int) -> list[Any]:
    """Returns what soundtracks of each clip are measured against.

    Args:
      cases: the clips.
      sample_rate_hz: rate of their waves.
    """

  def scores(self, waves: Sequence[np.ndarray], sample_rate_hz: int, known: Sequence[Any]) -> dict[str, list]:
    """Returns by figure one score a soundtrack; None where the sound allows none.

    Args:
      waves: the soundtracks, float, as they were drawn.
      sample_rate_hz: their rate.
      known: what `know` returned of the clip of each.
    """
