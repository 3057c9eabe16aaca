"""Distribution metrics: a set of soundtracks against the true sounds, by the embeddings of a network.

A metric is named KIND_EMBEDDER; its score of a sample is a pair of embeddings, and its value one of

  fd, fd_inf, kid, kad   distances of the two sets of embeddings, see v2a.metrics.set_distances
  kl                     of the classes of the soundtrack and of the true sound, clip by clip
  is                     of the classes of the soundtracks alone
  others                 the mean over soundtracks of a network's own score, such as audio-video similarity

Embeddings are resampled by clip, since the rows of one clip belong together, and statistics of sets by
half-sampling (v2a.metrics.bootstrap). `kid` and `fd_inf` are estimated from random subsets of rows, so that
their variance is that of the distance of all rows over clips (half-sampling) plus that over subsets:

  (half width)^2 = (half width for the distance of all rows)^2 + (1.96 deviation over subsets)^2         (1)

The distance of all rows is `fd` for `fd_inf` (see set_distances.frechet_infinity), and eq. 3 of set_distances
with a single subset for `kid`. `fd_inf` has no interval for many features, since it would take hours. There
is no floor, since the same soundtracks in another order are the same set. Only the first seed is measured,
since the distance depends on the size of the set.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from v2a.metrics import bootstrap
from v2a.metrics import metric
from v2a.metrics import set_distances
from v2a.metrics.embedders import cache as cache_lib
from v2a.metrics.embedders import catalog
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import synthetic

EMBEDDING_KINDS = ('fd', 'fd_inf', 'kid', 'kad')
# Kinds that compare soundtracks with true sounds.
COMPARED_KINDS = (*EMBEDDING_KINDS, 'kl')
# What a metric needs besides the sounds, by what its embedder reads.
_NEEDS_BY_INPUT: dict[str, tuple[metric.Need, ...]] = {
  'audio': (),
  'video': ('frames',),
  'text': ('prompt',),
}
# Kinds whose value depends on the number of rows.
BIASED_KINDS = ('fd', 'fd_inf')
DESCRIPTIONS = {
  'fd': 'Frechet distance of the embeddings',
  'fd_inf': 'Frechet distance, extrapolated over the number of clips as fadtk does',
  'kid': 'kernel distance, cubic kernel',
  'kad': 'kernel distance, Gaussian kernel, times 100',
  'kl': 'KL divergence of the classes of soundtrack and true sound, clip by clip',
  'is': 'inception score: confidence and variety of the classes',
  'clap': 'similarity of prompt and audio, a cosine',
  'ib': 'similarity of video and audio, a cosine',
  'desync': 'mean absolute value of the most likely offset of audio and video',
  'lse_c': 'confidence of the best offset of audio and lips',
  'lse_d': 'distance of audio and lips at the best offset',
}
_LOWER_IS_BETTER = (*EMBEDDING_KINDS, 'kl', 'desync', 'lse_d')
_UNITS = {'desync': 's'}
NUM_RESAMPLES = 200
# Statistics of the whole set, resampled by half-sampling.
SET_KINDS = (*EMBEDDING_KINDS, 'is')
# Kinds that are estimated from random subsets of rows.
SUBSET_KINDS = ('kid', 'fd_inf')
NUM_KID_SUBSETS, NUM_FD_INF_SEEDS, MAX_FD_INF_FEATURES = 100, 20, 256
# Paired tests resample a metric a thousand times: only kinds that are fast have them.
_TESTED_KINDS, _MAX_TESTED_FEATURES = ('fd', 'kl'), 256
# Kinds that need many rows, and how many.
_MIN_ROWS = {
  'fd_inf': 2 * set_distances.FRECHET_INFINITY_MIN_ROWS,
  'kid': set_distances.KID_SUBSET_ROWS,
  'is': set_distances.INCEPTION_NUM_SPLITS,
}
# Statistics of two sets of embeddings.
_STATISTICS = {
  'fd': set_distances.frechet,
  'fd_inf': set_distances.frechet_infinity,
  'kid': lambda a_NF, b_NF: set_distances.kid(a_NF, b_NF, NUM_KID_SUBSETS)[0],
  'kad': set_distances.kad,
}
# The distances of all rows to which the means of SUBSET_KINDS converge.
_STATISTICS_OF_ALL_ROWS = {
  'fd_inf': set_distances.frechet,
  'kid': lambda a_NF, b_NF: set_distances.kid(a_NF, b_NF, 1, min(len(a_NF), len(b_NF)))[0],
}

# The arrays of a clip, or why the embedder does not support it.
Embedded = embedder_lib.Arrays | str


@dataclasses.dataclass(frozen=True)
class EmbeddedPair:
  """The score of a sample: the arrays of the true sound and of the soundtrack.

  The former is None where the metric compares nothing with it (not one of COMPARED_KINDS).
  """

  true: Embedded | None
  generated: Embedded


def _supported(scores: Sequence[EmbeddedPair], side: str) -> list[embedder_lib.Arrays]:
  return [arrays for arrays in (getattr(score, side) for score in scores) if isinstance(arrays, dict)]


def _supported_pairs(
  scores: Sequence[EmbeddedPair],
) -> tuple[list[embedder_lib.Arrays], list[embedder_lib.Arrays]]:
  """Returns the arrays of the true sounds and of the soundtracks, where both are supported."""
  true, generated = [], []
  for score in scores:
    if isinstance(score.true, dict) and isinstance(score.generated, dict):
      true.append(score.true)
      generated.append(score.generated)
  return true, generated


def _rows(clips: Sequence[embedder_lib.Arrays]) -> np.ndarray:
  found = [arrays[embedder_lib.EMBEDDINGS] for arrays in clips]
  return np.concatenate(found) if found else np.zeros((0, 1))


def _sets(scores: Sequence[EmbeddedPair]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the rows of the true sounds and of the soundtracks."""
  return _rows(_supported(scores, 'true')), _rows(_supported(scores, 'generated'))


def _logits(clips: Sequence[embedder_lib.Arrays]) -> np.ndarray:
  found = [arrays[embedder_lib.LOGITS] for arrays in clips]
  return np.stack(found) if found else np.zeros((0, 1))


@dataclasses.dataclass(eq=False, kw_only=True)
class DistributionMetric(metric.Metric):
  """One metric of one embedder.

  Attributes:
    kind: see the module docstring.
    embedder: a name of catalog.EMBEDDERS, loaded on first use, or an embedder.
    cache: of embeddings.
  """

  group: str = 'distribution'
  floor: metric.Floor = 'none'
  is_per_seed: bool = False
  kind: str
  embedder: str | embedder_lib.Embedder
  cache: cache_lib.EmbeddingCache = dataclasses.field(default_factory=lambda: cache_lib.EmbeddingCache(None))

  def load(self, context: metric.LoadContext) -> 'DistributionMetric':
    """Returns a copy with its embedder loaded, or with the reason why that is missing."""
    embedder, unavailable_reason = self.embedder, ''
    if isinstance(embedder, str):
      (found,) = context.memo(('embedder', embedder), lambda: catalog.load([embedder]))
      if isinstance(found, embedder_lib.Missing):
        unavailable_reason = found.note
      else:
        embedder = found
    cache = context.memo('embeddings', lambda: cache_lib.EmbeddingCache(context.embeddings))
    return dataclasses.replace(
      self, embedder=embedder, cache=cache, unavailable_reason=unavailable_reason, scores=[]
    )

  def score(self, sample: metric.Sample) -> EmbeddedPair | None:
    """Returns the embeddings of the true sound and of the soundtrack; None where the embedder is missing."""
    if self.unavailable_reason:
      return None
    reference, name = sample.reference, self._load().name
    true = None
    if self.kind in COMPARED_KINDS:
      true = reference.memo(('embedder', name), lambda: self._embed(reference.native_sound(), reference))
    return EmbeddedPair(true, sample.memo(('embedder', name), lambda: self._embed(sample.sound, reference)))

  def _load(self) -> embedder_lib.Embedder:
    if isinstance(self.embedder, str):
      self.embedder = _load_one(self.embedder)
    return self.embedder

  def _embed(self, sound: metric.Sound, reference: metric.Reference) -> Embedded:
    text = None if reference.truth is None else reference.truth['annotation']
    clip = embedder_lib.Clip(sound.wave_NA, sound.sample_rate_hz, reference.frame_source(), text)
    try:
      return self.cache.embed(self._load(), clip)
    except embedder_lib.UnsupportedClipError as error:
      return str(error)

  def combine(self, scores: Sequence[EmbeddedPair]) -> float:
    """Returns the value.

    Raises:
      NotComputableError: too few clips, or none that the embedder supports.
    """
    return _computed(lambda: self._value(scores), scores)

  def _check_num_clips(self, scores: Sequence[EmbeddedPair]) -> None:
    """Raises ValueError where there are too few clips, each of which has one or more embeddings."""
    wanted = _MIN_ROWS.get(self.kind, 0)
    # Only the generated set is subsampled for fd_inf.
    for side in ('true', 'generated') if self.kind == 'kid' else ('generated',):
      clips = _supported(scores, side)
      num_rows = len(clips) if self.kind == 'is' else len(_rows(clips))
      if num_rows >= wanted or not num_rows:
        continue
      if num_rows == len(clips):
        raise ValueError(f'{self.kind} needs at least {wanted} clips; got {len(clips)}.')
      raise ValueError(
        f'{self.kind} needs at least {wanted} embeddings, of about {-(-wanted * len(clips) // num_rows)} '
        f'clips; got {num_rows} embeddings of {len(clips)} clips.'
      )

  def _value(self, scores: Sequence[EmbeddedPair]) -> float:
    self._check_num_clips(scores)
    if self.kind in EMBEDDING_KINDS:
      return _STATISTICS[self.kind](*_sets(scores))
    if self.kind == 'kl':
      true, generated = _supported_pairs(scores)
      return set_distances.kl(_logits(true), _logits(generated))
    generated = _supported(scores, 'generated')
    if self.kind == 'is':
      return set_distances.inception_score(_logits(generated))[0]
    if not generated:
      raise ValueError('no soundtrack was embedded')
    return float(self._own_scores(generated).mean())

  def _own_scores(self, clips: Sequence[embedder_lib.Arrays]) -> np.ndarray:
    return np.array([self._load().scores(arrays)[self.kind] for arrays in clips], np.float64)

  def interval(self, observed: bootstrap.ObservedScores) -> list[float] | None:
    """Returns the 95 % interval of the value over clips; None where it takes too long, or for few clips."""
    try:
      if self.kind in SUBSET_KINDS:
        return self._subset_interval(observed)
      return bootstrap.interval(observed, NUM_RESAMPLES)
    except metric.NotComputableError:
      return None  # half of the clips are too few

  def _subset_interval(self, observed: bootstrap.ObservedScores) -> list[float] | None:
    """Returns eq. 1."""
    sets = _sets([score for score in observed.scores[0] if score is not None])
    if self._no_interval_reason(sets[0]):
      return None
    statistic = _STATISTICS_OF_ALL_ROWS[self.kind]
    of_all = dataclasses.replace(
      observed, combine=lambda scores: _computed(lambda: statistic(*_sets(scores)), scores)
    )
    edges, centre = bootstrap.interval(of_all, NUM_RESAMPLES), of_all.value()
    if edges is None or centre is None:
      return None
    if self.kind == 'kid':
      value, deviation = set_distances.kid(*sets, NUM_KID_SUBSETS)
      deviation /= np.sqrt(NUM_KID_SUBSETS)
    else:
      values = [set_distances.frechet_infinity(*sets, seed=k) for k in range(NUM_FD_INF_SEEDS)]
      value, deviation = values[0], np.std(values)
    below, above = (float(np.hypot(edge - centre, 1.96 * deviation)) for edge in edges)
    return [value - below, value + above]

  def _no_interval_reason(self, true_NF: np.ndarray) -> str:
    if self.kind != 'fd_inf' or true_NF.shape[1] <= MAX_FD_INF_FEATURES:
      return ''
    return f'no interval: {true_NF.shape[1]} features (more than {MAX_FD_INF_FEATURES}) would take hours.'

  def extra_values(self, scores: Sequence[EmbeddedPair]) -> dict[str, float]:
    """Returns the number of rows (of embeddings, logits or scores) of either side."""
    if self.kind in EMBEDDING_KINDS and scores:
      true_NF, generated_NF = _sets(scores)
      return {'n': len(generated_NF), 'num_true': len(true_NF)}
    if self.kind == 'kl':
      num_pairs = len(_supported_pairs(scores)[0])
      return {'n': num_pairs, 'num_true': num_pairs}
    return {'n': len(_supported(scores, 'generated')), 'num_true': 0}

  def note(self, scores: Sequence[EmbeddedPair]) -> str:
    """Returns caveats of the value: few rows, its standard deviation, unsupported clips."""
    notes, generated = [], _supported(scores, 'generated')
    if self.kind in EMBEDDING_KINDS:
      sets = _sets(scores)
      if self.kind == 'kid':
        notes.append(f'deviation {set_distances.kid(*sets, NUM_KID_SUBSETS)[1]:.3g} over subsets.')
      notes.append(self._no_interval_reason(sets[0]))
      if self.kind in BIASED_KINDS:
        notes.append(set_distances.frechet_caveat(*sets) or '')
    if self.kind == 'is':
      notes.append(f'deviation {set_distances.inception_score(_logits(generated))[1]:.3g} over ten parts.')
    return ' '.join(note for note in [*notes, *_unsupported_notes(scores)] if note)

  def has_paired_test(self, scores: Sequence[EmbeddedPair]) -> bool:
    """Returns whether differences of two systems are tested: of cheap statistics alone."""
    true, _ = _supported_pairs(scores)
    if self.kind not in _TESTED_KINDS or not true:
      return False
    array = embedder_lib.EMBEDDINGS if self.kind == 'fd' else embedder_lib.LOGITS
    return true[0][array].shape[-1] <= _MAX_TESTED_FEATURES


def _computed(compute: Callable[[], float], scores: Sequence[EmbeddedPair]) -> float:
  """Returns a value of scores; raises NotComputableError where its computation raises ValueError."""
  try:
    return compute()
  except ValueError as error:
    raise metric.NotComputableError(' '.join([str(error), *_unsupported_notes(scores)])) from error


def _unsupported_notes(scores: Sequence[EmbeddedPair]) -> list[str]:
  found = []
  for side in ('true', 'generated'):
    reasons = [reason for reason in (getattr(score, side) for score in scores) if isinstance(reason, str)]
    if reasons:
      found.append(f'{len(reasons)} of {len(scores)} {side} clips not supported: {reasons[0]}.')
  return found


def _load_one(name: str) -> embedder_lib.Embedder:
  (found,) = catalog.load([name])
  if isinstance(found, embedder_lib.Missing):
    raise ValueError(f'embedder {name}: {found.reason}.')
  return found


def _needs(kind: str, reads: Iterable[str]) -> tuple[metric.Need, ...]:
  reference: tuple[metric.Need, ...] = ('reference_sound',) if kind in COMPARED_KINDS else ()
  return (*reference, *(need for name in reads for need in _NEEDS_BY_INPUT[name]), 'embedder')


def make_metrics(
  embedder: str | embedder_lib.Embedder, cache: cache_lib.EmbeddingCache | None = None
) -> list[DistributionMetric]:
  """Returns the metrics of an embedder.

  Args:
    embedder: an embedder, or a name of catalog.EMBEDDERS, which is loaded on first use.
    cache: of embeddings; None caches nothing.
  """
  name = embedder if isinstance(embedder, str) else embedder.name
  described = catalog.EMBEDDERS[embedder] if isinstance(embedder, str) else embedder
  return [
    DistributionMetric(
      name=f'{kind}_{name}',
      description=DESCRIPTIONS.get(kind, 'mean over the soundtracks'),
      unit=_UNITS.get(kind, ''),
      direction='lower' if kind in _LOWER_IS_BETTER else 'higher',
      needs=_needs(kind, described.reads),
      kind=kind,
      is_set_statistic=kind in SET_KINDS,
      domain='synthetic' if name == synthetic.NAME else 'any',
      embedder=embedder,
      cache=cache or cache_lib.EmbeddingCache(None),
    )
    for kind in described.metrics
  ]


def describe_embedders(metrics: Iterable[metric.Metric]) -> dict[str, dict]:
  """Returns the digest and inputs of each embedder, or why it is missing, by name; JSON-able."""
  found = {}
  for each in metrics:
    if not isinstance(each, DistributionMetric):
      continue
    if isinstance(each.embedder, str):
      reason = each.unavailable_reason.removeprefix('not computed: ') or 'not loaded'
      found[each.embedder] = {'digest': None, 'reason': reason}
    else:
      found[each.embedder.name] = {'digest': each.embedder.digest, 'reads': list(each.embedder.reads)}
  return found


def drop_incomparable(entries: Mapping[str, Mapping[str, dict]], reference: str) -> None:
  """Removes, in place, biased distances with other numbers of rows than the reference's, and adds the reason.

  Args:
    entries: by system, entries by metric.
    reference: the system with which the others are compared.
  """
  for found in entries.values():
    for name, entry in found.items():
      other = entries[reference].get(name)
      is_biased = any(name.startswith(f'{kind}_') for kind in BIASED_KINDS)
      if other is None or not is_biased or None in (entry['value'], other['value']):
        continue
      try:
        set_distances.check_comparable(*((each['num_true'], each['n']) for each in (other, entry)))
      except ValueError as error:
        entry |= {'value': None, 'interval': None, 'reason': f'not compared with {reference}: {error}'}
