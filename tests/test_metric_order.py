"""Metrics order systems that get worse by construction; on real clips only where there are any."""

import pathlib

import numpy as np
import pytest

from benchmarks import metric_order
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry

CLIPS = pathlib.Path(__file__).resolve().parents[1] / '../shared/clips'
# What docs/evaluation.md says of each metric but `av_align`, which takes too long.
ORDERS = {
  'onset_flux_f1': 'yes',
  'onset_accuracy': 'yes',
  'onset_average_precision': 'yes',
  'onset_count_accuracy': 'no',
  'motion_onset_iou': 'no',
  'av_offset_ms': 'no',
  'envelope_l1': 'but for noise',
  'stft_distance': 'yes',
  'log_spectral_distance': 'yes',
  'log_mel_distance': 'but for noise',
}


def test_systems_are_what_their_names_say():
  rng = np.random.default_rng(0)
  true = [metric_lib.Sound(scale * rng.standard_normal((2000, 2)), 1000) for scale in (0.1, 0.01)]
  sounds = metric_order.make_sounds(true)
  assert tuple(sounds) == metric_order.SYSTEMS
  waves = {name: [sound.wave_NA for sound in row] for name, row in sounds.items()}
  for k, sound in enumerate(true):
    assert waves['true'][k] is sound.wave_NA and waves['other clip'][k] is true[1 - k].wave_NA
    for name, num_samples in (('+100 ms', 100), ('+300 ms', 300)):
      np.testing.assert_array_equal(waves[name][k][num_samples:], sound.wave_NA[:-num_samples])
      np.testing.assert_array_equal(waves[name][k][:num_samples], sound.wave_NA[-num_samples:])
    assert waves['noise'][k].std() == pytest.approx(sound.wave_NA.std(), rel=0.05)


def test_order_by_hand():
  f1, distance = registry.get('onset_flux_f1'), registry.get('stft_distance')
  assert metric_order.order(f1, [1.0, 0.9, 0.4, 0.3, 0.0]) == 'yes'
  assert metric_order.order(f1, [1.0, 0.9, 0.4, 0.3, 0.3]) == 'but for noise'
  assert metric_order.order(f1, [1.0, 0.9, 0.9, 0.3, 0.0]) == 'no'
  assert metric_order.order(distance, [0.0, 1.0, 2.0, 4.0, 3.0]) == 'but for noise'
  assert metric_order.order(distance, [1.0, 0.9, 0.4, 0.3, 0.0]) == 'no'


def test_metrics_that_do_not_order_real_clips_or_noise_say_so():
  assert set(ORDERS) | {'av_align'} == set(metric_order.METRICS)
  for name in metric_order.METRICS:
    description, order = registry.get(name).description, ORDERS.get(name, 'no')
    assert ('does not order real clips' in description) == (order == 'no'), name
    assert ('ranks noise above another clip' in description) == (order == 'but for noise'), name


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason='no ../shared/clips beside the checkout')
def test_metrics_order_real_clips():
  references = metric_order.read_references(CLIPS, 4.0)
  found = metric_order.measure(tuple(ORDERS), references)
  assert {
    name: metric_order.order(registry.get(name), values) for name, (values, _) in found.items()
  } == ORDERS
