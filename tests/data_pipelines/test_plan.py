"""Plans: every item in one shard, no group in two splits, the same plan whatever the order of the source."""

from collections.abc import Iterator
import dataclasses
import json
import pathlib

import pytest

from data_pipelines import plan
from data_pipelines.sources import items
from data_pipelines.sources import serialization
from v2a.data import annotations as annotations_lib


@dataclasses.dataclass
class ListSource:
  """A source in memory."""

  entries: list[items.Item | items.Problem]
  name: str = 'list'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    return iter(self.entries)


def item(index: int, group: str = '', split: str | None = None) -> items.Item:
  name = f'clip{index}'
  return items.Item(name, items.MediaFile(pathlib.Path(f'{name}.mp4')), group or name, split=split)


def shards(folder: pathlib.Path) -> dict[tuple[str, int], list[items.Item]]:
  content = json.loads((folder / plan.PLAN).read_text())
  return {
    (split, index): plan.read_shard(folder, split, index)
    for split, count in content['num_shards'].items()
    for index in range(count)
  }


def test_each_item_is_in_one_shard(tmp_path: pathlib.Path):
  entries = [item(index) for index in range(1000)]
  content = plan.make(ListSource(entries), tmp_path / 'plan', plan.Settings(items_per_shard=100))
  found = shards(tmp_path / 'plan')
  assert content['num_shards'] == {'train': 10} and content['num_items'] == {'train': 1000}
  assert sorted((each for row in found.values() for each in row), key=lambda each: each.id) == sorted(
    entries, key=lambda each: each.id
  )
  assert all(60 < len(row) < 140 for row in found.values())


def test_a_plan_does_not_depend_on_the_order_of_the_source(tmp_path: pathlib.Path):
  entries = [item(index, f'video{index // 3}') for index in range(300)]
  settings = plan.Settings(items_per_shard=50, shares={'train': 0.8, 'test': 0.2})
  for name, each in (('a', entries), ('b', entries[::-1])):
    plan.make(ListSource(each), tmp_path / name, settings)
  files = sorted(path.relative_to(tmp_path / 'a') for path in (tmp_path / 'a').rglob('*.json*'))
  assert len(files) > 4
  for file in files:
    assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes()


def test_no_group_is_in_two_splits(tmp_path: pathlib.Path):
  shares = {'train': 0.9, 'validation': 0.05, 'test': 0.05}
  entries = [item(index, f'video{index // 4}') for index in range(8000)]
  content = plan.make(ListSource(entries), tmp_path / 'plan', plan.Settings(512, shares))
  splits: dict[str, set[str]] = {}
  for (split, _), row in shards(tmp_path / 'plan').items():
    for each in row:
      splits.setdefault(each.group, set()).add(split)
  assert all(len(each) == 1 for each in splits.values())
  for split, share in shares.items():
    assert content['num_items'][split] / 8000 == pytest.approx(share, abs=0.02)


def test_a_group_that_the_data_set_splits_is_not_trained_on(tmp_path: pathlib.Path):
  entries = [item(0, 'video', 'train'), item(1, 'video', 'test'), item(2, 'other', 'train')]
  content = plan.make(ListSource(entries), tmp_path / 'plan', plan.Settings())
  assert content['num_items'] == {'test': 2, 'train': 1}
  found = shards(tmp_path / 'plan')
  assert [each.id for each in found['test', 0]] == ['clip0', 'clip1']
  assert [each.id for each in found['train', 0]] == ['clip2']


def test_problems_are_in_the_plan(tmp_path: pathlib.Path):
  problem = items.Problem('missing', 'b', 'a.csv:2', 'no file of this id in videos')
  content = plan.make(ListSource([item(0), problem]), tmp_path / 'plan', plan.Settings())
  assert content['num_problems'] == {'missing': 1}
  (line,) = (tmp_path / 'plan' / plan.PROBLEMS).read_text().splitlines()
  assert items.Problem(**json.loads(line)) == problem


def test_a_source_without_items_is_refused(tmp_path: pathlib.Path):
  with pytest.raises(ValueError, match='list has no item that can be used'):
    plan.make(ListSource([]), tmp_path / 'plan', plan.Settings())
  assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_a_plan_that_failed(tmp_path: pathlib.Path):
  class Changing(ListSource):
    """Loses an item at its second reading."""

    def __iter__(self):
      yield from self.entries
      self.entries.pop()

  with pytest.raises(ValueError, match='list has changed while it was read'):
    plan.make(Changing([item(0), item(1)]), tmp_path / 'plan', plan.Settings())
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'text', ['train', 'train=x', 'train=0.5', 'train=0.5,train=0.5', 'train=1.5,test=-0.5']
)
def test_shares_that_are_none_are_refused(text: str):
  with pytest.raises(ValueError, match='split'):
    plan.parse_shares(text)


def test_an_item_survives_json():
  annotations = annotations_lib.Annotations(
    (annotations_lib.Caption('a dog barks', 'short'),), events=(annotations_lib.Event(1.0, 2.0, 'bark'),)
  )
  for media in (
    items.MediaFile(pathlib.Path('a.mp4')),
    items.FileRange(pathlib.Path('a.tar'), 'b.mp4', 512, 9),
  ):
    wanted = items.Item('a', media, 'g', 1.0, 2.5, annotations, 'CC0-1.0', 'train')
    assert serialization.item_from_json(json.loads(json.dumps(serialization.item_to_json(wanted)))) == wanted
