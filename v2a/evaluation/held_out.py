"""Finds the clips of an evaluation on which a model was trained, which are not held out."""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib

import numpy as np

from v2a import weights
from v2a.data import examples
from v2a.data import records
from v2a.sampling import bundle
from v2a.synthetic import record_ids


def trained_seeds(model: bundle.Bundle) -> set[int] | None:
  """Returns the seeds of the synthetic clips on which any part was trained; None where that is not known.

  The configuration of a packaged model lists them; otherwise the training records must be available.
  """
  seeds: set[int] = set()
  for export in model.exports.values():
    data = export.config.data
    folders = _all_present(set(data.train))
    if data.synthetic_seeds:
      seeds.update(data.synthetic_seeds)
    elif folders is None:
      return None
    else:
      seeds.update(record_ids.seeds(records.sample_ids(folders)))
  return seeds


def _training_folders(model: bundle.Bundle) -> list[str] | None:
  """Returns the folders of records on which any part was trained; None where some are missing."""
  return _all_present({folder for export in model.exports.values() for folder in export.config.data.train})


def _all_present(folders: set[str]) -> list[str] | None:
  is_present = [(pathlib.Path(folder) / records.MANIFEST).is_file() for folder in folders]
  return sorted(folders) if folders and all(is_present) else None


def trained_on(
  model: bundle.Bundle,
  evaluated: Sequence[examples.Example],
  seed: int | None,
  report: Callable[[str], None] = lambda line: None,
) -> list[str] | None:
  """Returns the names of the clips on which any part of a model was trained; None where that is not known.

  Clips of the synthetic set are not held out where any clip of their seed was trained on. Clips of a folder
  are compared with every training clip by id, audio and frames, so that neither another name nor other frames
  with the same audio hide a match. Audio or frames that are constant in time are not compared, since other
  clips share them.

  Args:
    model: see v2a.sampling.bundle.load.
    evaluated: the clips.
    seed: of the synthetic set; None for clips of a folder.
    report: receives one line of progress at a time.

  Returns:
    The names, or None.
  """
  if seed is not None:
    seeds = trained_seeds(model)
    return None if seeds is None else [example.name for example in evaluated if seed in seeds]
  folders = _training_folders(model)
  if folders is None:
    return None
  names_by_hash: dict[str, set[str]] = {}
  spec = model.clip_spec

  def hashes_of(wave_NA: np.ndarray, sync_frame_LYX3: np.ndarray) -> list[str]:
    # Of the first window, since evaluated clips and training clips may differ in length.
    return _hashes(wave_NA[: spec.num_samples], sync_frame_LYX3[: spec.num_sync_frames])

  for example in evaluated:
    hashes = {example.name, *hashes_of(example.wave_NA, example.frames[1])}
    if {'seed', 'index'} <= set(example.truth):
      hashes.add(record_ids.make(example.truth['seed'], example.truth['index']))
    for each in hashes:
      names_by_hash.setdefault(each, set()).add(example.name)
  found: set[str] = set()
  for folder in folders:
    source = records.open(folder)
    for k in range(len(source)):
      if k % 1000 == 0:
        report(f'comparing with the training clips of {folder}: {k} of {len(source)}')
      record = source[k]
      for each in (record['id'], *hashes_of(record['wave_NA'], record['sync_frame_LYX3'])):
        found |= names_by_hash.get(each, set())
  return sorted(found)


def _hashes(*arrays: np.ndarray) -> list[str]:
  """Returns the hashes of the arrays that are not constant in time."""
  return [weights.array_hash(array) for array in arrays if len(array) and (array != array[:1]).any()]
