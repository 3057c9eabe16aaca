"""Histograms of streams count exactly, in any order, and in bounded memory."""

import numpy as np
import pytest

from data_pipelines.reporting import histogram


def fill(values, accepted=None) -> histogram.Histogram:
  found = histogram.Histogram()
  accepted = [True] * len(values) if accepted is None else accepted
  for value, is_accepted in zip(values, accepted):
    found.add(float(value), bool(is_accepted))
  return found


@pytest.mark.parametrize('num', [50, 20_000])
@pytest.mark.parametrize('order', ['random', 'ascending', 'descending'])
def test_counts_are_those_of_numpy(num, order):
  rng = np.random.default_rng(0)
  values, accepted = 30 * rng.standard_normal(num) - 20, rng.random(num) < 0.3
  if order != 'random':
    ranks = np.argsort(values)[:: 1 if order == 'ascending' else -1]
    values, accepted = values[ranks], accepted[ranks]
  found = fill(values, accepted)
  bins = found.bins(-20.0, -20.0, 40)
  assert 20 <= len(bins.edges) <= 60
  for row, chosen in enumerate((values[~accepted], values[accepted])):
    np.testing.assert_array_equal(bins.counts[row], np.histogram(chosen, bins.edges)[0])
  assert (found.min, found.max) == (values.min(), values.max())
  assert found.mean == pytest.approx(values.mean())
  assert abs(found.median() - np.median(values)) < np.ptp(values) / 50


def test_memory_does_not_grow_with_the_number_of_values():
  found = fill(np.random.default_rng(0).standard_normal(10_000))
  assert found._counts.shape == (2, histogram.NUM_BINS)
  assert len(found._pending) < histogram._NUM_PENDING


@pytest.mark.parametrize('value', [0.0, -1e-12, 48000.0, 1e300])
@pytest.mark.parametrize('num', [1, 5000])
def test_equal_values_are_one_bar(value, num):
  bins = fill([value] * num).bins(value, value, 40)
  assert bins.counts.tolist() == [[0], [num]] and bins.edges[0] < value < bins.edges[1]


def test_a_range_may_be_wider_than_the_values():
  values = np.linspace(0.0, 0.1, 100)
  bins = fill(values).bins(0.0, 1.0, 40)
  assert bins.counts.sum() == 100 and len(bins.edges) - 1 == 5
  bins = fill(values, values > 0.05).bins(-1.0, 0.1, 40)
  assert bins.counts.sum(axis=1).tolist() == [50, 50]


def test_an_outlier_after_equal_values_is_counted():
  found = fill([0.0] * 5000 + [1.0] * 5000 + [-100.0])
  bins = found.bins(0.0, 0.0, 40)
  assert bins.counts.sum() == 10_001 and bins.counts[1, 0] == 1


def test_without_values():
  found = histogram.Histogram()
  assert np.isnan(found.mean) and np.isnan(found.median())
  assert found.bins(0.0, 1.0, 40).counts.tolist() == [[0], [0]]
