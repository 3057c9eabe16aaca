"""Evaluation examples of the synthetic set, rendered on demand with ground truth and paired variants."""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses

import numpy as np

from v2a import clip as clip_lib
from v2a import flags
from v2a.data import examples
from v2a.data import record_schema
from v2a.synthetic import clips

# Far from any seed that training data are rendered from, see configs.
HELDOUT_SEED = 20_260_001
PREFIX = 'synthetic:'  # of a data set's name
_HELDOUT = 'heldout'
_REPORT_EVERY = 64


def parse_seed(data: str) -> int | None:
  """Returns the seed of 'synthetic:heldout' or 'synthetic:SEED'; None where `data` names no synthetic set.

  Raises:
    ValueError: what follows 'synthetic:' is neither.
  """
  if not data.startswith(PREFIX):
    return None
  split = data[len(PREFIX) :]
  if split == _HELDOUT:
    return HELDOUT_SEED
  try:
    return flags.parse_number(int, split, 0, flags.MAX_SEED)
  except ValueError:
    raise ValueError(
      f'the data must be {PREFIX}{_HELDOUT}, {PREFIX}SEED with a whole number in 0..{flags.MAX_SEED}, or a '
      f"folder; got '{data}'."
    ) from None


def render(
  seed: int,
  num_clips: int,
  spec: clip_lib.ClipSpec,
  scenes: tuple[str, ...] | None = None,
  report: Callable[[str], None] | None = None,
) -> Iterator[examples.Example]:
  """Yields the clean clips (seed, 0), (seed, 1), ...; their paired variants are rendered when called.

  Args:
    seed: of the set.
    num_clips: number of clips.
    spec: rates and lengths.
    scenes: names of v2a.synthetic.clips.SCENES; None for all.
    report: takes a line of progress now and then.
  """
  for index in range(num_clips):
    if report and index % _REPORT_EVERY == 0:
      report(f'rendering clips: {index} of {num_clips}')
    yield _render_one(seed, index, spec, scenes)


def render_every_scene(
  seed: int, num_clips: int, spec: clip_lib.ClipSpec, report: Callable[[str], None] | None = None
) -> Iterator[examples.Example]:
  """Yields the same number of clean clips of each scene, scene by scene.

  Args:
    seed: of the set.
    num_clips: number of clips of each scene.
    spec: rates and lengths.
    report: takes a line of progress for each scene.
  """
  for k, scene in enumerate(clips.SCENES):
    if report:
      report(f'rendering clips: {k * num_clips} of {len(clips.SCENES) * num_clips}')
    for example in render(seed, num_clips, spec, scenes=(scene,)):
      # Clip (seed, index) differs between scenes, so the scene is part of the name.
      yield dataclasses.replace(example, name=f'{scene}-{example.name}')


def _render_one(
  seed: int, index: int, spec: clip_lib.ClipSpec, scenes: tuple[str, ...] | None
) -> examples.Example:
  def rendered(corruption: str) -> clips.SyntheticClip:
    return clips.render(
      seed,
      index,
      scenes=scenes,
      corruption=corruption,
      clip_s=float(spec.duration_s),
      fps=spec.sync_fps,
      frame_size=spec.frame_size,
      sample_rate_hz=spec.sample_rate_hz,
    )

  def paired_variant(corruption: str) -> examples.FramePair:
    return examples.resample_frames(rendered(corruption).frame_LYX3, spec.sync_fps, spec)

  clean = rendered('clean')
  wave_NA = _downmix(clean.wave_NA, spec.num_channels)
  music_NA = clean.stems.get('music')
  no_music_NA = clean.wave_NA if music_NA is None else clean.wave_NA - music_NA
  return examples.Example(
    f'{seed}-{index}',
    clean.truth,
    record_schema.wave_to_int16(wave_NA),
    record_schema.wave_to_int16(_downmix(no_music_NA, spec.num_channels)),
    examples.resample_frames(clean.frame_LYX3, spec.sync_fps, spec),
    paired_variant,
  )


def _downmix(wave_NA: np.ndarray, num_channels: int) -> np.ndarray:
  return wave_NA if wave_NA.shape[1] == num_channels else wave_NA.mean(axis=1, keepdims=True)
