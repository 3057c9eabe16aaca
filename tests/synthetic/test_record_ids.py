"""Ids of records of synthetic clips."""

from v2a.synthetic import record_ids


def test_ids_are_those_of_existing_records():
  assert record_ids.make(7, 12) == 'world/7/12'


def test_seeds_are_those_of_synthetic_records_alone():
  ids = [
    record_ids.make(9, 0),
    record_ids.make(7, 1),
    record_ids.make(9, 3),
    'fake/3',
    'a/world/5/1',
    'film@0.0',
  ]
  assert record_ids.seeds(ids) == [7, 9]
