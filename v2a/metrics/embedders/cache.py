"""A cache of embeddings on disk, so that a resumed evaluation does not embed a clip twice.

An entry is keyed by the hash of the inputs that the network reads, in a folder named by the embedder and the
digest of its weights and code. That a clip is not supported is cached, too, since finding it out can cost as
much as an embedding.
"""

import json
import pathlib
from typing import Any
import zipfile

import numpy as np

from v2a import files
from v2a.metrics.embedders import embedder as embedder_lib

# The array of an entry that holds why a clip is not supported.
_REASON = 'refusal'


class EmbeddingCache:
  """A folder of embeddings; None caches nothing."""

  def __init__(self, folder: pathlib.Path | str | None):
    self.folder = None if folder is None else pathlib.Path(folder)

  def path(self, embedder: embedder_lib.Embedder, clip: embedder_lib.Clip) -> pathlib.Path:
    """Returns the path of the entry of a clip.

    Raises:
      ValueError: the cache has no folder.
    """
    if self.folder is None:
      raise ValueError('a cache without a folder has no entries.')
    key = embedder_lib.content_hash(clip, embedder.reads)
    return self.folder / f'{embedder.name}-{embedder.digest[:16]}' / key[:2] / f'{key}.npz'

  def embed(self, embedder: embedder_lib.Embedder, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns the arrays of a clip, from the cache if it holds them.

    Raises:
      UnsupportedClipError: the embedder does not support the clip, now or when it was cached.
      ValueError: an entry is damaged.
    """
    missing = embedder_lib.missing_inputs(clip, embedder.reads)
    if missing:
      raise embedder_lib.UnsupportedClipError(missing)
    if self.folder is None:
      return embedder.embed(clip)
    path = self.path(embedder, clip)
    if not path.is_file():
      _write(path, _entry(embedder, clip))
    arrays = _read(path)
    if _REASON in arrays:
      raise embedder_lib.UnsupportedClipError(json.loads(str(arrays[_REASON])))
    return arrays


def _entry(embedder: embedder_lib.Embedder, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
  try:
    return embedder.embed(clip)
  except embedder_lib.UnsupportedClipError as error:
    return {_REASON: np.array(json.dumps(str(error)))}


def _write(path: pathlib.Path, arrays: dict[str, Any]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as partial:
    np.savez(partial, **arrays)


def _read(path: pathlib.Path) -> embedder_lib.Arrays:
  try:
    with np.load(path, allow_pickle=False) as archive:
      return {name: archive[name] for name in archive.files}
  except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f'the cached embedding {path} is damaged ({error}); remove it.') from error
