"""Evaluates a model on a data set: loads the clips, generates, computes metrics, checks held-out clips."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib

from v2a import arguments
from v2a import clip as clip_lib
from v2a import file_names
from v2a import storage
from v2a.data import examples as examples_lib
from v2a.data import folder_examples
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.evaluation import held_out
from v2a.evaluation import sample_cache
from v2a.evaluation import systems
from v2a.metrics import registry
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import request as request_lib

NUM_CLIPS = 256  # of the synthetic set
NUM_NAMED = 3  # left-out clips in a message
ProgressFn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """Data and settings of an evaluation.

  Attributes:
    data: the synthetic set as 'synthetic:SEED' or 'synthetic:heldout', or a folder of records or of videos.
    num_clips: number of clips; None is NUM_CLIPS of the synthetic set, all of a folder.
    clips_per_scene: of the synthetic set, instead of num_clips.
    clip_s: length of the clips; None is one window of the model.
    seed: first seed of the noise.
    num_seeds: soundtracks per clip, each with its own seed; metrics are averaged over them.
    has_captions: whether the model is given the annotations of the clips as prompts.
    batch_size: soundtracks generated at once.
    groups: groups of metrics, of registry.GROUPS.
    use_optical_flow: whether to compute AV-Align, which takes about 0.3 s of one core per megapixel of video.
  """

  data: str = 'synthetic:heldout'
  num_clips: int | None = None
  clips_per_scene: int | None = None
  clip_s: float | None = None
  seed: int = 0
  num_seeds: int = 1
  has_captions: bool = True
  batch_size: int = 8
  groups: Sequence[str] = tuple(registry.GROUPS)
  use_optical_flow: bool = False

  @property
  def synthetic_seed(self) -> int | None:
    """The seed of the synthetic set; None where the data is a folder."""
    return synthetic_examples.parse_seed(self.data)

  def check(self) -> None:
    """Raises FileNotFoundError, TypeError or ValueError if there is no such data, or a value is invalid.

    Cheap: to be called before a model is loaded.
    """
    arguments.check_fields(self)
    check_counts(self.num_clips, self.num_seeds, self.batch_size)
    if self.clips_per_scene is not None and self.clips_per_scene < 1:
      raise ValueError(f'the number of clips per scene must be at least 1; got {self.clips_per_scene}.')
    if self.synthetic_seed is not None:
      return
    folder = storage.parse(self.data, 'the data')
    if not storage.is_folder(folder):
      raise FileNotFoundError(
        f"the data must be synthetic:heldout, synthetic:SEED or a folder; got '{self.data}'."
      )
    if self.clips_per_scene is not None:
      raise ValueError(
        f"a number of clips per scene needs the synthetic set, synthetic:SEED; '{self.data}' is a folder."
      )
    folder_examples.search(folder)


def check_counts(num_clips: int | None, num_seeds: int, batch_size: int) -> None:
  """Raises ValueError where a number of an evaluation has no meaning; see EvaluateConfig.

  Args:
    num_clips: number of clips, at least 2; None for all.
    num_seeds: number of seeds, at least 1.
    batch_size: soundtracks in a batch, at least 1.
  """
  if num_clips is not None and num_clips < 2:
    raise ValueError(
      f'the number of clips must be at least 2, since the floor needs another; got {num_clips}.'
    )
  for name, number in (('seeds', num_seeds), ('soundtracks in a batch', batch_size)):
    if number < 1:
      raise ValueError(f'the number of {name} must be at least 1; got {number}.')


@dataclasses.dataclass
class LoadedExamples:
  """The clips of an evaluation.

  Attributes:
    examples: the clips.
    trained_on: names of those that the model was trained on; None where that is not known.
    left_out: names of excluded clips of a folder, by reason.
    failures: one line for each clip that could not be read.
  """

  examples: list[examples_lib.Example]
  trained_on: list[str] | None
  left_out: dict[str, list[str]]
  failures: list[str]


def some(names: Sequence[str]) -> str:
  """Returns the first NUM_NAMED names, and how many more there are."""
  more = len(names) - NUM_NAMED
  return ', '.join(names[:NUM_NAMED]) + (f' and {more} more' if more > 0 else '')


def check_num_clips(examples: Sequence[examples_lib.Example], left_out: Mapping[str, Sequence[str]]) -> None:
  """Checks that there are two clips, since the floor of a clip needs the soundtrack of another.

  Args:
    examples: the clips.
    left_out: names of excluded clips, by reason.

  Raises:
    ValueError: there are fewer; the message has the reasons.
  """
  if len(examples) < 2:
    reasons = ', '.join(f'{len(names)} x {reason}' for reason, names in left_out.items())
    others = f'; left out: {reasons}' if reasons else ''
    raise ValueError(
      f'an evaluation needs at least 2 clips, since the floor needs another one; got {len(examples)}{others}.'
    )


def load_examples(
  bundle: bundle_lib.Bundle, config: EvaluateConfig, report_progress: ProgressFn
) -> LoadedExamples:
  """Returns the clips at the rates of a model.

  Args:
    bundle: the model.
    config: of the data.
    report_progress: receives one line at a time.

  Raises:
    FileNotFoundError, ValueError: there is no such data, or it is not valid, or fewer than two clips.
  """
  spec, seed = systems.clip_spec(bundle, config.clip_s), config.synthetic_seed
  left_out: dict[str, list[str]] = {}
  failures: list[str] = []
  examples = list(_examples(config, spec, left_out, failures, report_progress))
  for reason, names in left_out.items():
    clips = 'clip' if len(names) == 1 else 'clips'
    report_progress(f'note: {len(names)} {clips} of the folder left out ({some(names)}): {reason}')
  check_num_clips(examples, left_out)
  trained_on = held_out.trained_on(bundle, examples, seed, report_progress)
  if trained_on:
    num = len(trained_on)
    report_progress(f'note: this model was trained on {num} of these {len(examples)} clips; not held out')
  return LoadedExamples(examples, trained_on, left_out, failures)


def _examples(
  config: EvaluateConfig,
  spec: clip_lib.ClipSpec,
  left_out: dict[str, list[str]],
  failures: list[str],
  report: ProgressFn,
):
  seed = config.synthetic_seed
  if seed is None:
    return folder_examples.read(config.data, config.num_clips, spec, left_out, report, failures)
  if config.clips_per_scene is not None:
    return synthetic_examples.render_every_scene(seed, config.clips_per_scene, spec, report)
  return synthetic_examples.render(
    seed, NUM_CLIPS if config.num_clips is None else config.num_clips, spec, report=report
  )


def evaluate(
  bundle: bundle_lib.Bundle,
  request: request_lib.Request,
  loaded: LoadedExamples,
  config: EvaluateConfig,
  output: pathlib.Path | None = None,
  report_progress: ProgressFn = lambda line: None,
) -> evaluator.EvalResult:
  """Returns all metrics of a model on clips.

  Args:
    bundle: the model.
    request: its generator and sampling settings.
    loaded: the clips, see `load_examples`.
    config: how to evaluate.
    output: folder that caches soundtracks and embeddings; None caches nothing.
    report_progress: receives one line at a time.

  Raises:
    ValueError: fewer than two clips, or weights of a metric's network that cannot be read.
  """
  # Before generation, so that unreadable weights raise early.
  embeddings = output and output / registry.EMBEDDINGS_FOLDER
  metrics = registry.load(config.groups, embeddings, config.use_optical_flow)
  batch_size = systems.batch_size(bundle, config.batch_size)
  if output is None:
    system = systems.adapt(bundle, request)
  else:
    system, _ = sample_cache.adapt(bundle, request, batch_size, output)
  found = evaluator.evaluate(
    system,
    loaded.examples,
    file_names.printable(config.data),
    config.seed,
    batch_size,
    metrics=metrics,
    report_progress=report_progress,
    num_seeds=config.num_seeds,
    has_captions=config.has_captions,
  )
  has_prompts = config.has_captions and examples_lib.have_annotations(loaded.examples)
  found.result['settings'] = systems.resolve(bundle, request, has_prompts)
  found.result['held_out'] = None if loaded.trained_on is None else not loaded.trained_on
  found.result['num_trained_on'] = None if loaded.trained_on is None else len(loaded.trained_on)
  found.result['protocol']['left_out'] = loaded.left_out
  return found
