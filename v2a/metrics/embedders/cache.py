"""Embeddings by content: an evaluation that was interrupted does not embed a clip twice.

An entry is named by the hash of what the network reads of the clip, and lies in a folder named by the
embedder and the digest of its weights and code: another sound, another network or other weights never find
each other's entries. Refusals are kept, too, since a refusal costs as much as an embedding.
"""

import json
import pathlib
import zipfile

import numpy as np

from v2a import files
from v2a.metrics.embedders import embedder as embedder_lib

_REFUSAL = 'refusal'


class EmbeddingCache:
  """A folder of embeddings; with None as folder nothing is kept."""

  def __init__(self, folder: pathlib.Path | str | None):
    self.folder = None if folder is None else pathlib.Path(folder)

  def path(self, embedder: embedder_lib.Embedder, clip: embedder_lib.Clip) -> pathlib.Path:
    """Returns where the entry of a clip lies, or would lie."""
    key = embedder_lib.content_hash(clip, embedder.reads)
    return self.folder / f'{embedder.name}-{embedder.digest[:16]}' / key[:2] / f'{key}.npz'

  def embed(self, embedder: embedder_lib.Embedder, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns what the embedder makes of a clip, from the folder where it is there.

    Raises:
      Refusal: the embedder refused the clip, now or when the entry was made.
      ValueError: an entry is damaged.
    """
    absent = embedder_lib.missing_inputs(clip, embedder.reads)
    if absent:
      raise embedder_lib.UnsupportedClipError(absent)
    if self.folder is None:
      return embedder.embed(clip)
    path = self.path(embedder, clip)
    if not path.is_file():
      _write(path, _entry(embedder, clip))
    arrays = _read(path)
    if _REFUSAL in arrays:
      raise embedder_lib.UnsupportedClipError(json.loads(str(arrays[_REFUSAL])))
    return arrays


def _entry(embedder: embedder_lib.Embedder, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
  try:
    return embedder.embed(clip)
  except embedder_lib.UnsupportedClipError as refusal:
    return {_REFUSAL: np.array(json.dumps(str(refusal)))}


def _write(path: pathlib.Path, arrays: embedder_lib.Arrays):
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as partial:
    np.savez(partial, **arrays)


def _read(path: pathlib.Path) -> embedder_lib.Arrays:
  try:
    with np.load(path, allow_pickle=False) as archive:
      return {name: archive[name] for name in archive.files}
  except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise ValueError(f'the cached embedding {path} is damaged ({error}); remove it.') from error
