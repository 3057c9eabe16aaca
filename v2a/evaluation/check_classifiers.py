"""Measures the measuring tools on truth that none of them was trained on.

  python -m v2a.evaluation.check_classifiers [--num-clips N] [--seed S]

Prints what each tool scores on the true waves themselves, and what it scores on the truth of another clip,
which is what chance is worth. The figures of a full run stand in `docs/evaluation.md`.
"""

import argparse
from collections.abc import Sequence
import json
import sys

import numpy as np

from v2a import flags
from v2a.metrics import classifiers as classifiers_lib
from v2a.metrics import onsets
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.synthetic import clips

# Neither the seed of any training nor the one that models are evaluated on.
CHECK_SEED = 9_000_001
NUM_CLIPS = 600

WaveAndTruth = tuple[np.ndarray, dict]


def render_ground_truth(seed: int, num_clips: int, scenes: Sequence[str] | None = None) -> list[WaveAndTruth]:
  """Returns waves at spectra.RATE_HZ and truths of clips, rendered with next to no picture."""
  made = (
    clips.render(
      seed, index, scenes=scenes, corruption='clean', fps=1, frame_size=16, sample_rate_hz=spectra.RATE_HZ
    )
    for index in range(num_clips)
  )
  return [(clip.wave_NA.astype(np.float64), clip.truth) for clip in made]


def measure(known: Sequence[WaveAndTruth], classifiers: classifiers_lib.Classifiers) -> dict[str, dict]:
  """Returns for each figure its score on the truth, on another clip's sound, and the number of clips.

  Figures that differ in what the model is given, not in what is measured, are left out.
  """
  result = {}
  for name, figure in synthetic.METRICS.items():
    if figure.negative_text or figure.relative_to:
      continue
    chosen = [pair for pair in known if figure.selects(pair[1])]
    if len(chosen) < 2:
      continue
    own = [figure.measure(wave_NA, truth, classifiers) for wave_NA, truth in chosen]
    others = chosen[1:] + chosen[:1]
    if figure.measure is synthetic.music_score:
      others = [pair for pair in known if not synthetic.has_any_music(pair[1])][: len(chosen)]
    other = [figure.measure(wave_NA, truth, classifiers) for (wave_NA, _), (_, truth) in zip(others, chosen)]
    own, other = ([score for score in scores if score is not None] for scores in (own, other))
    if own and other:
      result[name] = {'truth': figure.combine(own), 'other': figure.combine(other), 'n': len(own)}
  return result


def measure_flux(known: Sequence[WaveAndTruth]) -> dict[str, float]:
  """Returns the F1 of onsets.detect, which has no weights, with and without music or wind in the mix."""
  counts = {'alone': np.zeros(3), 'mixed': np.zeros(3)}
  for wave_NA, truth in known:
    if truth['scene'] not in synthetic.IMPACT_SCENES:
      continue
    known_s = np.array([event['time_s'] for event in truth['events']])
    detected_s = onsets.detect(wave_NA, spectra.RATE_HZ)
    mix = 'mixed' if truth['has_music'] or truth['has_wind'] else 'alone'
    counts[mix] += (len(onsets.match(known_s, detected_s)), len(known_s), len(detected_s))
  return {f'onset_f1_flux_{mix}': onsets.f1(*count) for mix, count in counts.items() if count[1]}


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  parser = argparse.ArgumentParser(
    prog='v2a.evaluation.check_classifiers', description=__doc__.splitlines()[0]
  )
  parser.add_argument(
    '--num-clips',
    type=flags.count,
    default=NUM_CLIPS,
    help='clips of all scenes (%(default)s)',
  )
  parser.add_argument(
    '--seed',
    type=flags.seed,
    default=CHECK_SEED,
    help='of the world (%(default)s)',
  )
  args = parser.parse_args(argv)
  known = render_ground_truth(args.seed, args.num_clips)
  result = measure(known, classifiers_lib.load())
  print(
    json.dumps(
      {'seed': args.seed, 'num_clips': args.num_clips, 'tools': result, **measure_flux(known)}, indent=2
    )
  )
  return 0


if __name__ == '__main__':
  sys.exit(main())
