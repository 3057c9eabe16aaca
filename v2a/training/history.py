"""The configuration of a training folder, and those that it replaced.

`config.json` is what the training runs by now. A run may be resumed with other values (a learning rate, more
steps): each config.json that was replaced is a line of `config_history.jsonl`,
`{"until_step": s, "replaced_at_s": t, "config": {...}}`, t in Unix time.
"""

import json
import pathlib
import time

import ml_collections

from v2a.config import files

HISTORY = 'config_history.jsonl'


def save(c: ml_collections.ConfigDict, path: pathlib.Path, step: int) -> str | None:
  """Writes a configuration, and appends the one that it replaces to the history.

  Args:
    c: the configuration from now on.
    path: of config.json.
    step: from which training goes on.

  Returns:
    A line that says what has changed, None where nothing has.
  """
  before, now = _read(path), json.loads(files.dumps(c))
  if before in (None, now):
    files.save(c, path)
    return None
  with path.with_name(HISTORY).open('a', encoding='utf-8') as file:
    replaced = {'until_step': step, 'replaced_at_s': round(time.time()), 'config': before}
    file.write(json.dumps(replaced) + '\n')
  files.save(c, path)
  changes = [
    f'config.{key}={json.dumps(new)} (was {json.dumps(old)})'
    for key, (old, new) in files.differences(before, now).items()
  ]
  return f'From step {step} on: {", ".join(changes)}. What was before is kept in {path.with_name(HISTORY)}.'


def _read(path: pathlib.Path) -> dict | None:
  try:
    found = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return None
  except ValueError:
    return {}  # torn by a crash of an older version
  return found if isinstance(found, dict) else {}
