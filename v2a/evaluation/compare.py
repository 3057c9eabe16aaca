"""Several models, and sounds that other systems made, on the same clips: figures, costs, and what differs.

Everybody gets the same clips, the same seeds and the same figures, one after the other, so that no two models
share memory. What was drawn is kept (`soundtracks`), and a second call with the same folder goes on where the
first ended. Differences are those to the first that was named, paired by clip (`resampling`), each p
corrected for the number of figures (Holm); what passes is marked.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import math
import pathlib

import numpy as np

from v2a import clip as clip_lib
from v2a import file_names
from v2a.data import examples
from v2a.evaluation import adapter
from v2a.evaluation import costs
from v2a.evaluation import distribution_metrics
from v2a.evaluation import evaluator
from v2a.evaluation import sample_cache
from v2a.metrics import bootstrap
from v2a.metrics import classifiers
from v2a.metrics import synthetic
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

ProgressFn = Callable[[str], None]
# Corrected p below which a difference gets a star more.
SIGNIFICANCE_LEVELS = (0.05, 0.01, 0.001)
NUM_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class CompareConfig:
  """What is compared with what, and how.

  Attributes:
    models: names or folders of models, with ':GENERATOR' where another than the model's own shall draw; or
      folders of wav files. Differences are to the first.
    data: as `v2a evaluate --data`.
    num_clips: how many; None for all of a folder.
    seed: first seed of the noise.
    num_seeds: how often every soundtrack is drawn.
    steps: each model is compared with itself at all of these; () for its own number.
    settings: of generate.Request, None where the model's own counts; without steps.
    has_captions: whether models are given the annotations.
    batch_size: soundtracks drawn at once.
    clip_s: length of the clips; None is one window of the models.
    mesh_sizes: how models lie on the devices, see v2a.sampling.bundle.Bundle.
  """

  models: Sequence[str]
  data: str
  num_clips: int | None
  seed: int = 0
  num_seeds: int = 1
  steps: Sequence[int] = ()
  settings: dict = dataclasses.field(default_factory=dict)
  has_captions: bool = True
  batch_size: int = 8
  clip_s: float | None = None
  mesh_sizes: dict[str, int] | None = None


@dataclasses.dataclass(frozen=True)
class ShownExample:
  """A clip to look at and listen to: the true sound, and each contestant's, at their own rates."""

  example: examples.Example
  true: tuple[np.ndarray, int]
  sounds: dict[str, tuple[np.ndarray, int]]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """What a comparison found.

  Attributes:
    result: JSON-able; all of it.
    shown: some clips, of different scenes as far as there are any.
    failures: one line for each clip that could not be read.
  """

  result: dict
  shown: list[ShownExample]
  failures: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _SystemSpec:
  """One column: a model at one number of steps, or a folder of sounds."""

  name: str
  series: str
  path: str
  generator: str | None
  steps: int | None
  is_external: bool


def system_specs(config: CompareConfig) -> list[_SystemSpec]:
  """Returns the columns in order.

  Raises:
    ValueError: the same one twice, or a generator that nobody knows.
  """
  found = []
  for word in config.models:
    path, generator = adapter.split_generator(word)
    name = file_names.printable(pathlib.Path(path).name) + (f':{generator}' if generator else '')
    if (
      sum(
        pathlib.Path(adapter.split_generator(other)[0]).name == pathlib.Path(path).name
        for other in config.models
      )
      > 1
    ):
      name = file_names.printable(word)
    if generator is None and sample_cache.is_wav_folder(pathlib.Path(path)):
      found.append(_SystemSpec(name, name, path, None, None, True))
      continue
    # Tokens in turn are as many as they are: there is nothing to choose.
    all_steps = (None,) if generator == 'tokens' else config.steps or (None,)
    for steps in all_steps:
      label = name if len(all_steps) < 2 else f'{name}, {steps} steps'
      found.append(_SystemSpec(label, name, path, generator, steps, False))
  labels = [each.name for each in found]
  twice = sorted({label for label in labels if labels.count(label) > 1})
  if twice:
    raise ValueError(f'each model may be named once; got {", ".join(twice)} more than once.')
  if len(found) < 2:
    raise ValueError(
      f'a comparison needs at least two models, folders or numbers of steps; got {len(found)}.'
    )
  return found


def _load(each: _SystemSpec, asked: CompareConfig) -> tuple[bundle.Bundle, request_lib.Request]:
  """Returns a model, and what it is asked for; finds what is wrong with either."""
  model = bundle.load(each.path, generator=each.generator, mesh_sizes=asked.mesh_sizes)
  request = adapter.make_request(model, each.generator, **{**asked.settings, 'steps': each.steps})
  adapter.resolve(model, request)
  return model, request


class _Clips:
  """The clips as each model's rates want them; rendered or read once for all models of the same rates."""

  def __init__(self, asked: CompareConfig, say: ProgressFn):
    self._asked, self._say, self._by_spec = asked, say, {}
    self.seed = examples.synthetic_seed(asked.data)
    self.left_out: dict[str, int] = {}
    self.failures: list[str] = []

  def __call__(self, spec) -> list[examples.Example]:
    """Returns the clips at the rates of a ClipSpec. Raises ValueError where they last another time."""
    if spec not in self._by_spec:
      if any(known.duration_s != spec.duration_s for known in self._by_spec):
        known = next(iter(self._by_spec))
        raise ValueError(
          f'models that generate {float(known.duration_s):g} s and {float(spec.duration_s):g} s cannot be '
          'compared on the same clips.'
        )
      if self.seed is None:
        self.left_out, self.failures = {}, []
        folder = pathlib.Path(self._asked.data)
        # Once, whatever the number of models.
        say = None if self._by_spec else self._say
        found = examples.from_folder(folder, self._asked.num_clips, spec, self.left_out, say, self.failures)
      else:
        found = examples.from_synthetic(self.seed, self._asked.num_clips, spec, report=self._say)
      self._by_spec[spec] = list(found)
    return self._by_spec[spec]


def compare(config: CompareConfig, folder: pathlib.Path, report: ProgressFn) -> Comparison:
  """Returns the figures and costs of everybody on the same clips.

  Args:
    config: who and how.
    folder: where drawn soundtracks are kept, and found again.
    report: receives one line of progress at a time.

  Raises:
    FileNotFoundError: there is no such model or data.
    ValueError: a model, a request, a folder of sounds or the data is not right; before anything is drawn.
  """
  everybody = system_specs(config)
  clips = _Clips(config, report)
  spec = _check(everybody, config, clips)
  tools, meter = (
    classifiers.load(),
    distribution_metrics.DistributionMetrics(folder / distribution_metrics.FOLDER),
  )
  entries, samples, shown = {}, {}, _choose(clips(spec), spec.sample_rate_hz)
  for number, each in enumerate(everybody, 1):
    told = lambda line, number=number, each=each: report(f'{number}/{len(everybody)} {each.name}: {line}')
    entry, outcome, rate_hz = _evaluate(each, config, clips, spec, folder, tools, told)
    told('distances of sets')
    case_rate_hz, fps = spec.sample_rate_hz, spec.sync_fps
    sets = meter.measure(clips(spec), case_rate_hz, fps, outcome.waves, outcome.codec_waves, rate_hz)
    entries[each.name] = entry | {distribution_metrics.KEY: sets.entries}
    samples[each.name] = outcome.observed_scores | {distribution_metrics.KEY: sets.observed_scores}
    for index, one in shown.items():
      one.sounds[each.name] = (outcome.waves[index], rate_hz)
  first, *others = everybody
  distribution_metrics.drop_incomparable(
    {name: entry[distribution_metrics.KEY] for name, entry in entries.items()}, first.name
  )
  result = {
    'data': file_names.printable(config.data),
    'num_clips': len(clips(spec)),
    'seed': config.seed,
    'num_seeds': config.num_seeds,
    'captions': config.has_captions,
    'reference': first.name,
    'left_out': clips.left_out,
    'embedders': meter.describe(),
    'models': entries,
    'differences': {
      other.name: _differences(samples[other.name], samples[first.name], report, other.name)
      for other in others
    },
  }
  return Comparison(result, list(shown.values()), clips.failures)


def _check(everybody: Sequence[_SystemSpec], asked: CompareConfig, clips: _Clips):
  """Returns the ClipSpec of the first model; finds faults of all before anything is drawn."""
  specs = {}
  for each in everybody:
    if not each.is_external:
      specs[each.name] = adapter.clip_spec(_load(each, asked)[0], asked.clip_s)
  spec = next(iter(specs.values()), clip_lib.ClipSpec(clip_s=asked.clip_s or clip_lib.ClipSpec.clip_s))
  for known in (spec, *specs.values()):
    clips(known)
  for each in everybody:
    if each.is_external:
      sample_cache.read_folder(pathlib.Path(each.path), clips(spec), spec.sample_rate_hz)
  return spec


def _choose(cases: Sequence[examples.Example], rate_hz: int) -> dict[int, ShownExample]:
  """Returns clips to show, by index: the first of each scene, then the second, and so on."""
  rank: dict[str, int] = {}
  order = []
  for i, case in enumerate(cases):
    scene = case.truth['scene']
    rank[scene] = rank.get(scene, -1) + 1
    order.append((rank[scene], i))
  chosen = sorted(i for _, i in sorted(order)[:NUM_SHOWN])
  waves = {i: cases[i].wave_NA.astype(np.float32) / 32767.0 for i in chosen}
  return {i: ShownExample(cases[i], (waves[i], rate_hz), {}) for i in chosen}


def _evaluate(
  each: _SystemSpec, asked: CompareConfig, clips: _Clips, spec, folder: pathlib.Path, tools, say: ProgressFn
):
  """Returns the entry of one contestant, the outcome, and the rate of its soundtracks."""
  evaluate = lambda model, cases, **more: evaluator.evaluate(
    model, cases, file_names.printable(asked.data), asked.seed, tools=tools, say=say,
    num_seeds=asked.num_seeds, has_captions=asked.has_captions, **more)  # fmt: skip
  if each.is_external:
    cases = clips(spec)
    made = sample_cache.read_folder(pathlib.Path(each.path), cases, spec.sample_rate_hz, each.name)
    outcome = evaluate(made.system, cases, clip_rate_hz=spec.sample_rate_hz)
    entry = _entry(each, outcome) | {
      'held_out': None, 'settings': None, 'costs': None, 'length_adjusted': made.length_adjusted,
      'num_unused_files': made.num_unused}  # fmt: skip
    return entry, outcome, made.system.sample_rate_hz
  model, request = _load(each, asked)
  spec = adapter.clip_spec(model, asked.clip_s)
  cases, batch_size = clips(spec), adapter.batch_size(model, asked.batch_size)
  known = adapter.trained_on(model, cases, clips.seed, say)
  kept = sample_cache.SampleCache(
    folder / sample_cache.FOLDER, sample_cache.cache_key(model, request, batch_size)
  )
  adapted = dataclasses.replace(kept.wrap(adapter.adapt(model, request)), name=each.name)
  outcome = evaluate(adapted, cases, batch_size=batch_size)
  entry = _entry(each, outcome) | {
    'held_out': None if known is None else not known,
    'settings': adapter.resolve(model, request, asked.has_captions),
    'costs': _costs(model, request, spec, kept.measured_costs, say),
  }
  return entry, outcome, model.sample_rate_hz


def _entry(each: _SystemSpec, outcome: evaluator.EvalResult) -> dict:
  kept = {name: value for name, value in outcome.result.items() if name not in ('model', 'data', 'num_clips')}
  return {'path': each.path, 'series': each.series, 'generator': each.generator, **kept}


def _costs(
  model: bundle.Bundle, request: request_lib.Request, spec, drawn: sample_cache.MeasuredCosts, say: ProgressFn
) -> dict:
  say('counting operations')
  num_windows = adapter.num_windows(model, request, spec.num_samples)
  drawing, exports = costs.sampling_costs(model, request), costs.sampling_parts(model, request.generator)
  return {
    'num_parameters': costs.num_parameters(exports),
    'training_flops': costs.training_flops(exports),
    'network_evaluations': num_windows * drawing.network_evaluations,
    'flops': num_windows * drawing.flops,
    'wall_s': drawn.wall_s,
    'real_time_factor': drawn.wall_s and float(spec.duration_s) / drawn.wall_s,
    'peak_memory_bytes': drawn.peak_bytes,
    'device': model.mesh.devices.flat[0].device_kind,
    'num_devices': model.mesh.devices.size,
  }


def _differences(mine: dict, other: dict, say: ProgressFn, name: str) -> dict:
  """Returns by table and figure how far one lies above another, with corrected p and a mark."""
  say(f'paired tests: {name}')
  found = {}
  for key, figures in mine.items():
    for figure, sample in figures.items():
      if figure in other[key]:
        difference = bootstrap.paired_difference(sample, other[key][figure])
        if difference is not None:
          found[key, figure] = difference
  corrected = bootstrap.holm({place: difference.p for place, difference in found.items()})
  told: dict[str, dict] = {key: {} for key in mine}
  for (key, figure), difference in found.items():
    p = corrected[key, figure]
    told[key][figure] = {
      'value': difference.value,
      'interval': difference.interval,
      'p': difference.p,
      'p_corrected': p,
      'mark': significance_mark(difference.value, p, is_higher_better(key, figure)),
      'num_clips': difference.num_clips,
    }
  return told


def is_higher_better(key: str, metric: str) -> bool:
  """Returns which way a figure improves.

  Args:
    key: of the result's object: 'synthetic', distributions.KEY or that of a table of runner.TABLES.
    metric: its name.
  """
  if key == 'synthetic':
    return metric not in synthetic.LOWER_IS_BETTER
  if key == distribution_metrics.KEY:
    return distribution_metrics.is_higher_better(metric)
  return next(table for table in evaluator.TABLES if table.key == key).metrics[metric].is_higher_better


def significance_mark(difference: float, p: float, is_higher_better: bool) -> str:
  """Returns better or worse and a star for each of SIGNIFICANCE_LEVELS above p; '' where there is none."""
  stars = '*' * sum(p < limit for limit in SIGNIFICANCE_LEVELS)
  if not stars or not difference or math.isnan(difference):
    return ''
  return f'{"better" if (difference > 0) == is_higher_better else "worse"}{stars}'
