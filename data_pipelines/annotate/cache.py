"""A cache of annotations on disk, so that a build that is resumed or repeated annotates no clip twice.

The key is the hash of the decoded content, of those fields of the known annotations that the annotator reads,
and of its name and version: a clip that is renamed is found again, a new prompt is not. One file per key, in
256 folders per annotator:

  FOLDER/captioner@3f2a.../07/07c1....json

A file, not a database: a file is written under another name and renamed, so it is whole or not there, any
number of processes on any number of machines may share the folder without locks (those of SQLite are not
reliable on network file systems), and a process that is killed leaves at most a hidden temporary file. It
costs one small file per clip and annotator. Two processes that annotate the same clip at once both write the
same key; the last one stays. Only results are cached: a clip that failed is tried again by the next run.
"""

from collections.abc import Callable
import hashlib
import json
import pathlib
import re
import threading
from typing import Any

import numpy as np

from data_pipelines import decoded
from data_pipelines.annotate import annotator as annotator_lib
from v2a import files
from v2a.data import annotations as annotations_lib

FORMAT = 1


def content_hash(clip: decoded.DecodedClip) -> str:
  """Returns the hash of the frames, the sound and the segment of a clip; its id is not part of it."""
  found = hashlib.sha256()
  header = [clip.sample_rate_hz, clip.start_s, clip.duration_s]
  for array in (clip.frame_MYX3, clip.wave_NA):
    header.append([array.dtype.str, array.shape])
    found.update(np.ascontiguousarray(array).data)
  found.update(json.dumps(header).encode())
  return found.hexdigest()


class Cache:
  """A folder of annotations.

  Attributes:
    folder: created on first use.
    num_hits, num_misses, num_damaged: of this process; an entry that a disk has damaged is computed again.
  """

  def __init__(self, folder: pathlib.Path | str):
    self.folder = pathlib.Path(folder)
    self.num_hits = self.num_misses = self.num_damaged = 0
    self._lock = threading.Lock()

  def __getstate__(self) -> dict[str, Any]:
    return {**self.__dict__, '_lock': None}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.__dict__.update(state, _lock=threading.Lock())

  def path(
    self, annotator: annotator_lib.Annotator, clip: decoded.DecodedClip, known: annotations_lib.Annotations
  ) -> pathlib.Path:
    """Returns the path of the entry of a clip.

    Args:
      annotator: whose result it is.
      clip: the decoded clip.
      known: annotations in the fields that the annotator reads.
    """
    parts = [content_hash(clip), annotator.name, annotator.version, known.to_json()]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    group = re.sub(r'[^\w.@-]', '_', annotator_lib.origin(annotator))[:100]
    return self.folder / group / key[:2] / f'{key}.json'

  def get(
    self,
    annotator: annotator_lib.Annotator,
    clip: decoded.DecodedClip,
    known: annotations_lib.Annotations,
    compute: Callable[[], annotations_lib.Annotations],
  ) -> annotations_lib.Annotations:
    """Returns what an annotator adds to a clip, from the cache or by computing it.

    Args:
      annotator: whose result it is.
      clip: the decoded clip.
      known: annotations in the fields that the annotator reads.
      compute: returns the result; what it raises is not cached.

    Raises:
      OSError: the folder cannot be read or written.
    """
    path = self.path(annotator, clip, known)
    found = self._read(path)
    if found is not None:
      self._count('num_hits')
      return found
    self._count('num_misses')
    added = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    entry = {
      'format': FORMAT,
      'annotator': annotator_lib.origin(annotator),
      'clip': clip.id,
      'added': added.to_json(),
    }
    files.write_text(path, json.dumps(entry, ensure_ascii=False) + '\n')
    return added

  def _read(self, path: pathlib.Path) -> annotations_lib.Annotations | None:
    try:
      entry = json.loads(path.read_text(encoding='utf-8'))
      if entry['format'] != FORMAT:
        return None
      return annotations_lib.Annotations.from_json(entry['added'])
    except FileNotFoundError:
      return None
    except (ValueError, KeyError, TypeError):  # a full disk or a power failure
      self._count('num_damaged')
      return None

  def _count(self, name: str) -> None:
    with self._lock:
      setattr(self, name, getattr(self, name) + 1)
