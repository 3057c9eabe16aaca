"""Requests for generation: inputs, texts and settings; defaults resolved, errors found before any work.

Texts are optional. None is an absent text; '' is an empty one. Where neither prompt nor negative prompt is
given, the model's default negative prompt is used ('silence'), which leads away from the silence that a still
video would otherwise get; an empty prompt or negative prompt switches that off.
"""

import dataclasses
import pathlib

import numpy as np

from v2a import arguments
from v2a import flags
from v2a import guidance
from v2a import input_errors
from v2a.autoregressive import sampling
from v2a.diffusion import samplers
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import samplers as samplers_lib

MAX_STEPS = 1000
# What a request may leave to the model.
GUIDANCE_SCALES = ('guidance', 'guidance_video', 'guidance_text', 'guidance_transcript')
SAMPLER_SETTINGS = ('steps', 'solver', 'temperature', 'top_k', 'top_p')
OPTIONAL_SETTINGS = (*SAMPLER_SETTINGS, *GUIDANCE_SCALES)


@dataclasses.dataclass(frozen=True)
class Input:
  """A video file, a part of one, or a duration without video.

  Attributes:
    path: video or still image; None generates from text alone.
    start_s: begin of the part within the video, in seconds.
    duration_s: length of the part in seconds; None is to the end of the video.
  """

  path: pathlib.Path | None
  start_s: float = 0.0
  duration_s: float | None = None

  def check_types(self) -> None:
    """Raises TypeError where a field has another type; the file is not opened."""
    arguments.check_fields(self)


@dataclasses.dataclass(frozen=True, eq=False)
class FrameInput:
  """Frames of a whole clip in memory, as records and the synthetic set hold them.

  Attributes:
    semantic_frame_MYX3, sync_frame_LYX3: uint8 at the model's rates and size. The last frame is repeated to
      the end of the last window.
    num_audio_samples: length of the clip in audio samples; None is the length of the sync frames.
  """

  semantic_frame_MYX3: np.ndarray
  sync_frame_LYX3: np.ndarray
  num_audio_samples: int | None = None


AnyInput = Input | FrameInput


@dataclasses.dataclass(frozen=True)
class Request:
  """How to generate; None takes the model's default.

  Attributes:
    num_samples: soundtracks per input, 1..flags.MAX_SAMPLES.
    seed: of the noise, at least 0.
    generator: of samplers.GENERATORS; None for the model's first.
    steps, solver: see diffusion.samplers; steps are the decoding iterations of masked decoding, too.
    temperature, top_k, top_p: of tokens, see autoregressive.sampling.
    guidance, guidance_video, guidance_text, guidance_transcript: scales, see v2a.guidance eq. 1.
    prompt: the sound that is wanted.
    negative_prompt: the sound that is not wanted.
    transcript: words of the dialogue.
    word_times_s: time of each word of the transcript, in seconds of the video (not of the part); None spreads
      the words evenly over the clip.
  """

  num_samples: int = 1
  seed: int = 0
  generator: str | None = None
  steps: int | None = None
  solver: str | None = None
  temperature: float | None = None
  top_k: int | None = None
  top_p: float | None = None
  guidance: float | None = None
  guidance_video: float | None = None
  guidance_text: float | None = None
  guidance_transcript: float | None = None
  prompt: str | None = None
  negative_prompt: str | None = None
  transcript: str | None = None
  word_times_s: tuple[float, ...] | None = None

  def validate(self) -> None:
    """Raises TypeError for a field of another type, ValueError for one without a meaning for any model."""
    arguments.check_fields(self)
    if not 1 <= self.num_samples <= flags.MAX_SAMPLES:
      raise ValueError(f'num_samples must lie in 1..{flags.MAX_SAMPLES}; got {self.num_samples}.')
    if not 0 <= self.seed <= flags.MAX_SEED:
      raise ValueError(f'seed must lie in 0..{flags.MAX_SEED}; got {self.seed}.')
    if self.steps is not None and not 1 <= self.steps <= MAX_STEPS:
      raise ValueError(f'steps must lie in 1..{MAX_STEPS}; got {self.steps}.')
    if self.solver is not None and self.solver not in samplers.SOLVERS:
      raise ValueError(f'solver must be one of {sorted(samplers.SOLVERS)}; got {self.solver!r}.')
    if self.generator is not None and self.generator not in samplers_lib.GENERATORS:
      raise ValueError(
        f'the generator must be one of {", ".join(samplers_lib.GENERATORS)}; got {self.generator!r}.'
      )
    num_words = len((self.transcript or '').split())
    if self.word_times_s is not None and len(self.word_times_s) != num_words:
      raise ValueError(
        f'word_times_s must hold a time for each of the {num_words} words of the transcript; '
        f'got {len(self.word_times_s)}.'
      )
    tokens = {name: getattr(self, name) for name in ('temperature', 'top_k', 'top_p')}
    sampling.Settings(**{name: value for name, value in tokens.items() if value is not None})
    scales = (getattr(self, name) for name in GUIDANCE_SCALES)
    guidance.Scales(*(1.0 if scale is None else scale for scale in scales))


@dataclasses.dataclass(frozen=True)
class Conditions:
  """Which conditions a generation has, whatever they are."""

  video: bool = False
  text: bool = False
  negative_text: bool = False
  transcript: bool = False


def conditions_of(request: Request, has_video: bool) -> Conditions:
  """Returns the conditions of a request; a text of blanks is no condition."""
  has = lambda text: bool(text and text.strip())
  return Conditions(has_video, has(request.prompt), has(request.negative_prompt), has(request.transcript))


@dataclasses.dataclass(frozen=True, eq=False)
class ResolvedRequest:
  """A request with the defaults of a model filled in.

  Attributes:
    settings: everything that decides the result beside texts and seed; JSON-able.
    weights_G: guidance weights of the branches.
    static: keywords of Bundle.sample: generator, branches, settings. It is compiled once for each.
  """

  settings: dict
  weights_G: np.ndarray
  static: dict

  @property
  def batch_key(self) -> tuple:
    """Rows of one key can be sampled in one batch."""
    return (*self.static.values(), tuple(self.weights_G))


def resolve(bundle: bundle_lib.Bundle, request: Request, conditions: Conditions) -> ResolvedRequest:
  """Returns a request with defaults filled in.

  Args:
    bundle: the model.
    request: its texts and settings.
    conditions: which conditions there are; see `conditions_of`.

  Raises:
    ValueError: the model has no such generator.
    ArgumentError: a setting does not apply to it, or a negative prompt has no effect.
  """
  request.validate()
  generator = bundle.generator(request.generator)
  defaults = generator.config.generation
  for name in SAMPLER_SETTINGS:
    if getattr(request, name) is not None and name not in generator.request_settings:
      has = ', '.join(f'{{{setting}}}' for setting in generator.request_settings)
      raise input_errors.ArgumentError(
        f'{{{name}}} does not apply to the generator {generator.name!r}, which has {has}.',
        *(name, *generator.request_settings),
      )
  chosen = {
    name: getattr(defaults, name) if getattr(request, name) is None else getattr(request, name)
    for name in (*generator.request_settings, *GUIDANCE_SCALES)
  }
  if conditions.negative_text and request.guidance_text is None:
    chosen['guidance_text'] = max(defaults.guidance_text, defaults.guidance_negative)
  scales = guidance.Scales(*(chosen[name] for name in GUIDANCE_SCALES))
  if conditions.negative_text and scales.joint == 1 and scales.text == 1:
    raise input_errors.ArgumentError(
      'a negative prompt needs guidance: set {guidance} or {guidance_text} above 1.',
      *('guidance', 'guidance_text'),
    )
  has_text = conditions.text or conditions.negative_text
  given = {'video': conditions.video, 'text': has_text, 'transcript': conditions.transcript}
  branches = guidance.branches(scales, tuple(name for name, is_given in given.items() if is_given))
  settings = {
    'generator': generator.name,
    **chosen,
    **{name: defaults[name] for name in generator.config_settings},
  }
  settings |= {
    'negative_prompt_used': negative_prompt(bundle, request),
    'overlap_s': defaults.overlap_s,
    'window_s': float(bundle.clip_spec.duration_s),
    'evaluations_per_step': len(branches),
    'evaluations': generator.num_evaluations(settings) * len(branches),
  }
  names = (*generator.request_settings, *generator.config_settings)
  static = {
    'generator': generator.name,
    'branches': tuple(branch.dropped for branch in branches),
    'settings': tuple((name, settings[name]) for name in names),
  }
  weights_G = np.array([branch.weight for branch in branches], np.float32)
  return ResolvedRequest(settings, weights_G, static)


def negative_prompt(bundle: bundle_lib.Bundle, request: Request) -> str:
  """Returns the negative prompt that is used: the model's default where the request has no text at all."""
  if request.prompt is None and request.negative_prompt is None:
    return bundle.generator(request.generator).config.generation.negative_prompt
  return request.negative_prompt or ''


def check_texts(bundle: bundle_lib.Bundle, request: Request) -> None:
  """Raises ValueError where the prompt or the negative prompt is longer than the model reads."""
  limit = bundle.clip_spec.num_text_bytes
  for name in ('prompt', 'negative_prompt'):
    size = len((getattr(request, name) or '').strip().encode())
    if size > limit:
      raise ValueError(f'{name.replace("_", " ")} must have at most {limit} bytes; got {size}.')
