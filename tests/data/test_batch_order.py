"""Which records make a batch: every record once an epoch, weights of folders, buckets of one length."""

import collections

import numpy as np
import pytest

from v2a.data import batch_order

LENGTHS_S, SIZES = (2.0, 4.0, 8.0), (16, 8, 4)


def rows(order: batch_order.Order, num_steps: int) -> list[int]:
  """Returns the records of all rows of the first steps."""
  return [
    record
    for step in range(num_steps)
    for record in order.records(step, range(order.bucket(step).batch_size))
  ]


def num_steps(order: batch_order.Order) -> int:
  """Returns the number of steps of an epoch."""
  return order._ends[-1]


def test_folders_have_their_shares_and_small_ones_are_repeated():
  order = batch_order.single([10, 1000], 4, 0, [3, 1])
  counts = collections.Counter(rows(order, 100))
  assert sum(count for record, count in counts.items() if record < 10) == 300
  assert {counts[record] for record in range(10)} == {30}
  assert max(count for record, count in counts.items() if record >= 10) == 1


@pytest.mark.parametrize('weights', [(), (1, 1)])
def test_clips_of_a_bucket_fit_it(weights):
  rng = np.random.default_rng(0)
  durations_s = [rng.uniform(0.5, 12, 300), rng.uniform(0.5, 5, 40)]
  order = batch_order.by_length(durations_s, LENGTHS_S, SIZES, 0, weights)
  duration_N = np.concatenate(durations_s)
  found = collections.Counter()
  for step in range(num_steps(order)):
    bucket = order.bucket(step)
    assert bucket.batch_size == dict(zip(LENGTHS_S, SIZES))[bucket.clip_s]
    records = order.records(step, range(bucket.batch_size))
    found.update(records)
    shorter = [length_s for length_s in LENGTHS_S if length_s < bucket.clip_s]
    for duration_s in duration_N[records]:
      assert duration_s <= 1.05 * bucket.clip_s or bucket.clip_s == LENGTHS_S[-1]
      assert not shorter or duration_s > 1.05 * shorter[-1]
  if weights:
    share = sum(count for record, count in found.items() if record < 300) / sum(found.values())
    assert share == pytest.approx(0.5, abs=0.05)
  else:  # an epoch, but for the last batch of each bucket
    assert set(found.values()) <= {1, 2} and len(found) > 340 - sum(SIZES)


def test_every_batch_of_a_bucket_is_read_once_and_each_epoch_differs():
  duration_N = np.repeat([1.0, 3.0, 6.0], [32, 16, 8])
  order = batch_order.by_length([duration_N], LENGTHS_S, SIZES, 0)
  assert num_steps(order) == 6
  epochs = [[order.bucket(step).clip_s for step in range(first, first + 6)] for first in (0, 6, 12, 18)]
  assert all(sorted(epoch) == [2, 2, 4, 4, 8, 8] for epoch in epochs) and len(set(map(tuple, epochs))) > 1
  whole = rows(order, 24)
  assert all(sorted(whole[first : first + 56]) == list(range(56)) for first in (0, 56, 112, 168))
  assert len({tuple(whole[first : first + 56]) for first in (0, 56, 112, 168)}) == 4


def test_the_order_is_a_function_of_the_seed():
  duration_N = np.random.default_rng(1).uniform(0.5, 9, 100)
  make = lambda seed: batch_order.by_length([duration_N], LENGTHS_S, SIZES, seed)
  assert rows(make(3), 20) == rows(make(3), 20) != rows(make(4), 20)
  assert make(3).records(17, [2]) == make(3).records(17, [2])  # at any step, without those before


def test_buckets_without_clips_are_left_out():
  order = batch_order.by_length([np.full(5, 9.5)], LENGTHS_S, SIZES, 0)
  assert [bucket.clip_s for bucket in order.buckets] == [8.0]
