"""AudioCaps: captions of clips of AudioSet.

Kim et al. 2019, aclanthology.org/N19-1011; github.com/cdjkim/audiocaps, dataset/{train,val,test}.csv with the
columns audiocap_id, youtube_id, start_time, caption. A clip is 10 s from start_time on. In the validation and
test splits each has five captions, in lines that are apart: all belong to one item. So the table is read
whole (50,000 short lines) before the first item.
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
_COLUMNS = ('audiocap_id', 'youtube_id', 'start_time', 'caption')


@dataclasses.dataclass
class _Clip:
  """What the lines of a clip say."""

  where: str
  captions: list[annotations_lib.Caption]
  notes: list[str]


@dataclasses.dataclass(frozen=True)
class AudioCaps:
  """A split of AudioCaps; see the module.

  Attributes:
    path: the table.
    media: folder of the media; None for that of the table.
    split: None for what the name of the table states.
    licence: of the items.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  split: str | None = None
  licence: str | None = None
  name: str = 'audiocaps'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields a problem for each line that cannot be used, then an item or a problem for each clip.

    Raises:
      OSError: the table or the folder of the media cannot be read.
      ValueError: the table has other columns.
    """
    table = tables.open_table(self.path, _COLUMNS, {4: _COLUMNS}, text_column='caption')
    if missing := [name for name in _COLUMNS if name not in table.columns]:
      raise ValueError(f'{self.path}: has no column {missing[0]}; got {", ".join(table.columns)}.')
    index = media_index.MediaIndex(self.media or self.path.parent)
    clips: dict[tuple[str, float], _Clip] = {}
    where_of: dict[str, str] = {}
    yield from entries.collect(table, lambda row, where: _add(row, where, clips, where_of))
    split = self.split or entries.split_of_file(self.path)
    yield from entries.checked(
      entries.attempt(lambda where, key=key, clip=clip: self._entry(key, clip, index, split), clip.where)
      for key, clip in clips.items()
    )

  def _entry(
    self, key: tuple[str, float], clip: _Clip, index: media_index.MediaIndex, split: str | None
  ) -> entries.Entry:
    (video, start_s), tags = key, tuple((entries.NOTE, note) for note in clip.notes)
    annotations = annotations_lib.Annotations(tuple(clip.captions), tags=tags)
    return youtube.entry(
      index, clip.where, video, start_s, start_s + CLIP_S, annotations, split, self.licence
    )


def _add(
  row: tables.Row, where: str, clips: dict[tuple[str, float], _Clip], where_of: dict[str, str]
) -> items.Problem | None:
  """Adds a line to its clip; returns the problem if it cannot be used."""
  try:
    video = youtube.video_id(row.values['youtube_id'])
    start_s = entries.number(row.values['start_time'], 'start_time')
    caption = ' '.join(row.values['caption'].split())
    if not caption:
      raise entries.UnusableError('malformed', 'the caption is empty', video)
    caption_id = row.values['audiocap_id']
    if caption_id in where_of:
      reason = f'audiocap_id {caption_id} is already used in {where_of[caption_id]}'
      raise entries.UnusableError('duplicate', reason, video)
  except entries.UnusableError as error:
    return items.Problem(error.kind, error.id, where, error.reason)
  except ValueError as error:
    return items.Problem('malformed', '', where, str(error))
  where_of[caption_id] = where
  clip = clips.setdefault((video, start_s), _Clip(where, [], []))
  clip.captions.append(annotations_lib.Caption(caption, 'short'))
  if row.note:
    clip.notes.append(f'{where}: {row.note}')
  return None
