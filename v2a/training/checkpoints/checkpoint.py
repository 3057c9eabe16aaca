"""Checkpoints: the whole training state, by Orbax, written while training goes on.

A checkpoint of step s holds the state after s steps, the resolved configuration and the position in the data,
so that training resumes bit for bit. Orbax writes beside and renames: what a crash cut short has no final
name, and `latest_step` does not see it. The arrays lie under flat names (see `v2a.weights`), so that they can
be restored to any mesh.
"""

import json
import logging
import math
import os
import pathlib
import shutil

import jax
import ml_collections
import orbax.checkpoint as ocp

from v2a import weights
from v2a.config import files
from v2a.training import state as state_lib
from v2a.training.distributed import processes

FOLDER = 'checkpoints'
# What comes of storage: of the system, of TensorStore, of processes that wait for another that failed.
_FAULTS = (OSError, ValueError, RuntimeError)
_UNFINISHED = '.orbax-checkpoint-tmp'  # what Orbax adds to a name until the rename


def _is_news(record: logging.LogRecord) -> bool:
  """False for the hundreds of lines of Orbax's threads on one failed save, which `pop_error` returns."""
  is_of_orbax = 'orbax' in record.pathname or 'never retrieved' in record.getMessage()
  return record.levelno < logging.ERROR or not is_of_orbax


class Checkpoints:
  """The checkpoints of one training folder."""

  def __init__(
    self,
    workdir: str | pathlib.Path,
    keep_latest: int = 1,
    keep_every_steps: int = 0,
    timeout_s: float = 600.0,
  ):
    """Opens the folder, and clears away what a crash cut short.

    Args:
      workdir: training folder.
      keep_latest: newest ones kept.
      keep_every_steps: multiples that are kept for good; 0 for none.
      timeout_s: how long processes wait for one that does not end its part of a save.
    """
    self.path = pathlib.Path(workdir).resolve() / FOLDER
    self._patience_s = timeout_s
    self._saving: int | None = None
    self._faults: list[str] = []
    self._last_fault: str | None = None
    if os.environ.get('V2A_DEBUG') != '1':
      for name in ('absl', 'asyncio'):
        logging.getLogger(name).addFilter(_is_news)
    # Replicas need not share the writing: with it, the first save of replicated arrays blocks for seconds.
    arrays = ocp.type_handlers.ArrayHandler(use_replica_parallel=False)
    registry = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    self._manager = ocp.CheckpointManager(
      self.path,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep_latest,
        keep_period=keep_every_steps or None,
        cleanup_tmp_directories=True,
        async_options=ocp.AsyncOptions(timeout_secs=math.ceil(timeout_s)),
      ),
      item_handlers={
        'state': ocp.PyTreeCheckpointHandler(type_handler_registry=registry),
        'config': ocp.JsonCheckpointHandler(),
        'position': ocp.JsonCheckpointHandler(),
      },
    )

  def steps(self) -> tuple[int, ...]:
    """Returns the steps of all complete checkpoints."""
    return tuple(sorted(self._manager.all_steps()))

  def latest_step(self) -> int | None:
    """Returns the step of the newest complete checkpoint as process 0 sees it, or None."""
    step = self._manager.latest_step()
    # Another may not see at once what was written last, and would go on from elsewhere.
    step = processes.broadcast_from_process_0(-1 if step is None else step)
    return None if step < 0 else step

  def save(self, state: state_lib.State, c: ml_collections.ConfigDict, position: dict) -> None:
    """Copies a state to the host and writes it in the background; a step that is there already is left alone.

    What goes wrong, here or later, `pop_error` tells.

    Args:
      state: of training; may be consumed by the next step once this returns.
      c: the resolved configuration.
      position: JSON-able, in the data.
    """
    step = int(jax.device_get(state.step))
    if step in self._manager.all_steps():
      return
    self._settle()
    self._saving, self._last_fault = step, None
    try:
      self._manager.save(
        step,
        force=True,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(weights.flatten(state)),
          config=ocp.args.JsonSave(c.to_dict()),
          position=ocp.args.JsonSave(position),
        ),
      )
    except _FAULTS as error:
      self._failed(error)

  def pop_error(self, wait: bool = False) -> str | None:
    """Returns in a line why a save failed, once; None where none did, or the last is still being written.

    What it left is cleared away, so that another finds the room.

    Args:
      wait: until the last is written.
    """
    if wait or not self._manager.is_saving_in_progress():
      self._settle()
    return self._faults.pop(0) if self._faults else None

  def _settle(self) -> None:
    """Waits for the save that is under way."""
    if self._saving is None:
      return
    try:
      self._manager.wait_until_finished()
    except _FAULTS as error:
      self._failed(error)
    self._saving = None

  def _failed(self, error: Exception) -> None:
    # Orbax has forgotten what it was about to replace.
    self._manager.reload()
    if jax.process_index() == 0:
      for path in self.path.glob(f'{self._saving}{_UNFINISHED}*'):
        shutil.rmtree(path, ignore_errors=True)
    while error.__context__:  # what came first: the others' waiting fails, too
      error = error.__context__
    # TensorStore tells all that it was about to do before the reason, and its specification after it.
    reason = getattr(error, 'strerror', None) or str(error).split(' [')[0].split(': ')[-1].strip()
    if 'DEADLINE_EXCEEDED' in str(error):
      reason = f'another process did not end its part in {self._patience_s:g} s'
    self._last_fault = f'the checkpoint of step {self._saving} could not be written to {self.path}: {reason}'
    self._faults.append(self._last_fault)
    self._saving = None

  def read(self, step: int) -> tuple[ml_collections.ConfigDict, dict]:
    """Returns the configuration and the data position of a checkpoint."""
    items = self._manager.restore(
      step, args=ocp.args.Composite(config=ocp.args.JsonRestore(), position=ocp.args.JsonRestore())
    )
    return files.loads(json.dumps(items.config), f'checkpoint {self.path / str(step)}'), items.position

  def restore(self, step: int, abstract: state_lib.State) -> state_lib.State:
    """Returns the state of a checkpoint.

    Args:
      step: of the checkpoint.
      abstract: shapes, types and shardings that are wanted, on whatever mesh.

    Raises:
      ValueError: the checkpoint is of another model.
    """
    wanted = weights.flatten(abstract)
    saved = self._manager.item_metadata(step).state.tree
    try:
      weights.check(saved, wanted)
    except ValueError as error:
      raise ValueError(
        f'Checkpoint {self.path / str(step)} is of another model or optimizer, or of another version of '
        f'v2a, and does not fit; use another --workdir. {error}'
      ) from error
    restore_args = {
      name: ocp.ArrayRestoreArgs(sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype)
      for name, leaf in wanted.items()
    }
    items = self._manager.restore(
      step, args=ocp.args.Composite(state=ocp.args.PyTreeRestore(wanted, restore_args=restore_args))
    )
    return weights.unflatten(items.state, abstract)

  def wait(self) -> None:
    """Returns when everything is written. Raises OSError where the last save could not be."""
    self._settle()
    if self._last_fault:
      raise OSError(self._last_fault)

  def close(self) -> None:
    """Waits, then frees the threads. A save that failed is known from `pop_error` and raises nothing here."""
    self._settle()
    self._manager.close()
