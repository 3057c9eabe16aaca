"""Draws the soundtracks that the figures need, and gives each figure its value, floor and ceiling.

  value    the model given this clip's picture, annotation and transcript
  floor    the same model given another clip's, measured against this clip's truth
  ceiling  the true sound through the model's codec

The floor needs no soundtrack of its own: what the model made of another clip is already there. The other
clip is the next one of those that the figure counts, so that the floor says what the right kind of sound at
the wrong times is worth; for music it is the next clip without music. The ceiling of `music_rate_negative`
is the true sound without its off-screen music. A ratio is divided by the value, floor by the same value,
ceiling by the ceiling.

Several seeds draw every soundtrack several times: a figure is its mean over seeds, its interval covers clips
and seeds (`resampling`). Beside the figures of the world stand the tables of TABLES, measured on the
soundtracks of the clean pictures; their floor is the next clip of all.

The generator is a callable, so that the truth itself and the truth of other clips can be measured as if they
were models, see `tests/evaluation`.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
import logging
import time

import numpy as np

from v2a.data import examples
from v2a.data import record_schema
from v2a.evaluation import provenance
from v2a.evaluation import scoring
from v2a.metrics import bootstrap
from v2a.metrics import classifiers
from v2a.metrics import signal_metrics
from v2a.metrics import spectra
from v2a.metrics import speech
from v2a.metrics import synthetic
from v2a.metrics import tables as tables_lib

GenerateFn = Callable[[Sequence[examples.GenerationInputs]], np.ndarray]
ReconstructFn = Callable[[np.ndarray], np.ndarray]
ProgressFn = Callable[[str], None]
# The one place that names what is measured beside the figures of the world.
TABLES: tuple[tables_lib.MetricTable, ...] = (signal_metrics.SignalMetrics(), speech.SpeechMetrics())


@dataclasses.dataclass(frozen=True)
class System:
  """What is evaluated.

  Attributes:
    name: how the report calls it.
    generate: conditions to wave_BNA at `sample_rate_hz`, in the same order.
    reconstruct: wave_BNA at the clips' rate to wave_BNA, the round trip through the codec.
    sample_rate_hz: rate of what both return.
    is_fixed: whether its soundtracks were made beforehand, once, for the clean pictures: no look, negative
      prompt or seed changes them.
    no_negative: why it cannot be given a negative prompt; '' where it can.
  """

  name: str
  generate: GenerateFn
  reconstruct: ReconstructFn
  sample_rate_hz: int
  is_external: bool = False
  no_negative_prompt_reason: str = ''


@dataclasses.dataclass(frozen=True)
class Variant:
  """Which soundtracks are drawn together: one picture look and one negative prompt."""

  corruption: str
  negative_text: str


CLEAN_VARIANT = Variant('clean', '')


@dataclasses.dataclass(frozen=True)
class ClipScore:
  """What one figure measured on one clip.

  Attributes:
    index: of the clip among the cases.
    value: score of the model; None where the sound allows none, or nothing was drawn.
    floor: score of the other clip's soundtrack, or None.
    ceiling: score of the truth through the codec, or None.
  """

  index: int
  value: synthetic.Score | None
  floor: synthetic.Score | None
  ceiling: synthetic.Score | None


@dataclasses.dataclass(frozen=True)
class EvalResult:
  """The report's object, and what it came from, for looking at it and for comparing models.

  Attributes:
    result: JSON-able; all figures.
    scores: by the name of a figure, one of each clip that it counts, in the order of the cases; first seed.
    drawn: by pass, the soundtracks at spectra.RATE_HZ by the index of their clip; first seed.
    reconstructed: the true sounds through the codec, in the order of the cases.
    waves: the soundtracks of the clean pictures as they were drawn, in the order of the cases; first seed.
    codec_waves: the true sounds through the codec at the model's own rate.
    samples: by the report's object and the name of a figure, what its value is made of, for paired tests.
  """

  result: dict
  scores: dict[str, list[ClipScore]]
  waves_by_variant: dict[Variant, dict[int, np.ndarray]]
  reconstructed: list[np.ndarray]
  waves: list[np.ndarray]
  codec_waves: list[np.ndarray]
  observed_scores: dict[str, dict[str, bootstrap.ObservedScores]]


class _Clock:
  """Says how far a stage has come and how long it will take."""

  def __init__(self, stage: str, total: int, say: ProgressFn):
    self._stage, self._total, self._say = stage, total, say
    self._start = self._last = time.monotonic()

  def tick(self, done: int):
    """Reports at most every five seconds, and at the end."""
    now = time.monotonic()
    if done < self._total and now - self._last < 5.0:
      return
    self._last = now
    rate = done / max(now - self._start, 1e-9)
    self._say(
      f'{self._stage}: {done} of {self._total}, {rate:.2f} clips/s, {(self._total - done) / rate:.0f} s left'
    )


def noise_seed(seed: int, index: int) -> int:
  """Returns the seed of the model's noise for clip `index`, apart for every pair."""
  return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] >> 1)


def in_batches(
  run: Callable[[list], np.ndarray],
  rows: Iterable,
  batch_size: int,
  sample_rate_hz: int,
  tick: Callable[[int], None] = lambda done: None,
) -> Iterator[np.ndarray]:
  """Yields the wave_NA that `run` makes of each row, in the order of the rows, at spectra.RATE_HZ.

  The last batch is filled up with its last row, so that one compiled program serves all; what is made of the
  filling is dropped. Rows are taken, and waves made, a batch at a time.

  Args:
    run: rows to wave_BNA, in the same order; always given `batch_size` rows.
    rows: one a wave; may be lazy.
    batch_size: rows at once.
    sample_rate_hz: of what `run` returns.
    tick: is told after each batch how many rows are done.
  """
  rows, done = iter(rows), 0
  while part := list(itertools.islice(rows, batch_size)):
    wave_BNA = run(part + part[-1:] * (batch_size - len(part)))[: len(part)]
    done += len(part)
    tick(done)
    for wave_NA in wave_BNA:
      yield spectra.resample(wave_NA, sample_rate_hz)


def evaluate(
  model: System,
  cases: Sequence[examples.Example],
  data: str,
  seed: int = 0,
  batch_size: int = 8,
  tools: classifiers.Classifiers | None = None,
  say: ProgressFn = logging.info,
  num_seeds: int = 1,
  has_captions: bool = True,
  tables: Sequence[tables_lib.MetricTable] = TABLES,
  clip_rate_hz: int | None = None,
) -> EvalResult:
  """Returns all figures of a model on a set of clips.

  Args:
    model: what is evaluated.
    cases: the clips; at least two, for the floor.
    data: how the report calls them.
    seed: first seed of the model's noise.
    batch_size: soundtracks drawn at once; the last batch is filled up, so that one program serves all.
    tools: the learned instruments; those that ship by default.
    say: receives one line of progress at a time.
    num_seeds: how often every soundtrack is drawn, under the seeds from `seed` on.
    has_captions: whether the model is given the annotations of the clips.
    tables: what is measured beside the figures of the world.
    clip_rate_hz: rate of the clips' sounds; None is the model's.

  Raises:
    ValueError: fewer than two clips, or the model returned what is no sound.
  """
  if len(cases) < 2:
    raise ValueError(
      f'an evaluation needs at least 2 clips, since the floor needs another one; got {len(cases)}.'
    )
  tools = tools or classifiers.load()
  num_seeds = 1 if model.is_external else num_seeds
  clip_rate_hz = clip_rate_hz or model.sample_rate_hz
  session = _Session(model, cases, clip_rate_hz, batch_size, has_captions, tables, tools, say)
  parts = [session.measure(seed + number, is_first=not number) for number in range(num_seeds)]
  joined = {
    key: {name: scoring.merge_seeds([part[key][name] for part in parts]) for name in parts[0][key]}
    for key in parts[0]
  }
  result = {
    'model': model.name,
    'data': data,
    'num_clips': len(cases),
    'seed': seed,
    'num_seeds': num_seeds,
  }
  samples = {}
  result['synthetic'], samples['synthetic'] = scoring.synthetic_entries(joined['synthetic'])
  for table in tables:
    result[table.key], samples[table.key] = scoring.table_entries(table, joined[table.key])
  everything = {name: mine for key in joined for name, mine in joined[key].items()}
  result['protocol'] = provenance.describe(cases, clip_rate_hz, has_captions, everything)
  # Silent soundtracks count in every figure; but whoever reads the figures should know of them.
  result['silent'] = [case.name for case, wave_NA in zip(cases, session.waves) if not np.any(wave_NA)]
  scores = {name: _clip_scores(mine) for name, mine in joined['synthetic'].items()}
  codec = list(session.codec.values())
  return EvalResult(result, scores, session.drawn, session.reconstructed, session.waves, codec, samples)


class _Session:
  """One model on one set of clips: what is the same for every seed, and the soundtracks of the first."""

  def __init__(
    self,
    model: System,
    cases: Sequence[examples.Example],
    clip_rate_hz: int,
    batch_size: int,
    has_captions: bool,
    tables: Sequence[tables_lib.MetricTable],
    tools: classifiers.Classifiers,
    say: ProgressFn,
  ):
    self._tables = tables
    self._model, self._cases, self._batch_size = model, cases, batch_size
    self._has_captions, self._tools, self._say = has_captions, tools, say
    self._counted = {
      name: [i for i, case in enumerate(cases) if figure.selects(case.truth)]
      for name, figure in synthetic.METRICS.items()
    }
    self.codec = self._reconstruct(range(len(cases)), [case.wave_NA for case in cases], 'codec round trips')
    self._heard_codec = self._heard(self.codec)
    self._dry = self._dry_ceiling(self._counted['music_rate_negative'])
    self._known = {table.key: table.make_references(cases, clip_rate_hz) for table in tables}
    self.drawn: dict[Variant, dict[int, np.ndarray]] = {}
    self.waves: list[np.ndarray] = []
    self.reconstructed = list(self._heard_codec.values())

  def measure(self, seed: int, is_first: bool) -> dict[str, dict[str, scoring.MetricScores]]:
    """Draws under one seed and returns what was measured, by the report's object and the figure.

    Args:
      seed: of the noise.
      is_first: whether ceilings are measured too, and the soundtracks are kept.
    """
    base = self._generate(range(len(self._cases)), CLEAN_VARIANT, seed)
    waves, absent = {CLEAN_VARIANT: self._heard(base)}, {}
    for figure in synthetic.METRICS.values():
      which, counted = Variant(figure.corruption, figure.negative_text), self._counted[figure.name]
      if which in waves or which in absent or not counted:
        continue
      if self._model.is_external:
        absent[which] = 'the soundtracks were made beforehand, for the clean pictures'
      elif figure.negative_text and self._model.no_negative_prompt_reason:
        absent[which] = self._model.no_negative_prompt_reason
      elif figure.corruption != 'clean' and any(self._cases[i].paired_variant is None for i in counted):
        absent[which] = f"the set has no '{figure.corruption}' twins of its clips"
      else:
        waves[which] = self._heard(self._generate(counted, which, seed))
    self._say('measuring')
    found = {'synthetic': {}}
    for name, figure in synthetic.METRICS.items():
      which = Variant(figure.corruption, figure.negative_text)
      ceiling = self._dry if figure.negative_text else self._heard_codec
      found['synthetic'][name] = scoring.score_synthetic(
        figure,
        self._cases,
        self._counted[name],
        waves.get(which),
        waves[CLEAN_VARIANT],
        ceiling if is_first else None,
        self._tools,
        absent.get(which, ''),
      )
    for table in self._tables:
      found[table.key] = scoring.score_table(
        table,
        list(base.values()),
        list(self.codec.values()) if is_first else None,
        self._model.sample_rate_hz,
        self._known[table.key],
      )
    if is_first:
      self.drawn, self.waves = waves, list(base.values())
    return found

  def _generate(self, indices: Sequence[int], which: Variant, seed: int) -> dict[int, np.ndarray]:
    """Returns soundtracks as they were drawn, by the index of their clip, ascending."""
    model, cases = self._model, self._cases
    # Dialogue side by side: a batch without any transcript is drawn with one evaluation less.
    indices = sorted(indices, key=lambda i: bool(cases[i].truth['transcript']))
    stage = 'soundtracks' + (f' ({which.corruption})' if which.corruption != 'clean' else '')
    stage += f' without {which.negative_text}' if which.negative_text else ''
    clock = _Clock(f'{stage}, seed {seed}' if seed else stage, len(indices), self._say)
    conditions = (
      examples.generation_inputs(
        cases[i], which.corruption, which.negative_text, noise_seed(seed, i), self._has_captions
      )
      for i in indices
    )
    run = lambda part: _checked(np.asarray(model.generate(part)), self._batch_size, model.name)
    # Named as if they were at the measuring rate, so that they stay at their own.
    waves = in_batches(run, conditions, self._batch_size, spectra.RATE_HZ, clock.tick)
    found = {i: wave_NA.astype(np.float32) for i, wave_NA in zip(indices, waves)}
    return {i: found[i] for i in sorted(found)}

  def _reconstruct(
    self, indices: Sequence[int], waves: list[np.ndarray], stage: str
  ) -> dict[int, np.ndarray]:
    model = self._model
    clock = _Clock(stage, len(waves), self._say)
    run = lambda part: _checked(np.asarray(model.reconstruct(np.stack(part))), self._batch_size, model.name)
    floats = map(record_schema.wave_to_float, waves)
    made = in_batches(run, floats, self._batch_size, spectra.RATE_HZ, clock.tick)
    return {i: wave_NA.astype(np.float32) for i, wave_NA in zip(indices, made)}

  def _dry_ceiling(self, indices: Sequence[int]) -> dict[int, np.ndarray] | None:
    if not indices or any(self._cases[i].no_music_wave_NA is None for i in indices):
      return None
    waves = [self._cases[i].no_music_wave_NA for i in indices]
    return self._heard(self._reconstruct(indices, waves, 'codec, without music'))

  def _heard(self, waves: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Returns waves at the rate of the measuring tools."""
    rate_hz = self._model.sample_rate_hz
    if rate_hz == spectra.RATE_HZ:
      return waves
    return {i: spectra.resample(wave_NA, rate_hz).astype(np.float32) for i, wave_NA in waves.items()}


def _clip_scores(mine: scoring.MetricScores) -> list[ClipScore]:
  columns = [
    (rows or [[None] * len(mine.example_indices)])[0] for rows in (mine.value, mine.floor, mine.ceiling)
  ]
  return [ClipScore(*row) for row in zip(mine.example_indices, *columns)]


def _checked(wave_BNA: np.ndarray, batch_size: int, name: str) -> np.ndarray:
  if wave_BNA.ndim != 3 or len(wave_BNA) != batch_size:
    raise ValueError(f"model '{name}' must return ({batch_size}, samples, channels); got {wave_BNA.shape}.")
  if not np.isfinite(wave_BNA).all():
    raise ValueError(f"model '{name}' returned NaN or infinity; wanted sound.")
  return wave_BNA
