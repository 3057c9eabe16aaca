"""VGGSound, and the sets that others chose from it, in all of their tables.

Chen et al. 2020, arXiv 2004.14368; github.com/hche11/VGGSound. Each clip is 10 s of a YouTube video with a
label. The tables, by their columns:

  no header, 2 columns: ID_000030.mp4, label            VGGSound data/train.csv, test.csv
  no header, 4 columns: video, start, label, split      VGGSound vggsound.csv
  id, label                                             MMAudio sets/vgg-*.tsv, id = ID_000030
  file, start_sec                                       V-AURA data/test_sets, file = ID_30000_40000
  dataset_name, video_id, start_sec, ..., is_sync       Synchformer vggsound_sparse_clean.csv
  dataset_name, video_id, vstart_sec, offset_sec, ...   Synchformer ..._fixed_offsets.csv
  ytid, start_time, class, set                          TempoTokens landscape.csv, audioset-drum.csv
  video_id, label_L0_raw, label_L0, label_L1_...        ControlFoley VGGSound-TVC

V-AURA and Synchformer's fixed offsets name a time in the clip from which a shorter window is used: the item
is the clip from there on, with the id ID_000030@1.5. ControlFoley's labels from L1 on contradict the video on
purpose; they are tags, never captions. TempoTokens numbers the clips of audioset-drum: there, a number is an
id.

Media is found by `media_index`.
"""

from collections.abc import Iterator
import dataclasses
import pathlib

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from data_pipelines.sources import tables
from data_pipelines.sources import youtube
from v2a import storage
from v2a.data import annotations as annotations_lib

CLIP_S = 10.0
_COLUMNS = ('id', 'file', 'video_id', 'ytid', 'label', 'label_l0', 'start_sec', 'vstart_sec', 'start_time')
_HEADERLESS = {2: ('id', 'label'), 4: ('video_id', 'start_sec', 'label', 'split')}
_CAPTIONS = ('label', 'class', 'label_l0_raw')
_IDS = ('id', 'file', 'video_id', 'ytid')


@dataclasses.dataclass(frozen=True)
class VggSound:
  """VGGSound, or a set chosen from it; see the module.

  Attributes:
    path: the table.
    media: folder of the media; None for that of the table.
    split: of clips whose row names none; None for what the name of the table states.
    licence: of the items.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  split: str | None = None
  licence: str | None = youtube.OF_UPLOADERS
  name: str = 'vggsound'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each clip.

    Raises:
      OSError: the table or the folder of the media cannot be read.
      ValueError: the table is none of those of the module.
    """
    table = tables.open_table(self.path, _COLUMNS, _HEADERLESS, text_column='label')
    if not any(name in table.columns for name in _IDS):
      raise ValueError(
        f'{self.path}: wanted a column named {", ".join(_IDS)}; got {", ".join(table.columns)}.'
      )
    index = media_index.MediaIndex(self.media or table.path.parent)
    split = self.split or entries.split_of_file(self.path)
    yield from entries.checked(
      entries.of_rows(table, lambda row, where: self._entry(row, where, index, split))
    )

  def _entry(
    self, row: tables.Row, where: str, index: media_index.MediaIndex, split: str | None
  ) -> entries.Entry:
    cells = dict(row.values)
    cell = next(cells.pop(name) for name in _IDS if name in cells)
    if 'ytid' in row.values and cell.isdecimal():
      video, start_s = cell, None
    else:
      video, start_s, _ = youtube.clip(cell)
    offset_s = None
    if 'file' in row.values:
      offset_s = entries.number(cells.pop('start_sec'), 'start_sec')
    elif 'vstart_sec' in cells:
      offset_s = entries.number(cells.pop('vstart_sec'), 'vstart_sec')
    if start_s is None:
      column = next((name for name in ('start_sec', 'start_time') if name in cells), None)
      if column is None:
        raise entries.UnusableError('malformed', f'wanted an id such as {video}_000030; got {cell}', video)
      start_s = entries.number(cells.pop(column), column)
    of_row = next((cells.pop(name) for name in ('split', 'set') if name in cells), '')
    labels = [cells.pop(name) for name in _CAPTIONS if name in cells]
    clip_id = youtube.clip_name(video, start_s)
    return youtube.entry(
      index,
      where,
      video,
      start_s,
      start_s + CLIP_S,
      annotations_lib.Annotations(entries.label_captions(*labels), tags=tuple(cells.items())),
      entries.split_of(of_row) or split,
      self.licence,
      clip_id if offset_s is None else f'{clip_id}@{offset_s:g}',
      offset_s or 0.0,
      row.note,
    )
