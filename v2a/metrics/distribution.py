"""Figures of a set of drawn sounds against a set of true ones, by every embedder at hand.

One row a figure and embedder, each with an interval, the numbers behind it, and a note where it says less
than it seems to, or was not computed:

  fd, fd_inf, kid, kad   distances of the two sets of embeddings, see v2a.metrics.set_distances
  kl                     drawn sound k against true sound k: the sets must be in one order
  is                     of the drawn sounds alone
  others                 the mean over drawn clips of a network's own figure, such as the agreement with the
                         picture; beside it what the true sounds get

Intervals are bootstraps over clips, not rows, since the rows of one clip belong together. kid and fd_inf are
means over draws themselves: theirs are of fewer draws, of kid with fewer subsets, and of fd_inf where there
are few features, since elsewhere one costs hours.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2a.metrics import set_distances
from v2a.metrics.embedders import cache as cache_lib
from v2a.metrics.embedders import embedder as embedder_lib

EMBEDDING_METRICS = ('fd', 'fd_inf', 'kid', 'kad')
LOGIT_METRICS = ('kl', 'is')
# Whose value depends on the number of rows.
BIASED = ('fd', 'fd_inf')
NUM_RESAMPLES = 200
# Means over draws themselves.
SUBSET_METRICS = ('kid', 'fd_inf')
NUM_SUBSET_METRIC_RESAMPLES, NUM_KID_SUBSETS, MAX_FD_INF_FEATURES = 40, 10, 256
# What is computed anew for an interval.
STATISTICS = {
  'fd': set_distances.frechet,
  'fd_inf': set_distances.frechet_infinity,
  'kid': lambda a_NF, b_NF: set_distances.kid(a_NF, b_NF, NUM_KID_SUBSETS)[0],
  'kad': set_distances.kad,
}

Embedders = Sequence['embedder_lib.Embedder | embedder_lib.Missing']


@dataclasses.dataclass(frozen=True)
class MetricResult:
  """One line of the table.

  Attributes:
    name: of the figure.
    embedder: whose embeddings it is computed on.
    value: None where it was not computed.
    interval: 95 %, over clips; None where there is none.
    num_true, num_drawn: rows (of embeddings or logits) behind the value.
    true_value: the same figure of the true sounds, where a figure is one of single clips.
    note: what to know beside it; 'not computed: ...' where there is no value.
  """

  name: str
  embedder: str
  value: float | None
  interval: tuple[float, float] | None = None
  num_true: int = 0
  num_generated: int = 0
  true_value: float | None = None
  note: str = ''


@dataclasses.dataclass(frozen=True)
class EmbeddingSet:
  """What the embedders made of a set of clips.

  Attributes:
    arrays: by embedder, one entry a clip; None where the clip was refused.
    refusals: by embedder, why clips were refused, in their order.
    num_clips: of the set.
  """

  arrays: dict[str, list[embedder_lib.Arrays | None]]
  unsupported_reasons: dict[str, list[str]]
  num_clips: int

  def supported_arrays(self, name: str) -> list[embedder_lib.Arrays]:
    """Returns the arrays of the clips that an embedder did not refuse."""
    return [arrays for arrays in self.arrays[name] if arrays is not None]


def embed(
  clips: Iterable[embedder_lib.Clip],
  embedders: Embedders,
  cache: cache_lib.EmbeddingCache | None = None,
  say: Callable[[str], None] | None = None,
) -> EmbeddingSet:
  """Returns what every embedder makes of every clip.

  Args:
    clips: gone through once, so that they may be read one at a time.
    embedders: of catalog.load; those that are missing are passed over.
    cache: of embeddings; None keeps none.
    say: receives a line after every hundredth clip.
  """
  cache = cache or cache_lib.EmbeddingCache(None)
  here = [embedder for embedder in embedders if not isinstance(embedder, embedder_lib.Missing)]
  arrays, refusals, num_clips = {e.name: [] for e in here}, {e.name: [] for e in here}, 0
  for clip in clips:
    num_clips += 1
    for embedder in here:
      try:
        arrays[embedder.name].append(cache.embed(embedder, clip))
      except embedder_lib.UnsupportedClipError as refusal:
        arrays[embedder.name].append(None)
        refusals[embedder.name].append(str(refusal))
    if say and num_clips % 100 == 0:
      say(f'embedded {num_clips} clips')
  return EmbeddingSet(arrays, refusals, num_clips)


def compute_metrics(
  true: EmbeddingSet, drawn: EmbeddingSet, embedders: Embedders, num_draws: int = NUM_RESAMPLES
) -> list[MetricResult]:
  """Returns every figure of every embedder, in their order; none is left out.

  Args:
    true: the true sounds.
    drawn: the drawn ones; clip k belongs to true clip k where the numbers are equal.
    embedders: those that made both.
    num_draws: of the bootstrap; 0 leaves the intervals out.
  """
  lines = []
  for embedder in embedders:
    for name in embedder.metrics:
      if isinstance(embedder, embedder_lib.Missing):
        lines.append(MetricResult(name, embedder.name, None, note=embedder.note))
      else:
        lines.append(_figure(name, embedder, true, drawn, num_draws))
  return lines


def _figure(
  name: str, embedder: embedder_lib.Embedder, true: EmbeddingSet, drawn: EmbeddingSet, num_draws: int
) -> MetricResult:
  try:
    if name in EMBEDDING_METRICS:
      line = _of_rows(
        name, true.supported_arrays(embedder.name), drawn.supported_arrays(embedder.name), num_draws
      )
    elif name == 'kl':
      line = _kl(true, drawn, embedder.name, num_draws)
    elif name == 'is':
      line = _inception(drawn.supported_arrays(embedder.name), num_draws)
    else:
      line = _score(
        name, embedder, true.supported_arrays(embedder.name), drawn.supported_arrays(embedder.name), num_draws
      )
  except ValueError as error:
    line = MetricResult(name, embedder.name, None, note=f'not computed: {error}')
  notes = [line.note, *_refused('true', true, embedder.name), *_refused('drawn', drawn, embedder.name)]
  return dataclasses.replace(line, embedder=embedder.name, note=' '.join(note for note in notes if note))


def _refused(which: str, embedded: EmbeddingSet, name: str) -> list[str]:
  reasons = embedded.unsupported_reasons[name]
  if not reasons:
    return []
  return [f'{len(reasons)} of {embedded.num_clips} {which} clips refused: {reasons[0]}.']


def _of_rows(name: str, true: list, drawn: list, num_draws: int) -> MetricResult:
  def rows(clips: list, pick: Sequence[int]) -> np.ndarray:
    found = [clips[k][embedder_lib.EMBEDDINGS] for k in pick]
    return np.concatenate(found) if found else np.zeros((0, 1))

  a_NF, b_NF = rows(true, range(len(true))), rows(drawn, range(len(drawn)))
  note, statistic = '', STATISTICS[name]
  if name == 'kid':
    value, deviation = set_distances.kid(a_NF, b_NF)
    note = f'deviation {deviation:.3g} over subsets.'
  else:
    value = statistic(a_NF, b_NF)
  if name in BIASED:
    note = set_distances.frechet_caveat(a_NF, b_NF) or ''
  if name in SUBSET_METRICS:
    num_draws = (
      0
      if name == 'fd_inf' and a_NF.shape[1] > MAX_FD_INF_FEATURES
      else min(num_draws, NUM_SUBSET_METRIC_RESAMPLES)
    )
  again = lambda i, j: statistic(rows(true, i), rows(drawn, j))
  interval = _interval(again, [len(true), len(drawn)], num_draws)
  return MetricResult(name, '', value, interval, len(a_NF), len(b_NF), note=note)


def _kl(true: EmbeddingSet, drawn: EmbeddingSet, name: str, num_draws: int) -> MetricResult:
  if true.num_clips != drawn.num_clips:
    raise ValueError(
      f'kl compares drawn clip k with true clip k; '
      f'got {true.num_clips} true and {drawn.num_clips} drawn clips'
    )
  pairs = [pair for pair in zip(true.arrays[name], drawn.arrays[name]) if None not in pair]
  target_NO, predicted_NO = (_logits([pair[side] for pair in pairs]) for side in (0, 1))
  value = set_distances.kl(target_NO, predicted_NO)
  again = lambda i: set_distances.kl(target_NO[i], predicted_NO[i])
  return MetricResult('kl', '', value, _interval(again, [len(pairs)], num_draws), len(pairs), len(pairs))


def _inception(drawn: list, num_draws: int) -> MetricResult:
  logits_NO = _logits(drawn)
  value, deviation = set_distances.inception_score(logits_NO)
  again = lambda i: set_distances.inception_score(logits_NO[i])[0]
  interval = _interval(again, [len(drawn)], num_draws)
  return MetricResult(
    'is', '', value, interval, 0, len(drawn), note=f'deviation {deviation:.3g} over ten parts.'
  )


def _score(name: str, embedder, true: list, drawn: list, num_draws: int) -> MetricResult:
  value_N = np.array([embedder.scores(arrays)[name] for arrays in drawn], np.float64)
  if not len(value_N):
    raise ValueError('no drawn clip was embedded')
  true_N = np.array([embedder.scores(arrays)[name] for arrays in true], np.float64)
  interval = _interval(lambda i: value_N[i].mean(), [len(value_N)], num_draws)
  true_value = float(true_N.mean()) if len(true_N) else None
  return MetricResult(name, '', float(value_N.mean()), interval, len(true_N), len(value_N), true_value)


def _logits(clips: list) -> np.ndarray:
  found = [arrays[embedder_lib.LOGITS] for arrays in clips]
  return np.stack(found) if found else np.zeros((0, 1))


def _interval(statistic: Callable[..., float], nums: list[int], num_draws: int) -> tuple[float, float] | None:
  if not num_draws:
    return None
  return set_distances.bootstrap_interval(
    statistic, *(np.arange(num) for num in nums), num_resamples=num_draws
  )


def check_comparable(tables: Mapping[str, Sequence[MetricResult]]) -> None:
  """Refuses to set tables beside each other whose Frechet distances have different numbers of rows.

  Args:
    tables: by the name of a model.

  Raises:
    ValueError: they have.
  """
  nums: dict[tuple[str, str], list[tuple[int, int]]] = {}
  for lines in tables.values():
    for line in lines:
      if line.name in BIASED and line.value is not None:
        nums.setdefault((line.name, line.embedder), []).append((line.num_true, line.num_generated))
  for pairs in nums.values():
    set_distances.check_comparable(*pairs)


def format_results(lines: Sequence[MetricResult]) -> str:
  """Returns the table for people, one figure a line, notes below it."""
  head = ('figure', 'value', '95 % interval', 'true sounds', 'rows true', 'rows drawn')
  notes = list(dict.fromkeys(line.note for line in lines if line.note))
  cells = [head] + [_cells(line, notes) for line in lines]
  widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
  shown = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
  return '\n'.join([*shown, *(f'({k + 1}) {note}' for k, note in enumerate(notes))])


def _cells(line: MetricResult, notes: list[str]) -> tuple[str, ...]:
  mark = f' ({notes.index(line.note) + 1})' if line.note else ''
  number = lambda value: '-' if value is None else f'{value:.4g}'
  interval = '-' if line.interval is None else ' .. '.join(number(edge) for edge in line.interval)
  nums = [str(num) if num else '-' for num in (line.num_true, line.num_generated)]
  return (f'{line.name}_{line.embedder}', number(line.value) + mark, interval, number(line.true_value), *nums)
