"""Frequent checkpoints on each machine's own disk or memory, beside those on shared storage.

Each process writes the shards of its own devices, independently of the other processes. After a restart that
gives the same machines the same process numbers, training resumes from the newest step of which every process
has all its shards, if that is newer than the shared checkpoint. A machine that was replaced has no shards,
and a mesh of another shape needs others: then training resumes from the shared checkpoint.

The name of the folder has an identifier that is stored in the training folder, so that checkpoints of a
training folder that was deleted are not used.
"""

from concurrent import futures
import contextlib
import json
import os
import pathlib
import shutil
import uuid

import jax
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from v2a import files
from v2a import storage
from v2a import weights
from v2a.config import files as files_lib
from v2a.training import state as state_lib
from v2a.training.distributed import processes

ID = 'local_checkpoints_id'
# A slow process may be two saves behind a fast one, and one more save may be in progress.
_NUM_LATEST = 3
_SUFFIX = '.safetensors'
_STORAGE_ERRORS = (OSError, safetensors.SafetensorError)


class LocalCheckpoints:
  """Checkpoints of one process of a training."""

  def __init__(self, folder: str | pathlib.Path, workdir: storage.Path):
    """Creates the folder, and deletes files that a crash left incomplete.

    Args:
      folder: on this machine's own storage; the same path on all machines.
      workdir: training folder, shared by all processes.

    Raises:
      OSError: some process cannot write to its folder; raised in all processes.
    """
    self.path = pathlib.Path(folder) / f'v2a-{_shared_id(workdir)}' / str(jax.process_index())
    self._saving: tuple[int, futures.Future] | None = None
    self._errors: list[str] = []
    _prepare_folder(self.path)
    self._writer = futures.ThreadPoolExecutor(1, 'local_checkpoint')

  def latest_step(self, abstract: state_lib.State) -> int | None:
    """Returns the newest step that can be restored, the same for all processes, or None.

    Args:
      abstract: shapes, dtypes and shardings to restore to.
    """
    needed = {key for name, leaf in weights.flatten(abstract).items() for key in _keys(name, leaf)}
    step_N = np.full(_NUM_LATEST, -1)
    complete = sorted(step for step in self.steps() if needed <= self._names(step))[-_NUM_LATEST:]
    step_N[: len(complete)] = complete
    common = set.intersection(*(set(row_N.tolist()) for row_N in processes.all_gather(step_N))) - {-1}
    return max(common, default=None)

  def delete_after(self, last_step: int) -> None:
    """Deletes checkpoints after the step that training resumes from, whose steps will be repeated."""
    for step in self.steps():
      if step > last_step:
        self._file(step).unlink()

  def save(self, state: state_lib.State, c: ml_collections.ConfigDict, position: dict) -> None:
    """Copies the shards of this process and writes them in the background; see `Checkpoints.save`."""
    self._settle()
    shards = {}
    for name, leaf in weights.flatten(state).items():
      for shard in leaf.addressable_shards:
        key = _key(name, shard.index, leaf.shape)
        if key not in shards:
          # A copy, since the next step donates the arrays.
          shards[key] = np.array(shard.data, order='C')
    step = int(jax.device_get(state.step))
    about = {'config': files_lib.dumps(c), 'position': json.dumps(position)}
    self._saving = step, self._writer.submit(self._write, step, shards, about)

  def _write(self, step: int, shards: dict[str, np.ndarray], about: dict[str, str]) -> None:
    with files.atomic_write(self._file(step)) as partial:
      safetensors.numpy.save_file(shards, partial, about)
      with open(partial, 'rb') as written:
        os.fsync(written.fileno())  # before the rename, so that a complete name means complete content
    for old in sorted(self.steps())[:-_NUM_LATEST]:
      self._file(old).unlink()

  def pop_error(self) -> str | None:
    """Returns the reason of a failed save in one line, once; None if none failed or one is in progress."""
    if self._saving and self._saving[1].done():
      self._settle()
    return self._errors.pop(0) if self._errors else None

  def _settle(self) -> None:
    """Waits for the save in progress."""
    if self._saving is None:
      return
    (step, written), self._saving = self._saving, None
    try:
      written.result()
    except _STORAGE_ERRORS as error:
      self._errors.append(f'the checkpoint of step {step} could not be written to {self.path}: {error}')

  def read(self, step: int) -> tuple[ml_collections.ConfigDict, dict]:
    """Returns the configuration and the data position of a checkpoint."""
    with safetensors.safe_open(self._file(step), framework='numpy') as handle:
      about = handle.metadata()
    return files_lib.loads(about['config'], str(self._file(step))), json.loads(about['position'])

  def restore(self, step: int, abstract: state_lib.State) -> state_lib.State:
    """Returns the state of a step that `latest_step` returned for the same shardings."""
    with safetensors.safe_open(self._file(step), framework='numpy') as handle:

      def array(name, leaf):
        shard = lambda index: handle.get_tensor(_key(name, index, leaf.shape))
        # A copy, since the step donates its arrays, and this one may share memory with NumPy's.
        return jax.numpy.copy(
          jax.make_array_from_callback(leaf.shape, leaf.sharding, shard, dtype=leaf.dtype)
        )

      arrays = {name: array(name, leaf) for name, leaf in weights.flatten(abstract).items()}
    return weights.unflatten(arrays, abstract)

  def clear(self) -> None:
    """Deletes the checkpoints of this process, after the training."""
    self._settle()
    shutil.rmtree(self.path, ignore_errors=True)
    with contextlib.suppress(OSError):  # another process of this machine has files there
      self.path.parent.rmdir()

  def close(self) -> None:
    """Waits for the last save."""
    self._writer.shutdown()

  def _file(self, step: int) -> pathlib.Path:
    return self.path / f'{step}{_SUFFIX}'

  def steps(self) -> tuple[int, ...]:
    """Returns the steps of which this process has a checkpoint, in no order."""
    return tuple(int(file.stem) for file in self.path.glob(f'*{_SUFFIX}') if file.stem.isdigit())

  def _names(self, step: int) -> set[str]:
    try:
      with safetensors.safe_open(self._file(step), framework='numpy') as handle:
        return set(handle.keys())
    except _STORAGE_ERRORS:  # truncated, if the machine itself crashed
      return set()


def _shared_id(workdir: storage.Path) -> str:
  """Returns the identifier in the training folder, which is created if there is none."""
  file, identifier = workdir / ID, uuid.uuid4().hex
  if jax.process_index() == 0:
    if storage.exists(file):
      identifier = storage.read_text(file)
    else:
      files.write_text(file, identifier)
  # That of process 0: other processes may not see a new file at once.
  return processes.all_gather(np.frombuffer(identifier.encode(), np.uint8))[0].tobytes().decode()


def _prepare_folder(path: pathlib.Path) -> None:
  """Creates the folder of each process and writes to it; an error of one process is raised in all."""
  error = None
  try:
    path.mkdir(parents=True, exist_ok=True)
    for partial in path.glob('.*.partial*'):
      partial.unlink()
    files.write_text(path / 'test', '')
    (path / 'test').unlink()
  except OSError as own_error:
    error = own_error
  has_failed_P = processes.all_gather(np.array([error is not None]))[:, 0]
  if has_failed_P.any():
    where = f'process {np.flatnonzero(has_failed_P).tolist()} of {len(has_failed_P)}'
    raise OSError(
      f'config.training.local_checkpoint_folder: {where} cannot write to {path.parents[1]}'
      + (f' ({error.strerror}).' if error else '.')
    )


def _keys(name: str, leaf: jax.ShapeDtypeStruct) -> set[str]:
  """Returns the names of a leaf's shards on this process."""
  indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
  return {_key(name, index, leaf.shape) for index in indices}


def _key(name: str, index: tuple[slice, ...], shape: tuple[int, ...]) -> str:
  """Returns the name of a shard: the leaf's name, and the bounds of the shard."""
  bounds = (each.indices(size) for each, size in zip(index, shape))
  return f'{name}@{",".join(f"{start}:{stop}" for start, stop, _ in bounds)}'
