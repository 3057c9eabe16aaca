"""Fits the OOD detector of a generator (v2a.ood.detector) to its training clips, and calibrates it.

The training statistics are those of clean training clips: recordings without augmentation
(config.data.augment_probability), and synthetic clips without corruption. Metrics are lower on augmented
video, and a detector that was fitted to it would not detect such video.

A corruption is harmful where a metric is below HARMFUL_RATIO times its value on the clean clips. The
threshold is the distance that best separates clips with harmful corruptions from clean and harmlessly
corrupted ones (the maximum of true positive rate minus false positive rate, Youden's index), but at least the
distance that MAX_FALSE_POSITIVE_RATE of the clean clips exceed.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib

import numpy as np

from v2a.data import examples as examples_lib
from v2a.data import records
from v2a.ood import detector as detector_lib
from v2a.sampling import bundle

HARMFUL_RATIO = 0.8
MAX_FALSE_POSITIVE_RATE = 0.05
METRIC = 'onset_f1'
_BATCH = 16


def ood_scores(
  model: bundle.Bundle, generator: str | None, examples: Sequence[examples_lib.Example]
) -> dict | None:
  """Returns, JSON-able, the OOD scores of the video of clips; None if the generator has no detector.

  Args:
    model: see v2a.sampling.bundle.load.
    generator: name of one of its generators; None for the first.
    examples: the clips.
  """
  found = model.ood_detector(generator)
  if found is None:
    return None
  pairs = (example.frames for example in examples)
  distance_N = found.score(ood_features(model, generator, pairs))
  return {
    'median': float(np.median(distance_N)),
    'share_above_threshold': float((distance_N > found.threshold).mean()),
    'distances': [round(float(distance), 4) for distance in distance_N],
  }


def ood_features(
  model: bundle.Bundle, generator: str | None, pairs: Iterable[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
  """Returns feature_NF of pairs of semantic and sync frames; see Bundle.ood_features.

  Args:
    model: see v2a.sampling.bundle.load.
    generator: name of one of its generators; None for the first.
    pairs: semantic_frame_MYX3 and sync_frame_LYX3 of one window each; at least one pair.
  """
  found, remaining = [], list(pairs)
  for first in range(0, len(remaining), _BATCH):
    part = remaining[first : first + _BATCH]
    # Padded with the last pair, so that there is one batch size and one compilation.
    padded = part + part[-1:] * (_BATCH - len(part))
    frames = (np.stack([pair[k] for pair in padded]) for k in (0, 1))
    found.append(np.asarray(model.ood_features(*frames, generator))[: len(part)])
  return np.concatenate(found)


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
    ood_features(model, generator, pairs), sizes=(detector_lib.NUM_APPEARANCE_FEATURES,)
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
