"""Draws the soundtracks that the figures need, and gives each figure its value, floor and ceiling.

  value    the model given this clip's picture, annotation and transcript
  floor    the same model given another clip's, measured against this clip's truth
  ceiling  the true sound through the model's codec

The floor needs no soundtrack of its own: what the model made of another clip is already there. The other
clip is the next one of those that the figure counts, so that the floor says what the right kind of sound at
the wrong times is worth; for music it is the next clip without music. The ceiling of `music_rate_negative`
is the true sound without its off-screen music. A ratio is divided by the value, floor by the same value,
ceiling by the ceiling.

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

from v2a import records
from v2a.evaluation import cases as cases_lib
from v2a.evaluation import figures as figures_lib
from v2a.evaluation import instruments as instruments_lib
from v2a.evaluation import spectra

Generate = Callable[[Sequence[cases_lib.Condition]], np.ndarray]
Codec = Callable[[np.ndarray], np.ndarray]
Report = Callable[[str], None]
_NUM_DRAWS = 500


@dataclasses.dataclass(frozen=True)
class Model:
  """What is evaluated.

  Attributes:
    name: how the report calls it.
    generate: conditions to wave_BNA at `sample_rate_hz`, in the same order.
    reconstruct: wave_BNA to wave_BNA, the round trip through the codec.
    sample_rate_hz: rate of both.
  """

  name: str
  generate: Generate
  reconstruct: Codec
  sample_rate_hz: int


@dataclasses.dataclass(frozen=True)
class Pass:
  """Which soundtracks are drawn together: one picture look and one negative prompt."""

  look: str
  negative_text: str


BASE = Pass('clean', '')


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
  value: figures_lib.Score | None
  floor: figures_lib.Score | None
  ceiling: figures_lib.Score | None


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The report's object, and what it came from, for looking at it.

  Attributes:
    result: JSON-able; all figures.
    scores: by the name of a figure, one of each clip that it counts, in the order of the cases.
    drawn: by pass, the soundtracks at spectra.RATE_HZ by the index of their clip.
    reconstructed: the true sounds through the codec, in the order of the cases.
  """

  result: dict
  scores: dict[str, list[ClipScore]]
  drawn: dict[Pass, dict[int, np.ndarray]]
  reconstructed: list[np.ndarray]


class _Clock:
  """Says how far a stage has come and how long it will take."""

  def __init__(self, stage: str, total: int, say: Report):
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


def condition_seed(seed: int, index: int) -> int:
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
      yield spectra.prepare(wave_NA, sample_rate_hz)


def evaluate(
  model: Model,
  cases: Sequence[cases_lib.Case],
  data: str,
  seed: int = 0,
  batch_size: int = 8,
  tools: instruments_lib.Instruments | None = None,
  say: Report = logging.info,
) -> Outcome:
  """Returns all figures of a model on a set of clips.

  Args:
    model: what is evaluated.
    cases: the clips; at least two, for the floor.
    data: how the report calls them.
    seed: seed of the model's noise.
    batch_size: soundtracks drawn at once; the last batch is filled up, so that one program serves all.
    tools: the learned instruments; those that ship by default.
    say: receives one line of progress at a time.

  Raises:
    ValueError: fewer than two clips, or the model returned what is no sound.
  """
  if len(cases) < 2:
    raise ValueError(
      f'an evaluation needs at least 2 clips, since the floor needs another one; got {len(cases)}.'
    )
  tools = tools or instruments_lib.load()
  counted = {
    name: [i for i, case in enumerate(cases) if figure.selects(case.truth)]
    for name, figure in figures_lib.FIGURES.items()
  }
  base = _generate(model, cases, range(len(cases)), BASE, seed, batch_size, say)
  codec = _reconstruct(model, [case.wave_NA for case in cases], batch_size, 'codec round trips', say)
  waves = {BASE: base}
  for figure in figures_lib.FIGURES.values():
    which = Pass(figure.look, figure.negative_text)
    can_draw = figure.look == 'clean' or all(cases[i].twin is not None for i in counted[figure.name])
    if which not in waves and counted[figure.name] and can_draw:
      waves[which] = _generate(model, cases, counted[figure.name], which, seed, batch_size, say)
  dry = _dry(model, cases, counted['music_rate_negative'], batch_size, say)
  say('measuring')
  measured = {}
  for figure in figures_lib.FIGURES.values():
    which = Pass(figure.look, figure.negative_text)
    ceiling = dry if figure.negative_text else codec
    measured[figure.name] = _figure(
      figure, cases, counted[figure.name], waves.get(which), base, ceiling, tools
    )
  result = {
    'model': model.name,
    'data': data,
    'num_clips': len(cases),
    'seed': seed,
    'figures': {name: _entry(figures_lib.FIGURES[name], measured) for name in figures_lib.FIGURES},
  }
  scores = {name: _clip_scores(counted[name], measured[name]) for name in figures_lib.FIGURES}
  return Outcome(result, scores, waves, codec)


def _clip_scores(counted: list[int], mine: dict) -> list[ClipScore]:
  columns = [mine[kind] or [None] * len(counted) for kind in ('value', 'floor', 'ceiling')]
  return [ClipScore(*row) for row in zip(counted, *columns)]


def _generate(
  model: Model, cases, indices: Sequence[int], which: Pass, seed: int, batch_size: int, say: Report
) -> dict[int, np.ndarray]:
  # Dialogue side by side: a batch without any transcript is drawn with one evaluation less.
  indices = sorted(indices, key=lambda i: bool(cases[i].truth['transcript']))
  stage = 'soundtracks' + (f' ({which.look})' if which.look != 'clean' else '')
  clock = _Clock(
    stage + (f' without {which.negative_text}' if which.negative_text else ''), len(indices), say
  )
  conditions = (
    cases_lib.condition(cases[i], which.look, which.negative_text, condition_seed(seed, i)) for i in indices
  )
  run = lambda part: _checked(np.asarray(model.generate(part)), batch_size, model.name)
  waves = in_batches(run, conditions, batch_size, model.sample_rate_hz, clock.tick)
  return {i: wave_NA.astype(np.float32) for i, wave_NA in zip(indices, waves)}


def _checked(wave_BNA: np.ndarray, batch_size: int, name: str) -> np.ndarray:
  if wave_BNA.ndim != 3 or len(wave_BNA) != batch_size:
    raise ValueError(f"model '{name}' must return ({batch_size}, samples, channels); got {wave_BNA.shape}.")
  if not np.isfinite(wave_BNA).all():
    raise ValueError(f"model '{name}' returned NaN or infinity; wanted sound.")
  return wave_BNA


def _reconstruct(
  model: Model, waves: list[np.ndarray], batch_size: int, stage: str, say: Report
) -> list[np.ndarray]:
  clock = _Clock(stage, len(waves), say)
  run = lambda part: _checked(np.asarray(model.reconstruct(np.stack(part))), batch_size, model.name)
  made = in_batches(run, map(records.wave_to_float, waves), batch_size, model.sample_rate_hz, clock.tick)
  return [wave_NA.astype(np.float32) for wave_NA in made]


def _dry(
  model: Model, cases, indices: Sequence[int], batch_size: int, say: Report
) -> dict[int, np.ndarray] | None:
  if not indices or any(cases[i].dry_wave_NA is None for i in indices):
    return None
  waves = _reconstruct(
    model, [cases[i].dry_wave_NA for i in indices], batch_size, 'codec, without music', say
  )
  return dict(zip(indices, waves))


def _partners(figure: figures_lib.Figure, cases, counted: list[int]) -> list[int] | None:
  """Returns for each counted clip the other clip whose soundtrack is its floor, or None."""
  if figure.measure is figures_lib.music_score:
    dry = [i for i, case in enumerate(cases) if not figures_lib.has_any_music(case.truth)]
    return [dry[k % len(dry)] for k in range(len(counted))] if dry else None
  return counted[1:] + counted[:1] if len(counted) > 1 else None


def _figure(figure, cases, counted: list[int], value_waves, base_waves, ceiling_waves, tools) -> dict:
  """Returns the scores a clip of value, floor and ceiling; None for what cannot be had."""
  partners = _partners(figure, cases, counted)
  floor_waves = value_waves if value_waves and partners and set(partners) <= set(value_waves) else base_waves

  def scores(waves, source):
    if waves is None or source is None:
      return None
    pairs = [(waves[j].astype(np.float64), cases[i].truth) for i, j in zip(counted, source)]
    return [figure.measure(wave_NA, truth, tools) for wave_NA, truth in pairs]

  return {
    'num_counted': len(counted),
    'value': scores(value_waves, counted),
    'floor': scores(floor_waves if value_waves else None, partners),
    'ceiling': scores(ceiling_waves, counted),
  }


def _entry(figure: figures_lib.Figure, measured: dict) -> dict:
  """Returns one figure's object: value, floor, ceiling, n, a 95 % interval, and a reason for a null."""
  mine = measured[figure.name]
  base = measured[figure.relative_to] if figure.relative_to else None
  value, interval = _combined(figure, mine['value'], base['value'] if base else None)
  floor, _ = _combined(figure, mine['floor'], base['value'] if base else None)
  ceiling, _ = _combined(figure, mine['ceiling'], base['ceiling'] if base else None)
  num_scored = 0 if mine['value'] is None else sum(score is not None for score in mine['value'])
  entry = {'value': value, 'floor': floor, 'ceiling': ceiling, 'n': num_scored, 'interval': interval}
  if value is None:
    entry['reason'] = _reason(figure, mine, num_scored)
  return entry


def _reason(figure: figures_lib.Figure, mine: dict, num_scored: int) -> str:
  if not mine['num_counted']:
    return 'no clip of the set has the truth that this figure reads'
  if mine['value'] is None:
    return f"the set has no '{figure.look}' twins of its clips"
  if not num_scored:
    return 'the sounds allow no measurement (one channel, or a truth without variation)'
  return f'too little to combine, or nothing to divide by, in {num_scored} clips'


def _combined(figure, scores, base_scores) -> tuple[float | None, list[float] | None]:
  if scores is None or (figure.relative_to and base_scores is None):
    return None, None
  kept = [k for k, score in enumerate(scores) if score is not None]
  if not kept:
    return None, None

  def combine(which) -> float | None:
    value = figure.combine([scores[k] for k in which])
    if value is None or not figure.relative_to:
      return value
    whole = figure.combine([base_scores[k] for k in which])
    return value / whole if whole else None

  value = combine(kept)
  rng = np.random.default_rng(0)
  draws = [combine(rng.choice(kept, len(kept))) for _ in range(_NUM_DRAWS)] if len(kept) > 1 else []
  draws = [draw for draw in draws if draw is not None]
  interval = (
    [float(edge) for edge in np.quantile(draws, (0.025, 0.975))] if value is not None and draws else None
  )
  return (None if value is None else float(value)), interval
