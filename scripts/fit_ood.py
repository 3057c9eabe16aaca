"""Fits the out-of-distribution (OOD) detector of a packaged model's generator, and calibrates its threshold.

  python -m scripts.fit_ood --model default --data data/synthetic_latents
  v2a evaluate --model default --sweep corruption --output out/sweep
  python -m scripts.fit_ood --model default --sweep out/sweep/sweep.json

The first command writes ood_detector.npz next to the weights of the generator, without a threshold; the
second measures metrics and OOD scores on degraded clips; the third sets the threshold. See
v2a.evaluation.ood_calibration.
"""

import sys

from v2a import entry_point
from v2a import flags
from v2a.evaluation import ood_calibration

NUM_CLIPS = 2000


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='scripts.fit_ood', description=__doc__.splitlines()[0])
  parser.add_argument('--model', required=True, help='a packaged model, or a bundle')
  parser.add_argument('--generator', help='a generator of the model (default: its first)')
  source = parser.add_mutually_exclusive_group(required=True)
  source.add_argument('--data', nargs='+', metavar='DIR', help='records that the generator was trained on')
  source.add_argument('--sweep', type=flags.local_path, help='sweep.json of a model with the fitted detector')
  parser.add_argument(
    '--num-clips',
    type=flags.count,
    default=NUM_CLIPS,
    help=f'number of clips of --data (default {NUM_CLIPS})',
  )
  args = parser.parse_args(argv)
  if args.data:
    path = ood_calibration.write_fitted(args.model, args.generator, args.data, args.num_clips)
  else:
    path = ood_calibration.write_calibrated(args.model, args.generator, args.sweep)
  print(path)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('scripts.fit_ood', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
