"""Checkpoints on each machine's own disk or memory, more often than on the storage that all machines share.

A process writes the pieces of the state that its own devices hold, whatever the other processes do. After a
restart that gives the same machines the same process numbers, the newest step of which every process finds
its pieces is taken up, where it is newer than the checkpoint that they share. A machine that was replaced has
none, and a mesh of another shape wants others: then the shared one serves, which is written all the same.

The folder bears a number that the training folder keeps, so that who empties the training folder begins anew.
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
from v2a import weights
from v2a.config import files as files_lib
from v2a.training import state as state_lib
from v2a.training.distributed import processes

ID = 'local_checkpoints_id'
# A process that writes slowly may be two steps behind one that is fast, and has one more under way.
_NUM_KEPT = 3
_SUFFIX = '.safetensors'
_FAULTS = (OSError, safetensors.SafetensorError)


class LocalCheckpoints:
  """What one process keeps of a training."""

  def __init__(self, folder: str | pathlib.Path, workdir: pathlib.Path):
    """Makes the folder, and clears away what a crash cut short.

    Args:
      folder: of this machine's own storage; the same path on all machines.
      workdir: training folder, which all share.

    Raises:
      OSError: some process cannot write to its folder; raised in all of them.
    """
    self.path = pathlib.Path(folder) / f'v2a-{_shared_id(workdir)}' / str(jax.process_index())
    self._saving: tuple[int, futures.Future] | None = None
    self._faults: list[str] = []
    _try_everywhere(self.path)
    self._writer = futures.ThreadPoolExecutor(1, 'local_checkpoint')

  def latest_step(self, abstract: state_lib.State) -> int | None:
    """Returns the newest step that can be restored, the same for all processes, or None.

    Args:
      abstract: shapes, types and shardings that are wanted.
    """
    wanted = {key for name, leaf in weights.flatten(abstract).items() for key in _keys(name, leaf)}
    held_N = np.full(_NUM_KEPT, -1)
    held = sorted(step for step in self.steps() if wanted <= self._names(step))[-_NUM_KEPT:]
    held_N[: len(held)] = held
    everywhere = set.intersection(*(set(row_N.tolist()) for row_N in processes.all_gather(held_N))) - {-1}
    return max(everywhere, default=None)

  def delete_after(self, last_step: int) -> None:
    """Removes the steps beyond one, since training goes on from there: they are another's past."""
    for step in self.steps():
      if step > last_step:
        self._file(step).unlink()

  def save(self, state: state_lib.State, c: ml_collections.ConfigDict, position: dict) -> None:
    """Copies this process' pieces of a state and writes them in the background; see `Checkpoints.save`."""
    self._settle()
    pieces = {}
    for name, leaf in weights.flatten(state).items():
      for shard in leaf.addressable_shards:
        key = _key(name, shard.index, leaf.shape)
        if key not in pieces:
          # A copy, since the next step takes the arrays.
          pieces[key] = np.array(shard.data, order='C')
    step = int(jax.device_get(state.step))
    about = {'config': files_lib.dumps(c), 'position': json.dumps(position)}
    self._saving = step, self._writer.submit(self._write, step, pieces, about)

  def _write(self, step: int, pieces: dict[str, np.ndarray], about: dict[str, str]) -> None:
    with files.atomic_write(self._file(step)) as partial:
      safetensors.numpy.save_file(pieces, partial, about)
      with open(partial, 'rb') as written:
        os.fsync(written.fileno())  # a name that outlives the machine's end stands for bytes that do
    for old in sorted(self.steps())[:-_NUM_KEPT]:
      self._file(old).unlink()

  def pop_error(self) -> str | None:
    """Returns in a line why a save of this process failed, once; None where none did, or one is under way."""
    if self._saving and self._saving[1].done():
      self._settle()
    return self._faults.pop(0) if self._faults else None

  def _settle(self) -> None:
    """Waits for the save that is under way."""
    if self._saving is None:
      return
    (step, written), self._saving = self._saving, None
    try:
      written.result()
    except _FAULTS as error:
      self._faults.append(f'the checkpoint of step {step} could not be written to {self.path}: {error}')

  def read(self, step: int) -> tuple[ml_collections.ConfigDict, dict]:
    """Returns the configuration and the data position of a checkpoint."""
    with safetensors.safe_open(self._file(step), framework='numpy') as handle:
      about = handle.metadata()
    return files_lib.loads(about['config'], str(self._file(step))), json.loads(about['position'])

  def restore(self, step: int, abstract: state_lib.State) -> state_lib.State:
    """Returns the state of a step that `latest_step` gave for the same shardings."""
    with safetensors.safe_open(self._file(step), framework='numpy') as handle:

      def array(name, leaf):
        piece = lambda index: handle.get_tensor(_key(name, index, leaf.shape))
        # A copy, since the step donates its arrays, and one made of NumPy's may share its memory.
        return jax.numpy.copy(
          jax.make_array_from_callback(leaf.shape, leaf.sharding, piece, dtype=leaf.dtype)
        )

      arrays = {name: array(name, leaf) for name, leaf in weights.flatten(abstract).items()}
    return weights.unflatten(arrays, abstract)

  def clear(self) -> None:
    """Removes what this process kept: the training is done."""
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
    """Returns the steps of which this process keeps its pieces, in no order."""
    return tuple(int(file.stem) for file in self.path.glob(f'*{_SUFFIX}') if file.stem.isdigit())

  def _names(self, step: int) -> set[str]:
    try:
      with safetensors.safe_open(self._file(step), framework='numpy') as handle:
        return set(handle.keys())
    except (OSError, safetensors.SafetensorError):  # torn, where the machine itself went down
      return set()


def _shared_id(workdir: pathlib.Path) -> str:
  """Returns the number that the training folder keeps, made where it has none."""
  file, number = workdir / ID, uuid.uuid4().hex
  if jax.process_index() == 0:
    if file.exists():
      number = file.read_text(encoding='utf-8')
    else:
      files.write_text(file, number)
  # Told by process 0: another may not see a new file at once.
  return processes.all_gather(np.frombuffer(number.encode(), np.uint8))[0].tobytes().decode()


def _try_everywhere(path: pathlib.Path) -> None:
  """Makes a folder of every process and writes to it; what fails in one is raised in all."""
  error = None
  try:
    path.mkdir(parents=True, exist_ok=True)
    for partial in path.glob('.*.partial*'):
      partial.unlink()
    files.write_text(path / 'try', '')
    (path / 'try').unlink()
  except OSError as fault:
    error = fault
  has_failed_P = processes.all_gather(np.array([error is not None]))[:, 0]
  if has_failed_P.any():
    where = f'process {np.flatnonzero(has_failed_P).tolist()} of {len(has_failed_P)}'
    raise OSError(
      f'config.training.local_checkpoint_folder: {where} cannot write to {path.parents[1]}'
      + (f' ({error.strerror}).' if error else '.')
    )


def _keys(name: str, leaf: jax.ShapeDtypeStruct) -> set[str]:
  """Returns the names of a leaf's pieces on this process."""
  indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
  return {_key(name, index, leaf.shape) for index in indices}


def _key(name: str, index: tuple[slice, ...], shape: tuple[int, ...]) -> str:
  """Returns the name of a piece: the leaf's, and where in it the piece lies."""
  bounds = (each.indices(size) for each, size in zip(index, shape))
  return f'{name}@{",".join(f"{start}:{stop}" for start, stop, _ in bounds)}'
