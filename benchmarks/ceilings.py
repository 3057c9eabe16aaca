"""Analysis of values above their ceiling: effects of the codec and of off-screen sounds on metrics.

  python benchmarks/ceilings.py [--model default] [--num-clips 256] [--seed 31337]

The ceiling of `v2a evaluate` is the true audio after a round trip through the codec. This prints metrics of
five kinds of audio for each clip of the synthetic set: the true audio ("truth"), the ceiling, the on-screen
sound alone (without off-screen music and wind, "alone") without and with the round trip, and the generated
audio. Rows are all clips to which the metric applies, those with off-screen music or wind in the true audio,
and the others. Onsets by spectral flux (metrics.signal) are compared with those of the true audio, including
music and wind.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import sys

import numpy as np

from v2a import flags
from v2a.cli import compilation_cache
from v2a.cli import main as program
from v2a.data import examples
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.evaluation import systems
from v2a.metrics import classifiers
from v2a.metrics import onsets
from v2a.metrics import signal
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.sampling import bundle
from v2a.sampling import request
from v2a.synthetic import clips

SOUNDS = ('truth', 'ceiling', 'alone', 'alone, codec', 'generated')
FLUX_TOLERANCE_S = 0.1  # as in metrics.signal
BATCH_SIZE = 8

# (wave_NA at spectra.RATE_HZ, example) -> score of the clip; None if the metric does not apply to it.
Measure = Callable[[np.ndarray, examples.Example], synthetic.Score | None]


def without_off_screen_sound(clip: clips.SyntheticClip) -> np.ndarray:
  """Returns the waveform of a clip without off-screen music and wind."""
  wave_NA = clip.wave_NA
  if synthetic.has_off_screen_music(clip.truth):
    wave_NA = wave_NA - clip.stems['music']
  return wave_NA - clip.stems['ambience'] if clip.truth['has_wind'] else wave_NA


def is_mixed(truth: dict) -> bool:
  """Returns whether a clip has off-screen music or wind."""
  return synthetic.has_off_screen_music(truth) or truth['has_wind']


def flux_counts(wave_NA: np.ndarray, example: examples.Example) -> synthetic.Score:
  """Returns the numbers of (matched, true, detected) onsets by spectral flux."""
  known_s, detected_s = (
    onsets.detect(sound_NA, spectra.RATE_HZ)
    for sound_NA in (record_schema.wave_to_float(example.wave_NA), wave_NA)
  )
  return len(onsets.match(known_s, detected_s, FLUX_TOLERANCE_S)), len(known_s), len(detected_s)


def recall(scores: Sequence[synthetic.Score]) -> float | None:
  """Returns the fraction of true onsets that are detected."""
  matched, known, _ = np.sum(scores, axis=0)
  return matched / known if known else None


def precision(scores: Sequence[synthetic.Score]) -> float | None:
  """Returns the fraction of detected onsets that are true."""
  matched, _, detected = np.sum(scores, axis=0)
  return matched / detected if detected else None


def rows(
  selected: Sequence[examples.Example],
  waves: Mapping[str, Sequence[np.ndarray]],
  measure: Measure,
  combine: Callable,
) -> dict[str, dict]:
  """Returns `num_clips` and the metric of each of SOUNDS, for all clips and for those with and without a mix.

  Args:
    selected: the clips to which the metric applies.
    waves: one of SOUNDS -> one waveform per clip.
    measure: score of one clip.
    combine: scores of clips -> metric.
  """
  scores = {
    sound: [measure(wave_NA, clip) for wave_NA, clip in zip(waves[sound], selected)] for sound in waves
  }
  subsets = {'all': None, 'with music or wind': True, 'without': False}
  found = {}
  for subset, has_mix in subsets.items():
    chosen = [k for k, clip in enumerate(selected) if has_mix is None or is_mixed(clip.truth) == has_mix]
    found[subset] = {'num_clips': len(chosen)}
    for sound, row in scores.items():
      scored = [row[k] for k in chosen if row[k] is not None]
      found[subset][sound] = combine(scored) if scored else None
  return found


def table(found: Mapping[str, dict[str, dict]]) -> str:
  """Returns the Markdown table of several metrics, see `rows`."""
  lines = [f'| metric | clips | n | {" | ".join(SOUNDS)} |', '|---|---|---|' + '---|' * len(SOUNDS)]
  cell = lambda value: '-' if value is None else f'{value:.2f}'
  lines += [
    f'| `{name}` | {subset} | {row["num_clips"]} | {" | ".join(cell(row[each]) for each in SOUNDS)} |'
    for name, subsets in found.items()
    for subset, row in subsets.items()
  ]
  return '\n'.join(lines)


def _metrics(networks: classifiers.Classifiers, fps: float) -> dict[str, tuple[Callable, Measure, Callable]]:
  """Returns by name: selection of clips by ground truth, score of a clip, and combination of scores."""
  of_synthetic = lambda metric: (
    metric.selects,
    lambda wave_NA, clip: metric.measure(wave_NA, clip.truth, networks),
    metric.combine,
  )
  names = 'panning_correlation', 'onset_f1', 'material_accuracy', 'envelope_correlation'
  select_all = lambda truth: True
  motion_onset_iou = lambda wave_NA, clip: signal.motion_onset_iou(
    wave_NA, spectra.RATE_HZ, clip.frames[1], fps
  )
  return {name: of_synthetic(synthetic.METRICS[name]) for name in names} | {
    'onset flux recall': (select_all, flux_counts, recall),
    'onset flux precision': (select_all, flux_counts, precision),
    'motion_onset_iou': (select_all, motion_onset_iou, synthetic.combine_mean),
  }


def measured(model: bundle.Bundle, seed: int, num_clips: int) -> dict[str, dict[str, dict]]:
  """Returns the rows of every metric, by its name."""
  rate_hz, spec, settings = model.sample_rate_hz, model.clip_spec, request.Request()
  scored = list(synthetic_examples.render(seed, num_clips, spec))
  adapted, size = systems.adapt(model, settings), systems.batch_size(model, BATCH_SIZE)
  # The audio does not depend on frame rate and frame size.
  rendered = [
    clips.render(
      seed, k, corruption='clean', clip_s=float(spec.duration_s), fps=1, frame_size=16, sample_rate_hz=rate_hz
    )
    for k in range(num_clips)
  ]
  reconstruct = lambda batch: adapted.reconstruct(np.stack(batch))
  resampled = lambda waves: [spectra.resample(wave_NA, rate_hz) for wave_NA in waves]
  coded = lambda waves: list(evaluator.in_batches(reconstruct, waves, size, rate_hz))
  conditions = [
    examples.generation_inputs(clip, 'clean', '', evaluator.noise_seed(0, k)) for k, clip in enumerate(scored)
  ]
  true, on_screen = [clip.wave_NA for clip in rendered], [without_off_screen_sound(clip) for clip in rendered]
  waves = dict(
    zip(
      SOUNDS,
      (
        resampled(true),
        coded(true),
        resampled(on_screen),
        coded(on_screen),
        list(evaluator.in_batches(adapted.generate, conditions, size, rate_hz)),
      ),
    )
  )
  found = {}
  for name, (selects, measure, combine) in _metrics(classifiers.load(), spec.sync_fps).items():
    selected = [k for k, clip in enumerate(scored) if selects(clip.truth)]
    found[name] = rows(
      [scored[k] for k in selected],
      {sound: [each[k] for k in selected] for sound, each in waves.items()},
      measure,
      combine,
    )
  return found


def main(argv: list[str] | None = None) -> int:
  """Prints the table; returns the exit code."""
  parser = flags.Parser(prog='ceilings.py', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--model', default='default', metavar='NAME-or-DIR', help='a packaged model or a folder (%(default)s)'
  )
  parser.add_argument(
    '--num-clips',
    type=flags.number(int, 2),
    default=256,
    metavar='N',
    help='number of clips of the synthetic set (%(default)s)',
  )
  parser.add_argument('--seed', type=flags.seed, default=31337, help='seed of the clips (%(default)s)')
  try:
    args = parser.parse_args(argv)
    compilation_cache.enable()
    model = bundle.load(args.model)
    print(f'model {model.name}, {args.num_clips} clips of seed {args.seed}\n')
    print(table(measured(model, args.seed, args.num_clips)))
  except (ValueError, OSError) as error:
    print(f'ceilings.py: {program.error_message(error)}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
