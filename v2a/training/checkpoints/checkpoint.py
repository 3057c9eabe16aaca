"""Checkpoints of the whole training state, written asynchronously by Orbax.

A checkpoint of step s holds the state after s steps, the resolved configuration and the data position, so
that training resumes bit for bit. Orbax writes to a temporary folder and renames it: `latest_step` ignores
checkpoints that a crash left incomplete. In gs:// it writes `commit_success.txt` last instead. The arrays
have flat names (see `v2a.weights`), so that they can be restored to any mesh.
"""

import contextlib
import json
import logging
import math
import os

import jax
import ml_collections
import orbax.checkpoint as ocp

from v2a import storage
from v2a import weights
from v2a.config import files
from v2a.training import state as state_lib
from v2a.training.distributed import processes

FOLDER = 'checkpoints'
COMPLETE = 'commit_success.txt'  # object that marks a checkpoint complete where there is no rename
# Errors of storage: of the system, of TensorStore, and of processes waiting for one that failed.
_STORAGE_ERRORS = (OSError, ValueError, RuntimeError)
_UNFINISHED = '.orbax-checkpoint-tmp'  # Orbax' suffix until the rename


def _is_not_orbax_error(record: logging.LogRecord) -> bool:
  """False for the hundreds of lines of Orbax's threads on one failed save, which `pop_error` returns."""
  is_from_orbax = 'orbax' in record.pathname or 'never retrieved' in record.getMessage()
  return record.levelno < logging.ERROR or not is_from_orbax


class Checkpoints:
  """The checkpoints of one training folder.

  Attributes:
    path: of the folder that Orbax writes to.
    destination: of the folder that they end up in, for messages.
  """

  def __init__(
    self,
    workdir: str | storage.Path,
    keep_latest: int = 1,
    keep_every_steps: int = 0,
    timeout_s: float = 600.0,
  ):
    """Opens the folder, and deletes checkpoints that a crash left incomplete.

    Args:
      workdir: training folder.
      keep_latest: number of newest checkpoints that are kept.
      keep_every_steps: checkpoints of multiples of it are never deleted; 0 for none.
      timeout_s: how long processes wait for one that does not complete its part of a save.
    """
    self.path = self.destination = storage.absolute(workdir) / FOLDER
    self._timeout_s = timeout_s
    self._saving: int | None = None
    self._errors: list[str] = []
    self._last_error: str | None = None
    if os.environ.get('V2A_DEBUG') != '1':
      for name in ('absl', 'asyncio'):
        logging.getLogger(name).addFilter(_is_not_orbax_error)
    # With use_replica_parallel, the first save of replicated arrays blocks for seconds.
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
    # Another process may not see the newest checkpoint at once, and would resume from an older one.
    step = processes.broadcast_from_process_0(-1 if step is None else step)
    return None if step < 0 else step

  def save(self, state: state_lib.State, c: ml_collections.ConfigDict, position: dict) -> None:
    """Copies a state to the host and writes it in the background; does nothing if its step was saved before.

    Errors, here or later, are returned by `pop_error`.

    Args:
      state: training state; its arrays may be donated once this returns.
      c: the resolved configuration.
      position: JSON-able data position.
    """
    step = int(jax.device_get(state.step))
    if step in self._manager.all_steps():
      return
    self._settle()
    self._saving, self._last_error = step, None
    items = ocp.args.Composite(
      state=ocp.args.PyTreeSave(weights.flatten(state)),
      config=ocp.args.JsonSave(c.to_dict()),
      position=ocp.args.JsonSave(position),
    )
    try:
      with storage.errors_of(self.path):
        self._manager.save(step, force=True, args=items)
    except _STORAGE_ERRORS as error:
      self._handle_failure(error)

  def pop_error(self, wait: bool = False) -> str | None:
    """Returns the reason of a failed save in one line, once; None if none failed or one is in progress.

    Files of the failed save are deleted to free disk space.

    Args:
      wait: whether to wait until the last save is written.
    """
    if wait or not self._manager.is_saving_in_progress():
      self._settle()
    return self._errors.pop(0) if self._errors else None

  def _settle(self) -> None:
    """Waits for the save in progress."""
    if self._saving is None:
      return
    try:
      with storage.errors_of(self.path):
        self._manager.wait_until_finished()
    except _STORAGE_ERRORS as error:
      self._handle_failure(error)
    self._saving = None

  def _handle_failure(self, error: BaseException) -> None:
    # Orbax no longer lists the checkpoint that it was about to replace.
    self._manager.reload()
    if jax.process_index() == 0:
      self._remove_unfinished()
    while error.__context__:  # the first error is the cause: threads that wait for the failed one raise, too
      error = error.__context__
    # TensorStore's message has the operation before the reason, and its specification after it.
    reason = getattr(error, 'strerror', None) or str(error).split(' [')[0].split(': ')[-1].strip()
    if 'DEADLINE_EXCEEDED' in str(error):
      reason = f'another process did not complete its part in {self._timeout_s:g} s'
    self._last_error = f'the checkpoint of step {self._saving} could not be written to {self.path}: {reason}'
    self._errors.append(self._last_error)
    self._saving = None

  def _remove_unfinished(self) -> None:
    """Deletes files of the failed save; in gs:// they have the name of a complete one."""
    is_remote = storage.is_remote(self.path)
    for path in storage.list_folder(self.path):
      is_unfinished = is_remote and path.name == str(self._saving) and not storage.exists(path / COMPLETE)
      if is_unfinished or path.name.startswith(f'{self._saving}{_UNFINISHED}'):
        with contextlib.suppress(OSError):
          storage.remove_folder(path)

  def read(self, step: int) -> tuple[ml_collections.ConfigDict, dict]:
    """Returns the configuration and the data position of a checkpoint."""
    items = self._manager.restore(
      step, args=ocp.args.Composite(config=ocp.args.JsonRestore(), position=ocp.args.JsonRestore())
    )
    return files.loads(json.dumps(items['config']), f'checkpoint {self.destination / str(step)}'), items[
      'position'
    ]

  def restore(self, step: int, abstract: state_lib.State) -> state_lib.State:
    """Returns the state of a checkpoint.

    Args:
      step: of the checkpoint.
      abstract: shapes, dtypes and shardings to restore to, on any mesh.

    Raises:
      ValueError: the checkpoint is of another model.
    """
    leaves = weights.flatten(abstract)
    saved = self._manager.item_metadata(step).state.tree
    try:
      weights.check(saved, leaves)
    except ValueError as error:
      raise ValueError(
        f'Checkpoint {self.destination / str(step)} is of another model or optimizer, or of another version '
        f'of v2a, and does not fit; use another --workdir. {error}'
      ) from error
    restore_args = {
      name: ocp.ArrayRestoreArgs(sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype)
      for name, leaf in leaves.items()
    }
    items = self._manager.restore(
      step, args=ocp.args.Composite(state=ocp.args.PyTreeRestore(leaves, restore_args=restore_args))
    )
    return weights.unflatten(items['state'], abstract)

  def wait(self) -> None:
    """Waits until everything is written. Raises OSError if the last save failed."""
    self._settle()
    if self._last_error:
      raise OSError(self._last_error)

  def close(self) -> None:
    """Waits, then stops the threads. Raises nothing for a failed save, which `pop_error` reports."""
    self._settle()
    self._manager.close()
