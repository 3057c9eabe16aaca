"""Models as systems to evaluate."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from v2a import clip as clip_lib
from v2a.data import examples
from v2a.evaluation import evaluator
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.sampling import samplers
from v2a.sampling import windows


def split_generator(word: str) -> tuple[str, str | None]:
  """Returns the model and the generator of NAME or NAME:GENERATOR.

  Raises:
    ValueError: there is no such generator.
  """
  name, colon, generator = word.rpartition(':')
  if not colon or not name or pathlib.Path(word).exists():
    return word, None
  if generator not in samplers.GENERATORS:
    known = ', '.join(samplers.GENERATORS)
    raise ValueError(f'a generator must be one of {known}; got {generator!r} in {word!r}.')
  return name, generator


def make_request(model: bundle.Bundle, generator: str | None, **settings: Any) -> request_lib.Request:
  """Returns a request for a named generator.

  Args:
    model: see v2a.sampling.bundle.load.
    generator: of samplers.GENERATORS; None for the model's first.
    **settings: of request.Request; those that do not apply to this generator are ignored, so that several
      generators can be compared with the same settings.

  Raises:
    ValueError: the model has no such generator, or a value has no meaning.
  """
  unknown = set(request_lib.SAMPLER_SETTINGS) - set(model.generator(generator).request_settings)
  applicable = {name: value for name, value in settings.items() if name not in unknown}
  found = request_lib.Request(generator=generator, **applicable)
  found.validate()
  return found


def resolve(model: bundle.Bundle, request: request_lib.Request, has_prompts: bool = True) -> dict:
  """Returns the settings of a request for a video, with prompts or without; defaults resolved.

  Args:
    model: see v2a.sampling.bundle.load.
    request: generator, its settings and guidance; None is replaced by the model's default.
    has_prompts: whether the clips have prompts; without any, the default negative prompt is used.
  """
  conditions = request_lib.Conditions(video=True, text=has_prompts)
  # With any prompt the default negative prompt is not used.
  request = dataclasses.replace(request, prompt='' if has_prompts else None)
  return request_lib.resolve(model, request, conditions).settings


def request_for_inputs(
  request: request_lib.Request, inputs: examples.GenerationInputs
) -> request_lib.Request:
  """Returns a request with the texts and the seed of an example."""
  return dataclasses.replace(
    request,
    num_samples=1,
    seed=inputs.seed,
    prompt=inputs.text.strip() or None,
    negative_prompt=inputs.negative_text.strip() or None,
    transcript=inputs.transcript or None,
    word_times_s=inputs.word_times_s,
  )


def adapt(model: bundle.Bundle, request: request_lib.Request) -> evaluator.System:
  """Returns a model as a system: it generates through `Pipeline.run`, as the command line does.

  Args:
    model: see v2a.sampling.bundle.load.
    request: generator, its settings and guidance.
  """

  def generate(batch: Sequence[examples.GenerationInputs]) -> np.ndarray:
    jobs = [
      (
        request_lib.FrameInput(each.semantic_frame_MYX3, each.sync_frame_LYX3, each.num_audio_samples),
        request_for_inputs(request, each),
      )
      for each in batch
    ]
    # One slot per example, since results depend on the number of slots by rounding.
    runner = pipeline.Pipeline(model, num_slots=len(batch))
    waves = []
    for result in runner.run(jobs, is_ranked=False, truncate_texts=True):
      if result.exception is not None:
        raise result.exception
      waves.append(result.soundtracks[0].waveform)
    return np.stack(waves)

  no_negative = ''
  try:
    request_lib.resolve(model, request, request_lib.Conditions(video=True, text=True, negative_text=True))
  except ValueError as error:
    no_negative = str(error)
  reconstruct = lambda wave_BNA: np.asarray(model.reconstruct(wave_BNA, request.generator))
  return evaluator.System(
    model.name, generate, reconstruct, model.sample_rate_hz, negative_prompt_unavailable=no_negative
  )


def clip_spec(model: bundle.Bundle, seconds: float | None) -> clip_lib.ClipSpec:
  """Returns the rates and lengths of clips of a duration; None is that of the model's window.

  Raises:
    ValueError: the clips are shorter than a window.
  """
  spec = model.clip_spec
  if seconds is None:
    return spec
  found = dataclasses.replace(spec, clip_s=seconds)
  if found.duration_s < spec.duration_s:
    raise ValueError(
      f"clips must last at least a window of model '{model.name}', {float(spec.duration_s):g} s; "
      f'got {seconds:g} s.'
    )
  return found


def num_windows(model: bundle.Bundle, request: request_lib.Request, num_audio_samples: int) -> int:
  """Returns the number of windows of a clip of some length.

  Args:
    model: see v2a.sampling.bundle.load.
    request: its generator determines the overlap of windows.
    num_audio_samples: of the clip, at the model's sample rate.
  """
  overlap_s = model.generator(request.generator).config.generation.overlap_s
  return len(windows.starts(model.clip_spec, num_audio_samples, overlap_s))


def batch_size(model: bundle.Bundle, min_size: int) -> int:
  """Returns the smallest multiple of the model's number of shards that is at least `min_size`."""
  return -(-min_size // model.num_shards) * model.num_shards
