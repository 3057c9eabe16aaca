"""What is asked of generation and what it answers; defaults resolved, faults found before any work."""

import dataclasses
import pathlib

import numpy as np

from v2a import clip
from v2a import files
from v2a import flags
from v2a import guidance
from v2a.autoregressive import sampling
from v2a.conditioning import text as text_lib
from v2a.diffusion import samplers
from v2a.sampling import bundle
from v2a.sampling import samplers as samplers_lib

MAX_SAMPLES = 1000
MAX_STEPS = 1000
# What a request may leave to the model.
GUIDANCE_SCALES = ('guidance', 'guidance_video', 'guidance_text', 'guidance_transcript')
SAMPLER_SETTINGS = ('steps', 'solver', 'temperature', 'top_k', 'top_p')
OPTIONAL_SETTINGS = (*SAMPLER_SETTINGS, *GUIDANCE_SCALES)


@dataclasses.dataclass(frozen=True)
class Input:
  """What soundtracks are drawn for.

  Attributes:
    path: video or still image; None draws from the prompt alone.
    start_s: where in the video to begin.
    duration_s: how long; None is to the end of the video.
  """

  path: pathlib.Path | None
  start_s: float = 0.0
  duration_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Request:
  """How soundtracks are drawn; None takes the model's default.

  Attributes:
    num_samples: soundtracks a clip.
    seed: of the noise, at least 0.
    generator: of generators.GENERATORS; None for the model's first.
    steps, solver: see diffusion.samplers; steps are the passes of masked decoding, too.
    temperature, top_k, top_p: of tokens, see autoregressive.sampling.
    guidance, guidance_video, guidance_text, guidance_transcript: see v2a.guidance eq. 1.
    prompt: what to hear. negative_prompt: what not to hear. transcript: words that are spoken.
    word_times_s: when each word of the transcript is said, in seconds of the video (not of the part that is
      drawn); None spreads them evenly over the clip.
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
  prompt: str = ''
  negative_prompt: str = ''
  transcript: str = ''
  word_times_s: tuple[float, ...] | None = None

  def validate(self) -> None:
    """Raises ValueError where a value has no meaning for any model."""
    if not 1 <= self.num_samples <= MAX_SAMPLES:
      raise ValueError(f'the number of samples must lie in 1..{MAX_SAMPLES}; got {self.num_samples}.')
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
    num_words = len(self.transcript.split())
    if self.word_times_s is not None and len(self.word_times_s) != num_words:
      raise ValueError(
        f'word_times_s must hold a time for each of the {num_words} words of the transcript; '
        f'got {len(self.word_times_s)}.'
      )
    tokens = {name: getattr(self, name) for name in ('temperature', 'top_k', 'top_p')}
    sampling.Settings(**{name: value for name, value in tokens.items() if value is not None})
    scales = (getattr(self, name) for name in GUIDANCE_SCALES)
    guidance.Scales(*(1.0 if scale is None else scale for scale in scales))


@dataclasses.dataclass
class Result:
  """What was drawn for one input.

  Attributes:
    waves: one float32 wave NA a sample.
    scores: agreement of picture and sound in [-1, 1]; None without a picture.
    ranks: 1 is the best score; None without a picture.
    motion_L: mean absolute change of the picture in 0..1 at the sync rate, for plots.
    timings_s: seconds by stage.
    settings: everything that was used, defaults resolved.
    error: why the input could not be used; the rest is empty then.
    ood: distance of the picture from what the generator was trained on, and the threshold above which it is
      worth a warning (v2a.ood.detector); None without a picture or a gauge.
    input_fingerprint: of the input, before it was read; None without one.
  """

  waves: list[np.ndarray]
  scores: list[float | None]
  ranks: list[int | None]
  motion_L: np.ndarray
  timings_s: dict[str, float]
  settings: dict
  error: str | None = None
  ood: tuple[float, float] | None = None
  input_fingerprint: files.Fingerprint | None = None


def resolve(model: bundle.Bundle, request: Request, has_video: bool) -> tuple[dict, tuple, np.ndarray]:
  """Returns resolved settings, the branches of guidance and their weights_G.

  Raises:
    ValueError: the model has no such generator, a setting that this one does not know, a text is longer than
      the model reads, or a negative prompt has no effect.
  """
  request.validate()
  generator, spec = model.generator(request.generator), model.clip_spec
  defaults = generator.config.generation
  for name in SAMPLER_SETTINGS:
    if getattr(request, name) is not None and name not in generator.request_settings:
      has = ', '.join(generator.request_settings)
      raise ValueError(f'{name} means nothing to the generator {generator.name!r}, which has {has}.')
  for name in ('prompt', 'negative_prompt'):
    size = len(getattr(request, name).strip().encode())
    if size > spec.num_text_bytes:
      raise ValueError(f'{name.replace("_", " ")} must have at most {spec.num_text_bytes} bytes; got {size}.')
  chosen = {
    name: getattr(defaults, name) if getattr(request, name) is None else getattr(request, name)
    for name in (*generator.request_settings, *GUIDANCE_SCALES)
  }
  if request.negative_prompt.strip() and request.guidance_text is None:
    chosen['guidance_text'] = max(defaults.guidance_text, defaults.guidance_negative)
  scales = guidance.Scales(*(chosen[name] for name in GUIDANCE_SCALES))
  given = [
    name
    for name, is_given in (
      ('video', has_video),
      ('text', request.prompt.strip() or request.negative_prompt.strip()),
      ('transcript', request.transcript.strip()),
    )
    if is_given
  ]
  if request.negative_prompt.strip() and scales.joint == 1 and scales.text == 1:
    raise ValueError('a negative prompt needs guidance: set guidance or guidance_text above 1.')
  branches = guidance.branches(scales, tuple(given))
  settings = {
    'generator': generator.name,
    **chosen,
    **{name: defaults[name] for name in generator.config_settings},
  }
  settings |= {
    'negative_prompt_used': resolve_negative_prompt(model, request),
    'overlap_s': defaults.overlap_s,
    'window_s': float(spec.duration_s),
    'evaluations_per_step': len(branches),
    'evaluations': generator.num_evaluations(settings) * len(branches),
  }
  weights_G = np.array([branch.weight for branch in branches], np.float32)
  return settings, tuple(branch.dropped for branch in branches), weights_G


def static_arguments(model: bundle.Bundle, settings: dict, branches: tuple) -> dict:
  """Returns what model.sample is compiled for, from what `resolve` returned."""
  generator = model.generator(settings['generator'])
  told = tuple((name, settings[name]) for name in (*generator.request_settings, *generator.config_settings))
  return {'generator': generator.name, 'branches': branches, 'settings': told}


def resolve_negative_prompt(model: bundle.Bundle, request: Request) -> str:
  """Returns the negative prompt that is used.

  Who gives no text at all wants to hear something: the model's default ('silence') leads away from the
  silence that a still picture would otherwise get.
  """
  if request.prompt.strip() or request.negative_prompt.strip():
    return request.negative_prompt
  return model.generator(request.generator).config.generation.negative_prompt


def text_inputs(
  spec: clip.ClipSpec, prompt: str, negative_prompt: str, transcript: str
) -> dict[str, np.ndarray]:
  """Returns bytes and lengths of the three texts of one row."""
  found = {}
  for name, length_name, value, size in (
    ('text_U', 'text_length', prompt, spec.num_text_bytes),
    ('negative_U', 'negative_length', negative_prompt, spec.num_text_bytes),
    ('transcript_W', 'transcript_length', transcript, spec.num_transcript_bytes),
  ):
    byte_BU, length_B = text_lib.to_bytes([value], size)
    found[name], found[length_name] = byte_BU[0], length_B[0]
  return found
