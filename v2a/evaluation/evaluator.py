"""Generates soundtracks for the metrics, and computes value, floor and ceiling of each metric.

  value    the system with the frames, annotation and transcript of this clip
  floor    mismatched-condition baseline: the same system with those of another clip, measured against this
           clip; for onset metrics also a time-shifted one (v2a.evaluation.scoring)
  ceiling  codec upper bound: the true sound through the system's codec; none where it has no codec

The floor uses the soundtracks of other clips. The other clip is the next one that the metric selects: its
soundtrack has sounds of the same kind, but at times that do not match this clip. For music it is the next
clip without music. The ceiling of `music_rate_negative` is the true sound without its off-screen music. A
metric that is a ratio (`relative_to`) has, with d the metric in the denominator: value / value of d, floor /
value of d, and ceiling / ceiling of d.

With several seeds every soundtrack is generated once per seed: a value is the mean over seeds, and its
interval covers clips and seeds (v2a.metrics.bootstrap). Metrics with a variant (corrupted video, a negative
prompt) are measured on soundtracks of that variant, all others on those of clean video.

A system is a callable, so that the true sounds, or those of other clips, can be evaluated like those of a
model, see `tests/evaluation`.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import logging
import time

import numpy as np

from v2a.data import examples as examples_lib
from v2a.data import record_schema
from v2a.evaluation import provenance
from v2a.evaluation import scoring
from v2a.metrics import distribution
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import spectra
from v2a.metrics import synthetic

GenerateFn = Callable[[Sequence[examples_lib.GenerationInputs]], np.ndarray]
ReconstructFn = Callable[[np.ndarray], np.ndarray]
ProgressFn = Callable[[str], None]
Sounds = dict[int, metric_lib.Sound]


@dataclasses.dataclass(frozen=True)
class System:
  """A system to evaluate.

  Attributes:
    name: its name in the report.
    generate: conditions -> wave_BNA at `sample_rate_hz`, in the same order.
    reconstruct: wave_BNA at the clips' rate -> wave_BNA, the round trip through the codec; None where there
      is no codec, and thus no ceiling.
    sample_rate_hz: rate of the outputs of both.
    is_external: whether its soundtracks were generated beforehand, once, for clean video, so that they do not
      depend on corruption, negative prompt or seed.
    negative_prompt_unavailable: why negative prompts are not evaluated; '' where they are.
  """

  name: str
  generate: GenerateFn
  reconstruct: ReconstructFn | None
  sample_rate_hz: int
  is_external: bool = False
  negative_prompt_unavailable: str = ''


@dataclasses.dataclass(frozen=True)
class ClipScore:
  """The scores of one metric on one clip.

  Attributes:
    index: of the clip among the examples.
    value: score of the system; None where the metric is not defined, or without a soundtrack.
    floor: score of the other clip's soundtrack, or None.
    ceiling: score of the true sound through the codec, or None.
  """

  index: int
  value: metric_lib.Score | None
  floor: metric_lib.Score | None
  ceiling: metric_lib.Score | None


@dataclasses.dataclass(frozen=True)
class EvalResult:
  """The report, and the scores and soundtracks from which it was computed.

  Attributes:
    result: the report, JSON-able.
    scores: by the name of a metric, the score of each clip that it selects, in the order of the examples;
      first seed.
    sounds_by_variant: the soundtracks by the index of their clip; first seed.
    codec_sounds: the true sounds through the codec by the index of their clip; {} without ceilings.
    references: of the examples, in their order.
    observed_scores: by group and name of a metric, the scores of its value, for paired tests.
  """

  result: dict
  scores: dict[str, list[ClipScore]]
  sounds_by_variant: dict[metric_lib.Variant, Sounds]
  codec_sounds: Sounds
  references: Sequence[metric_lib.Reference]
  observed_scores: scoring.Observed

  @property
  def sounds(self) -> Sounds:
    """The soundtracks of clean video by the index of their clip; first seed."""
    return self.sounds_by_variant[metric_lib.CLEAN_VARIANT]


class _Progress:
  """Reports the progress of a stage: the remaining time, at its end the time that it took."""

  def __init__(self, stage: str, total: int, report_progress: ProgressFn):
    self._stage, self._total, self._report = stage, total, report_progress
    self._start = self._last = time.monotonic()

  def update(self, done: int) -> None:
    """Reports at most every five seconds, and at the end."""
    now = time.monotonic()
    if done < self._total and now - self._last < 5.0:
      return
    self._last = now
    rate = done / max(now - self._start, 1e-9)
    duration = f'{(self._total - done) / rate:.0f} s left'
    if done >= self._total:
      duration = f'took {now - self._start:.0f} s'
    self._report(f'{self._stage}: {done} of {self._total}, {rate:.2f} clips/s, {duration}')


def noise_seed(seed: int, index: int) -> int:
  """Returns the seed of the initial noise for clip `index`, different for every pair."""
  return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] >> 1)


def in_batches(
  run: Callable[[list], np.ndarray],
  rows: Iterable,
  batch_size: int,
  sample_rate_hz: int,
  on_batch: Callable[[int], None] = lambda done: None,
) -> Iterator[np.ndarray]:
  """Yields the wave_NA that `run` returns for each row, in the order of the rows, at spectra.RATE_HZ.

  The last batch is padded with its last row, so that there is one batch size and one compilation; the waves
  of the padding are dropped. Rows are read, and waves computed, one batch at a time.

  Args:
    run: rows -> wave_BNA, in the same order; always called with `batch_size` rows.
    rows: one per waveform; may be lazy.
    batch_size: rows per batch.
    sample_rate_hz: of the waveforms that `run` returns.
    on_batch: called after each batch with the number of processed rows.
  """
  for wave_NA in _in_batches(run, rows, batch_size, on_batch):
    yield spectra.resample(wave_NA, sample_rate_hz)


def _in_batches(
  run: Callable[[list], np.ndarray], rows: Iterable, batch_size: int, on_batch: Callable[[int], None]
) -> Iterator[np.ndarray]:
  rows, done = iter(rows), 0
  while part := list(itertools.islice(rows, batch_size)):
    wave_BNA = run(part + part[-1:] * (batch_size - len(part)))[: len(part)]
    done += len(part)
    on_batch(done)
    yield from wave_BNA


def make_references(
  examples: Sequence[examples_lib.Example], sample_rate_hz: int
) -> list[metric_lib.Reference]:
  """Returns the reference of each example.

  Args:
    examples: the clips.
    sample_rate_hz: rate of their sounds.
  """
  return [metric_lib.Reference.of_example(example, sample_rate_hz) for example in examples]


def evaluate(
  system: System,
  examples: Sequence[examples_lib.Example],
  data: str,
  seed: int = 0,
  batch_size: int = 8,
  *,
  metrics: Sequence[metric_lib.Metric] | None = None,
  report_progress: ProgressFn = logging.info,
  num_seeds: int = 1,
  has_captions: bool = True,
  has_ceilings: bool = True,
  clip_rate_hz: int | None = None,
  references: Sequence[metric_lib.Reference] | None = None,
) -> EvalResult:
  """Returns all metrics of a system on a set of clips.

  Args:
    system: the system.
    examples: the clips; at least two, for the floor.
    data: their name in the report.
    seed: first seed of the initial noise.
    batch_size: soundtracks generated at once; the last batch is padded.
    metrics: see registry.load; None for all. Those to which others are relative must be included.
    report_progress: receives one line at a time.
    num_seeds: number of soundtracks of each clip, with the seeds from `seed` on.
    has_captions: whether the system is given the annotations of the clips.
    has_ceilings: whether ceilings are computed, where the system has a codec.
    clip_rate_hz: rate of the clips' sounds; None is the system's.
    references: of `make_references`, where several systems share them; None computes them.

  Raises:
    ValueError: fewer than two clips, or the system returned an invalid waveform.
  """
  if len(examples) < 2:
    raise ValueError(
      f'an evaluation needs at least 2 clips, since the floor needs another one; got {len(examples)}.'
    )
  metrics = registry.load() if metrics is None else metrics
  num_seeds = 1 if system.is_external else num_seeds
  clip_rate_hz = clip_rate_hz or system.sample_rate_hz
  references = make_references(examples, clip_rate_hz) if references is None else references
  generator = _Generator(system, examples, batch_size, has_captions, report_progress)
  selected = {metric.name: scoring.select(metric, references) for metric in metrics}
  reconstruct = system.reconstruct if has_ceilings else None
  codec_sounds = {} if reconstruct is None else generator.codec_sounds(reconstruct, selected, metrics)
  scores_by_seed, sounds_by_variant = [], {}
  for number in range(num_seeds):
    measured = [metric for metric in metrics if metric.is_per_seed or not number]
    sounds, reasons = generator.sounds(measured, selected, seed + number)
    sounds_by_variant = sounds_by_variant or sounds
    report_progress('computing metrics')
    # Ceilings and time-shifted floors are of the first seed alone.
    ceilings, shifted = ({}, []) if number else (codec_sounds, scoring.shift_references(references))
    scores_by_seed.append(_score_seed(measured, references, selected, sounds, reasons, ceilings, shifted))
  scores = {
    metric.name: scoring.merge_seeds([each[metric.name] for each in scores_by_seed if metric.name in each])
    for metric in metrics
  }
  entries, observed = scoring.entries(metrics, scores)
  result = {
    'model': system.name,
    'data': data,
    'num_clips': len(examples),
    'seed': seed,
    'num_seeds': num_seeds,
    **entries,
    'protocol': _protocol(examples, clip_rate_hz, has_captions, metrics, scores),
    # Silent soundtracks count in every metric, so the report lists them.
    'silent': _silent_names(examples, sounds_by_variant[metric_lib.CLEAN_VARIANT]),
  }
  clip_scores = {name: _clip_scores(each) for name, each in scores.items()}
  return EvalResult(
    result, clip_scores, sounds_by_variant, codec_sounds.get('codec', {}), references, observed
  )


def _score_seed(
  metrics: Sequence[metric_lib.Metric],
  references: Sequence[metric_lib.Reference],
  selected: Mapping[str, list[int]],
  sounds: Mapping[metric_lib.Variant, Sounds],
  reasons: Mapping[metric_lib.Variant, str],
  ceilings: Mapping[metric_lib.Ceiling, Sounds],
  shifted: Sequence[Sequence[metric_lib.Reference]],
) -> dict[str, scoring.MetricScores]:
  """Returns the scores of metrics under one seed by name, see `scoring.score_metric`."""
  samples = {variant: scoring.Samples(each, references) for variant, each in sounds.items()}
  clean = sounds[metric_lib.CLEAN_VARIANT]
  ceiling_samples = {kind: scoring.Samples(each, references) for kind, each in ceilings.items()}
  shifted_samples = [scoring.Samples(clean, each) for each in shifted]
  return {
    metric.name: scoring.score_metric(
      metric,
      references,
      selected[metric.name],
      samples.get(metric.variant),
      samples[metric_lib.CLEAN_VARIANT],
      ceiling_samples.get(metric.ceiling),
      reasons.get(metric.variant, ''),
      shifted_samples,
    )
    for metric in metrics
  }


def _protocol(
  examples: Sequence[examples_lib.Example],
  clip_rate_hz: int,
  has_captions: bool,
  metrics: Sequence[metric_lib.Metric],
  scores: Mapping[str, scoring.MetricScores],
) -> dict:
  # Notes of distribution metrics count their unsupported clips.
  counted = {metric.name: scores[metric.name] for metric in metrics if metric.group != 'distribution'}
  protocol = provenance.describe(examples, clip_rate_hz, has_captions, counted)
  embedders = distribution.describe_embedders(metrics)
  return protocol | ({'embedders': embedders} if embedders else {})


def _silent_names(examples: Sequence[examples_lib.Example], sounds: Sounds) -> list[str]:
  return [examples[i].name for i, sound in sounds.items() if not np.any(sound.wave_NA)]


class _Generator:
  """Generates the soundtracks of one system for one set of clips."""

  def __init__(
    self,
    system: System,
    examples: Sequence[examples_lib.Example],
    batch_size: int,
    has_captions: bool,
    report_progress: ProgressFn,
  ):
    self._system, self._examples, self._batch_size = system, examples, batch_size
    self._has_captions, self._report = has_captions, report_progress

  def sounds(
    self, metrics: Sequence[metric_lib.Metric], selected: dict[str, list[int]], seed: int
  ) -> tuple[dict[metric_lib.Variant, Sounds], dict[metric_lib.Variant, str]]:
    """Returns the soundtracks of one seed by variant, and the reasons of unavailable variants."""
    everything = range(len(self._examples))
    found = {metric_lib.CLEAN_VARIANT: self._generate(everything, metric_lib.CLEAN_VARIANT, seed)}
    reasons: dict[metric_lib.Variant, str] = {}
    for metric in metrics:
      variant, indices = metric.variant, selected[metric.name]
      if variant in found or variant in reasons or not indices:
        continue
      reason = self._unavailable_reason(variant, indices)
      if reason:
        reasons[variant] = reason
      else:
        found[variant] = self._generate(indices, variant, seed)
    return found, reasons

  def _unavailable_reason(self, variant: metric_lib.Variant, indices: Sequence[int]) -> str:
    if self._system.is_external:
      return 'the soundtracks were generated beforehand, for clean video'
    if variant.negative_text and self._system.negative_prompt_unavailable:
      return self._system.negative_prompt_unavailable
    if variant.corruption != 'clean' and any(self._examples[i].paired_variant is None for i in indices):
      return f"the set has no '{variant.corruption}' variants of its clips"
    return ''

  def codec_sounds(
    self,
    reconstruct: ReconstructFn,
    selected: dict[str, list[int]],
    metrics: Sequence[metric_lib.Metric],
  ) -> dict[metric_lib.Ceiling, Sounds]:
    """Returns the true sounds through the codec, by kind of ceiling.

    Those without music only where a metric needs them and the sound without music is known.
    """
    examples = self._examples

    def round_trips(indices: Sequence[int], waves: Sequence[np.ndarray], stage: str) -> Sounds:
      run = lambda part: reconstruct(np.stack(part))
      return self._run(run, map(record_schema.wave_to_float, waves), indices, stage)

    with_music = round_trips(range(len(examples)), [each.wave_NA for each in examples], 'codec round trips')
    needed = {
      i for metric in metrics if metric.ceiling == 'codec_without_music' for i in selected[metric.name]
    }
    is_mixed = lambda i: synthetic.has_unnamed_music(examples[i].truth)
    waves = {i: examples[i].no_music_wave_NA for i in sorted(needed) if is_mixed(i)}
    waves = {i: wave_NA for i, wave_NA in waves.items() if wave_NA is not None}
    without_music = round_trips(list(waves), list(waves.values()), 'codec, without music') if waves else {}
    without_music |= {i: with_music[i] for i in needed if not is_mixed(i)}
    return {'codec': with_music, 'codec_without_music': without_music}

  def _generate(self, indices: Sequence[int], variant: metric_lib.Variant, seed: int) -> Sounds:
    system, examples = self._system, self._examples
    # Dialogue last: a batch without transcripts needs one network evaluation less.
    indices = sorted(indices, key=lambda i: bool(examples[i].truth['transcript']))
    stage = 'soundtracks' + (f' ({variant.corruption})' if variant.corruption != 'clean' else '')
    stage += f' without {variant.negative_text}' if variant.negative_text else ''
    conditions = (
      examples_lib.generation_inputs(
        examples[i], variant.corruption, variant.negative_text, noise_seed(seed, i), self._has_captions
      )
      for i in indices
    )
    return self._run(system.generate, conditions, indices, f'{stage}, seed {seed}' if seed else stage)

  def _run(self, run: Callable, rows: Iterable, indices: Sequence[int], stage: str) -> Sounds:
    """Returns what `run` returns for each row, at the system's rate, by index, ascending."""
    progress = _Progress(stage, len(indices), self._report)
    checked = lambda part: _checked(np.asarray(run(part)), self._batch_size, self._system.name)
    waves = _in_batches(checked, rows, self._batch_size, progress.update)
    found = {
      i: metric_lib.Sound(wave_NA.astype(np.float32), self._system.sample_rate_hz)
      for i, wave_NA in zip(indices, waves)
    }
    return {i: found[i] for i in sorted(found)}


def _clip_scores(scores: scoring.MetricScores) -> list[ClipScore]:
  columns = [
    (rows or [[None] * len(scores.example_indices)])[0]
    for rows in (scores.value, scores.floor, scores.ceiling)
  ]
  return [ClipScore(*row) for row in zip(scores.example_indices, *columns)]


def _checked(wave_BNA: np.ndarray, batch_size: int, name: str) -> np.ndarray:
  if wave_BNA.ndim != 3 or len(wave_BNA) != batch_size:
    raise ValueError(f"model '{name}' must return ({batch_size}, samples, channels); got {wave_BNA.shape}.")
  if not np.isfinite(wave_BNA).all():
    raise ValueError(f"model '{name}' returned NaN or infinity.")
  return wave_BNA
