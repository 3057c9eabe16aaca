"""Why a value may lie above its ceiling: what the codec, and sounds beside the wanted one, cost a metric.

  python benchmarks/ceilings.py [--model world] [--num-clips 256] [--seed 31337]

The ceiling of `v2a evaluate` is the true sound after a round trip through the codec. This prints metrics of
five sounds for each clip of the synthetic set: the true sound ("truth"), the ceiling, the wanted sound alone
(without off-screen music and wind, "alone") without and with the round trip, and what the model generates.
Rows are all clips that the metric counts, those with off-screen music or wind in the true sound, and the
others. Onsets by spectral flux (evaluation.fidelity) are compared with those of the true sound, music
and wind included.
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
from v2a.evaluation import adapter
from v2a.evaluation import evaluator
from v2a.metrics import classifiers
from v2a.metrics import onsets
from v2a.metrics import signal
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.sampling import bundle
from v2a.sampling import request
from v2a.synthetic import clips

SOUNDS = ('truth', 'ceiling', 'alone', 'alone, codec', 'generated')
FLUX_TOLERANCE_S = 0.1  # of evaluation.fidelity
BATCH_SIZE = 8

# (wave_NA at spectra.RATE_HZ, case) to the clip's score; None where the clip allows none.
Measure = Callable[[np.ndarray, examples.Example], synthetic.Score | None]


def without_off_screen_sound(clip: clips.SyntheticClip) -> np.ndarray:
  """Returns the wave of a clip without what is off-screen: added music, and wind that is not the scene."""
  wave_NA = clip.wave_NA
  if synthetic.has_off_screen_music(clip.truth):
    wave_NA = wave_NA - clip.stems['music']
  return wave_NA - clip.stems['ambience'] if clip.truth['has_wind'] else wave_NA


def is_mixed(truth: dict) -> bool:
  """Returns whether off-screen music or wind sounds beside what is seen."""
  return synthetic.has_off_screen_music(truth) or truth['has_wind']


def flux_counts(wave_NA: np.ndarray, case: examples.Example) -> synthetic.Score:
  """Returns (matched, true, heard) onsets by spectral flux."""
  known_s, heard_s = (
    onsets.detect(sound_NA, spectra.RATE_HZ)
    for sound_NA in (record_schema.wave_to_float(case.wave_NA), wave_NA)
  )
  return len(onsets.match(known_s, heard_s, FLUX_TOLERANCE_S)), len(known_s), len(heard_s)


def recall(scores: Sequence[synthetic.Score]) -> float | None:
  """Returns the share of true onsets that are heard."""
  matched, known, _ = np.sum(scores, axis=0)
  return matched / known if known else None


def precision(scores: Sequence[synthetic.Score]) -> float | None:
  """Returns the share of heard onsets that are true."""
  matched, _, heard = np.sum(scores, axis=0)
  return matched / heard if heard else None


def rows(
  cases: Sequence[examples.Example],
  waves: Mapping[str, Sequence[np.ndarray]],
  measure: Measure,
  combine: Callable,
) -> dict[str, dict]:
  """Returns for all clips, those with music or wind, and the others: `num_clips`, and the metric by sound.

  Args:
    cases: the clips that the metric counts.
    waves: by SOUNDS, a wave a clip.
    measure: of the metric.
    combine: scores of clips to the metric.
  """
  scores = {sound: [measure(wave_NA, case) for wave_NA, case in zip(waves[sound], cases)] for sound in waves}
  kinds = {'all': None, 'with music or wind': True, 'without': False}
  found = {}
  for kind, wanted in kinds.items():
    chosen = [k for k, case in enumerate(cases) if wanted is None or is_mixed(case.truth) == wanted]
    found[kind] = {'num_clips': len(chosen)}
    for sound, row in scores.items():
      kept = [row[k] for k in chosen if row[k] is not None]
      found[kind][sound] = combine(kept) if kept else None
  return found


def table(found: Mapping[str, dict[str, dict]]) -> str:
  """Returns the Markdown table of several metrics, see `rows`."""
  lines = [f'| metric | clips | n | {" | ".join(SOUNDS)} |', '|---|---|---|' + '---|' * len(SOUNDS)]
  shown = lambda value: '-' if value is None else f'{value:.2f}'
  lines += [
    f'| `{name}` | {kind} | {row["num_clips"]} | {" | ".join(shown(row[each]) for each in SOUNDS)} |'
    for name, kinds in found.items()
    for kind, row in kinds.items()
  ]
  return '\n'.join(lines)


def _metrics(tools: classifiers.Classifiers, fps: float) -> dict[str, tuple[Callable, Measure, Callable]]:
  """Returns by name: whether a truth counts, the measure, and how clips add up."""
  of_world = lambda figure: (
    figure.selects,
    lambda wave_NA, case: figure.measure(wave_NA, case.truth, tools),
    figure.combine,
  )
  names = 'panning_correlation', 'onset_f1', 'material_accuracy', 'envelope_correlation'
  everything = lambda truth: True
  aligned = lambda wave_NA, case: signal.av_align(wave_NA, spectra.RATE_HZ, case.frames[1], fps)
  return {name: of_world(synthetic.METRICS[name]) for name in names} | {
    'onset flux recall': (everything, flux_counts, recall),
    'onset flux precision': (everything, flux_counts, precision),
    'av_align': (everything, aligned, synthetic.combine_mean),
  }


def measured(model: bundle.Bundle, seed: int, num_clips: int) -> dict[str, dict[str, dict]]:
  """Returns the rows of every metric, by its name."""
  rate_hz, spec, asked = model.sample_rate_hz, model.clip_spec, request.Request()
  cases = list(examples.from_synthetic(seed, num_clips, spec))
  adapted, size = adapter.adapt(model, asked), adapter.batch_size(model, BATCH_SIZE)
  # A sound does not depend on how its picture is rendered.
  sounds = [
    clips.render(
      seed, k, corruption='clean', clip_s=float(spec.duration_s), fps=1, frame_size=16, sample_rate_hz=rate_hz
    )
    for k in range(num_clips)
  ]
  reconstruct = lambda part: adapted.reconstruct(np.stack(part))
  heard = lambda waves: [spectra.resample(wave_NA, rate_hz) for wave_NA in waves]
  through = lambda waves: list(evaluator.in_batches(reconstruct, waves, size, rate_hz))
  conditions = [
    examples.generation_inputs(case, 'clean', '', evaluator.noise_seed(0, k)) for k, case in enumerate(cases)
  ]
  true, wanted = [made.wave_NA for made in sounds], [without_off_screen_sound(made) for made in sounds]
  waves = dict(
    zip(
      SOUNDS,
      (
        heard(true),
        through(true),
        heard(wanted),
        through(wanted),
        list(evaluator.in_batches(adapted.generate, conditions, size, rate_hz)),
      ),
    )
  )
  found = {}
  for name, (selects, measure, combine) in _metrics(classifiers.load(), spec.sync_fps).items():
    counted = [k for k, case in enumerate(cases) if selects(case.truth)]
    found[name] = rows(
      [cases[k] for k in counted],
      {sound: [each[k] for k in counted] for sound, each in waves.items()},
      measure,
      combine,
    )
  return found


def main(argv: list[str] | None = None) -> int:
  """Prints the table; returns the exit code."""
  parser = flags.Parser(prog='ceilings.py', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--model', default='world', metavar='NAME-or-DIR', help='a packaged model or a folder (%(default)s)'
  )
  parser.add_argument(
    '--num-clips',
    type=flags.number(int, 2),
    default=256,
    metavar='N',
    help='clips of the synthetic set (%(default)s)',
  )
  parser.add_argument('--seed', type=flags.seed, default=31337, help='of the clips (%(default)s)')
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
