"""Duplicate ids, empty, negative and overlapping segments; splits by file name."""

import dataclasses
import itertools
import pathlib
import time
import tracemalloc

import pytest

from data_pipelines.sources import entries
from data_pipelines.sources import items


def entry(name, line, start_s=0.0, end_s=10.0, split=None, group='video') -> entries.Entry:
  item = items.Item(name, items.MediaFile(pathlib.Path('a.mp4')), group, split=split)
  return entries.Entry(item, f'a.csv:{line}', start_s, end_s)


def notes(item: items.Item) -> list[str]:
  return [text for name, text in item.annotations.tags if name == entries.NOTE]


def test_a_second_clip_with_an_id_is_a_problem_that_names_both_lines():
  first, second = entries.checked([entry('x', 1), entry('x', 7, 50, 60)])
  assert isinstance(first, items.Item)
  assert str(second) == 'a.csv:7: x: its id is already used in a.csv:1'
  assert second.kind == 'duplicate'


def test_overlap_across_splits_is_a_problem():
  found = list(
    entries.checked(
      [entry('x', 1, 0, 10, 'train'), entry('y', 2, 9, 19, 'test'), entry('z', 3, 12, 20, 'test')]
    )
  )
  assert isinstance(found[0], items.Item)
  assert (found[1].kind, found[1].id) == ('duplicate', 'y')
  assert found[1].reason == '9 s to 19 s of video in split test overlaps 0 s to 10 s in split train (a.csv:1)'
  # The refused one is not compared with.
  assert isinstance(found[2], items.Item)


def test_overlap_within_a_split_is_a_note():
  first, second, third = entries.checked([entry('x', 1, 0, 10), entry('y', 2, 9, 19), entry('z', 3, 19, 20)])
  assert notes(first) == notes(third) == []
  assert notes(second) == ['a.csv:2: overlaps a.csv:1']


def test_a_source_in_two_splits_without_overlap_is_a_note():
  _, second = entries.checked([entry('x', 1, 0, 10, 'train'), entry('y', 2, 10, 20, 'test')])
  assert notes(second) == ['a.csv:2: a.csv:1 of the same source is in split train']


def test_all_earlier_segments_of_a_group_are_compared():
  earlier = [entry('x', 1, 0, 10, 'train'), entry('y', 2, 20, 30, 'train'), entry('z', 3, 40, 50, 'train')]
  *_, late = entries.checked([*earlier, entry('w', 4, 5, 8, 'test')])
  assert late.kind == 'duplicate' and 'a.csv:1' in late.reason
  # Of segments without a time, one of each split.
  speaker = [entry('x', 1, 0, 0, 'train'), entry('y', 2, 0, 0, 'test'), entry('z', 3, 0, 0, 'test')]
  assert [bool(notes(item)) for item in entries.checked(speaker)] == [False, True, True]
  *_, last = entries.checked([*speaker[:2], entry('z', 3, 0, 0, 'train')])
  assert notes(last) == ['a.csv:3: a.csv:2 of the same source is in split test']


def test_groups_are_apart_and_a_group_without_time_never_overlaps():
  apart = entries.checked([entry('x', 1, split='train'), entry('y', 2, split='test', group='other')])
  assert [notes(item) for item in apart] == [[], []]
  speaker = entries.checked([entry('x', 1, 0, 0), entry('y', 2, 0, 0)])
  assert [notes(item) for item in speaker] == [[], []]


def test_a_thousand_clips_of_a_speaker_are_compared_in_no_time():
  found = entries.checked(entry(str(line), line, 0, 0, 'train', 'speaker') for line in range(1, 20_001))
  start_s = time.process_time()
  assert not any(notes(item) for item in found)
  assert time.process_time() - start_s < 10
  *_, other = entries.checked(
    [*(entry(str(line), line, 0, 0, 'train') for line in (1, 2)), entry('x', 3, 0, 0, 'test')]
  )
  assert notes(other) == ['a.csv:3: a.csv:1 of the same source is in split train']


def test_an_entry_takes_little_memory():
  tracemalloc.start()
  try:
    found = entries.checked(entry(str(line), line, 0, 10, group=str(line)) for line in range(1, 10_000))
    before = tracemalloc.get_traced_memory()[0]
    assert sum(1 for _ in itertools.islice(found, 9_000)) == 9_000
    num_bytes = (tracemalloc.get_traced_memory()[0] - before) / 9_000
  finally:
    tracemalloc.stop()
  assert num_bytes < 200


def test_where_without_a_line_is_named():
  first = dataclasses.replace(entry('x', 1), where='videos/a:b.mp4')
  _, second = entries.checked([first, entry('x', 2)])
  assert second.reason == 'its id is already used in videos/a:b.mp4'


def test_segments_that_are_none_are_refused():
  with pytest.raises(ValueError, match=r'begin at 0 s or later; got -1 s'):
    entries.check_segment(-1.0, 5.0)
  with pytest.raises(ValueError, match=r'end after its start; got 5 s to 5 s'):
    entries.check_segment(5.0, 5.0)
  entries.check_segment(5.0, None)


@pytest.mark.parametrize('text', ['', 'nan', 'inf', '30,5', '0:30'])
def test_what_is_no_number_of_seconds_is_refused(text):
  with pytest.raises(ValueError, match='start must be a (finite )?number of seconds'):
    entries.number(text, 'start')


@pytest.mark.parametrize(
  'name, split',
  [
    ('train.csv', 'train'),
    ('vgg-val.tsv', 'validation'),
    ('testSet.txt', 'test'),
    ('vggsound_official_AStest.csv', 'test'),
    ('balanced_train_segments.csv', 'train'),
    ('eval_segments.csv', 'test'),
    ('vggsound.csv', None),
    ('train_test.csv', None),
    ('contest.csv', None),
  ],
)
def test_the_split_that_a_file_name_states(name, split):
  assert entries.split_of_file(name) == split
