"""Which clips of a build are accepted: thresholds of filters, then duplicates within and across splits.

  decisions.decide(plan_folder, analysis_folder, folder, thresholds)

reads the analyses of all shards and writes

  FOLDER/accepted/train/00012.jsonl    ids of the accepted clips of a shard, in its order
  FOLDER/rejected.jsonl                every other clip and every problem of the source: id, split, outcome,
                                       reason and measurements
  FOLDER/decisions.json                thresholds, and the number of clips by split and outcome

A clip has exactly one outcome:

  accepted
  missing, malformed, duplicate_id     the source could not use it (`items.Problem`)
  failed, omitted                      not decoded; a part of an item that is too short or too long
  filter:NAME                          it misses the threshold of a filter
  duplicate                            another clip has its frames or its sound

Deciding takes the fingerprints of the clips that pass the filters in memory, about 1 kB each, and nothing is
decoded: other thresholds on the same analyses take seconds.
"""

import collections
from collections.abc import Iterator
from collections.abc import Mapping
import json
import pathlib
import shutil
from typing import Any

from data_pipelines import analysis
from data_pipelines import plan
from data_pipelines.filters import duplicates
from data_pipelines.filters import filter as filter_lib
from v2a import files

DECISIONS = 'decisions.json'
REJECTED = 'rejected.jsonl'
_ACCEPTED = 'accepted'


def decide(
  plan_folder: pathlib.Path,
  analysis_folder: pathlib.Path,
  folder: pathlib.Path,
  thresholds: Mapping[str, filter_lib.Threshold],
) -> dict[str, Any]:
  """Writes the decisions to a new folder, and returns the content of decisions.json.

  Args:
    plan_folder: see `plan.make`.
    analysis_folder: see `analysis.analyse_shard`; of all shards of the plan.
    folder: appears under its name only when complete.
    thresholds: by the name of the filter.

  Raises:
    FileExistsError: the folder exists.
    FileNotFoundError: a shard was not analysed.
    KeyError: a filter with a threshold was not measured.
    ValueError: two clips have one id.
  """
  if folder.exists():
    raise FileExistsError(f'{folder} exists already; decisions are written to a new folder.')
  shards = plan.shards(plan_folder)
  copies = duplicates.find(_candidates(plan_folder, analysis_folder, shards, thresholds))
  counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
  partial = files.partial_path(folder)
  try:
    partial.mkdir(parents=True)
    with open(partial / REJECTED, 'w', encoding='utf-8') as rejected:
      for problem in _problems(plan_folder):
        kind = problem.pop('kind')
        outcome = 'duplicate_id' if kind == 'duplicate' else kind  # 'duplicate' is a copy of another clip
        counts[''][outcome] += 1
        rejected.write(json.dumps({'outcome': outcome, **problem}) + '\n')
      for split, index in shards:
        accepted = []
        for entry in analysis.read_shard(analysis_folder, split, index):
          outcome, reason = _outcome(entry, thresholds, copies)
          counts[split][outcome] += 1
          if outcome == 'accepted':
            accepted.append(entry.id)
          else:
            rejected.write(json.dumps(_rejection(entry, split, outcome, reason)) + '\n')
        path = accepted_path(partial, split, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(json.dumps(name) + '\n' for name in accepted))
    content = {
      'thresholds': filter_lib.thresholds_to_json(thresholds),
      'counts': {split: dict(sorted(each.items())) for split, each in sorted(counts.items())},
    }
    files.write_text(partial / DECISIONS, json.dumps(content, indent=2) + '\n')
    partial.rename(folder)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  return content


def accepted_path(folder: pathlib.Path, split: str, index: int) -> pathlib.Path:
  """Returns the file with the ids of the accepted clips of a shard.

  Args:
    folder: of the decisions.
    split: name of the split.
    index: of the shard.
  """
  return folder / _ACCEPTED / split / f'{index:05d}.jsonl'


def read_accepted(folder: pathlib.Path, split: str, index: int) -> list[str]:
  """Returns the ids of the accepted clips of a shard, in its order.

  Args:
    folder: of the decisions.
    split: name of the split.
    index: of the shard.
  """
  with open(accepted_path(folder, split, index)) as file:
    return [json.loads(line) for line in file]


def _candidates(
  plan_folder: pathlib.Path,
  analysis_folder: pathlib.Path,
  shards: list[tuple[str, int]],
  thresholds: Mapping[str, filter_lib.Threshold],
) -> Iterator[duplicates.Entry]:
  """Yields the clips that pass the filters, for the search of duplicates."""
  for split, index in shards:
    groups = {item.id: item.group for item in plan.read_shard(plan_folder, split, index)}
    for entry in analysis.read_shard(analysis_folder, split, index):
      if entry.fingerprint is not None and filter_lib.decide(entry.measured, thresholds) is None:
        yield duplicates.Entry(entry.id, split, groups[entry.item], entry.fingerprint)


def _outcome(
  entry: analysis.Entry,
  thresholds: Mapping[str, filter_lib.Threshold],
  copies: Mapping[str, duplicates.Duplicate],
) -> tuple[str, str]:
  """Returns the outcome of an entry, and the reason; '' if it is accepted."""
  if entry.outcome != 'measured':
    return entry.outcome, entry.reason
  rejection = filter_lib.decide(entry.measured, thresholds)
  if rejection is not None:
    return f'filter:{rejection.filter}', rejection.text
  if entry.id in copies:
    copy = copies[entry.id]
    return 'duplicate', f'of {copy.of} by {copy.by}, distance {copy.distance:.3f}'
  return 'accepted', ''


def _rejection(entry: analysis.Entry, split: str, outcome: str, reason: str) -> dict[str, Any]:
  """Returns the line of a clip in rejected.jsonl."""
  measured = {name: each.to_json() for name, each in entry.measured.items()}
  times = {'start_s': entry.start_s, 'end_s': entry.end_s}
  return {'outcome': outcome, 'id': entry.id, 'split': split, 'reason': reason, **times, 'measured': measured}


def _problems(plan_folder: pathlib.Path) -> Iterator[dict[str, Any]]:
  """Yields the problems of the source as values of JSON."""
  with open(plan_folder / plan.PROBLEMS, encoding='utf-8') as file:
    for line in file:
      yield json.loads(line)
