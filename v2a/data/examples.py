"""Evaluation examples: clips with their ground truth, and what a model is given for them.

Waveforms are int16 and frames uint8: about 1.2 MB for a clip of 4 s, so that a thousand examples fit into the
memory of a small machine.
"""

from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import fractions
import pathlib

import numpy as np

from v2a import clip as clip_lib

FramePair = tuple[np.ndarray, np.ndarray]  # semantic_frame_MYX3, sync_frame_LYX3


@dataclasses.dataclass(frozen=True)
class GenerationInputs:
  """What a model is given for one soundtrack.

  Attributes:
    semantic_frame_MYX3, sync_frame_LYX3: uint8 RGB frames at the model's two rates.
    text: prompt; '' if there is none.
    negative_text: negative prompt; '' if there is none.
    transcript: spoken words; '' if there are none.
    seed: of the initial noise.
    name: of the example, by which ready-made soundtracks are found.
    word_times_s: start of each word of the transcript; None spreads the words evenly.
    num_audio_samples: length of the soundtrack at the model's sample rate; None for the length of the frames.
  """

  semantic_frame_MYX3: np.ndarray
  sync_frame_LYX3: np.ndarray
  text: str
  negative_text: str
  transcript: str
  seed: int
  name: str = ''
  word_times_s: tuple[float, ...] | None = None
  num_audio_samples: int | None = None


@dataclasses.dataclass(frozen=True)
class Example:
  """One clip to evaluate on.

  Attributes:
    name: unique within the set.
    truth: ground truth, see v2a.synthetic.truth.
    wave_NA: reference audio, int16.
    no_music_wave_NA: reference audio without off-screen music, int16; None where it is not known.
    frames: the clean frames.
    paired_variant: corruption -> frames of the same clip with it; None where there are no paired variants.
    video: source file, of which the example is the first seconds; published networks read frames and audio
      from it at its own sizes and rates. None where there is no file.
  """

  name: str
  truth: dict
  wave_NA: np.ndarray
  no_music_wave_NA: np.ndarray | None
  frames: FramePair
  paired_variant: Callable[[str], FramePair] | None
  video: pathlib.Path | None = None

  def corrupted_frames(self, corruption: str) -> FramePair:
    """Returns the frames of a paired variant, or the clean ones.

    Args:
      corruption: 'clean', or that of a paired variant.

    Raises:
      ValueError: the example has no paired variants.
    """
    if corruption == 'clean':
      return self.frames
    if self.paired_variant is None:
      raise ValueError(f'example {self.name!r} has no paired variants; got corruption={corruption!r}.')
    return self.paired_variant(corruption)


def have_annotations(examples: Iterable[Example]) -> bool:
  """Returns whether any example has an annotation, which may be its prompt."""
  return any(example.truth['annotation'] for example in examples)


def generation_inputs(
  example: Example, corruption: str, negative_text: str, seed: int, has_caption: bool = True
) -> GenerationInputs:
  """Returns what the model is given for an example.

  Args:
    example: the clip.
    corruption: 'clean', or that of a paired variant.
    negative_text: negative prompt, or ''.
    seed: of the initial noise.
    has_caption: whether the annotation is the prompt; else there is none.

  Raises:
    ValueError: the example has no paired variants.
  """
  semantic_frame_MYX3, sync_frame_LYX3 = example.corrupted_frames(corruption)
  return GenerationInputs(
    semantic_frame_MYX3,
    sync_frame_LYX3,
    (example.truth['annotation'] or '') if has_caption else '',
    negative_text,
    example.truth['transcript'] or '',
    seed,
    example.name,
    example.truth.get('word_times_s'),
    len(example.wave_NA),
  )


def resample_frames(frame_LYX3: np.ndarray, fps: float, spec: clip_lib.ClipSpec) -> FramePair:
  """Returns the frames that are on screen at the semantic and at the sync rate.

  Args:
    frame_LYX3: uint8 RGB frames, frame k at k / fps.
    fps: frames a second.
    spec: rates and lengths.
  """
  exact_fps = fractions.Fraction(fps).limit_denominator(10**6)

  def at(rate_hz: int, num_frames: int) -> np.ndarray:
    # In integers: a frame that begins exactly at t is already on screen at t.
    index_L = np.arange(num_frames) * exact_fps.numerator // (exact_fps.denominator * rate_hz)
    return frame_LYX3[np.minimum(index_L, len(frame_LYX3) - 1)]

  return at(spec.semantic_fps, spec.num_semantic_frames), at(spec.sync_fps, spec.num_sync_frames)
