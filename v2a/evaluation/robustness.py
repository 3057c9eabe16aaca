"""Figures of a model against what goes wrong with video, each kind of damage at rising severity.

Every clip is damaged at the size and rate at which the model sees it, so that a severity means the same for
videos of any size; the sound, the truth and the model's noise stay the same. The damage of a clip depends on
the clip's number alone.

What was drawn is kept in a folder, and a sweep that was interrupted goes on where it ended.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np
import scipy.ndimage

from v2a import clip as clip_lib
from v2a.data import examples as examples_lib
from v2a.evaluation import adapter
from v2a.evaluation import evaluator
from v2a.evaluation import ood_calibration
from v2a.evaluation import sample_cache
from v2a.media import compression
from v2a.metrics import classifiers
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

ProgressFn = Callable[[str], None]
ApplyFn = Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]
_GREY_3 = np.float32([0.299, 0.587, 0.114])
_DRAWN = 'soundtracks'
_NO_NEGATIVE = 'a sweep draws without negative prompts'


@dataclasses.dataclass(frozen=True)
class Corruption:
  """One kind of damage.

  Attributes:
    about: what a severity is, with its unit.
    severities: rising.
    apply: (frame_LYX3 uint8, frames a second, severity, rng) -> damaged frame_LYX3 uint8.
  """

  about: str
  severities: tuple[float, ...]
  apply: ApplyFn


def _compress(frame_LYX3, fps, severity, rng):
  del rng
  return compression.h264_round_trip(frame_LYX3, fps, int(severity))


def _noise(frame_LYX3, fps, severity, rng):
  del fps
  noise_LYX3 = 255 * severity * rng.standard_normal(frame_LYX3.shape, np.float32)
  return _rounded(frame_LYX3 + noise_LYX3)


def _blur(frame_LYX3, fps, severity, rng):
  del fps, rng
  sigma = severity * frame_LYX3.shape[1]
  return _rounded(scipy.ndimage.gaussian_filter(
    frame_LYX3.astype(np.float32), (0, sigma, sigma, 0), mode='nearest'))  # fmt: skip


def _drop(frame_LYX3, fps, severity, rng):
  del fps
  is_shown_L = rng.random(len(frame_LYX3)) >= severity
  is_shown_L[0] = True
  return _held(frame_LYX3, is_shown_L)


def _slow(frame_LYX3, fps, severity, rng):
  del rng
  slot_L = np.floor(np.arange(len(frame_LYX3)) * severity / fps + 1e-6)
  return _held(frame_LYX3, np.diff(slot_L, prepend=-1) > 0)


def _grey(frame_LYX3, fps, severity, rng):
  del fps, rng
  grey_LYX1 = (frame_LYX3 @ _GREY_3)[..., None]
  return _rounded((1 - severity) * frame_LYX3 + severity * grey_LYX1)


def _held(frame_LYX3: np.ndarray, is_shown_L: np.ndarray) -> np.ndarray:
  """Returns the frames, each that is not shown replaced by the last one that was."""
  return frame_LYX3[np.maximum.accumulate(np.where(is_shown_L, np.arange(len(frame_LYX3)), 0))]


def _rounded(pixels_LYX3: np.ndarray) -> np.ndarray:
  return np.clip(np.round(pixels_LYX3), 0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
  'compression': Corruption('constant rate factor of x264', (30, 38, 44, 51), _compress),
  'noise': Corruption('deviation of each colour of a pixel, of white', (0.05, 0.1, 0.2, 0.4), _noise),
  'blur': Corruption("deviation of a Gaussian, of the picture's side", (0.02, 0.04, 0.08, 0.16), _blur),
  'dropped': Corruption('share of frames in whose place the last one stays', (0.1, 0.25, 0.5, 0.75), _drop),
  'frame_rate': Corruption('frames a second', (12.5, 8, 5, 2.5), _slow),
  'grey': Corruption('share of the colour that is lost', (0.5, 1.0), _grey),
}


def corrupt_examples(
  examples: Sequence[examples_lib.Example], corruption: str, severity: float, spec: clip_lib.ClipSpec
) -> list[examples_lib.Example]:
  """Returns the clips with damaged pictures and without twins.

  Args:
    examples: the clips.
    corruption: of CORRUPTIONS.
    severity: see there.
    spec: their rates.

  Raises:
    ValueError: there is no such kind.
  """
  if corruption not in CORRUPTIONS:
    raise ValueError(f'the damage must be one of {", ".join(CORRUPTIONS)}; got {corruption!r}.')
  found = []
  for number, case in enumerate(examples):
    rng = np.random.default_rng([number, list(CORRUPTIONS).index(corruption)])
    frame_LYX3 = CORRUPTIONS[corruption].apply(case.frames[1], spec.sync_fps, severity, rng)
    frames = examples_lib.resample_frames(frame_LYX3, spec.sync_fps, spec)
    found.append(dataclasses.replace(case, frames=frames, paired_variant=None))
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
  """Returns, JSON-able, the figures of the clean pictures and of each kind and severity.

  Args:
    model: see v2a.sampling.bundle.load.
    request: how it draws.
    examples: the clips, at least two.
    folder: where soundtracks are kept, and found again.
    report: receives one line of progress at a time.
    data: how the report calls the clips.
    seed: of the noise.
    batch_size: soundtracks drawn at once.
    has_captions: whether the model is given the annotations.
    corruptions: severities by kind; None for all of CORRUPTIONS.
  """
  corruptions = (
    {name: kind.severities for name, kind in CORRUPTIONS.items()} if corruptions is None else corruptions
  )
  kept = sample_cache.SampleCache(folder / _DRAWN, sample_cache.cache_key(model, request, batch_size))
  drawn = dataclasses.replace(kept.wrap(adapter.adapt(model, request)), no_negative=_NO_NEGATIVE)
  tools = classifiers.load()

  def point(chosen: Sequence[examples_lib.Example], told: ProgressFn) -> dict:
    # The true sound stands for the codec's round trip: ceilings are no part of a sweep.
    outcome = evaluator.evaluate(
      dataclasses.replace(drawn, reconstruct=lambda wave_BNA: wave_BNA), chosen, data, seed, batch_size,
      tools, told, has_captions=has_captions, tables=())  # fmt: skip
    entries = outcome.result['synthetic']
    figures = {
      name: {key: entry[key] for key in ('value', 'interval', 'n')}
      for name, entry in entries.items() if entry['value'] is not None
    }  # fmt: skip
    return {'synthetic': figures, 'ood': ood_calibration.ood_scores(model, request.generator, chosen)}

  clean = [dataclasses.replace(case, paired_variant=None) for case in examples]
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
      told = lambda line, name=name, severity=severity: report(f'{name} {severity:g}: {line}')
      points.append(
        {'severity': severity, **point(corrupt_examples(examples, name, severity, model.clip_spec), told)}
      )
    result['corruptions'][name] = {'about': CORRUPTIONS[name].about, 'points': points}
  return result
