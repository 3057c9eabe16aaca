"""Evaluates the classifiers behind the metrics on held-out true sounds.

  python -m v2a.evaluation.check_classifiers [--num-clips N] [--seed S]

Prints each metric of the true sounds, and of those of other clips (chance level). The results of a full run
are in `docs/evaluation.md`.
"""

from collections.abc import Sequence
import json
import sys

import numpy as np

from v2a import entry_point
from v2a import flags
from v2a.evaluation import scoring
from v2a.metrics import metric as metric_lib
from v2a.metrics import onsets
from v2a.metrics import registry
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.synthetic import clips

# Neither a seed of any training nor one on which models are evaluated.
CHECK_SEED = 9_000_001
NUM_CLIPS = 600
_NAME = 'v2a.evaluation.check_classifiers'

WaveAndTruth = tuple[np.ndarray, dict]


def render_ground_truth(seed: int, num_clips: int, scenes: Sequence[str] | None = None) -> list[WaveAndTruth]:
  """Returns waves at spectra.RATE_HZ and truths of clips, rendered with tiny frames.

  Args:
    seed: of the set of clips, >= 0.
    num_clips: clips 0 .. num_clips - 1 are rendered.
    scenes: see v2a.synthetic.clips.render; None means all.
  """
  rendered = (
    clips.render(
      seed, index, scenes=scenes, corruption='clean', fps=1, frame_size=16, sample_rate_hz=spectra.RATE_HZ
    )
    for index in range(num_clips)
  )
  return [(clip.wave_NA.astype(np.float64), clip.truth) for clip in rendered]


def measure(known: Sequence[WaveAndTruth]) -> dict[str, dict]:
  """Returns for each metric its value on the true sounds, on those of other clips, and the number of clips.

  Metrics that differ from others only in the inputs of the model are excluded.
  """
  references = [metric_lib.Reference(truth=truth) for _, truth in known]
  sounds = {i: metric_lib.Sound(wave_NA, spectra.RATE_HZ) for i, (wave_NA, _) in enumerate(known)}
  samples, result = scoring.Samples(sounds, references), {}
  for metric in registry.load(('synthetic',)):
    selected = scoring.select(metric, references)
    if metric.variant.negative_text or metric.relative_to or len(selected) < 2:
      continue
    scores = scoring.score_metric(metric, references, selected, samples, samples, None)
    entry = scoring.entry(metric, scores, scoring.observed_scores(metric, scores))
    if entry['value'] is not None and entry['floor'] is not None:
      result[metric.name] = {'truth': entry['value'], 'other': entry['floor'], 'n': entry['n']}
  return result


def measure_flux(known: Sequence[WaveAndTruth]) -> dict[str, float]:
  """Returns the F1 of onsets.detect, with and without music or wind in the mix."""
  counts: dict[str, list[onsets.Counts]] = {'alone': [], 'mixed': []}
  for wave_NA, truth in known:
    if truth['scene'] not in synthetic.IMPACT_SCENES:
      continue
    known_s = np.array([event['time_s'] for event in truth['events']])
    detected_s = onsets.detect(wave_NA, spectra.RATE_HZ)
    mix = 'mixed' if truth['has_music'] or truth['has_wind'] else 'alone'
    counts[mix].append(onsets.count(known_s, detected_s))
  totals = {mix: onsets.total(each) for mix, each in counts.items()}
  return {f'onset_f1_flux_{mix}': each.f1 for mix, each in totals.items() if each.num_known}


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog=_NAME, description=__doc__.splitlines()[0])
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
    help='of the synthetic set (%(default)s)',
  )
  args = parser.parse_args(argv)
  known = render_ground_truth(args.seed, args.num_clips)
  result = {'seed': args.seed, 'num_clips': args.num_clips, 'metrics': measure(known), **measure_flux(known)}
  print(json.dumps(result, indent=2))
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run(_NAME, lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
