"""Plot of one example: curves of motion, and spectrograms, over one time axis.

The curves show how much the video changes from frame to frame, and mouth opening or level where the truth
has them; lines mark the known events. Below are spectrograms of the true sound, its round trip through the
codec, the system's soundtrack, and that of the floor, which is the system's soundtrack of another clip.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg
import numpy as np

from v2a.data import examples as examples_lib
from v2a.evaluation import evaluator
from v2a.media import motion
from v2a.metrics import spectra

BACKGROUND_COLOR, FOREGROUND_COLOR, MOTION_COLOR, TRUTH_COLOR = '#101218', '#e8e6e1', '#5ad1c1', '#ffb454'
ROWS = ('truth', 'codec', 'model', 'floor')


def by_scene(examples: Sequence[examples_lib.Example]) -> dict[str, list[int]]:
  """Returns the indices of the clips of each scene, scenes in the order of their first clip."""
  scenes: dict[str, list[int]] = {}
  for i, example in enumerate(examples):
    scenes.setdefault(example.truth['scene'], []).append(i)
  return scenes


def floor_index(examples: Sequence[examples_lib.Example], index: int) -> int:
  """Returns the clip whose soundtrack is shown as the floor: the next of the scene, else the next of all."""
  indices = by_scene(examples)[examples[index].truth['scene']]
  if len(indices) == 1:
    return (index + 1) % len(examples)
  return indices[(indices.index(index) + 1) % len(indices)]


def waves(
  eval_result: evaluator.EvalResult, examples: Sequence[examples_lib.Example], index: int
) -> dict[str, np.ndarray]:
  """Returns the four sounds of ROWS at spectra.RATE_HZ.

  Args:
    eval_result: of the evaluation, with ceilings.
    examples: the clips, in the order of the evaluation.
    index: of the clip.
  """
  sounds = eval_result.sounds
  shown = (
    eval_result.references[index].true_sound,
    eval_result.codec_sounds[index],
    sounds[index],
    sounds[floor_index(examples, index)],
  )
  return {name: sound.resampled_NA for name, sound in zip(ROWS, shown)}


def plot(
  axes: Sequence[Any],
  example: examples_lib.Example,
  sounds: Mapping[str, np.ndarray],
  frame_LYX3: np.ndarray | None = None,
) -> None:
  """Plots the curves into the first axes and one spectrogram into each of the others.

  Args:
    axes: one more than there are sounds.
    example: the clip.
    sounds: waves at spectra.RATE_HZ by their label.
    frame_LYX3: the frames whose motion is shown; the clean one by default.
  """
  duration_s = len(next(iter(sounds.values()))) / spectra.RATE_HZ
  _curves(axes[0], example, example.frames[1] if frame_LYX3 is None else frame_LYX3, duration_s)
  for axis, (name, wave_NA) in zip(axes[1:], sounds.items()):
    axis.imshow(
      spectra.log_mel(wave_NA.mean(axis=1)).T,
      origin='lower',
      aspect='auto',
      vmin=-9.5,
      vmax=-2.5,
      extent=(0, duration_s, 0, 1),
      cmap='magma',
    )
    axis.set_ylabel(name, color=FOREGROUND_COLOR, fontsize=8)
  event_times_s = [event['time_s'] for event in example.truth['events']]
  for axis in axes:
    # All lines of an axis at once: one by one they take most of the time.
    axis.vlines(
      event_times_s, 0, 1, TRUTH_COLOR, linewidth=0.6, alpha=0.7, transform=axis.get_xaxis_transform()
    )
    axis.set_xlim(0, duration_s)
    axis.set_yticks([])
    axis.tick_params(colors=FOREGROUND_COLOR, labelsize=7)


def _curves(axis, example: examples_lib.Example, frame_LYX3: np.ndarray, duration_s: float) -> None:
  motion_L = motion.curve(frame_LYX3)
  time_L = np.arange(len(motion_L)) * duration_s / len(motion_L)
  axis.set_facecolor(BACKGROUND_COLOR)
  axis.fill_between(time_L, motion_L / max(motion_L.max(), 1e-6), color=MOTION_COLOR, alpha=0.6, linewidth=0)
  for curve in (example.truth['mouth'], example.truth['envelope']):
    if curve:
      axis.plot(np.arange(len(curve)) * duration_s / len(curve), curve, color=TRUTH_COLOR, linewidth=1)
  axis.set_ylim(0, 1.05)


def to_pixels(sheet: mpl_figure.Figure) -> np.ndarray:
  """Returns pixels_YX3 of a plot."""
  rgba, (width, height) = backend_agg.FigureCanvasAgg(sheet).print_to_buffer()
  return np.frombuffer(rgba, np.uint8).reshape(height, width, 4)[..., :3]
