"""What a model was trained on, for its export: the records of the run, earlier ones, those of its weights."""

from collections.abc import Iterator
from collections.abc import Mapping
import json
from typing import Any

from v2a import storage
from v2a import weights
from v2a.data import licences
from v2a.training import history
from v2a.training import run as run_lib


def of_run(run: run_lib.Run) -> list[Mapping[str, Any]]:
  """Returns the data of the model of a run, see `v2a.data.licences`.

  Of records that were replaced when the run was resumed (`config.data.accept_other_records`), and of initial
  weights that do not say their data, the licences are unknown. Codecs and sync models are exported, and say
  their data, by themselves.
  """
  present = licences.of_source(run.items)
  return licences.merged([*present, *_replaced(run), *_of_initial_weights(run)])


def _replaced(run: run_lib.Run) -> Iterator[Mapping[str, Any]]:
  path = run.workdir / history.RECORDS_HISTORY
  if storage.is_file(path):
    for line in storage.read_text(path).splitlines():
      yield licences.unknown(json.loads(line)['before'])


def _of_initial_weights(run: run_lib.Run) -> list[Mapping[str, Any]]:
  c = run.c
  source = c.init_from.model or (c.task == 'codec' and c.init_from.codec)
  if not source:
    return []
  try:
    about = weights.read_about(source)
  except (OSError, ValueError):  # the run was resumed where they are not
    about = {}
  return about.get('data') or [licences.unknown(about)]
