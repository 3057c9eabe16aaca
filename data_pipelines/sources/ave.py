"""AVE: 10 s clips of AudioSet with an event that is both seen and heard.

Tian et al. 2018, arXiv 1803.08842; github.com/YapengTian/AVE-ECCV18. Lines of Annotations.txt, trainSet.txt,
valSet.txt and testSet.txt: class&video&quality&start&end, with whole seconds in the clip, after a header in
some copies. The media is AVE/ID.mp4, already cut. A video with two events has two lines: both belong to one
item, so the file is read whole (4,143 lines) before the first item.
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

_COLUMNS = ('category', 'videoid', 'quality', 'starttime', 'endtime')


@dataclasses.dataclass
class _Clip:
  """What the lines of a video say."""

  where: str
  quality: str
  events: list[annotations_lib.Event]


@dataclasses.dataclass(frozen=True)
class Ave:
  """AVE, or a split of it; see the module.

  Attributes:
    path: the annotations.
    media: folder of the media; None for that of the annotations.
    split: None for what the name of the file states.
    licence: of the items.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  split: str | None = None
  licence: str | None = None
  name: str = 'ave'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields a problem for each line that cannot be used, then an item or a problem for each video.

    Raises:
      OSError: the annotations or the folder of the media cannot be read.
      ValueError: the annotations have other columns.
    """
    table = tables.open_table(self.path, _COLUMNS, {5: _COLUMNS}, delimiter='&')
    index = media_index.MediaIndex(self.media or self.path.parent)
    clips: dict[str, _Clip] = {}
    yield from entries.collect(table, lambda row, where: _add(row, where, clips))
    split = self.split or entries.split_of_file(self.path)
    yield from entries.checked(
      entries.attempt(
        lambda where, video=video, clip=clip: self._entry(video, clip, index, split), clip.where
      )
      for video, clip in clips.items()
    )

  def _entry(
    self, video: str, clip: _Clip, index: media_index.MediaIndex, split: str | None
  ) -> entries.Entry:
    path = index.named(video)
    if path is None:
      raise entries.UnusableError('missing', f'{index.folder} has no media of it; wanted {video}.mp4', video)
    labels = dict.fromkeys(event.label for event in clip.events)
    annotations = annotations_lib.Annotations(
      entries.label_captions(*labels), events=tuple(clip.events), tags=(('quality', clip.quality),)
    )
    item = items.Item(
      video, items.MediaFile(path), video, annotations=annotations, licence=self.licence, split=split
    )
    return entries.of_item(item, clip.where)


def _add(row: tables.Row, where: str, clips: dict[str, _Clip]) -> items.Problem | None:
  """Adds a line to its video; returns the problem if it cannot be used."""
  video = ''
  try:
    video = youtube.video_id(row.values['videoid'])
    start_s = entries.number(row.values['starttime'], 'the start')
    end_s = entries.number(row.values['endtime'], 'the end')
    entries.check_segment(start_s, end_s)
  except ValueError as error:
    return items.Problem('malformed', video, where, str(error))
  event = annotations_lib.Event(start_s, end_s, row.values['category'])
  clip = clips.setdefault(video, _Clip(where, row.values['quality'], []))
  if event in clip.events:
    return items.Problem(
      'duplicate', video, where, f'{event.label} at {start_s:g} s is already in {clip.where}'
    )
  clip.events.append(event)
  return None
