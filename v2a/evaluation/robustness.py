"""Robustness: metrics of a model on corrupted video, each corruption at increasing severities.

Clips are corrupted at the size and rate of the model's input, so that severities are comparable for videos of
any size; the audio, the truth and the initial noise stay the same. The corruption of a clip depends on its
index alone.

Soundtracks are cached in a folder, so that an interrupted sweep can be continued.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from v2a import clip as clip_lib
from v2a import degradations
from v2a.data import examples as examples_lib
from v2a.evaluation import evaluator
from v2a.evaluation import ood_scores
from v2a.evaluation import sample_cache
from v2a.media import compression
from v2a.metrics import registry
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

ProgressFn = Callable[[str], None]
ApplyFn = Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]
_NO_NEGATIVE_PROMPT = 'a sweep generates without negative prompts'


@dataclasses.dataclass(frozen=True)
class Corruption:
  """One corruption.

  Attributes:
    about: meaning and unit of a severity.
    severities: increasing.
    apply: (frame_LYX3 uint8, frames a second, severity, rng) -> corrupted frame_LYX3 uint8.
  """

  about: str
  severities: tuple[float, ...]
  apply: ApplyFn


def _compress(frame_LYX3, fps, severity, rng):
  del rng
  return compression.h264_round_trip(frame_LYX3, fps, int(severity))


# Noise and frame rates are not those of augmentation (film grain, equal in all channels and from a table; a
# random phase): here a severity is a plain statistic of the frames, so that it can be read off a table.
def _noise(frame_LYX3, fps, severity, rng):
  del fps
  noise_LYX3 = 255 * severity * rng.standard_normal(frame_LYX3.shape, np.float32)
  return _to_uint8(frame_LYX3 + noise_LYX3)


def _blur(frame_LYX3, fps, severity, rng):
  del fps, rng
  sigma = severity * frame_LYX3.shape[1]
  return _to_uint8(degradations.blur(frame_LYX3.astype(np.float32), sigma))


def _drop(frame_LYX3, fps, severity, rng):
  del fps
  is_shown_L = rng.random(len(frame_LYX3)) >= severity
  is_shown_L[0] = True
  return _repeat_last_shown(frame_LYX3, is_shown_L)


def _slow(frame_LYX3, fps, severity, rng):
  del rng
  slot_L = np.floor(np.arange(len(frame_LYX3)) * severity / fps + 1e-6)
  return _repeat_last_shown(frame_LYX3, np.diff(slot_L, prepend=-1) > 0)


def _grey(frame_LYX3, fps, severity, rng):
  del fps, rng
  return _to_uint8(degradations.remove_color(frame_LYX3, severity))


def _repeat_last_shown(frame_LYX3: np.ndarray, is_shown_L: np.ndarray) -> np.ndarray:
  """Returns the frames, each that is not shown replaced by the last shown one."""
  return frame_LYX3[np.maximum.accumulate(np.where(is_shown_L, np.arange(len(frame_LYX3)), 0))]


def _to_uint8(pixels_LYX3: np.ndarray) -> np.ndarray:
  return np.clip(np.round(pixels_LYX3), 0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
  'compression': Corruption('constant rate factor of x264', (30, 38, 44, 51), _compress),
  'noise': Corruption(
    'standard deviation of each colour channel, as a share of full scale', (0.05, 0.1, 0.2, 0.4), _noise
  ),
  'blur': Corruption(
    'standard deviation of a Gaussian, as a share of the frame height', (0.02, 0.04, 0.08, 0.16), _blur
  ),
  'dropped': Corruption('share of frames replaced by the last shown one', (0.1, 0.25, 0.5, 0.75), _drop),
  'frame_rate': Corruption('frames a second', (12.5, 8, 5, 2.5), _slow),
  'grey': Corruption('share of the colour that is removed', (0.5, 1.0), _grey),
}


def corrupt_examples(
  examples: Sequence[examples_lib.Example], corruption: str, severity: float, spec: clip_lib.ClipSpec
) -> list[examples_lib.Example]:
  """Returns the clips with corrupted frames, without paired variants.

  Args:
    examples: the clips.
    corruption: of CORRUPTIONS.
    severity: see there.
    spec: their rates.

  Raises:
    ValueError: an unknown corruption.
  """
  if corruption not in CORRUPTIONS:
    raise ValueError(f'the corruption must be one of {", ".join(CORRUPTIONS)}; got {corruption!r}.')
  found = []
  for number, example in enumerate(examples):
    rng = np.random.default_rng([number, list(CORRUPTIONS).index(corruption)])
    frame_LYX3 = CORRUPTIONS[corruption].apply(example.frames[1], spec.sync_fps, severity, rng)
    frames = examples_lib.resample_frames(frame_LYX3, spec.sync_fps, spec)
    found.append(dataclasses.replace(example, frames=frames, paired_variant=None))
  return found


def sweep(
  model: bundle.Bundle,
  request: request_lib.Request,
  examples: Sequence[examples_lib.Example],
  folder: pathlib.Path,
  report: ProgressFn,
  *,
  data: str = '',
  seed: int = 0,
  batch_size: int = 8,
  has_captions: bool = True,
  corruptions: Mapping[str, Sequence[float]] | None = None,
) -> dict:
  """Returns, JSON-able, the metrics on clean video and on each corruption and severity.

  Args:
    model: see v2a.sampling.bundle.load.
    request: its generator and sampling settings.
    examples: the clips, at least two.
    folder: of the cache of soundtracks.
    report: receives one line of progress at a time.
    data: name of the clips in the report.
    seed: of the noise.
    batch_size: soundtracks generated at once.
    has_captions: whether the model is given the annotations.
    corruptions: severities by name; None for all of CORRUPTIONS.
  """
  if corruptions is None:
    corruptions = {name: kind.severities for name, kind in CORRUPTIONS.items()}
  adapted, _ = sample_cache.adapt(model, request, batch_size, folder)
  system = dataclasses.replace(adapted, negative_prompt_unavailable=_NO_NEGATIVE_PROMPT)
  metrics = registry.load(('synthetic',))

  def point(corrupted: Sequence[examples_lib.Example], report_point: ProgressFn) -> dict:
    found = evaluator.evaluate(
      system, corrupted, data, seed, batch_size, metrics=metrics, report_progress=report_point,
      has_captions=has_captions, has_ceilings=False)  # fmt: skip
    values = {
      name: {key: entry[key] for key in ('value', 'interval', 'n')}
      for name, entry in found.result['synthetic'].items() if entry['value'] is not None
    }  # fmt: skip
    return {'synthetic': values, 'ood': ood_scores.score_examples(model, request.generator, corrupted)}

  clean = [dataclasses.replace(example, paired_variant=None) for example in examples]
  result = {
    'model': model.name,
    'generator': model.generator(request.generator).name,
    'data': data,
    'num_clips': len(examples),
    'seed': seed,
    'clean': point(clean, lambda line: report(f'clean: {line}')),
    'corruptions': {},
  }
  for name, severities in corruptions.items():
    points = []
    for severity in severities:
      report_point = lambda line, name=name, severity=severity: report(f'{name} {severity:g}: {line}')
      corrupted = corrupt_examples(examples, name, severity, model.clip_spec)
      points.append({'severity': severity, **point(corrupted, report_point)})
    result['corruptions'][name] = {'about': CORRUPTIONS[name].about, 'points': points}
  return result
