"""Computes the metrics of soundtracks: scores, and the entries of a report.

  value    of the soundtracks of a system
  floor    mismatched-condition baseline: each example scored with the soundtrack of another, see metric.Floor
  ceiling  codec upper bound: of the ground-truth audio after encoding and decoding by the system's codec
  shifted  time-shifted floor of onset metrics: of the same soundtracks, with the known onsets shifted
           circularly by multiples of 1 / (NUM_SHIFTS + 1) of the clip

Each is a matrix of scores with a row per seed (`shifted`: per shift) and a column per example that the metric
selects; values are averaged over rows. Intervals and paired tests resample scores (v2a.metrics.bootstrap).
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math

from v2a.metrics import bootstrap
from v2a.metrics import metric as metric_lib
from v2a.metrics import synthetic

Rows = list[list]
# By the index of their example.
Sounds = Mapping[int, metric_lib.Sound]
# Thresholds of the corrected p-value; a difference gets a star for each.
SIGNIFICANCE_LEVELS = (0.05, 0.01, 0.001)
NO_TRUTH = 'no clip of the set has the truth that this metric needs'
OUT_OF_DOMAIN = 'defined for clips of the synthetic set alone'
KINDS = ('value', 'floor', 'ceiling')
NUM_SHIFTS = 5


@dataclasses.dataclass(frozen=True)
class MetricScores:
  """The scores of one metric.

  Attributes:
    example_indices: the examples that it selects.
    value: of the system, a row per seed; None without soundtracks.
    floor: of the soundtracks of other examples, a row per seed; or None.
    ceiling: of the true sounds through the codec, one row; or None.
    unavailable_reason: why there is no value; '' where there is one.
    shifted: of the first seed's soundtracks, a row per shift; or None.
  """

  example_indices: list[int]
  value: Rows | None
  floor: Rows | None
  ceiling: Rows | None
  unavailable_reason: str = ''
  shifted: Rows | None = None


def merge_seeds(parts: Sequence[MetricScores]) -> MetricScores:
  """Returns the concatenated scores of several seeds; the ceiling does not depend on the seed."""

  def rows(kind: str) -> Rows | None:
    found = [getattr(part, kind) for part in parts]
    return None if None in found else [row for part in found for row in part]

  return dataclasses.replace(parts[0], value=rows('value'), floor=rows('floor'))


def select(metric: metric_lib.Metric, references: Sequence[metric_lib.Reference]) -> list[int]:
  """Returns the indices of the examples that a metric selects."""

  def is_selected(reference: metric_lib.Reference) -> bool:
    if metric.domain == 'synthetic' and not reference.is_synthetic:
      return False
    if reference.truth is None:
      return not {'truth', 'prompt'} & set(metric.needs)
    return metric.selects(reference.truth)

  return [i for i, reference in enumerate(references) if is_selected(reference)]


def floor_indices(
  metric: metric_lib.Metric, references: Sequence[metric_lib.Reference], selected: list[int]
) -> list[int] | None:
  """Returns for each selected example that whose soundtrack is its mismatched baseline; None for no floor.

  The baseline of an example is the next selected one, the first for the last; that of music metrics are
  examples without music.

  Args:
    metric: its `floor` selects the kind of baseline.
    references: of all examples.
    selected: indices of the examples that the metric measures.
  """
  if metric.floor == 'none':
    return None
  if metric.floor == 'without_music':
    without_music = [
      i for i, reference in enumerate(references) if not synthetic.has_any_music(reference.ground_truth)
    ]
    return [without_music[k % len(without_music)] for k in range(len(selected))] if without_music else None
  return selected[1:] + selected[:1] if len(selected) > 1 else None


def shift_references(references: Sequence[metric_lib.Reference]) -> list[list[metric_lib.Reference]]:
  """Returns for each shift the references with shifted onsets."""
  return [
    [reference.with_onset_shift(k * reference.duration_s / (NUM_SHIFTS + 1)) for reference in references]
    for k in range(1, NUM_SHIFTS + 1)
  ]


class Samples:
  """The samples of one set of soundtracks, cached so that metrics share intermediate results."""

  def __init__(self, sounds: Sounds, references: Sequence[metric_lib.Reference]):
    self.sounds, self._references = sounds, references
    self._samples: dict[tuple[int, int], metric_lib.Sample] = {}

  def score(self, metric: metric_lib.Metric, indices: Sequence[int], sources: Sequence[int]) -> list:
    """Returns the scores of the soundtracks of `sources` against the references of `indices`.

    A score is None where there is no such soundtrack.

    Args:
      metric: the metric.
      indices: of the references.
      sources: of the soundtracks, one for each reference.
    """
    pairs = list(zip(indices, sources))
    present = [pair for pair in pairs if pair[1] in self.sounds]
    for pair in present:
      if pair not in self._samples:
        self._samples[pair] = metric_lib.Sample(self.sounds[pair[1]], self._references[pair[0]])
    scores = dict(zip(present, metric.score_all([self._samples[pair] for pair in present])))
    return [scores.get(pair) for pair in pairs]


def score_metric(
  metric: metric_lib.Metric,
  references: Sequence[metric_lib.Reference],
  selected: list[int],
  value: Samples | None,
  clean: Samples,
  ceiling: Samples | None,
  unavailable_reason: str = '',
  shifted: Sequence[Samples] = (),
) -> MetricScores:
  """Returns the scores of a metric under one seed.

  Args:
    metric: the metric.
    references: of the examples.
    selected: the examples that the metric selects.
    value: the soundtracks of the metric's variant; None where they are not available.
    clean: the soundtracks of clean video. They are the floor where `value` lacks the soundtrack of another
      example.
    ceiling: the ground-truth audio after the codec; None for no ceiling.
    unavailable_reason: why `value` is not available.
    shifted: the soundtracks of clean video with each of `shift_references`.
  """
  if value is None:
    ceiling_row = None if ceiling is None else [ceiling.score(metric, selected, selected)]
    return MetricScores(selected, None, None, ceiling_row, unavailable_reason)
  others = floor_indices(metric, references, selected)
  floor = value if others and set(others) <= set(value.sounds) else clean
  return MetricScores(
    selected,
    [value.score(metric, selected, selected)],
    None if others is None else [floor.score(metric, selected, others)],
    None if ceiling is None else [ceiling.score(metric, selected, selected)],
    metric.unavailable_reason,
    [each.score(metric, selected, selected) for each in shifted]
    if metric.has_shifted_floor and shifted
    else None,
  )


def observed_scores(
  metric: metric_lib.Metric, scores: MetricScores, denominator: MetricScores | None = None
) -> dict[str, bootstrap.ObservedScores]:
  """Returns observed scores by kind (value, floor, ceiling, shifted floor), where there are any.

  Args:
    metric: the metric.
    scores: of the metric.
    denominator: scores of the metric by which it is divided, on the same examples; its value divides value
      and floor, its ceiling the ceiling.
  """
  if denominator is not None and denominator.value is None:
    return {}
  found = {}
  for kind in KINDS:
    rows, divisor = getattr(scores, kind), None
    if rows is None:
      continue
    if denominator is not None:
      divisor_rows = denominator.ceiling if kind == 'ceiling' else denominator.value
      if divisor_rows is None:
        continue
      divisor = bootstrap.ObservedScores(metric.combine, divisor_rows)
    found[kind] = bootstrap.ObservedScores(metric.combine, rows, divisor, metric.is_set_statistic)
  if scores.shifted is not None:
    found['shifted'] = bootstrap.ObservedScores(metric.combine, scores.shifted)
  return found


def _value(observed: bootstrap.ObservedScores | None) -> float | None:
  try:
    return None if observed is None else observed.value()
  except metric_lib.NotComputableError:
    return None


def entry(
  metric: metric_lib.Metric, scores: MetricScores, observed: Mapping[str, bootstrap.ObservedScores]
) -> dict:
  """Returns the entry of a metric: value, floors, ceiling, n, a 95 % interval, and a note or a reason.

  Args:
    metric: the metric.
    scores: of the metric.
    observed: see `observed_scores`.
  """
  values = {kind: _value(observed.get(kind)) for kind in KINDS}
  found: dict = {**values, 'n': len(observed['value'].clips) if 'value' in observed else 0, 'interval': None}
  if metric.has_shifted_floor:
    found['shifted_floor'] = _value(observed.get('shifted'))
  valid = [score for row in scores.value or () for score in row if score is not None]
  found |= metric.extra_values(valid)
  if values['value'] is None:
    return found | {'reason': _reason(metric, scores, observed, valid)}
  found['interval'] = metric.interval(observed['value'])
  note = metric.note(valid)
  return found | {'note': note} if note else found


def _reason(metric: metric_lib.Metric, scores: MetricScores, observed: Mapping, valid: list) -> str:
  """Returns why there is no value."""
  if not scores.example_indices:
    return OUT_OF_DOMAIN if metric.domain == 'synthetic' else NO_TRUTH
  if scores.unavailable_reason:
    return scores.unavailable_reason
  if not valid:
    return metric.no_score_reason
  try:
    observed['value'].value()
  except metric_lib.NotComputableError as error:
    return f'not computed: {error}'
  return f'undefined for these {len(valid)} clips (too few events, or a denominator of zero)'


Entries = dict[str, dict[str, dict]]
Observed = dict[str, dict[str, bootstrap.ObservedScores]]


def entries(
  metrics: Iterable[metric_lib.Metric], scores: Mapping[str, MetricScores]
) -> tuple[Entries, Observed]:
  """Returns the entries of all metrics by group and name, and the observed scores for paired tests.

  Args:
    metrics: in the order of the report.
    scores: by the name of a metric.
  """
  found: Entries = {}
  tested: Observed = {}
  for metric in metrics:
    metric_scores = scores[metric.name]
    observed = observed_scores(
      metric, metric_scores, scores[metric.relative_to] if metric.relative_to else None
    )
    found.setdefault(metric.group, {})[metric.name] = entry(metric, metric_scores, observed)
    group = tested.setdefault(metric.group, {})
    if 'value' in observed and metric.has_paired_test(
      [score for score in observed['value'].scores[0] if score is not None]
    ):
      group[metric.name] = observed['value']
  return found, tested


def differences(
  systems: Mapping[str, Observed], reference: str, metrics: Iterable[metric_lib.Metric]
) -> dict[str, Entries]:
  """Returns by system, group and metric the difference to a reference system, with corrected p and a mark.

  Args:
    systems: observed scores by name of the system, see `entries`, on the same examples; with the reference.
    reference: name of the reference system.
    metrics: of all groups.
  """
  found = {}
  for system, observed in systems.items():
    for group, named in observed.items() if system != reference else ():
      for name, each in named.items():
        if name in systems[reference].get(group, {}):
          difference = bootstrap.paired_difference(each, systems[reference][group][name])
          if difference is not None:
            found[system, group, name] = difference
  # One family of tests: all metrics of all systems.
  corrected = bootstrap.holm({key: difference.p for key, difference in found.items()})
  by_name = {metric.name: metric for metric in metrics}
  tested: dict[str, Entries] = {
    system: {group: {} for group in observed} for system, observed in systems.items() if system != reference
  }
  for (system, group, name), difference in found.items():
    p, metric = corrected[system, group, name], by_name[name]
    smallest = metric.smallest_effect
    if smallest is None:
      smallest = metric_lib.SMALLEST_RELATIVE_EFFECT * abs(systems[reference][group][name].value() or 0.0)
    tested[system][group][name] = {
      'value': difference.value,
      'interval': difference.interval,
      'p': difference.p,
      'p_corrected': p,
      'smallest_effect': smallest,
      'mark': significance_mark(difference.value, p, metric.direction, smallest),
      'num_clips': difference.num_clips,
    }
  return tested


def significance_mark(
  difference: float, p: float, direction: metric_lib.Direction | None, smallest_effect: float = 0.0
) -> str:
  """Returns better, worse or different, and a star for each of SIGNIFICANCE_LEVELS above p; '' for no mark.

  Args:
    difference: of two systems.
    p: p-value, corrected for the number of tests.
    direction: whether higher or lower values are better; None for neither.
    smallest_effect: smaller differences have no mark.
  """
  stars = '*' * sum(p < limit for limit in SIGNIFICANCE_LEVELS)
  if not stars or not difference or math.isnan(difference) or abs(difference) < smallest_effect:
    return ''
  if direction is None:
    return f'different{stars}'
  return f'{"better" if (difference > 0) == (direction == "higher") else "worse"}{stars}'
