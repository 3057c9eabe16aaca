"""Fits the out-of-distribution (OOD) detector of a packaged model's generator, and calibrates its threshold.

  python -m scripts.fit_ood --model default --data data/synthetic_latents
  v2a evaluate --model default --sweep corruption --output out/sweep
  python -m scripts.fit_ood --model default --sweep out/sweep/sweep.json

The first command writes ood_detector.npz next to the weights of the generator, without a threshold; the
second measures metrics and OOD scores on degraded clips; the third sets the threshold.

The training statistics are those of clean training clips: recordings without augmentation
(config.data.augment_probability), and synthetic clips without corruption. Metrics are lower on augmented
video, and a detector that was fitted to it would not detect such video.

A corruption is harmful where a metric is below HARMFUL_RATIO times its value on the clean clips. The
threshold is the distance that best separates clips with harmful corruptions from clean and harmlessly
corrupted ones (the maximum of true positive rate minus false positive rate, Youden's index), but at least the
distance that MAX_FALSE_POSITIVE_RATE of the clean clips exceed.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib

import numpy as np

from v2a import entry_point
from v2a import flags
from v2a import termination
from v2a.data import records
from v2a.evaluation import ood_scores
from v2a.ood import detector as detector_lib
from v2a.sampling import bundle

NUM_CLIPS = 2000
HARMFUL_RATIO = 0.8
MAX_FALSE_POSITIVE_RATE = 0.05
METRIC = 'onset_f1'


def fit(
  model: bundle.Bundle, generator: str | None, folders: Sequence[str], num_clips: int
) -> detector_lib.Detector:
  """Returns the OOD detector of a generator, fitted to clean training clips, without a threshold.

  Args:
    model: see v2a.sampling.bundle.load.
    generator: None for the first.
    folders: of records on which it was trained.
    num_clips: number of clips that are read, evenly spaced; corrupted ones are skipped.

  Raises:
    ValueError: no clip has clean video, or there are too few.
  """
  part, pairs = model.generator(generator), []
  for folder in folders:
    source = records.open(folder)
    num_per_folder = -(-num_clips // len(folders))
    for k in np.unique(np.linspace(0, len(source) - 1, min(num_per_folder, len(source))).astype(int)):
      record = source[int(k)]
      if record['has_video'] and _is_clean(record):
        pairs.append((record['semantic_frame_MYX3'], record['sync_frame_LYX3']))
  if not pairs:
    raise ValueError(f'{", ".join(folders)}: no clip has clean video.')
  found = detector_lib.fit(
    ood_scores.features(model, generator, pairs), sizes=(detector_lib.NUM_APPEARANCE_FEATURES,)
  )
  return dataclasses.replace(found, about={**found.about, 'generator': part.name})


def _is_clean(record: Mapping) -> bool:
  return not record['truth'] or json.loads(record['truth']).get('look', 'clean') == 'clean'


def calibrate(detector: detector_lib.Detector, sweep: Mapping, metric: str = METRIC) -> detector_lib.Detector:
  """Returns the detector with the threshold of the module docstring, and its error rates in `about`.

  Args:
    detector: the detector with which the sweep was run.
    sweep: the result of robustness.sweep.
    metric: that decides which corruptions are harmful.

  Raises:
    ValueError: the sweep lacks OOD scores or the metric, or no corruption in it is harmful.
  """
  clean = sweep['clean']
  if clean['ood'] is None or metric not in clean['synthetic']:
    raise ValueError(f'the sweep must hold OOD scores and {metric}; run it with a model that has a detector.')
  clean_value = clean['synthetic'][metric]['value']
  harmless, harmful = list(clean['ood']['distances']), []
  for kind in sweep['corruptions'].values():
    for point in kind['points']:
      value = point['synthetic'].get(metric, {'value': 0.0})['value']
      (harmful if value < HARMFUL_RATIO * clean_value else harmless).extend(point['ood']['distances'])
  if not harmful:
    raise ValueError(
      f'no corruption of the sweep brings {metric} below {HARMFUL_RATIO:g} of {clean_value:.3f}.'
    )
  min_threshold = float(np.quantile(clean['ood']['distances'], 1 - MAX_FALSE_POSITIVE_RATE))
  candidates = [value for value in sorted({*harmless, *harmful}) if value >= min_threshold] or [min_threshold]
  true_positive_rate = lambda threshold: float((np.array(harmful) > threshold).mean())
  false_positive_rate = lambda threshold: float((np.array(harmless) > threshold).mean())
  threshold = max(candidates, key=lambda value: true_positive_rate(value) - false_positive_rate(value))
  notes = {
    'metric': metric,
    'harmful_ratio': HARMFUL_RATIO,
    'caught': round(true_positive_rate(threshold), 3),
    'false_alarms': round(false_positive_rate(threshold), 3),
    'clean_false_alarms': round(float((np.array(clean['ood']['distances']) > threshold).mean()), 3),
    'sweep': {key: sweep[key] for key in ('data', 'num_clips', 'seed')},
  }
  return dataclasses.replace(
    detector, threshold=float(threshold), about={**detector.about, 'calibration': notes}
  )


def write_fitted(name: str, generator: str | None, folders: Sequence[str], num_clips: int) -> pathlib.Path:
  """Fits the detector of a model, writes it next to the generator's weights, and returns its path.

  Args:
    name: a packaged model or a folder; see v2a.sampling.bundle.load.
    generator: name of one of its generators; None for the first.
    folders: of records on which it was trained.
    num_clips: number of clips that are read, evenly spaced; corrupted ones are skipped.
  """
  model = bundle.load(name, generator=generator)
  found = fit(model, generator, folders, num_clips)
  return _write(model, generator, found)


def write_calibrated(name: str, generator: str | None, sweep: pathlib.Path) -> pathlib.Path:
  """Calibrates the detector of a model, overwrites its file, and returns the path.

  Args:
    name: a packaged model or a folder; see v2a.sampling.bundle.load.
    generator: name of one of its generators; None for the first.
    sweep: JSON file with the result of robustness.sweep.

  Raises:
    ValueError: the model has no OOD detector yet.
  """
  model = bundle.load(name, generator=generator)
  found = model.ood_detector(generator)
  if found is None:
    raise ValueError(f'the model {model.name} has no OOD detector yet; fit one first.')
  return _write(model, generator, calibrate(found, json.loads(sweep.read_text())))


def _write(model: bundle.Bundle, generator: str | None, found: detector_lib.Detector) -> pathlib.Path:
  folder = model.exports[model.generator(generator).name].folder
  if folder is None:
    raise ValueError(f'the model {model.name} has no folder to which its OOD detector could be written.')
  path = folder / detector_lib.FILE
  detector_lib.save(found, path)
  return path


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
    path = write_fitted(args.model, args.generator, args.data, args.num_clips)
  else:
    path = write_calibrated(args.model, args.generator, args.sweep)
  print(path)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('scripts.fit_ood', lambda: _run(argv))


if __name__ == '__main__':
  termination.exit_program(main())
