"""Measurements, thresholds and decisions."""

import pickle

import numpy as np
import pytest

from data_pipelines import cut
from data_pipelines import decoded
from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import memo
from data_pipelines.filters import registry


def clip(num_frames: int = 16, num_samples: int = 32000) -> decoded.DecodedClip:
  rng = np.random.default_rng(0)
  frame_MYX3 = rng.integers(0, 255, (num_frames, 36, 64, 3)).astype(np.uint8)
  wave_NA = (0.1 * rng.standard_normal((num_samples, 2))).astype(np.float32)
  return decoded.DecodedClip('a', frame_MYX3, wave_NA, 16000, 0.0, 2.0)


def test_a_measurement_has_a_value_or_a_reason():
  for value, reason in ((None, ''), (1.0, 'why')):
    with pytest.raises(ValueError, match='a value or a reason'):
      filter_lib.Measurement(value, reason)


@pytest.mark.parametrize(
  'measurement',
  [
    filter_lib.Measurement(0.5),
    filter_lib.Measurement(None, 'no sound'),
    filter_lib.Measurement(0.2, details=(('top', 0.1),)),
  ],
)
def test_json_round_trip(measurement):
  assert filter_lib.Measurement.from_json(measurement.to_json()) == measurement


def test_limits_are_inclusive_and_the_first_one_missed_is_the_reason():
  thresholds = {'a': filter_lib.Threshold(min=1.0), 'b': filter_lib.Threshold(max=2.0)}
  assert filter_lib.decide({'a': 1.0, 'b': 2.0}, thresholds) is None
  low = filter_lib.decide({'a': 0.5, 'b': 3.0}, thresholds)
  assert low.filter == 'a' and str(low) == 'a: 0.5 is below 1'
  assert str(filter_lib.decide({'a': 1.0, 'b': 3.0}, thresholds)) == 'b: 3 is above 2'
  # NaN is no number that a limit accepts.
  assert filter_lib.decide({'a': float('nan'), 'b': 0.0}, thresholds).filter == 'a'


def test_a_missing_number_rejects_only_where_it_is_required():
  absent = {'a': filter_lib.Measurement(None, 'no sound')}
  assert filter_lib.decide(absent, {'a': filter_lib.Threshold(min=1.0)}) is None
  found = filter_lib.decide(absent, {'a': filter_lib.Threshold(is_required=True)})
  assert str(found) == 'a: no value (no sound)'
  with pytest.raises(KeyError):
    filter_lib.decide({}, {'a': filter_lib.Threshold(min=1.0)})


@pytest.mark.parametrize('limits', [{'min': 2.0, 'max': 1.0}, {'min': float('nan')}, {'max': float('inf')}])
def test_limits_that_are_none_are_refused(limits):
  with pytest.raises(ValueError, match='finite min <= max'):
    filter_lib.Threshold(**limits)


def test_thresholds_of_a_configuration():
  values = {'peak': {'min': -40, 'is_required': True}, 'speech': {}}
  found = filter_lib.thresholds_from_json(values)
  assert found == {'peak': filter_lib.Threshold(-40, None, True), 'speech': filter_lib.Threshold()}
  assert filter_lib.thresholds_from_json(filter_lib.thresholds_to_json(found)) == found
  for bad in ({'peak': {'minimum': 1}}, {'peak': {'min': '1'}}, {'peak': 3}, {'peak': {'is_required': 1}}):
    with pytest.raises(ValueError, match='threshold of peak'):
      filter_lib.thresholds_from_json(bad)


def test_thresholds_of_filters_that_measure_nothing_are_refused():
  filters = registry.load()
  thresholds = registry.default_thresholds(filters)
  assert thresholds['peak'].min == -50 and ('scene_cuts' in thresholds) == cut.is_installed()
  filter_lib.check(thresholds | {'language': filter_lib.Threshold()}, filters)
  with pytest.raises(ValueError, match='language has a threshold, but cannot be computed: no detector'):
    filter_lib.check({'language': filter_lib.Threshold(min=0.5)}, filters)
  with pytest.raises(ValueError, match="no filter 'loud'; the filters are peak"):
    filter_lib.check({'loud': filter_lib.Threshold()}, filters)


def test_every_filter_is_described_picklable_and_measures_every_kind_of_clip():
  filters = registry.load()
  assert len({each.name for each in filters}) == len(filters) >= 20
  empty = np.zeros((0, 0, 0, 3), np.uint8), np.zeros((0, 1), np.float32)
  kinds = {
    'both': clip(),
    'no sound': decoded.DecodedClip('a', clip().frame_MYX3, empty[1], 0, 0.0, 2.0),
    'no video': decoded.DecodedClip('a', empty[0], clip().wave_NA, 16000, 0.0, 2.0),
    'tiny': clip(1, 3),
    'silent': decoded.DecodedClip(
      'a', np.zeros((9, 8, 8, 3), np.uint8), np.zeros((9000, 2), 'f4'), 8000, 0, 1
    ),
  }
  for each in pickle.loads(pickle.dumps(filters)):
    assert each.description and each.name.islower()
    for found in (each.measure(kind) for kind in kinds.values()):
      assert (found.value is None) == bool(found.reason)
      assert found.value is None or np.isfinite(found.value)
  measured = filter_lib.measure_all(kinds['no sound'], filters)
  assert measured['peak'].reason == 'no sound' and measured['still_share'].value is not None
  assert filter_lib.measure_all(kinds['no video'], filters)['black_share'].reason == 'no video'


def test_samples_that_are_not_finite_are_a_reason():
  bad = clip()
  bad.wave_NA[7] = np.nan
  measured = filter_lib.measure_all(bad, registry.load(['peak', 'speech', 'motion_onset_iou']))
  assert {found.reason for found in measured.values()} == {'the sound has samples that are not finite'}


def test_an_unknown_filter_is_refused():
  with pytest.raises(ValueError, match=r'filters must be of peak, .*; got volume'):
    registry.load(['peak', 'volume'])


def test_values_are_remembered_for_the_last_clip_only():
  calls = []

  @memo.of_last_clip
  def function(found: decoded.DecodedClip) -> int:
    calls.append(found.id)
    return len(calls)

  first, second = clip(), clip()
  assert [function(each) for each in (first, first, second, second, first)] == [1, 1, 2, 2, 3]
