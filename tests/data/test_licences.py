"""The licences of training records: known, unknown, generated; through an encoding of records."""

import pytest

from data_pipelines import synthetic
from v2a import clip
from v2a.data import fake_records
from v2a.data import licences
from v2a.data import record_writer
from v2a.data import records

SPEC = clip.ClipSpec(clip_s=0.5)


def of_folder(path, about) -> dict:
  record_writer.write(path, [fake_records.make(SPEC, seed) for seed in range(3)], SPEC, about)
  (found,) = licences.of_source(records.open(path))
  return found


def test_what_a_manifest_does_not_say_is_unknown(tmp_path):
  found = of_folder(tmp_path / 'a', {'source': 'videos'})
  assert found['num_records'] == 3 and found['licences'] == {'unknown': 3}
  assert of_folder(tmp_path / 'b', {'licences': {'CC0-1.0': 2}})['licences'] == {'CC0-1.0': 2, 'unknown': 1}
  assert found['hash'] == records.open(tmp_path / 'b').hash


def test_records_of_the_synthetic_set_are_generated(tmp_path):
  argv = ['--num-clips', '2', '--records', '--output', str(tmp_path / 'set'), '--clip-seconds', '2']
  assert synthetic.main(argv) == 0
  (found,) = licences.of_source(records.open(tmp_path / 'set'))
  assert found['licences'] == {'generated': 2}


@pytest.mark.parametrize(
  ('about', 'wanted'),
  [
    ({}, 'an unknown number of records: unknown'),
    ({'records_hash': 'f' * 64, 'num_records': 9}, '9 records (ffffffffffff): unknown 9'),
  ],
)
def test_a_line_says_what_is_unknown(about, wanted):
  assert licences.line(licences.unknown(about)) == wanted


def test_entries_are_merged_in_order():
  first, second = licences.unknown({'num_records': 1}), licences.unknown({'num_records': 2})
  assert licences.merged([second, first, dict(second)]) == [second, first]
