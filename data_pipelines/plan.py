"""The plan of a build: which items of a source go into which split and shard.

  shard(item) = hash(group) mod number of shards of its split                                  (1)
  split(item) = that of the data set, or by hash(group) in the shares of the splits            (2)

Both depend on the item alone, not on its neighbours or on the number of workers; a group (the clips of one
video) is never in two splits. A shard is the unit of work: it is built whole, by one worker, and a build that
is resumed redoes only shards that are missing. Items of a shard are sorted by the hash of their group, so
that the order of a data set (by class, by date) is not that of its records.

The plan is a folder of JSON lines, one file per shard, which a worker reads alone:

  PLAN/plan.json              numbers of items, shards and problems, and the shares of splits
  PLAN/train/00012.jsonl      one item per line
  PLAN/problems.jsonl         what the source could not use, see `items.Problem`

A source is read twice, to count and to assign; that takes 9 bytes of memory per item.
"""

import array
import collections
from collections.abc import Mapping
import dataclasses
import hashlib
import itertools
import json
import math
import pathlib
import shutil
from typing import Any

import numpy as np

from data_pipelines.sources import items
from data_pipelines.sources import serialization
from v2a import files

PLAN = 'plan.json'
PROBLEMS = 'problems.jsonl'
TRAIN = 'train'
# Lines that are kept in memory before they are appended to their files.
_BUFFERED_LINES = 50_000


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a source is divided.

  Attributes:
    items_per_shard: mean number of items in a shard.
    shares: split -> share of the groups, for items whose data set names no split; they sum to 1.
    is_resplit: whether splits of the data set are ignored.
  """

  items_per_shard: int = 512
  shares: Mapping[str, float] = dataclasses.field(default_factory=lambda: {TRAIN: 1.0})
  is_resplit: bool = False

  def __post_init__(self):
    if self.items_per_shard < 1:
      raise ValueError(f'items_per_shard must be at least 1; got {self.items_per_shard}.')
    total = math.fsum(self.shares.values())
    if not self.shares or min(self.shares.values()) < 0 or not math.isclose(total, 1.0, abs_tol=1e-9):
      raise ValueError(f'shares of splits must be >= 0 and sum to 1; got {dict(self.shares)}.')


def parse_shares(text: str) -> dict[str, float]:
  """Returns the shares in a text such as 'train=0.98,validation=0.01,test=0.01'.

  Raises:
    ValueError: the text has another form.
  """
  shares: dict[str, float] = {}
  for part in text.split(','):
    name, _, share = part.strip().partition('=')
    if not name.isidentifier() or name in shares:
      raise ValueError(f'--split must be like train=0.98,validation=0.01,test=0.01; got {text!r}.')
    items.check_split(name)
    try:
      shares[name] = float(share)
    except ValueError as error:
      raise ValueError(f'--split: the share of {name} must be a number; got {share!r}.') from error
  Settings(shares=shares)
  return shares


def group_hash(group: str) -> int:
  """Returns a hash of a group in [0, 2**64), the same on all machines."""
  return int.from_bytes(hashlib.sha256(group.encode('utf-8', 'surrogateescape')).digest()[:8], 'big')


def split_of(item: items.Item, settings: Settings) -> str:
  """Returns the split of an item (eq. 2)."""
  if item.split and not settings.is_resplit:
    return item.split
  position, end = group_hash(f'split {item.group}') / 2**64, 0.0
  for name, share in settings.shares.items():
    end += share
    if position < end:
      return name
  # The sum of the shares is rounded.
  return [name for name, share in settings.shares.items() if share][-1]


def make(source: items.Source, folder: pathlib.Path, settings: Settings) -> dict[str, Any]:
  """Writes the plan of a source to a new folder, and returns the content of its plan.json.

  Items of one group that the data set puts into several splits go to the first of these (in the order test,
  validation, others), so that none of them is trained on and tested on.

  Args:
    source: read twice.
    folder: appears under its name only when complete.
    settings: how the source is divided.

  Raises:
    FileExistsError: the folder exists.
    ValueError: the source has no item, or changed between both readings.
  """
  if folder.exists():
    raise FileExistsError(f'{folder} exists already; a plan is written to a new folder.')
  moved, num_items = _count(source, settings)
  if not num_items:
    raise ValueError(f'{source.name} has no item that can be used{_first_problem(source)}.')
  num_shards = {name: math.ceil(count / settings.items_per_shard) for name, count in num_items.items()}
  partial = files.partial_path(folder)
  try:
    problems = _assign(source, partial, settings, moved, num_shards)
    content = {
      'source': source.name,
      'items_per_shard': settings.items_per_shard,
      'shares': dict(settings.shares),
      'num_items': dict(sorted(num_items.items())),
      'num_shards': dict(sorted(num_shards.items())),
      'num_problems': dict(sorted(problems.items())),
    }
    if _sort(partial, num_shards) != sum(num_items.values()):
      raise ValueError(f'{source.name} has changed while it was read; plan again.')
    files.write_text(partial / PLAN, json.dumps(content, indent=2) + '\n')
    partial.rename(folder)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return content


# Of a source without any item, so many entries are read for the message.
_MAX_SHOWN = 1000


def _first_problem(source: items.Source) -> str:
  """Returns how many clips cannot be used, and the first reason, to end a sentence; '' without any."""
  problems = [entry for entry in itertools.islice(source, _MAX_SHOWN) if isinstance(entry, items.Problem)]
  count = f'{len(problems)} or more' if len(problems) == _MAX_SHOWN else str(len(problems))
  return f'; {count} cannot, the first: {problems[0]}' if problems else ''


def _count(source: items.Source, settings: Settings) -> tuple[dict[int, str], dict[str, int]]:
  """Returns the split of each group that is in several splits, by its hash; and the number of items by split.

  Takes 9 bytes per item.
  """
  names: dict[str, int] = {}
  hash_N, split_N = array.array('Q'), array.array('B')
  for entry in source:
    if isinstance(entry, items.Item):
      hash_N.append(group_hash(entry.group))
      split_N.append(names.setdefault(split_of(entry, settings), len(names)))
  by_index = list(names)
  groups, splits = np.frombuffer(hash_N, np.uint64), np.frombuffer(split_N, np.uint8).copy()
  order = np.argsort(groups, kind='stable')
  begins = np.flatnonzero(np.diff(groups[order], prepend=~groups[order[:1]])) if len(order) else order
  moved = {}
  for rows in np.split(order, begins[1:]):
    found = set(splits[rows].tolist())
    if len(found) > 1:
      best = min(found, key=lambda index: _priority(by_index[index]))
      moved[int(groups[rows[0]])], splits[rows] = by_index[best], best
  counts = np.bincount(splits, minlength=len(names)) if len(order) else ()
  return moved, {name: int(count) for name, count in zip(by_index, counts) if count}


def _priority(split: str) -> tuple[int, str]:
  """Returns the rank of a split; a group in several splits goes to the one with the lowest."""
  return {'test': 0, 'validation': 1, TRAIN: 3}.get(split, 2), split


def _assign(
  source: items.Source,
  folder: pathlib.Path,
  settings: Settings,
  moved: Mapping[int, str],
  num_shards: Mapping[str, int],
) -> dict[str, int]:
  """Appends each item to the file of its shard, in the order of the source; returns problems by kind."""
  problems: collections.Counter[str] = collections.Counter()
  lines: dict[pathlib.Path, list[str]] = collections.defaultdict(list)
  num_lines = 0
  (folder / PROBLEMS).parent.mkdir(parents=True)
  (folder / PROBLEMS).touch()
  for entry in source:
    if isinstance(entry, items.Problem):
      problems[entry.kind] += 1
      lines[folder / PROBLEMS].append(json.dumps(dataclasses.asdict(entry)))
    else:
      key = group_hash(entry.group)
      split = moved.get(key) or split_of(entry, settings)
      if split not in num_shards:
        raise ValueError(f'{source.name} has changed while it was read; plan again.')
      path = shard_path(folder, split, key % num_shards[split])
      lines[path].append(json.dumps(serialization.item_to_json(entry)))
    num_lines += 1
    if num_lines % _BUFFERED_LINES == 0:
      _append(lines)
  _append(lines)
  return dict(problems)


def _append(lines: dict[pathlib.Path, list[str]]) -> None:
  """Appends lines to their files, and forgets them."""
  for path, rows in lines.items():
    path.parent.mkdir(exist_ok=True)
    with open(path, 'a', encoding='utf-8', errors='surrogateescape') as file:
      file.writelines(f'{row}\n' for row in rows)
  lines.clear()


def _sort(folder: pathlib.Path, num_shards: Mapping[str, int]) -> int:
  """Sorts the items of each shard by the hash of their group, then id; returns the number of items."""
  total = 0
  for split, count in num_shards.items():
    for index in range(count):
      path = shard_path(folder, split, index)
      found = sorted(read_shard(folder, split, index), key=lambda item: (group_hash(item.group), item.id))
      total += len(found)
      rows = [json.dumps(serialization.item_to_json(item)) + '\n' for item in found]
      path.parent.mkdir(exist_ok=True)
      path.write_text(''.join(rows), encoding='utf-8', errors='surrogateescape')
  return total


def shard_path(folder: pathlib.Path, split: str, index: int) -> pathlib.Path:
  """Returns the file of the items of a shard."""
  return folder / split / f'{index:05d}.jsonl'


def shards(folder: pathlib.Path) -> list[tuple[str, int]]:
  """Returns split and index of all shards of a plan."""
  content = json.loads((folder / PLAN).read_text(encoding='utf-8'))
  return [(split, index) for split, count in content['num_shards'].items() for index in range(count)]


def read_shard(folder: pathlib.Path, split: str, index: int) -> list[items.Item]:
  """Returns the items of a shard in their order; none if no group has its hash.

  Raises:
    ValueError: a line is no item.
  """
  path = shard_path(folder, split, index)
  if not path.exists():
    return []
  with open(path, encoding='utf-8', errors='surrogateescape') as file:
    return [serialization.item_from_json(json.loads(line)) for line in file]
