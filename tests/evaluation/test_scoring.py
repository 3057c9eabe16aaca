"""Differences of several systems: correction for all tests, and the smallest effect with a mark."""

import numpy as np
import pytest

from v2a.evaluation import scoring
from v2a.metrics import bootstrap
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import synthetic

NUM = 40
NAMES = ('onset_f1', 'log_mel_distance')


def observed(shift, seed):
  """Returns the observed scores of two metrics of a system, shifted by a constant."""
  rng = np.random.default_rng(seed)
  mean = lambda scores: float(np.mean(scores))
  base_N = np.random.default_rng(0).random(NUM)
  scores = {name: (base_N + shift + 0.002 * rng.normal(size=NUM)).tolist() for name in NAMES}
  samples = {name: bootstrap.ObservedScores(mean, [row]) for name, row in scores.items()}
  return {
    'synthetic': {'onset_f1': samples['onset_f1']},
    'signal': {'log_mel_distance': samples['log_mel_distance']},
  }


def differences(**shifts):
  """Returns the differences of systems with these shifts to the first."""
  systems = {name: observed(shift, k) for k, (name, shift) in enumerate(shifts.items())}
  return scoring.differences(systems, next(iter(shifts)), [registry.get(name) for name in NAMES])


def test_all_systems_are_one_family_of_tests():
  two, six = differences(a=0.0, b=0.0008), differences(a=0.0, b=0.0008, c=0.1, d=0.1, e=0.1, f=0.0)
  one, of_six = (found['b']['synthetic']['onset_f1'] for found in (two, six))
  assert set(six) == set('bcdef')
  assert one['p'] == of_six['p'] < one['p_corrected'] < of_six['p_corrected'] <= 1.0
  assert one['p_corrected'] <= 2 * one['p'] + 1e-12


def test_differences_that_do_not_matter_have_no_mark():
  found = differences(a=0.0, small=0.01, large=0.03)
  small, large = (found[name]['synthetic']['onset_f1'] for name in ('small', 'large'))
  assert small['p_corrected'] < 1e-3 and small['smallest_effect'] == 0.02 and small['mark'] == ''
  assert large['mark'] == 'better***'
  # For a distance it is relative to the value of the reference, about 0.5.
  small, large = (found[name]['signal']['log_mel_distance'] for name in ('small', 'large'))
  assert small['smallest_effect'] == pytest.approx(metric_lib.SMALLEST_RELATIVE_EFFECT * 0.5, rel=0.2)
  assert large['mark'] == 'worse***'


def test_references_without_truth_are_selected_only_by_metrics_that_need_none():
  reference = metric_lib.Reference(sound=metric_lib.Sound(np.zeros((16000, 2)), 16000))
  assert scoring.select(registry.get('onset_f1'), [reference]) == []
  assert scoring.select(registry.get('log_mel_distance'), [reference]) == [0]
  with pytest.raises(ValueError, match='the reference has no truth'):
    registry.get('onset_f1').score(metric_lib.Sample(reference.true_sound, reference))


def test_music_floor_is_of_clips_without_any_music():
  def reference(**truth):
    return metric_lib.Reference(truth={'has_music': False, 'scene': 'strike', 'notes': []} | truth)

  references = [
    reference(has_music=True),
    reference(),
    reference(has_music=True),
    reference(notes=[{'time_s': 0.5}]),
    reference(scene=synthetic.MUSIC_SCENES[0]),
    reference(has_music=True),
    reference(),
  ]
  for name in ('music_rate', 'music_rate_negative'):
    metric = registry.get(name)
    selected = scoring.select(metric, references)
    assert selected == [0, 2, 5]
    assert scoring.floor_indices(metric, references, selected) == [1, 6, 1]
    # Without a clip that has no music there is no floor.
    assert scoring.floor_indices(metric, [references[0], references[3]], [0]) is None
  assert scoring.floor_indices(registry.get('onset_f1'), references, [0, 2, 5]) == [2, 5, 0]
