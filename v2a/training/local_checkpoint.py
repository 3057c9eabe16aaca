"""Checkpoints on each machine's own disk or memory, more often than on the storage that all machines share.

A process writes the pieces of the state that its own devices hold, whatever the other processes do. After a
restart on the same machines, the newest step of which every process finds its pieces is taken up, where it is
newer than the checkpoint that they share. A machine that was replaced has no pieces, and a mesh of another
shape wants others: then the shared checkpoint serves, which is written all the same.

The folder bears a number that the training folder keeps, so that who empties the training folder begins anew.
"""

from concurrent import futures
import json
import pathlib
import shutil
import uuid

import jax
from jax.experimental import multihost_utils
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from v2a import configfile
from v2a import files
from v2a import weights
from v2a.training import state as state_lib

ID = 'local_checkpoints_id'
# Who is ended may have written one step more than another.
_NUM_KEPT = 2
_SUFFIX = '.safetensors'


class LocalCheckpoints:
  """What one process keeps of a training."""

  def __init__(self, folder: str | pathlib.Path, workdir: pathlib.Path):
    """Args: a folder of this machine, the same path on all; the training folder, which all share.

    Raises:
      OSError: the folder cannot be made.
    """
    self.path = pathlib.Path(folder) / f'v2a-{_shared_id(workdir)}' / str(jax.process_index())
    self.path.mkdir(parents=True, exist_ok=True)
    self._writer = futures.ThreadPoolExecutor(1, 'local_checkpoint')
    self._saving: tuple[int, futures.Future] | None = None

  def latest_step(self, abstract: state_lib.State) -> int | None:
    """Returns the newest step that can be restored, the same for all processes, or None.

    Args:
      abstract: shapes, types and shardings that are wanted.
    """
    wanted = {key for name, leaf in weights.flatten(abstract).items() for key in _keys(name, leaf)}
    held_N = np.full(_NUM_KEPT, -1)
    held = sorted(step for step in self._steps() if wanted <= self._names(step))[-_NUM_KEPT:]
    held_N[:len(held)] = held
    if jax.process_count() == 1:
      everywhere = set(held)
    else:
      held_PN = multihost_utils.process_allgather(held_N)
      everywhere = set.intersection(*(set(row_N.tolist()) for row_N in held_PN)) - {-1}
    return max(everywhere, default=None)

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
    about = {'config': configfile.dumps(c), 'position': json.dumps(position)}
    self._saving = step, self._writer.submit(self._write, step, pieces, about)

  def _write(self, step: int, pieces: dict[str, np.ndarray], about: dict[str, str]) -> None:
    with files.beside(self._file(step)) as partial:
      safetensors.numpy.save_file(pieces, partial, about)
    for old in sorted(self._steps())[:-_NUM_KEPT]:
      self._file(old).unlink()

  def fault(self) -> str | None:
    """Returns in a line why the last save failed, once; None where it did not, or is still being written."""
    if self._saving is None or not self._saving[1].done():
      return None
    return self._settle()

  def _settle(self) -> str | None:
    if self._saving is None:
      return None
    (step, written), self._saving = self._saving, None
    error = written.exception()
    return error and f'the checkpoint of step {step} could not be written to {self.path}: {error}'

  def read(self, step: int) -> tuple[ml_collections.ConfigDict, dict]:
    """Returns the configuration and the data position of a checkpoint."""
    with safetensors.safe_open(self._file(step), framework='numpy') as handle:
      about = handle.metadata()
    return configfile.loads(about['config'], str(self._file(step))), json.loads(about['position'])

  def restore(self, step: int, abstract: state_lib.State) -> state_lib.State:
    """Returns the state of a step that `latest_step` gave for the same shardings; forgets later ones."""
    for later in (each for each in self._steps() if each > step):
      self._file(later).unlink()
    with safetensors.safe_open(self._file(step), framework='numpy') as handle:
      def array(name, leaf):
        piece = lambda index: handle.get_tensor(_key(name, index, leaf.shape))
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, piece, dtype=leaf.dtype)

      arrays = {name: array(name, leaf) for name, leaf in weights.flatten(abstract).items()}
    # The step donates its arrays; those made of NumPy's may share its memory.
    return weights.unflatten(jax.tree.map(jax.numpy.copy, arrays), abstract)

  def clear(self) -> None:
    """Removes what this process kept: the training is done."""
    self._settle()
    shutil.rmtree(self.path, ignore_errors=True)

  def close(self) -> None:
    """Waits for the last save."""
    self._writer.shutdown()

  def _file(self, step: int) -> pathlib.Path:
    return self.path / f'{step}{_SUFFIX}'

  def _steps(self) -> tuple[int, ...]:
    return tuple(int(file.stem) for file in self.path.glob(f'*{_SUFFIX}') if file.stem.isdigit())

  def _names(self, step: int) -> set[str]:
    try:
      with safetensors.safe_open(self._file(step), framework='numpy') as handle:
        return set(handle.keys())
    except (OSError, safetensors.SafetensorError):  # torn, where the machine itself went down
      return set()


def _shared_id(workdir: pathlib.Path) -> str:
  """Returns the number that the training folder keeps, made where it has none."""
  file = workdir / ID
  if jax.process_index() == 0 and not file.exists():
    files.write_text(file, uuid.uuid4().hex)
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(ID)
  return file.read_text(encoding='utf-8')


def _keys(name: str, leaf: jax.ShapeDtypeStruct) -> set[str]:
  """Returns the names of a leaf's pieces on this process."""
  indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
  return {_key(name, index, leaf.shape) for index in indices}


def _key(name: str, index: tuple[slice, ...], shape: tuple[int, ...]) -> str:
  """Returns the name of a piece: the leaf's, and where in it the piece lies."""
  bounds = (each.indices(size) for each, size in zip(index, shape))
  return f'{name}@{",".join(f"{start}:{stop}" for start, stop, _ in bounds)}'
