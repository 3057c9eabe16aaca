"""Checkpoints in a store that Orbax does not write to (s3://): written on this machine, then uploaded.

Orbax writes each checkpoint to a folder of temporary files of this machine, which needs space for two. A
thread uploads it while training continues. Its last object, `commit_success.txt`, marks it complete, as one
of Orbax does in gs://. A checkpoint without it, left by a crash, is ignored, and deleted with the next start.
"""

from concurrent import futures
import pathlib
import re
import tempfile

import jax
import ml_collections

from v2a import storage
from v2a.training import state as state_lib
from v2a.training.checkpoints import checkpoint

_COMPLETE_NAME = re.compile(rf'(\d+)/{checkpoint.COMPLETE}')


class StagedCheckpoints(checkpoint.Checkpoints):
  """The checkpoints of one training folder in an object store, written by one process."""

  def __init__(
    self,
    workdir: storage.Path,
    keep_latest: int = 1,
    keep_every_steps: int = 0,
    timeout_s: float = 600.0,
  ):
    """Lists the checkpoints, and deletes those that a crash left incomplete.

    Args:
      workdir: training folder.
      keep_latest: number of newest checkpoints that are kept.
      keep_every_steps: checkpoints of multiples of it are never deleted; 0 for none.
      timeout_s: how long Orbax waits for its own threads.

    Raises:
      OSError: the store cannot be reached.
      ValueError: there are several processes, whose parts of a checkpoint would be on several machines.
    """
    if jax.process_count() > 1:
      raise ValueError(
        f'--workdir {workdir}: checkpoints of {jax.process_count()} processes cannot be written to '
        f'{storage.scheme(workdir)}://; mount the bucket on all machines, or use gs://.'
      )
    self._remote = workdir / checkpoint.FOLDER
    self._keep_latest, self._keep_every_steps = keep_latest, keep_every_steps
    self._complete = self._list()
    self._pending: int | None = None
    self._uploading: futures.Future | None = None
    self._scratch = tempfile.TemporaryDirectory(prefix='v2a-checkpoints-')
    self._folder = pathlib.Path(self._scratch.name).resolve() / checkpoint.FOLDER  # which is `path`
    self._uploader = futures.ThreadPoolExecutor(1, 'checkpoint_upload')
    super().__init__(self._scratch.name, timeout_s=timeout_s)
    self.destination = self._remote

  def _list(self) -> set[int]:
    """Returns the steps of complete checkpoints; deletes what belongs to others."""
    names = storage.list_files(self._remote)
    complete = {int(found[1]) for found in map(_COMPLETE_NAME.fullmatch, names) if found}
    for folder in {name.split('/')[0] for name in names} - {str(step) for step in complete}:
      storage.remove_folder(self._remote / folder)
    return complete

  def steps(self) -> tuple[int, ...]:
    """Returns the steps of all complete checkpoints."""
    return tuple(sorted(self._complete))

  def latest_step(self) -> int | None:
    """Returns the step of the newest complete checkpoint, or None."""
    return max(self._complete, default=None)

  def save(self, state: state_lib.State, c: ml_collections.ConfigDict, position: dict) -> None:
    """See `Checkpoints.save`; a checkpoint whose upload failed is uploaded again."""
    step = int(jax.device_get(state.step))
    if step in self._complete:
      return
    super().save(state, c, position)  # waits for the checkpoint before
    if step in self._manager.all_steps() or self._saving == step:
      self._pending, self._last_error = step, None

  def pop_error(self, wait: bool = False) -> str | None:
    """See `Checkpoints.pop_error`; starts the upload of a checkpoint that Orbax has written."""
    if wait:
      self._settle()
    elif not self._manager.is_saving_in_progress():
      super()._settle()
      self._start_upload()
      if self._uploading and self._uploading.done():
        self._finish_upload()
    return self._errors.pop(0) if self._errors else None

  def _settle(self) -> None:
    super()._settle()
    self._start_upload()
    self._finish_upload()

  def _handle_failure(self, error: BaseException) -> None:
    self._pending = None
    super()._handle_failure(error)

  def _start_upload(self) -> None:
    if self._pending is not None and self._uploading is None:
      self._uploading = self._uploader.submit(self._upload, self._pending)

  def _finish_upload(self) -> None:
    """Waits for the upload in progress."""
    if self._uploading is None:
      return
    step, uploading, self._pending, self._uploading = self._pending, self._uploading, None, None
    try:
      self._complete = uploading.result()
    except OSError as error:
      self._last_error = f'the checkpoint of step {step} could not be written to {self._remote}: {error}'
      self._errors.append(self._last_error)

  def _upload(self, step: int) -> set[int]:
    """Uploads a checkpoint, deletes older ones, and returns the steps that are complete then."""
    names = (checkpoint.COMPLETE,)  # which Orbax writes here, too
    storage.upload_folder(self._folder / str(step), self._remote / str(step), last=names)
    steps = sorted(self._complete | {step})
    stale = {
      old for old in steps[: -self._keep_latest] if not self._keep_every_steps or old % self._keep_every_steps
    }
    for old in stale:
      storage.remove(
        self._remote / str(old) / checkpoint.COMPLETE
      )  # first: what is half deleted is not complete
      storage.remove_folder(self._remote / str(old))
    return set(steps) - stale

  def read(self, step: int) -> tuple[ml_collections.ConfigDict, dict]:
    """Returns the configuration and the data position of a checkpoint."""
    self._fetch(step)
    return super().read(step)

  def restore(self, step: int, abstract: state_lib.State) -> state_lib.State:
    """See `Checkpoints.restore`."""
    self._fetch(step)
    return super().restore(step, abstract)

  def _fetch(self, step: int) -> None:
    """Downloads a checkpoint that is not on this machine."""
    if step in self._manager.all_steps():
      return
    partial = pathlib.Path(self._scratch.name) / 'download'
    storage.download_folder(self._remote / str(step), partial)
    partial.rename(self._folder / str(step))
    self._manager.reload()

  def close(self) -> None:
    """Waits for the last upload, then stops the threads; see `Checkpoints.close`."""
    super().close()
    self._uploader.shutdown()
    self._scratch.cleanup()
