"""Fits the video quality gauge of a generator (v2a.gauge) to its training clips, and calibrates it.

The training statistics are those of undamaged training clips: as they were recorded, not worn
(config.data.wear), and of the world the clean look alone. What was worn in training is seen through worse
than what was not, and a gauge that takes it for usual warns of nothing.

A damage is called harmful where a figure falls below HARM times what it is on the clean clips. The threshold
is the distance that tells clips under harmful damage best from clean and harmlessly damaged ones (largest
share caught minus largest share of false alarms, Youden's index), but never below the distance of which
FALSE_ALARMS of the clean clips lie above.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib

import numpy as np

from v2a import gauge as gauge_lib
from v2a import generate
from v2a import records
from v2a.evaluation import cases as cases_lib

HARM = 0.8
FALSE_ALARMS = 0.05
FIGURE = 'onset_f1'
_BATCH = 16


def measure(model: generate.Model, generator: str | None, cases: Sequence[cases_lib.Case]) -> dict | None:
  """Returns, JSON-able, the distances of the pictures of clips; None where the generator has no gauge."""
  found = model.gauge(generator)
  if found is None:
    return None
  pairs = (case.frames for case in cases)
  distance_N = found.distance(features(model, generator, pairs))
  return {
    'median': float(np.median(distance_N)),
    'share_above_threshold': float((distance_N > found.threshold).mean()),
    'distances': [round(float(distance), 4) for distance in distance_N],
  }


def features(model: generate.Model, generator: str | None, pairs) -> np.ndarray:
  """Returns feature_NF of pairs of semantic and sync frames, a pair a window; see Model.features."""
  found, waiting = [], list(pairs)
  for first in range(0, len(waiting), _BATCH):
    part = waiting[first : first + _BATCH]
    # Filled up with the last, so that one compiled program serves all.
    whole = part + part[-1:] * (_BATCH - len(part))
    frames = (np.stack([pair[k] for pair in whole]) for k in (0, 1))
    found.append(np.asarray(model.features(*frames, generator))[: len(part)])
  return np.concatenate(found)


def fit(
  model: generate.Model, generator: str | None, folders: Sequence[str], num_clips: int
) -> gauge_lib.Gauge:
  """Returns the gauge of a generator's undamaged training clips, without a threshold.

  Args:
    model: see v2a.generate.load.
    generator: None for the first.
    folders: of records that it was trained on.
    num_clips: how many of them are looked at, evenly spread; damaged ones are passed over.

  Raises:
    ValueError: there are too few clips with pictures.
  """
  part, pairs = model.generator(generator), []
  for folder in folders:
    source = records.open(folder)
    wanted = -(-num_clips // len(folders))
    for k in np.unique(np.linspace(0, len(source) - 1, min(wanted, len(source))).astype(int)):
      record = source[int(k)]
      if record['has_video'] and _is_undamaged(record):
        pairs.append((record['semantic_frame_MYX3'], record['sync_frame_LYX3']))
  if not pairs:
    raise ValueError(f'{", ".join(folders)}: no clip has an undamaged picture.')
  found = gauge_lib.fit(features(model, generator, pairs), sizes=(gauge_lib.NUM_OF_LOOKS,))
  return dataclasses.replace(found, about={**found.about, 'generator': part.name})


def _is_undamaged(record: Mapping) -> bool:
  return not record['truth'] or json.loads(record['truth']).get('look', 'clean') == 'clean'


def calibrate(found: gauge_lib.Gauge, sweep: Mapping, figure: str = FIGURE) -> gauge_lib.Gauge:
  """Returns the gauge with the threshold that the module describes, and what it does in its notes.

  Args:
    found: the gauge that the sweep was made with.
    sweep: what degradation.sweep returned.
    figure: that is harmed.

  Raises:
    ValueError: the sweep lacks distances or the figure, or nothing in it does harm.
  """
  clean = sweep['clean']
  if clean['gauge'] is None or figure not in clean['figures']:
    raise ValueError(f'the sweep must hold distances and {figure}; make it with a model that has a gauge.')
  whole = clean['figures'][figure]['value']
  harmless, harmful = list(clean['gauge']['distances']), []
  for kind in sweep['kinds'].values():
    for point in kind['points']:
      value = point['figures'].get(figure, {'value': 0.0})['value']
      (harmful if value < HARM * whole else harmless).extend(point['gauge']['distances'])
  if not harmful:
    raise ValueError(f'no damage of the sweep brings {figure} below {HARM:g} of {whole:.3f}.')
  least = float(np.quantile(clean['gauge']['distances'], 1 - FALSE_ALARMS))
  candidates = [value for value in sorted({*harmless, *harmful}) if value >= least] or [least]
  shares = lambda value: tuple(float((np.array(side) > value).mean()) for side in (harmful, harmless))
  threshold = max(candidates, key=lambda value: np.subtract(*shares(value)))
  caught, alarms = shares(threshold)
  notes = {
    'figure': figure,
    'harm': HARM,
    'caught': round(caught, 3),
    'false_alarms': round(alarms, 3),
    'clean_false_alarms': round(float((np.array(clean['gauge']['distances']) > threshold).mean()), 3),
    'sweep': {key: sweep[key] for key in ('data', 'num_clips', 'seed')},
  }
  return dataclasses.replace(found, threshold=float(threshold), about={**found.about, 'calibration': notes})


def write_fitted(name: str, generator: str | None, folders: Sequence[str], num_clips: int) -> pathlib.Path:
  """Fits the gauge of a model and writes it beside the generator's weights; see `fit`. Returns its path."""
  model = generate.load(name, generator=generator)
  found = fit(model, generator, folders, num_clips)
  return _write(model, generator, found)


def write_calibrated(name: str, generator: str | None, sweep: pathlib.Path) -> pathlib.Path:
  """Calibrates the gauge of a model and writes it where it was; see `calibrate`. Returns its path."""
  model = generate.load(name, generator=generator)
  found = model.gauge(generator)
  if found is None:
    raise ValueError(f'the model {model.name} has no gauge yet; fit one first.')
  return _write(model, generator, calibrate(found, json.loads(sweep.read_text())))


def _write(model: generate.Model, generator: str | None, found: gauge_lib.Gauge) -> pathlib.Path:
  path = model.exports[model.generator(generator).name].folder / gauge_lib.FILE
  gauge_lib.save(found, path)
  return path
