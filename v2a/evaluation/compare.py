"""Compares models, and soundtracks of other systems, on the same clips: metrics, costs, paired tests.

All systems are evaluated on the same clips, seeds and metrics, one after the other, so that only one model is
in memory. Soundtracks are cached (`sample_cache`), and a second call with the same folder continues an
interrupted one. Differences are to the first system, paired by clip (`bootstrap`), with p-values corrected
for the number of tests (Holm-Bonferroni).
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib

from v2a import arguments
from v2a import clip as clip_lib
from v2a import file_names
from v2a.data import examples as examples_lib
from v2a.data import folder_examples
from v2a.data import synthetic_examples
from v2a.evaluation import costs
from v2a.evaluation import evaluate
from v2a.evaluation import evaluator
from v2a.evaluation import held_out
from v2a.evaluation import sample_cache
from v2a.evaluation import scoring
from v2a.evaluation import systems as systems_lib
from v2a.metrics import distribution
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

ProgressFn = Callable[[str], None]
NUM_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class CompareConfig:
  """Systems, data and settings of a comparison.

  Attributes:
    models: names or folders of models, with ':GENERATOR' for another generator than the model's first; or
      folders of WAV files. Differences are to the first one.
    data: as `v2a evaluate --data`.
    num_clips: number of clips; None is evaluate.NUM_CLIPS of the synthetic set, all of a folder.
    seed: first seed of the noise.
    num_seeds: soundtracks per clip, each with its own seed.
    steps: each model is evaluated with each of these numbers of sampling steps; () for its default.
    settings: of request.Request except steps; None for the model's default.
    has_captions: whether models are given the annotations.
    batch_size: soundtracks generated at once.
    clip_s: length of the clips; None is one window of the models.
    mesh_sizes: sharding of models over devices, see v2a.sampling.bundle.Bundle.
    use_optical_flow: see evaluate.EvaluateConfig.
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
  use_optical_flow: bool = False

  def check(self) -> None:
    """Raises FileNotFoundError, TypeError or ValueError if there is no such data, or a value is invalid."""
    arguments.check_fields(self)
    evaluate.EvaluateConfig(
      self.data, self.num_clips, num_seeds=self.num_seeds, batch_size=self.batch_size
    ).check()


@dataclasses.dataclass(frozen=True)
class ShownExample:
  """A clip for the page: the true sound, and the soundtrack of each system, at their own rates."""

  example: examples_lib.Example
  true: metric_lib.Sound
  sounds: dict[str, metric_lib.Sound]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The result of a comparison.

  Attributes:
    result: the report, JSON-able.
    shown: some clips, of different scenes if there are several.
    failures: one line for each clip that could not be read.
  """

  result: dict
  shown: list[ShownExample]
  failures: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _SystemSpec:
  """One column of the report: a model with a number of steps, or a folder of soundtracks."""

  name: str
  series: str
  path: str
  generator: str | None
  steps: int | None
  is_external: bool


def system_specs(config: CompareConfig) -> list[_SystemSpec]:
  """Returns the systems in order.

  Raises:
    ValueError: a system is named twice, or a generator is unknown.
  """
  found = []
  for word in config.models:
    if not word:
      raise ValueError('a model to compare must be a name or a path; got an empty one.')
    path, generator = systems_lib.split_generator(word)
    name = file_names.printable(pathlib.Path(path).name) + (f':{generator}' if generator else '')
    if (
      sum(
        pathlib.Path(systems_lib.split_generator(other)[0]).name == pathlib.Path(path).name
        for other in config.models
      )
      > 1
    ):
      name = file_names.printable(word)
    if generator is None and sample_cache.is_wav_folder(pathlib.Path(path)):
      found.append(_SystemSpec(name, name, path, None, None, True))
      continue
    # Autoregressive decoding takes as many steps as there are tokens.
    all_steps = (None,) if generator == 'tokens' else config.steps or (None,)
    for steps in all_steps:
      label = name if len(all_steps) < 2 else f'{name}, {steps} steps'
      found.append(_SystemSpec(label, name, path, generator, steps, False))
  _check_distinct(found)
  if len(found) < 2:
    raise ValueError(
      f'a comparison needs at least two models, folders or numbers of steps; got {len(found)}.'
    )
  return found


def _check_distinct(specs: Sequence[_SystemSpec]) -> None:
  """Raises ValueError where two systems are the same, also by different names of one folder."""
  names_by_system: dict[tuple, list[str]] = {}
  for spec in specs:
    path = pathlib.Path(spec.path)
    folder = path.resolve() if path.exists() else spec.path
    names_by_system.setdefault((folder, spec.generator, spec.steps), []).append(spec.name)
  repeated = sorted(
    ' and '.join(dict.fromkeys(names)) for names in names_by_system.values() if len(names) > 1
  )
  if repeated:
    raise ValueError(f'each model may be named once; got {", ".join(repeated)} more than once.')


def _load(spec: _SystemSpec, config: CompareConfig) -> tuple[bundle.Bundle, request_lib.Request]:
  """Returns a model and its request; raises an error of the input where either is not valid."""
  try:
    model = bundle.load(spec.path, generator=spec.generator, mesh_sizes=config.mesh_sizes)
  except FileNotFoundError as error:
    if not pathlib.Path(spec.path).is_dir():
      raise
    raise FileNotFoundError(
      f'{error} {spec.path} holds no wav files either (NAME.wav for each clip NAME).'
    ) from error
  request = systems_lib.make_request(model, spec.generator, **{**config.settings, 'steps': spec.steps})
  systems_lib.resolve(model, request)
  return model, request


class _Clips:
  """The clips at the rates of each model; rendered or read once for all models of the same rates."""

  def __init__(self, config: CompareConfig, report: ProgressFn):
    self._config, self._report = config, report
    self._by_spec: dict[clip_lib.ClipSpec, list[examples_lib.Example]] = {}
    self._references: dict[clip_lib.ClipSpec, list[metric_lib.Reference]] = {}
    self.seed = synthetic_examples.parse_seed(config.data)
    self.left_out: dict[str, list[str]] = {}
    self.failures: list[str] = []

  def __call__(self, spec: clip_lib.ClipSpec) -> list[examples_lib.Example]:
    """Returns the clips at the rates of a ClipSpec; raises ValueError if its duration differs from others."""
    if spec not in self._by_spec:
      if any(known.duration_s != spec.duration_s for known in self._by_spec):
        known = next(iter(self._by_spec))
        raise ValueError(
          f'models that generate {float(known.duration_s):g} s and {float(spec.duration_s):g} s cannot be '
          'compared on the same clips.'
        )
      num_clips = self._config.num_clips
      if self.seed is None:
        self.left_out, self.failures = {}, []
        # Progress is reported for the first model only.
        report = None if self._by_spec else self._report
        found = folder_examples.read(self._config.data, num_clips, spec, self.left_out, report, self.failures)
      else:
        found = synthetic_examples.render(
          self.seed, evaluate.NUM_CLIPS if num_clips is None else num_clips, spec, report=self._report
        )
      self._by_spec[spec] = list(found)
    return self._by_spec[spec]

  def references(self, spec: clip_lib.ClipSpec) -> list[metric_lib.Reference]:
    """Returns the references of the clips, shared by systems of the same rates."""
    if spec not in self._references:
      self._references[spec] = evaluator.make_references(self(spec), spec.sample_rate_hz)
    return self._references[spec]


def compare(config: CompareConfig, folder: pathlib.Path, report: ProgressFn) -> Comparison:
  """Returns the metrics and costs of all systems on the same clips.

  Args:
    config: the systems and the settings.
    folder: of the cache of soundtracks and embeddings.
    report: receives one line of progress at a time.

  Raises:
    FileNotFoundError: there is no such model or data, or a folder holds neither a model nor WAV files.
    ValueError: a model, a request, a folder of soundtracks or the data is not valid; before generation.
  """
  systems = system_specs(config)
  clips = _Clips(config, report)
  spec = _check(systems, config, clips)
  metrics = registry.load(
    embeddings=folder / registry.EMBEDDINGS_FOLDER, use_optical_flow=config.use_optical_flow
  )
  entries, observed, shown = {}, {}, _select_shown(clips(spec), spec.sample_rate_hz)
  for number, system in enumerate(systems, 1):
    report_system = lambda line, number=number, system=system: report(
      f'{number}/{len(systems)} {system.name}: {line}'
    )
    entries[system.name], found = _evaluate(system, config, clips, spec, folder, metrics, report_system)
    observed[system.name] = found.observed_scores
    for index, example in shown.items():
      example.sounds[system.name] = found.sounds[index]
  first = systems[0]
  distribution.drop_incomparable({name: entry['distribution'] for name, entry in entries.items()}, first.name)
  report('paired tests')
  differences = scoring.differences(observed, first.name, metrics)
  result = {
    'data': file_names.printable(config.data),
    'num_clips': len(clips(spec)),
    'seed': config.seed,
    'num_seeds': config.num_seeds,
    'captions': config.has_captions,
    'reference': first.name,
    'left_out': clips.left_out,
    'models': entries,
    'differences': differences,
  }
  return Comparison(result, list(shown.values()), clips.failures)


def _check(systems: Sequence[_SystemSpec], config: CompareConfig, clips: _Clips) -> clip_lib.ClipSpec:
  """Returns the ClipSpec of the first model; raises the errors of all systems before generation."""
  specs = {}
  for system in systems:
    if not system.is_external:
      specs[system.name] = systems_lib.clip_spec(_load(system, config)[0], config.clip_s)
  spec = next(iter(specs.values()), clip_lib.ClipSpec(clip_s=config.clip_s or clip_lib.ClipSpec.clip_s))
  for known in (spec, *specs.values()):
    evaluate.check_num_clips(clips(known), clips.left_out)
  for system in systems:
    if system.is_external:
      sample_cache.read_folder(pathlib.Path(system.path), clips(spec), spec.sample_rate_hz)
  return spec


def _select_shown(examples: Sequence[examples_lib.Example], sample_rate_hz: int) -> dict[int, ShownExample]:
  """Returns clips for the page, by index: the first of each scene, then the second, and so on."""
  rank: dict[str, int] = {}
  order = []
  for i, example in enumerate(examples):
    scene = example.truth['scene']
    rank[scene] = rank.get(scene, -1) + 1
    order.append((rank[scene], i))
  selected = sorted(i for _, i in sorted(order)[:NUM_SHOWN])
  references = evaluator.make_references([examples[i] for i in selected], sample_rate_hz)
  return {
    i: ShownExample(examples[i], reference.true_sound, {}) for i, reference in zip(selected, references)
  }


def _evaluate(
  system: _SystemSpec,
  config: CompareConfig,
  clips: _Clips,
  spec: clip_lib.ClipSpec,
  folder: pathlib.Path,
  metrics: Sequence[metric_lib.Metric],
  report: ProgressFn,
) -> tuple[dict, evaluator.EvalResult]:
  """Returns the entry of one system, and its evaluation."""
  run = lambda evaluated, spec, **more: evaluator.evaluate(
    evaluated, clips(spec), file_names.printable(config.data), config.seed, metrics=metrics,
    report_progress=report, num_seeds=config.num_seeds, has_captions=config.has_captions,
    references=clips.references(spec), **more)  # fmt: skip
  if system.is_external:
    samples = sample_cache.read_folder(
      pathlib.Path(system.path), clips(spec), spec.sample_rate_hz, system.name
    )
    found = run(samples.system, spec, clip_rate_hz=spec.sample_rate_hz)
    left_out = {name for names in clips.left_out.values() for name in names}
    num_left_out = sum(name in left_out for name in samples.unused)
    entry = _entry(system, found) | {
      'held_out': None, 'settings': None, 'costs': None, 'length_adjusted': samples.length_adjusted,
      'num_files_of_left_out_clips': num_left_out, 'num_unused_files': len(samples.unused) - num_left_out,
      'sample_rate_hz': samples.system.sample_rate_hz, 'num_channels': samples.num_channels}  # fmt: skip
    return entry, found
  model, request = _load(system, config)
  spec = systems_lib.clip_spec(model, config.clip_s)
  batch_size = systems_lib.batch_size(model, config.batch_size)
  trained_on = held_out.trained_on(model, clips(spec), clips.seed, report)
  adapted, cache = sample_cache.adapt(model, request, batch_size, folder)
  adapted = dataclasses.replace(adapted, name=system.name)
  found = run(adapted, spec, batch_size=batch_size)
  has_prompts = config.has_captions and examples_lib.have_annotations(clips(spec))
  entry = _entry(system, found) | {
    'held_out': None if trained_on is None else not trained_on,
    'settings': systems_lib.resolve(model, request, has_prompts),
    'costs': _costs(model, request, spec, cache.measured_costs, report),
    'sample_rate_hz': spec.sample_rate_hz,
    'num_channels': [spec.num_channels],
  }
  return entry, found


def _entry(system: _SystemSpec, found: evaluator.EvalResult) -> dict:
  shared = ('model', 'data', 'num_clips')
  own = {name: value for name, value in found.result.items() if name not in shared}
  return {'path': system.path, 'series': system.series, 'generator': system.generator, **own}


def _costs(
  model: bundle.Bundle,
  request: request_lib.Request,
  spec: clip_lib.ClipSpec,
  measured: sample_cache.MeasuredCosts,
  report: ProgressFn,
) -> dict:
  report('counting FLOPs')
  num_windows = systems_lib.num_windows(model, request, spec.num_samples)
  sampling, exports = costs.sampling_costs(model, request), costs.sampling_parts(model, request.generator)
  return {
    'num_parameters': costs.num_parameters(exports),
    'training_flops': costs.training_flops(exports),
    'network_evaluations': num_windows * sampling.network_evaluations,
    'flops': num_windows * sampling.flops,
    'wall_s': measured.wall_s,
    'real_time_factor': measured.wall_s and float(spec.duration_s) / measured.wall_s,
    'peak_memory_bytes': measured.peak_bytes,
    'device': model.mesh.devices.flat[0].device_kind,
    'num_devices': model.mesh.devices.size,
  }
