"""Clips of YouTube videos: ids, names of clips, and their media on disk.

The id of a video has 11 letters, digits, '-' and '_', and may begin with '-', which spreadsheets take for a
formula. What a user typed to prevent that (an apostrophe, ="...") is removed, and so is the address of the
page.
"""

import re

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from data_pipelines.sources import tables
from v2a.data import annotations as annotations_lib

# The metadata of these sets has a licence; each video has that of its uploader.
OF_UPLOADERS = 'CC-BY-4.0 AND LicenseRef-media-of-their-uploaders'
_ID = re.compile(r'[A-Za-z0-9_-]{11}')
_AROUND = re.compile(r"'(.*)|=\"(.*)\"|(?:https?://)?(?:www\.)?youtu(?:\.be/|be\.com/watch\?v=)([^&?]*).*")
_SUFFIX = re.compile(r'\.(mp4|mkv|webm|wav|flac|mp3|m4a)$', re.IGNORECASE)


def video_id(text: object) -> str:
  """Returns the id of a video in a cell.

  Raises:
    UnusableError: it is none; the message says what a spreadsheet made of it, if that is known.
  """
  cell = _plain(text)
  if not _ID.fullmatch(cell):
    fault = tables.spreadsheet_fault(cell)
    raise entries.UnusableError(
      'malformed',
      f"wanted the id of a YouTube video (11 letters, digits, '-', '_'); got {cell!r}"
      + (f': {fault}' if fault else ''),
      cell,
    )
  return cell


def clip(text: object) -> tuple[str, float | None, float | None]:
  """Returns (video, start_s, end_s) of the name of a clip; times are None if the name has none.

  Args:
    text: such as 'ID_000030.mp4', 'ID_30000_40000' or 'ID'; see `media_index`.

  Raises:
    UnusableError: it is no such name.
  """
  cell = _plain(text)
  stem = _SUFFIX.sub('', cell)
  if parsed := media_index.parse(stem):
    return parsed
  return video_id(stem), None, None


def clip_name(video: str, start_s: float) -> str:
  """Returns the id of a clip as in VGGSound, such as 'ID_000030'; 'ID_30.5' for parts of a second."""
  return f'{video}_{start_s:06.0f}' if start_s == round(start_s) else f'{video}_{start_s:g}'


def entry(
  index: media_index.MediaIndex,
  where: str,
  video: str,
  start_s: float,
  end_s: float,
  annotations: annotations_lib.Annotations,
  split: str | None,
  licence: str | None,
  clip_id: str | None = None,
  offset_s: float = 0.0,
  note: str = '',
) -> entries.Entry:
  """Returns the entry of a segment of a video.

  Args:
    index: the media.
    where: see `items.Problem`.
    video: its id; the group of the item.
    start_s, end_s: segment of the video in seconds.
    annotations, split, licence: of the item.
    clip_id: id of the item; None for 'ID_000030', as in VGGSound.
    offset_s: where in the segment the item begins.
    note: about the line; '' for none.

  Raises:
    UnusableError: the segment is empty or begins before 0, or there is no media.
  """
  clip_id = clip_id or clip_name(video, start_s)
  try:
    entries.check_segment(start_s, end_s)
    entries.check_segment(offset_s, end_s - start_s)
  except ValueError as error:
    raise entries.UnusableError('malformed', str(error), clip_id) from error
  found = index.find(video, start_s, end_s)
  if found is None:
    raise entries.UnusableError(
      'missing',
      f'{index.folder} has no media of it; wanted {video}.mp4, {clip_name(video, start_s)}.mp4 or '
      f'{video}_{1000 * start_s:.0f}_{1000 * end_s:.0f}.mp4, or with another suffix',
      clip_id,
    )
  item = items.Item(
    clip_id,
    items.MediaFile(found.path),
    video,
    found.start_s + offset_s,
    found.end_s,
    annotations,
    licence,
    split,
  )
  return entries.Entry(
    entries.with_notes(item, note and f'{where}: {note}'), where, start_s + offset_s, end_s
  )


def _plain(text: object) -> str:
  """Returns a cell without what protects it from a spreadsheet, and without the address of the page."""
  cell = str(text).strip()
  match = _AROUND.fullmatch(cell)
  return next((each for each in match.groups() if each is not None), cell) if match else cell
