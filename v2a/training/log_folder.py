"""The folder of files that grow during training: TensorBoard's, goodput.jsonl, profiles.

It is the training folder. An object store cannot append to a file, so for a training folder there it is a
folder of temporary files on this machine, whose changed files are uploaded every minute, and at the end. A
crash loses at most the last minute of them.
"""

import os
import pathlib
import shutil
import tempfile
import threading
import time

from v2a import storage
from v2a.training import console

_EVERY_S = 60.0
_MAX_SHARE = 0.1  # of the time, that uploads take


class LogFolder:
  """The folder of one process; only process 0 writes to it.

  Attributes:
    path: of the folder, on this machine.
  """

  def __init__(self, workdir: storage.Path, resumed: tuple[str, ...] = ()):
    """Opens the folder.

    Args:
      workdir: training folder.
      resumed: names of files in it that an earlier start may have written, and this one appends to.

    Raises:
      OSError: the store cannot be reached.
    """
    self._uploaded: dict[str, tuple[int, int]] = {}
    self._has_reported = False
    self._closed, self._thread = threading.Event(), None
    if isinstance(workdir, pathlib.Path):
      self.path, self._workdir = workdir, None
      return
    self._workdir, self._scratch = workdir, tempfile.TemporaryDirectory(prefix='v2a-logs-')
    self.path = pathlib.Path(self._scratch.name) / 'logs'
    self.path.mkdir()
    for name in resumed:
      if storage.is_file(workdir / name):
        storage.download(workdir / name, self.path / name)
        self._uploaded[name] = self._state(name)
    self._thread = threading.Thread(target=self._run, name='log_upload', daemon=True)
    self._thread.start()

  def _state(self, name: str) -> tuple[int, int]:
    found = (self.path / name).stat()
    return found.st_size, found.st_mtime_ns

  def _run(self) -> None:
    pause_s = _EVERY_S
    while not self._closed.wait(pause_s):
      begin_s = time.monotonic()
      self.upload()
      pause_s = max(_EVERY_S, (time.monotonic() - begin_s) / _MAX_SHARE)

  def upload(self) -> None:
    """Uploads files that have changed; one that cannot be is reported once, and training continues."""
    if self._workdir is None:
      return
    for file in sorted(self.path.rglob('*')):
      name = file.relative_to(self.path).as_posix()
      try:
        if file.is_file() and self._uploaded.get(name) != (state := self._state(name)):
          self._upload_copy(file, self._workdir / name)
          self._uploaded[name] = state
      except OSError as error:
        if not self._has_reported:
          console.error(f'Logs cannot be written ({error}); training continues without them.')
        self._has_reported = True

  def _upload_copy(self, file: pathlib.Path, path: storage.Path) -> None:
    copy = f'{self._scratch.name}/copy'  # the file itself may grow while it is read
    shutil.copyfile(file, copy)
    storage.upload(pathlib.Path(copy), path)
    os.unlink(copy)

  def close(self) -> None:
    """Uploads what has changed since, and deletes the temporary files."""
    if self._workdir is None or self._thread is None:
      return
    self._closed.set()
    self._thread.join()
    self.upload()
    self._scratch.cleanup()
