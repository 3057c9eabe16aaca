"""Measures generalization to videos that differ from the training data.

  python benchmarks/generalization.py [--model default] [--num-clips 16] [--only WORD]

Synthetic clips of an unused seed (5000001) are written as MP4 and passed to the model as users do, with their
annotation and transcript. One property is changed at a time: resolution, frame rate, colours, number of
bodies, duration. Prints one row per change: onset F1 of impacts, correlation of loudness in engine, rain,
wind and fly-past scenes, and word error rate of dialogue, with the number of clips in brackets. The row "as
trained" has 25 frames per second, 64 pixels, 4 s.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import functools
import pathlib
import sys
import tempfile

import numpy as np

from v2a import entry_point
from v2a import flags
from v2a.cli import compilation_cache
from v2a.media import frame_encoder
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import synthetic
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.synthetic import clips
from v2a.synthetic import impacts

SEED = 5_000_001
# By metric, the scenes on which it is measured.
SCENES = {
  'onset_f1': synthetic.IMPACT_SCENES,
  'envelope_correlation': synthetic.ENVELOPE_SCENES,
  'word_error_rate': (synthetic.DIALOGUE_SCENE,),
}


@dataclasses.dataclass(frozen=True)
class Change:
  """A difference from the training data.

  Attributes:
    name: name of the row.
    size, fps, clip_s: frame size, frame rate and duration of the video.
    recolour: pixels_LYX3 in 0..1 -> changed pixels; None for no change.
    num_bodies: number of bouncing bodies; None samples from all impact scenes.
  """

  name: str
  size: int = 64
  fps: float = 25
  clip_s: float = 4.0
  recolour: Callable[[np.ndarray], np.ndarray] | None = None
  num_bodies: int | None = None


def _grey(pixels_LYX3: np.ndarray) -> np.ndarray:
  return np.repeat((pixels_LYX3 @ np.float32([0.3, 0.59, 0.11]))[..., None], 3, axis=-1)


CHANGES = (
  Change('as trained'),
  *(Change(f'{size} x {size} pixels', size=size) for size in (32, 256, 720)),
  *(Change(f'{fps} frames per second', fps=fps) for fps in (12, 15, 24, 30, 50, 60)),
  Change('black and white', recolour=_grey),
  Change('negative', recolour=lambda pixels_LYX3: 1 - pixels_LYX3),
  Change('rotated colour channels', recolour=lambda pixels_LYX3: np.roll(pixels_LYX3, 1, axis=-1)),
  Change('half brightness', recolour=lambda pixels_LYX3: 0.5 * pixels_LYX3),
  *(Change(f'{number} bodies bounce', num_bodies=number) for number in (1, 2, 3, 4)),
  *(Change(f'{clip_s} s', clip_s=clip_s) for clip_s in (2, 8, 16, 30)),
)


def write_video(path: pathlib.Path, change: Change, index: int, scenes: tuple[str, ...]) -> dict:
  """Writes the changed video of a clip; returns its ground truth."""
  clip = clips.render(SEED, index, scenes, 'clean', change.clip_s, change.fps, change.size)
  frame_LYX3 = clip.frame_LYX3
  if change.recolour:
    pixels_LYX3 = change.recolour(frame_LYX3.astype(np.float32) / 255)
    frame_LYX3 = np.clip(255 * pixels_LYX3 + 0.5, 0, 255).astype(np.uint8)
  frame_encoder.write(path, frame_LYX3, change.fps, {'crf': '16'})
  return clip.truth


def _scenes(change: Change, metric: str) -> tuple[str, ...]:
  if change.num_bodies is None:
    return SCENES[metric]
  if metric != 'onset_f1':
    return ()
  name = f'{change.num_bodies} bodies'
  clips.SCENES[name] = functools.partial(impacts.bounce, num_bodies=change.num_bodies)
  clips.SCENE_WEIGHTS[name] = 1
  return (name,)


def generate(
  model: bundle.Bundle, change: Change, scenes: tuple[str, ...], num_clips: int
) -> Iterator[metric_lib.Sample]:
  """Yields the soundtracks of the changed videos of some scenes, with their ground truth.

  Raises:
    ValueError: a video cannot be read.
  """
  for index in range(num_clips):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / 'clip.mp4'
      truth = write_video(path, change, index, scenes)
      request = request_lib.Request(
        seed=index, prompt=truth['annotation'] or None, transcript=truth['transcript'] or None
      )
      (result,) = pipeline.Pipeline(model).run([(request_lib.Input(path), request)])
    if result.error:
      raise ValueError(f'{change.name}: {result.error}')
    sound = metric_lib.Sound(result.soundtracks[0].waveform, model.sample_rate_hz)
    yield metric_lib.Sample(sound, metric_lib.Reference(truth=truth))


def measure(model: bundle.Bundle, change: Change, name: str, num_clips: int) -> tuple[float | None, int]:
  """Returns the value of a metric for a change, and the number of scored clips."""
  metric, scenes = registry.get(name), _scenes(change, name)
  # Every clip counts: the scenes are chosen, and those of a number of bodies are unknown to the metric.
  metric.update(list(generate(model, change, scenes, num_clips if scenes else 0)))
  return metric.compute(), sum(score is not None for score in metric.scores)


def _run(argv: list[str] | None) -> int:
  """Prints the table, one row at a time."""
  parser = flags.Parser(prog='generalization.py', description=__doc__.splitlines()[0])
  flags.add_model(parser)
  parser.add_argument(
    '--num-clips',
    type=flags.count,
    default=16,
    metavar='N',
    help='clips of impacts; half as many of other scenes (%(default)s)',
  )
  parser.add_argument('--only', default='', metavar='WORD', help='changes whose name contains this')
  args = parser.parse_args(argv)
  changes = [change for change in CHANGES if args.only in change.name]
  if not changes:
    parser.error(
      f'--only must be part of a name ({", ".join(each.name for each in CHANGES)}); got {args.only!r}'
    )
  compilation_cache.enable()
  model = bundle.load(args.model)
  print(f'{args.model}, seed {SEED}\n')
  print('| change | ' + ' | '.join(f'`{name}`' for name in SCENES) + ' |\n|---|' + '---|' * len(SCENES))
  for change in changes:
    # Long clips have more events, so fewer of them suffice.
    share = min(1.0, 8.0 / change.clip_s)
    cells = []
    for name in SCENES:
      num_clips = max(2, round(args.num_clips * share * (1 if name == 'onset_f1' else 0.5)))
      value, num_scored = measure(model, change, name, num_clips)
      cells.append('-' if value is None else f'{value:.2f} ({num_scored})')
    print(f'| {change.name} | ' + ' | '.join(cells) + ' |', flush=True)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('generalization.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
