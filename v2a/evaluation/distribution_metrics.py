"""The figures of whole sets (`sets`) as entries of a report: of drawn soundtracks against the true sounds.

An entry is named FIGURE_EMBEDDER and has what every entry has; its ceiling is the same figure of the true
sounds through the codec, and a floor has no meaning, since another order of the clips is the same set. They
are those of the first seed alone: a distance shrinks as a set grows, and seeds would make it larger.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from v2a.data import examples as examples_lib
from v2a.media import probe
from v2a.media import read
from v2a.metrics import bootstrap
from v2a.metrics import distribution
from v2a.metrics import set_distances
from v2a.metrics.embedders import cache as cache_lib
from v2a.metrics.embedders import catalog
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames

Sound = tuple[np.ndarray, int]  # wave_NA and its rate
KEY, TITLE = 'distribution', 'Distribution metrics'
FOLDER = 'embeddings'  # where they are kept, in the folder of an evaluation
ABOUT = {
  'fd': 'Frechet distance of the embeddings',
  'fd_inf': 'Frechet distance, extrapolated over the number of clips as fadtk does',
  'kid': 'kernel distance, cubic kernel',
  'kad': 'kernel distance, Gaussian kernel, times 100',
  'kl': 'divergence of the classes heard, clip by clip',
  'is': 'how sure and how various the classes heard are',
  'clap': 'agreement of prompt and sound, a cosine',
  'ib': 'agreement of picture and sound, a cosine',
  'lse_c': 'how clearly one shift of sound and lips fits best',
  'lse_d': 'distance of sound and lips at the best shift',
}
HIGHER_IS_BETTER = ('is', 'clap', 'ib', 'lse_c')
# Figures of single clips that are errors.
_ERRORS = ('desync', 'lse_d')
# Paired tests draw a figure a thousand times; what takes long or is a mean over draws itself has none.
_TESTED = ('fd', 'kl')
_MAX_TESTED_FEATURES = 256


@dataclasses.dataclass(frozen=True)
class DistributionResult:
  """What was measured of one set.

  Attributes:
    entries: by the name of a figure, as in a report.
    samples: what some of them are made of, for paired tests.
  """

  entries: dict[str, dict]
  observed_scores: dict[str, bootstrap.ObservedScores]


class DistributionMetrics:
  """Measures sets of soundtracks of the same clips; embeds the true sounds once."""

  def __init__(self, folder: pathlib.Path | None = None, embedders: distribution.Embedders | None = None):
    """Args: folder of kept embeddings, None for none; embedders, None for all of the catalogue."""
    self._cache = cache_lib.EmbeddingCache(folder)
    self._embedders = catalog.load(catalog.EMBEDDERS) if embedders is None else embedders
    self._true: dict[int, distribution.EmbeddingSet] = {}

  def measure(
    self,
    examples: Sequence[examples_lib.Example],
    clip_rate_hz: int,
    sync_fps: float,
    waves: Sequence[np.ndarray],
    codec_waves: Sequence[np.ndarray],
    rate_hz: int,
  ) -> DistributionResult:
    """Returns the figures of a set of soundtracks.

    Args:
      examples: the clips.
      clip_rate_hz, sync_fps: rates of their sounds and pictures.
      waves: a soundtrack a clip, in their order.
      codec_waves: the true sounds through the codec.
      rate_hz: rate of both.
    """
    if id(examples) not in self._true:
      heard = (_true_sound(case, clip_rate_hz) for case in examples)
      self._true = {id(examples): self._embed(examples, heard, clip_rate_hz, sync_fps)}
    true = self._true[id(examples)]
    drawn, coded = (
      self._embed(examples, ((wave_NA, rate_hz) for wave_NA in each), clip_rate_hz, sync_fps)
      for each in (waves, codec_waves)
    )
    ceilings = distribution.compute_metrics(true, coded, self._embedders, num_draws=0)
    lines = distribution.compute_metrics(true, drawn, self._embedders)
    entries = {_name(line): _entry(line, ceiling) for line, ceiling in zip(lines, ceilings, strict=True)}
    return DistributionResult(entries, _samples(true, drawn, lines))

  def describe(self) -> dict[str, dict]:
    """Returns, JSON-able, what each embedder is: its weights and code, or what is missing."""
    found = {}
    for embedder in self._embedders:
      if isinstance(embedder, embedder_lib.Missing):
        found[embedder.name] = {'digest': None, 'reason': embedder.reason}
      else:
        found[embedder.name] = {'digest': embedder.digest, 'reads': list(embedder.reads)}
    return found

  def _embed(self, cases, heard: Iterable[Sound], clip_rate_hz: int, fps: float) -> distribution.EmbeddingSet:
    clips = (
      embedder_lib.Clip(*sound, _pictures(case, clip_rate_hz, fps), case.truth['annotation'])
      for case, sound in zip(cases, heard, strict=True)
    )
    return distribution.embed(clips, self._embedders, self._cache)


def _true_sound(case: examples_lib.Example, clip_rate_hz: int) -> Sound:
  """Returns the true sound and its rate: of a video its own, for a resampler more moves what is embedded."""
  if case.video is None:
    return case.wave_NA.astype(np.float32) / 32767.0, clip_rate_hz
  found = probe.probe(case.video)
  rate_hz, num_channels = found.audio_sample_rate_hz, min(found.audio_channels, 2)
  return read.wave(case.video, rate_hz, num_channels, 0.0, len(case.wave_NA) / clip_rate_hz), rate_hz


def _pictures(case: examples_lib.Example, clip_rate_hz: int, fps: float) -> frames.FrameSource:
  if case.video is None:
    return frames.Frames(case.frames[1], fps)
  return frames.Video(case.video, len(case.wave_NA) / clip_rate_hz)


def _name(line: distribution.MetricResult) -> str:
  return f'{line.name}_{line.embedder}'


def _entry(line: distribution.MetricResult, ceiling: distribution.MetricResult) -> dict:
  found = {
    'value': line.value,
    'floor': None,
    'ceiling': ceiling.value,
    'n': line.num_generated,
    'num_true': line.num_true,
    'interval': None if line.interval is None else list(line.interval),
  }
  if line.value is None:
    return {**found, 'reason': line.note}
  return {**found, 'note': line.note} if line.note else found


def _samples(
  true: distribution.EmbeddingSet,
  drawn: distribution.EmbeddingSet,
  lines: Sequence[distribution.MetricResult],
):
  """Returns what the tested figures are made of: a score is what was embedded of a clip, true and drawn."""
  found = {}
  for line in lines:
    if line.name not in _TESTED or line.value is None:
      continue
    array = embedder_lib.EMBEDDINGS if line.name == 'fd' else embedder_lib.LOGITS
    both = zip(true.arrays[line.embedder], drawn.arrays[line.embedder])
    pairs = [None if None in pair else tuple(arrays[array] for arrays in pair) for pair in both]
    if next(pair for pair in pairs if pair)[0].shape[-1] <= _MAX_TESTED_FEATURES:
      found[_name(line)] = bootstrap.ObservedScores(_frechet if line.name == 'fd' else _kl, [pairs])
  return found


def _frechet(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
  true, drawn = zip(*pairs)
  return set_distances.frechet(np.concatenate(true), np.concatenate(drawn))


def _kl(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
  true, drawn = zip(*pairs)
  return set_distances.kl(np.stack(true), np.stack(drawn))


def is_higher_better(name: str) -> bool:
  """Returns which way a figure improves; those of single clips, such as an agreement, improve upwards."""
  kind = next((kind for kind in (*ABOUT, *_ERRORS) if name.startswith(f'{kind}_')), None)
  return kind is None or kind in HIGHER_IS_BETTER


def about(name: str) -> str:
  """Returns what a figure measures, a few words."""
  kind = max((kind for kind in ABOUT if name.startswith(f'{kind}_')), key=len, default=None)
  return 'mean over the drawn clips' if kind is None else ABOUT[kind]


def drop_incomparable(entries: Mapping[str, Mapping[str, dict]], reference: str) -> None:
  """Takes away biased distances of other numbers of rows than the reference's, in place, and says why.

  Args:
    entries: by model, entries by figure.
    reference: the model that the others are compared with.
  """
  for found in entries.values():
    for name, entry in found.items():
      other = entries[reference].get(name)
      is_biased = any(name.startswith(f'{kind}_') for kind in distribution.BIASED)
      if other is None or not is_biased or None in (entry['value'], other['value']):
        continue
      try:
        set_distances.check_comparable(*((each['num_true'], each['n']) for each in (other, entry)))
      except ValueError as error:
        entry |= {'value': None, 'interval': None, 'reason': f'not compared with {reference}: {error}'}
