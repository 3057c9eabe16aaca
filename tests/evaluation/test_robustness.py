"""Corruptions and their severities, calibration of an OOD detector by a sweep, and the report of a sweep."""

import dataclasses
import json

import numpy as np
import pytest

from scripts import fit_ood
from v2a import clip as clip_lib
from v2a.data import augment
from v2a.data import synthetic_examples
from v2a.evaluation import robustness
from v2a.ood import detector
from v2a.reports import robustness_report

SPEC = clip_lib.ClipSpec(clip_s=2.0, frame_size=16)


@pytest.fixture(scope='module')
def examples():
  return list(synthetic_examples.render(31_000_021, 2, SPEC, scenes=('bounce',)))


def corrupted(examples, kind, severity):
  """Returns the corrupted sync frames of the first clip."""
  return robustness.corrupt_examples(examples, kind, severity, SPEC)[0].frames[1]


@pytest.mark.parametrize('kind', list(robustness.CORRUPTIONS))
def test_errors_increase_with_severity_and_corruptions_are_deterministic(examples, kind):
  clean_LYX3 = examples[0].frames[1].astype(float)
  found = [corrupted(examples, kind, severity) for severity in robustness.CORRUPTIONS[kind].severities]
  errors = [np.abs(frame_LYX3 - clean_LYX3).mean() for frame_LYX3 in found]
  assert errors[0] > 0 and errors == sorted(errors) and errors[-1] > 1.3 * errors[0]
  assert all(frame_LYX3.dtype == np.uint8 and frame_LYX3.shape == clean_LYX3.shape for frame_LYX3 in found)
  again = corrupted(examples, kind, robustness.CORRUPTIONS[kind].severities[0])
  np.testing.assert_array_equal(again, found[0])


def test_severities_have_their_documented_meaning(examples):
  changes = lambda frame_LYX3: 1 + (np.abs(np.diff(frame_LYX3.astype(int), axis=0)).sum((1, 2, 3)) > 0).sum()
  ramp_LYX3 = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, 16, 16, 3))
  ramp = [dataclasses.replace(examples[0], frames=(ramp_LYX3[::3], ramp_LYX3))]
  assert changes(corrupted(ramp, 'frame_rate', 5)) == 10
  assert 8 <= changes(corrupted(ramp, 'dropped', 0.75)) <= 19
  grey_LYX3 = corrupted(examples, 'grey', 1.0).astype(int)
  assert np.ptp(grey_LYX3, axis=-1).max() <= 1
  noise_LYX3 = corrupted([dataclasses.replace(examples[0], frames=(None, ramp_LYX3 * 0 + 128))], 'noise', 0.1)
  assert noise_LYX3.std() == pytest.approx(25.5, rel=0.05)
  semantic_MYX3, sync_LYX3 = robustness.corrupt_examples(examples, 'grey', 1.0, SPEC)[0].frames
  np.testing.assert_array_equal(semantic_MYX3[3], sync_LYX3[9])
  with pytest.raises(ValueError, match="one of compression, .* got 'rust'"):
    robustness.corrupt_examples(examples, 'rust', 1, SPEC)


@pytest.mark.parametrize(('channel', 'brightness'), [(0, 60), (1, 118), (2, 22)])
def test_grey_frames_are_those_of_augmentation(examples, channel, brightness):
  frame_LYX3 = np.zeros((50, 16, 16, 3), np.uint8)
  frame_LYX3[..., channel] = 200
  colored = [dataclasses.replace(examples[0], frames=(None, frame_LYX3))]
  grey = dataclasses.replace(augment.IDENTITY, is_grey=True)
  augmented_LYX3 = augment.apply(grey, frame_LYX3, SPEC.sync_fps, np.random.default_rng(0))
  assert set(np.unique(corrupted(colored, 'grey', 1.0))) == set(np.unique(augmented_LYX3)) == {brightness}


def point(value, distances, **more):
  """Returns one severity of a sweep."""
  metrics = {'onset_f1': {'value': value, 'interval': [value - 0.1, value + 0.1], 'n': 9}}
  scores = {'median': float(np.median(distances)), 'share_above_threshold': 0.0, 'distances': distances}
  return {'synthetic': metrics, 'ood': scores, **more}


SWEEP = {
  'model': 'm', 'generator': 'flow', 'data': 'synthetic:1', 'num_clips': 4, 'seed': 0,
  'clean': point(0.9, [1.0, 1.1, 0.9, 1.2]),
  'corruptions': {'blur': {'about': 'b', 'points': [
    point(0.85, [1.3, 1.4, 1.2, 1.3], severity=0.1), point(0.4, [1.35, 2.0, 3.0, 2.5], severity=0.2)]}},
}  # fmt: skip


def test_threshold_separates_harmful_corruptions():
  rng = np.random.default_rng(0)
  fitted = detector.fit(rng.standard_normal((64, 6)), 2)
  found = fit_ood.calibrate(fitted, SWEEP)
  assert found.threshold == 1.3
  notes = found.about['calibration']
  assert (notes['caught'], notes['false_alarms'], notes['clean_false_alarms']) == (1.0, 0.125, 0.0)
  mild = {
    **SWEEP,
    'corruptions': {'blur': {'about': 'b', 'points': SWEEP['corruptions']['blur']['points'][:1]}},
  }
  with pytest.raises(ValueError, match='no corruption of the sweep brings onset_f1 below 0.8 of 0.900'):
    fit_ood.calibrate(fitted, mild)


def test_report_has_a_row_per_severity(tmp_path):
  paths = robustness_report.write(tmp_path / 'out', SWEEP)
  assert [path.name for path in paths] == ['sweep.json', 'sweep.md', 'sweep.png']
  assert json.loads(paths[0].read_text()) == {'about': 'Written by v2a evaluate.', **SWEEP}
  rows = [line for line in paths[1].read_text().splitlines() if line.startswith('|')]
  assert len(rows) == 2 + 3 and '| blur | 0.2 | 0.40 (0.30 .. 0.50) | 2.25 | 0.00 |' in rows
  assert paths[2].stat().st_size > 5000 and not list((tmp_path / 'out').glob('.*'))
  robustness_report.write(tmp_path / 'out', SWEEP)  # replaces its own files
  for path in paths:
    path.write_text('mine')
    with pytest.raises(FileExistsError, match=f'{path.name}: exists and was not written by v2a'):
      robustness_report.write(tmp_path / 'out', SWEEP)
    path.unlink()
