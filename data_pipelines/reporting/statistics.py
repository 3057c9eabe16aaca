"""Statistics of a data set: one pass over its analysis, in memory that does not grow with the clips.

  found = statistics.read(layout, manifest, num_clips=24)

What is listed one by one (extremes, examples of rejected clips, clips to show) is a selection of bounded
size; all counts are exact.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Set
import dataclasses
import itertools
import json
import math
import time
from typing import Any

from data_pipelines import analysis
from data_pipelines import decisions
from data_pipelines import layout as layout_lib
from data_pipelines import plan
from data_pipelines import shard_writer
from data_pipelines.annotate import annotator as annotator_lib
from data_pipelines.filters import filter as filter_lib
from data_pipelines.reporting import annotated as annotated_lib
from data_pipelines.reporting import histogram
from data_pipelines.reporting import selection

NUM_EXTREMES = 6
NUM_EXAMPLES = 8
# Clips of each extreme that may be shown with a player.
_NUM_SHOWN_EXTREMES = 2
_MAX_REASONS = 12
OTHER_REASONS = 'other reasons'
LENGTH_EDGES_S = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0, math.inf)
_PROGRESS_S = 5.0


@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip of the analysis.

  Attributes:
    id: of the clip.
    outcome: see `decisions`.
    split: of the clip.
    shard: index of its shard.
    position: of its record in the shard; -1 without a record.
  """

  id: str
  outcome: str
  split: str
  shard: int
  position: int = -1

  @property
  def is_accepted(self) -> bool:
    """Whether there is a record of it."""
    return self.position >= 0


@dataclasses.dataclass(frozen=True)
class Extreme:
  """A clip with an extreme number of a filter."""

  clip: Clip
  value: float


class FilterStatistics:
  """What a filter says about all clips.

  Attributes:
    name: of the filter.
    threshold: of the build; without limits, the number is only recorded.
    histogram: of the numbers.
    num_missed: clips that miss the threshold, also those that another filter rejects.
    reasons: why there is no number -> number of clips.
    lowest, highest: extremes of all clips.
    lowest_accepted, highest_accepted: extremes of the accepted clips.
  """

  def __init__(self, name: str, threshold: filter_lib.Threshold):
    self.name, self.threshold = name, threshold
    self.histogram = histogram.Histogram()
    self.num_missed = 0
    self.reasons: collections.Counter[str] = collections.Counter()
    self.lowest, self.highest = (selection.Smallest[Extreme](NUM_EXTREMES) for _ in range(2))
    self.lowest_accepted, self.highest_accepted = (
      selection.Smallest[Extreme](_NUM_SHOWN_EXTREMES) for _ in range(2)
    )

  def add(self, clip: Clip, measured: filter_lib.Measurement) -> None:
    """Counts a clip."""
    self.num_missed += filter_lib.decide({self.name: measured}, {self.name: self.threshold}) is not None
    value = measured.value
    if value is None or not math.isfinite(value):
      reason = measured.reason or 'the number is not finite'
      is_new = reason not in self.reasons and len(self.reasons) >= _MAX_REASONS
      self.reasons[OTHER_REASONS if is_new else reason] += 1
      return
    self.histogram.add(value, clip.is_accepted)
    extreme = Extreme(clip, value)
    self.lowest.add(value, clip.id, extreme)
    self.highest.add(-value, clip.id, extreme)
    if clip.is_accepted:
      self.lowest_accepted.add(value, clip.id, extreme)
      self.highest_accepted.add(-value, clip.id, extreme)

  def worst(self, is_accepted: bool = False) -> list[tuple[str, list[Extreme]]]:
    """Returns 'lowest' or 'highest' with the extremes, on the sides that the threshold limits, else on both.

    Args:
      is_accepted: whether they are those of the accepted clips.
    """
    if not self.histogram.num_values or self.histogram.min == self.histogram.max:
      return []
    limits, found = self.threshold, []
    if limits.min is not None or limits.max is None:
      found.append(('lowest', list(self.lowest_accepted if is_accepted else self.lowest)))
    if limits.max is not None or limits.min is None:
      found.append(('highest', list(self.highest_accepted if is_accepted else self.highest)))
    return [(side, extremes) for side, extremes in found if extremes]


@dataclasses.dataclass
class Statistics:
  """What the page says about a data set, apart from its manifest.

  Attributes:
    filters: in the order in which they were measured.
    lengths: split -> number of accepted clips in each range of LENGTH_EDGES_S.
    sample: random accepted clips.
    rejected: outcome -> examples of lines of rejected.jsonl.
    annotation_failures: examples: id, annotator, reason.
    num_annotation_failures: origin of an annotator -> clips that it could not annotate.
  """

  filters: dict[str, FilterStatistics]
  lengths: dict[str, list[int]]
  sample: selection.Smallest[Clip]
  rejected: dict[str, selection.Smallest[Mapping[str, Any]]]
  annotation_failures: selection.Smallest[Mapping[str, str]]
  num_annotation_failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

  def add_annotation_failure(self, failure: Mapping[str, str]) -> None:
    """Counts a clip that an annotator could not annotate."""
    name = f'{failure["id"]} {failure["annotator"]}'
    self.annotation_failures.add(selection.random_key(name), name, failure)
    self.num_annotation_failures[failure['annotator']] += 1

  def shown(self, num_clips: int) -> list[tuple[Clip, list[str]]]:
    """Returns clips to show, with notes such as 'lowest peak'; half are random at least.

    Args:
      num_clips: at most.
    """
    found: dict[str, tuple[Clip, list[str]]] = {}
    extremes = (
      [(f'{side} {each.name}', extreme.clip) for extreme in worst]
      for each in self.filters.values()
      for side, worst in each.worst(is_accepted=True)
    )
    # The first one of each filter, then the second ones.
    for note, clip in filter(None, itertools.chain(*itertools.zip_longest(*extremes))):
      if clip.id in found:
        found[clip.id][1].append(note)
      elif len(found) < num_clips // 2:
        found[clip.id] = clip, [note]
    for clip in self.sample:
      if len(found) < num_clips:
        found.setdefault(clip.id, (clip, []))
    return list(found.values())


def read(
  layout: layout_lib.Layout,
  manifest: Mapping[str, Any],
  num_clips: int,
  report: Callable[[str], None] = lambda line: None,
  annotated: Mapping[str, annotated_lib.Annotated] | None = None,
) -> Statistics:
  """Returns the statistics of a finished data set.

  Args:
    layout: of the set.
    manifest: of the set.
    num_clips: size of the random sample.
    report: takes lines of progress.
    annotated: columns of annotations by split; None for none. Failures of the build whose annotator was
      applied again do not count.

  Raises:
    FileNotFoundError: what the build left for the report was removed.
    ValueError: a file of the set is of another format.
  """
  for path in (layout.plan / plan.PLAN, layout.analysis, layout.decisions, layout.rejected):
    if not path.exists():
      raise FileNotFoundError(
        f'{layout.output} has no {path.relative_to(layout.output)}, which the report reads.'
      )
  thresholds = filter_lib.thresholds_from_json(manifest['settings']['thresholds'])
  found = Statistics({}, {}, selection.Smallest(num_clips), {}, selection.Smallest(NUM_EXAMPLES))
  annotated = annotated or {}
  for each in annotated.values():
    for failure in each.failures:
      found.add_annotation_failure(failure)
  for split, index in _reported(plan.shards(layout.plan), report):
    applied_again = annotated[split].names if split in annotated else set()
    for clip, entry in _clips(layout, split, index, thresholds, found, applied_again):
      _add(found, clip, entry, thresholds)
  with open(layout.rejected, encoding='utf-8') as file:
    for number, line in enumerate(file):
      values = json.loads(line)
      examples = found.rejected.setdefault(values['outcome'], selection.Smallest(NUM_EXAMPLES))
      examples.add(selection.random_key(f'{values.get("id")} {number}'), f'{number:012d}', values)
  return found


def _reported(shards: list[tuple[str, int]], report: Callable[[str], None]) -> Iterator[tuple[str, int]]:
  """Yields shards, and reports how many are done and how long the rest takes."""
  start_s = last_s = time.monotonic()
  for done, shard in enumerate(shards):
    now_s = time.monotonic()
    if now_s - last_s >= _PROGRESS_S:
      left_s, last_s = (now_s - start_s) * (len(shards) - done) / done, now_s
      report(f'statistics: {done} of {len(shards)} shards, about {left_s:.0f} s left')
    yield shard


def _clips(
  layout: layout_lib.Layout,
  split: str,
  index: int,
  thresholds: Mapping[str, filter_lib.Threshold],
  found: Statistics,
  applied_again: Set[str],
) -> Iterator[tuple[Clip, analysis.Entry]]:
  """Yields the measured clips of a shard; failures of its annotation are added to the statistics."""
  summary = shard_writer.read_summary(layout, split, index)
  if summary is None:
    raise FileNotFoundError(
      f'{layout.shard(split, index)} or its summary is missing or torn; build with --resume first.'
    )
  for failure in summary.annotation_failures:
    if annotator_lib.name_of(failure['annotator']) not in applied_again:
      found.add_annotation_failure(failure)
  failed = {failure['id'] for failure in summary.failures}
  written = set(decisions.read_accepted(layout.decisions, split, index)) - failed
  position = 0
  for entry in analysis.read_shard(layout.analysis, split, index):
    if entry.outcome != 'measured':
      continue
    if entry.id in written:
      yield Clip(entry.id, 'accepted', split, index, position), entry
      position += 1
      continue
    rejection = filter_lib.decide(entry.measured, thresholds)
    outcome = f'filter:{rejection.filter}' if rejection else 'failed' if entry.id in failed else 'duplicate'
    yield Clip(entry.id, outcome, split, index), entry


def _add(
  found: Statistics, clip: Clip, entry: analysis.Entry, thresholds: Mapping[str, filter_lib.Threshold]
) -> None:
  for name, measured in entry.measured.items():
    if name not in found.filters:
      found.filters[name] = FilterStatistics(name, thresholds.get(name, filter_lib.Threshold()))
    found.filters[name].add(clip, measured)
  if clip.is_accepted:
    found.sample.add(selection.random_key(clip.id), clip.id, clip)
    lengths = found.lengths.setdefault(clip.split, [0] * (len(LENGTH_EDGES_S) - 1))
    duration_s = entry.end_s - entry.start_s
    lengths[max(i for i, edge_s in enumerate(LENGTH_EDGES_S[:-1]) if duration_s >= edge_s)] += 1
