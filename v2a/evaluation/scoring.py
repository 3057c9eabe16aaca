"""From soundtracks to the entries of a report: scores of value, floor and ceiling, and what they add up to.

See `runner` for what the three are. A row is a seed, a column a clip that the figure counts.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2a.data import examples
from v2a.metrics import bootstrap
from v2a.metrics import classifiers
from v2a.metrics import synthetic
from v2a.metrics import tables

Rows = list[list]
# By index of the clip, at spectra.RATE_HZ.
Waves = Mapping[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class MetricScores:
  """What one figure measured, before clips are added up.

  Attributes:
    counted: indices of the clips that it counts.
    value: scores of the model; None where nothing was drawn.
    floor: the same of the other clip's soundtrack, or None.
    ceiling: one row: of the truth through the codec, or None.
    absent: why nothing was drawn; '' where something was.
  """

  example_indices: list[int]
  value: Rows | None
  floor: Rows | None
  ceiling: Rows | None
  unavailable_reason: str = ''


def merge_seeds(parts: Sequence[MetricScores]) -> MetricScores:
  """Returns what was measured under several seeds as one; the ceiling is the first's, no seed changes it."""

  def rows(kind: str) -> Rows | None:
    found = [getattr(part, kind) for part in parts]
    return None if None in found else [row for part in found for row in part]

  return dataclasses.replace(parts[0], value=rows('value'), floor=rows('floor'))


def floor_indices(
  figure: synthetic.SyntheticMetric, cases: Sequence[examples.Example], counted: list[int]
) -> list[int] | None:
  """Returns for each counted clip the other clip whose soundtrack is its floor, or None."""
  if figure.measure is synthetic.music_score:
    dry = [i for i, case in enumerate(cases) if not synthetic.has_any_music(case.truth)]
    return [dry[k % len(dry)] for k in range(len(counted))] if dry else None
  return counted[1:] + counted[:1] if len(counted) > 1 else None


def score_synthetic(
  figure: synthetic.SyntheticMetric,
  cases: Sequence[examples.Example],
  counted: list[int],
  value_waves: Waves | None,
  base_waves: Waves,
  ceiling_waves: Waves | None,
  tools: classifiers.Classifiers,
  absent: str = '',
) -> MetricScores:
  """Returns what a figure of the world measures under one seed.

  Args:
    figure: which.
    cases: the clips.
    counted: those that the figure counts.
    value_waves: the soundtracks that it judges; None where they cannot be had.
    base_waves: those of the clean pictures, for the floor where `value_waves` lack the other clip.
    ceiling_waves: the true sounds through the codec; None where they are not wanted or cannot be had.
    tools: the learned instruments.
    absent: why `value_waves` cannot be had.
  """
  others = floor_indices(figure, cases, counted)
  floor_waves = value_waves if value_waves and others and set(others) <= set(value_waves) else base_waves

  def scores(waves: Waves | None, source: list[int] | None) -> Rows | None:
    if waves is None or source is None:
      return None
    pairs = [(waves[j].astype(np.float64), cases[i].truth) for i, j in zip(counted, source)]
    return [[figure.measure(wave_NA, truth, tools) for wave_NA, truth in pairs]]

  return MetricScores(
    counted,
    scores(value_waves, counted),
    scores(floor_waves if value_waves else None, others),
    scores(ceiling_waves, counted),
    absent if value_waves is None else '',
  )


def score_table(
  chosen: tables.MetricTable,
  waves: Sequence[np.ndarray],
  reconstructed: Sequence[np.ndarray] | None,
  sample_rate_hz: int,
  known: Sequence,
) -> dict[str, MetricScores]:
  """Returns what a further table measures under one seed, by figure.

  Args:
    chosen: which.
    waves: the soundtracks of all clips, as they were drawn.
    reconstructed: the true sounds through the codec; None where they are not wanted or cannot be had.
    sample_rate_hz: rate of both.
    known: what the table knows of each clip.
  """
  waves, everything = list(waves), list(range(len(waves)))
  value = chosen.scores(waves, sample_rate_hz, known)
  floor = chosen.scores(waves[1:] + waves[:1], sample_rate_hz, known)
  ceiling = None if reconstructed is None else chosen.scores(reconstructed, sample_rate_hz, known)
  return {
    name: MetricScores(
      everything,
      [value[name]],
      [floor[name]],
      None if ceiling is None else [ceiling[name]],
      figure.unavailable_reason,
    )
    for name, figure in chosen.metrics.items()
  }


def observed_scores(
  combine: Callable, mine: MetricScores, base: MetricScores | None = None
) -> dict[str, bootstrap.ObservedScores]:
  """Returns what value, floor and ceiling are made of; those that cannot be had are left out.

  Args:
    combine: of the figure.
    mine: what it measured.
    base: what the figure measured that it is divided by, on the same clips: value and floor by its value.
  """
  if base is not None and base.value is None:
    return {}
  divisor = {'value': base and base.value, 'floor': base and base.value, 'ceiling': base and base.ceiling}
  found = {}
  for kind, rows in divisor.items():
    scores = getattr(mine, kind)
    if scores is None or (base is not None and rows is None):
      continue
    whole = None if base is None else bootstrap.ObservedScores(combine, rows)
    found[kind] = bootstrap.ObservedScores(combine, scores, whole)
  return found


def entry(found: Mapping[str, bootstrap.ObservedScores]) -> dict:
  """Returns one figure's object: value, floor, ceiling, n, and a 95 % interval; `found`: see `samples`."""
  values = {kind: found[kind].value() if kind in found else None for kind in ('value', 'floor', 'ceiling')}
  num_scored = len(found['value'].clips) if 'value' in found else 0
  interval = bootstrap.interval(found['value']) if 'value' in found else None
  return {**values, 'n': num_scored, 'interval': interval}


def synthetic_entries(
  world: Mapping[str, MetricScores],
) -> tuple[dict[str, dict], dict[str, bootstrap.ObservedScores]]:
  """Returns the objects of all figures of the world, and what their values are made of."""
  entries, values = {}, {}
  for name, figure in synthetic.METRICS.items():
    found = observed_scores(
      figure.combine, world[name], world[figure.relative_to] if figure.relative_to else None
    )
    entries[name] = entry(found)
    if 'value' in found:
      values[name] = found['value']
    if entries[name]['value'] is None:
      entries[name]['reason'] = _reason(world[name], entries[name]['n'])
  return entries, values


def table_entries(
  chosen: tables.MetricTable, measured: Mapping[str, MetricScores]
) -> tuple[dict[str, dict], dict[str, bootstrap.ObservedScores]]:
  """Returns the objects of all figures of a further table, and what their values are made of."""
  entries, values = {}, {}
  for name, figure in chosen.metrics.items():
    found = observed_scores(figure.combine, measured[name])
    entries[name], values[name] = entry(found), found['value']
    kept = [score for row in measured[name].value for score in row if score is not None]
    if kept and figure.extra_values:
      entries[name] |= figure.extra_values(kept)
    if entries[name]['value'] is None:
      entries[name]['reason'] = figure.unavailable_reason or NO_MEASUREMENT
  return entries, values


NO_TRUTH = 'no clip of the set has the truth that this figure reads'
NO_MEASUREMENT = 'the sounds allow no measurement (one channel, or a truth without variation)'


def _reason(mine: MetricScores, num_scored: int) -> str:
  if not mine.example_indices:
    return NO_TRUTH
  if mine.value is None:
    return mine.unavailable_reason
  if not num_scored:
    return NO_MEASUREMENT
  return f'too little to combine, or nothing to divide by, in {num_scored} clips'
