"""The public functions `v2a.evaluate` and `v2a.compare`; the command line runs the same code with reports."""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib
import tempfile
from typing import Any

from v2a import arguments
from v2a.evaluation import compare as compare_lib
from v2a.evaluation import evaluate as evaluate_lib
from v2a.sampling import pipeline as pipeline_lib
from v2a.sampling import request as request_lib


def evaluate(
  model: str | pathlib.Path | pipeline_lib.Pipeline,
  data: str | pathlib.Path = evaluate_lib.EvaluateConfig.data,
  *,
  num_clips: int | None = None,
  clip_s: float | None = None,
  seed: int = 0,
  num_seeds: int = 1,
  has_captions: bool = True,
  generator: str | None = None,
  steps: int | None = None,
  solver: str | None = None,
  temperature: float | None = None,
  top_k: int | None = None,
  top_p: float | None = None,
  guidance: float | None = None,
  guidance_video: float | None = None,
  guidance_text: float | None = None,
  guidance_transcript: float | None = None,
  groups: Sequence[str] = evaluate_lib.EvaluateConfig.groups,
  batch_size: int = 8,
  use_optical_flow: bool = False,
  output: str | pathlib.Path | None = None,
  report_progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Returns the metrics of a model on a data set.

  Args:
    model: a pipeline, the name of a packaged model, or a folder.
    data: the synthetic set, or a folder of records or of videos; see evaluate.EvaluateConfig.
    num_clips: number of clips; None is evaluate.NUM_CLIPS of the synthetic set, all of a folder.
    clip_s: length of the clips in seconds; None is one window of the model.
    seed: first seed of the noise.
    num_seeds: soundtracks per clip, each with its own seed.
    has_captions: whether the model is given the annotations of the clips as prompts.
    generator: 'flow', 'tokens' or 'masked'; None is the model's first.
    steps, solver, temperature, top_k, top_p: of the sampler, see `Pipeline.generate`; None is the model's.
    guidance, guidance_video, guidance_text, guidance_transcript: scales, see `Pipeline.generate`.
    groups: groups of metrics, see `v2a.metrics.GROUPS`.
    batch_size: soundtracks generated at once.
    use_optical_flow: whether to compute AV-Align, see evaluate.EvaluateConfig.
    output: folder that caches soundtracks and embeddings; None caches nothing.
    report_progress: receives one line at a time.

  Returns:
    The content of report.json (docs/howto/evaluate.md): each group of metrics by its name, each metric with
    value, interval, floor and ceiling.

  Raises:
    TypeError: an argument has another type.
    FileNotFoundError: there is no such model or data.
    ValueError: a setting or the data is not valid.
  """
  if not isinstance(model, pipeline_lib.Pipeline):
    arguments.check('model', model, pathlib.Path)
  arguments.check('groups', groups, Sequence[str])
  config = evaluate_lib.EvaluateConfig(
    data=str(data),
    num_clips=num_clips,
    clip_s=clip_s,
    seed=seed,
    num_seeds=num_seeds,
    has_captions=has_captions,
    batch_size=batch_size,
    groups=tuple(groups),
    use_optical_flow=use_optical_flow,
  )
  config.check()
  request = request_lib.Request(
    generator=generator,
    steps=steps,
    solver=solver,
    temperature=temperature,
    top_k=top_k,
    top_p=top_p,
    guidance=guidance,
    guidance_video=guidance_video,
    guidance_text=guidance_text,
    guidance_transcript=guidance_transcript,
  )
  request.validate()
  runner = model if isinstance(model, pipeline_lib.Pipeline) else pipeline_lib.load(model)
  loaded = evaluate_lib.load_examples(runner.bundle, config, report_progress)
  folder = None if output is None else pathlib.Path(output)
  found = evaluate_lib.evaluate(runner.bundle, request, loaded, config, folder, report_progress)
  return found.result | {'failures': loaded.failures}


def compare(
  models: Sequence[str | pathlib.Path],
  data: str | pathlib.Path = evaluate_lib.EvaluateConfig.data,
  *,
  num_clips: int | None = None,
  clip_s: float | None = None,
  seed: int = 0,
  num_seeds: int = 1,
  steps: int | None = None,
  solver: str | None = None,
  temperature: float | None = None,
  top_k: int | None = None,
  top_p: float | None = None,
  guidance: float | None = None,
  guidance_video: float | None = None,
  guidance_text: float | None = None,
  guidance_transcript: float | None = None,
  has_captions: bool = True,
  batch_size: int = 8,
  use_optical_flow: bool = False,
  output: str | pathlib.Path | None = None,
  report_progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Returns metrics and costs of several systems on the same clips, with paired tests against the first.

  Args:
    models: names or folders of models, with ':GENERATOR' for another generator than the model's first; or
      folders of WAV files named as the clips.
    data: see `evaluate`.
    num_clips: see `evaluate`.
    clip_s: see `evaluate`.
    seed: see `evaluate`.
    num_seeds: see `evaluate`.
    steps, solver, temperature, top_k, top_p: of the sampler, see `Pipeline.generate`;
      settings that a generator does not have are ignored for it; None is the model's.
    guidance, guidance_video, guidance_text, guidance_transcript: scales, see `Pipeline.generate`.
    has_captions: see `evaluate`.
    batch_size: see `evaluate`.
    use_optical_flow: see `evaluate`.
    output: folder that caches soundtracks and embeddings; None is a temporary one.
    report_progress: receives one line at a time.

  Returns:
    The content of report.json (docs/howto/compare.md): 'models' by name, and 'differences' to the first.

  Raises:
    TypeError: an argument has another type.
    FileNotFoundError: there is no such model or data.
    ValueError: a model, a setting or the data is not valid.
  """
  arguments.check('models', models, Sequence[pathlib.Path])
  settings: dict[str, Any] = {
    'solver': solver,
    'temperature': temperature,
    'top_k': top_k,
    'top_p': top_p,
    'guidance': guidance,
    'guidance_video': guidance_video,
    'guidance_text': guidance_text,
    'guidance_transcript': guidance_transcript,
  }
  request_lib.Request(steps=steps, **settings).validate()
  config = compare_lib.CompareConfig(
    models=[str(model) for model in models],
    data=str(data),
    num_clips=num_clips,
    seed=seed,
    num_seeds=num_seeds,
    steps=() if steps is None else (steps,),
    settings=settings,
    has_captions=has_captions,
    batch_size=batch_size,
    clip_s=clip_s,
    use_optical_flow=use_optical_flow,
  )
  config.check()
  with tempfile.TemporaryDirectory() as folder:
    found = compare_lib.compare(config, pathlib.Path(output or folder), report_progress)
  return found.result | {'failures': found.failures}
