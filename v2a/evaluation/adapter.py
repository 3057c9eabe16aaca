"""A model of v2a.generate as the runner evaluates it, and the world's seeds that it was trained on."""

from collections.abc import Sequence
import pathlib
import re

import numpy as np

from v2a import generate
from v2a import records
from v2a.evaluation import cases
from v2a.evaluation import runner

_WORLD_ID = re.compile(r'world/(\d+)/')


def adapt(model: generate.Model, request: generate.Request) -> runner.Model:
  """Returns what the runner calls.

  Args:
    model: see v2a.generate.load.
    request: steps, solver and guidance.
  """

  def draw(conditions: Sequence[cases.Condition]) -> np.ndarray:
    def column(name: str) -> list:
      return [getattr(condition, name) for condition in conditions]

    return generate.sample_windows(
      model,
      np.stack(column('semantic_frame_MYX3')),
      np.stack(column('sync_frame_LYX3')),
      column('text'),
      column('negative_text'),
      column('transcript'),
      column('seed'),
      request,
    )

  return runner.Model(
    model.name, draw, lambda wave_BNA: np.asarray(model.reconstruct(wave_BNA)), model.sample_rate_hz
  )


def batch_size(model: generate.Model, wanted: int) -> int:
  """Returns the smallest number of soundtracks of at least `wanted` that the model's devices share evenly."""
  num_devices = model.mesh.devices.size
  return -(-wanted // num_devices) * num_devices


def trained_seeds(model: generate.Model) -> set[int] | None:
  """Returns the seeds of the world clips that any part was trained on; None where its data is not at hand."""
  seeds: set[int] = set()
  folders = {folder for export in model.exports.values() for folder in export.config.data.train}
  if not folders:
    return None
  for folder in sorted(folders):
    if not (pathlib.Path(folder) / records.MANIFEST).is_file():
      return None
    source = records.open(folder)
    for k in range(0, len(source), max(1, len(source) // 64)):
      match = _WORLD_ID.match(source[k]['id'])
      seeds |= {int(match.group(1))} if match else set()
  return seeds
