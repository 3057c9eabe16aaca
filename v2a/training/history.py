"""The configuration and the records of a training folder, and earlier ones that they replaced.

`config.json` is the configuration in use. A run may be resumed with other values (a learning rate, more
steps): each config.json that was replaced becomes a line of `config_history.jsonl`,
`{"until_step": s, "replaced_at_s": t, "config": {...}}`, with t in Unix time.

A run that continues with other records gets a line in `records_history.jsonl`,
`{"from_step": s, "changed_at_s": t, "before": {...}, "after": {...}}`, with hash and number of the records.
"""

import json
import time

import ml_collections

from v2a import files as files_lib
from v2a import storage
from v2a.config import files

HISTORY = 'config_history.jsonl'
RECORDS_HISTORY = 'records_history.jsonl'


def save(c: ml_collections.ConfigDict, path: storage.Path, step: int) -> str | None:
  """Writes a configuration, and appends the one that it replaces to the history.

  Args:
    c: the new configuration.
    path: of config.json.
    step: first step with the new configuration.

  Returns:
    A line that lists the changes, None if there are none.
  """
  before, now = _read(path), json.loads(files.dumps(c))
  if before in (None, now):
    files.save(c, path)
    return None
  replaced = {'until_step': step, 'replaced_at_s': round(time.time()), 'config': before}
  files_lib.append_text(path.with_name(HISTORY), json.dumps(replaced) + '\n')
  files.save(c, path)
  changes = [
    f'config.{key}={json.dumps(new)} (was {json.dumps(old)})'
    for key, (old, new) in files.differences(before, now).items()
  ]
  previous = path.with_name(HISTORY)
  return f'From step {step} on: {", ".join(changes)}. The previous configuration is in {previous}.'


def append_records(workdir: storage.Path, step: int, before: dict, after: dict) -> None:
  """Appends a change of the records to their history.

  Args:
    workdir: training folder.
    step: first step with the new records.
    before, after: hash and number of the records.
  """
  line = {'from_step': step, 'changed_at_s': round(time.time()), 'before': before, 'after': after}
  files_lib.append_text(workdir / RECORDS_HISTORY, json.dumps(line) + '\n')


def _read(path: storage.Path) -> dict | None:
  try:
    values = json.loads(storage.read_text(path))
  except FileNotFoundError:
    return None
  except ValueError:
    return {}  # truncated by a crash of an older version
  return values if isinstance(values, dict) else {}
