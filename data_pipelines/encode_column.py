"""Adds columns to media records: what an encoder computes of each clip, stored beside the records.

  encode_column.encode(folder, codec_column.CodecEncoder(export))

A shard appears when it is complete; what was interrupted continues after it.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent import futures
import contextlib
import os
import sys
import time
from typing import Any
from typing import Protocol

import numpy as np

from v2a import clip as clip_lib
from v2a import storage
from v2a.data import feature_columns
from v2a.data import media_decoding
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import media_source
from v2a.data import shards

_NUM_CLIPS_AT_ONCE = 64  # whose media are in memory


class Encoder(Protocol):
  """Computes a column.

  Attributes:
    name: of the column.
    about: what computes it, as values of JSON; 'digest' identifies it.
  """

  @property
  def name(self) -> str:
    """See the class."""
    ...

  @property
  def about(self) -> Mapping[str, Any]:
    """See the class."""
    ...

  def rows(self, items: list[media_records.MediaRecord]) -> Iterable[feature_columns.Row]:
    """Returns the row of each record, in their order."""
    ...


class FrameEncoder:
  """Stores frames at the sync rate, so that training decodes no video; see `Encoder`."""

  name = media_source.FRAMES

  def __init__(self, spec: clip_lib.ClipSpec):
    """Takes rate and size of the frames from a configuration."""
    self._spec = spec
    self.about = {
      'digest': f'{spec.frame_size} pixels, {spec.sync_fps} Hz',
      'frame_size': spec.frame_size,
      'sync_fps': spec.sync_fps,
    }

  def rows(self, items: list[media_records.MediaRecord]) -> Iterator[feature_columns.Row]:
    """Yields the row of each record, in their order. Raises MediaError."""
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      for item, frame_LYX3 in zip(items, pool.map(self._frames, items)):
        yield feature_columns.Row(item.id, {'sync_frame_LYX3': frame_LYX3})

  def _frames(self, item: media_records.MediaRecord) -> np.ndarray:
    if not item.video:
      return np.zeros((0, self._spec.frame_size, self._spec.frame_size, 3), np.uint8)
    return media_decoding.sync_frames(item, self._spec)


class AnnotationEncoder:
  """Stores the texts and the duration of each record, so that training need not read its media."""

  name = media_source.ANNOTATIONS
  about: Mapping[str, Any] = {'digest': 'records', 'annotators': []}

  def rows(self, items: list[media_records.MediaRecord]) -> Iterator[feature_columns.Row]:
    """Yields the row of each record, in their order."""
    for item in items:
      yield media_source.ClipInfo.of(item).to_row()


def encode(
  folder: media_folder.MediaFolder,
  encoder: Encoder,
  is_replaced: bool = False,
  report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
  """Adds a column to media records.

  Args:
    folder: of the media records.
    encoder: computes the column.
    is_replaced: whether the column of another encoder is deleted first.
    report: takes a line of progress after each shard.

  Raises:
    FileExistsError: there is the column of another encoder.
    FileNotFoundError: a shard of the records is missing.
    ValueError: a shard of the records is not that of the manifest.
  """
  name = encoder.name
  shards.check_present(folder.path, folder.shards)
  if is_replaced and not _is_of(folder, encoder):
    with contextlib.suppress(FileNotFoundError):
      storage.remove_folder(feature_columns.path_of(folder, name))
  writer = feature_columns.Writer(folder, name, encoder.about)
  writer.remove_partials()
  missing, start_s, done = writer.missing(), time.monotonic(), 0
  total = sum(folder.shards[shard].num_records for shard in missing)
  if not missing:
    report(f'{name}: all {len(folder)} clips are encoded already')
  for shard in missing:
    media_folder.check_shard(folder, shard)
    writer.write(shard, _rows(folder, encoder, folder.indices(shard)))
    done += len(folder.indices(shard))
    passed_s = time.monotonic() - start_s
    report(f'{name}: {done} of {total} clips, about {passed_s * (total - done) / done:.0f} s left')
  writer.finish()


def _rows(
  folder: media_folder.MediaFolder, encoder: Encoder, indices: range
) -> Iterator[feature_columns.Row]:
  """Yields the rows of a shard; the media of few clips are in memory at once."""
  for first in range(indices.start, indices.stop, _NUM_CLIPS_AT_ONCE):
    some = range(first, min(first + _NUM_CLIPS_AT_ONCE, indices.stop))
    yield from encoder.rows([folder[index] for index in some])


def _is_of(folder: media_folder.MediaFolder, encoder: Encoder) -> bool:
  try:
    feature_columns.Writer(folder, encoder.name, encoder.about)
  except FileExistsError:
    return False
  return True
