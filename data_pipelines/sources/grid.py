"""GRID: sentences of six words by 33 speakers, with the times of the words.

Cooke et al. 2006, doi 10.1121/1.2229005; zenodo.org/records/3625687. Any arrangement of folders in which one
is named for the speaker (s1 to s34) of the media and of the alignments below it:

  s1/bbaf2n.mpg, s1/video/mpg_6000/bbaf2n.mpg     video of 3 s
  s1/bbaf2n.align, s1/align/bbaf2n.align          lines of start, end, word; 25,000 units are a second

The words 'sil' and 'sp' are pauses. Each speaker is a group, so that no face or voice is in two splits. Media
without an alignment is an item with a note; an alignment without media is a problem.
"""

from collections.abc import Iterator
import dataclasses
import pathlib
import re

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from data_pipelines.sources import tables
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.media import transcript as transcript_lib

UNITS_PER_S = 25_000
_PAUSES = ('sil', 'sp')
_SPEAKER = re.compile(r's\d+')
_SUFFIX = '.align'


@dataclasses.dataclass(frozen=True)
class Grid:
  """GRID; see the module.

  Attributes:
    path: folder of the alignments, and of the media.
    media: folder of the media; None for the same.
    split, licence: of the items.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  split: str | None = None
  licence: str | None = 'CC-BY-4.0'
  name: str = 'grid'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each media file, then a problem for each alignment without media.

    Raises:
      OSError: a folder cannot be read.
      ValueError: there is neither media nor an alignment.
    """
    alignments = {clip: pathlib.Path(path) for clip, path in _by_clip(self.path, (_SUFFIX,)).items()}
    media = _by_clip(self.media or self.path, media_index.SUFFIXES)
    if not alignments and not media:
      raise ValueError(f'{self.path}: has no media of GRID; wanted folders such as s1 with .mpg and .align.')
    yield from entries.checked(
      entries.attempt(
        lambda where, clip=clip: self._entry(clip, media[clip], alignments.get(clip), where),
        items.where(alignments.get(clip, media[clip])),
      )
      for clip in sorted(media)
    )
    for clip in sorted(set(alignments) - set(media)):
      yield items.Problem('missing', clip, items.where(alignments[clip]), 'there is no media of it')

  def _entry(
    self, clip: str, path: storage.Path, alignment: pathlib.Path | None, where: str
  ) -> entries.Entry:
    try:
      transcript = read_alignment(alignment) if alignment else transcript_lib.Transcript()
    except ValueError as error:
      raise entries.UnusableError('malformed', str(error), clip) from error
    item = items.Item(
      clip,
      items.MediaFile(path),
      clip.rpartition('/')[0] or clip,
      annotations=annotations_lib.Annotations(transcript=transcript),
      licence=self.licence,
      split=self.split,
    )
    note = '' if alignment else f'{where}: there is no alignment of its words'
    # The clips of a speaker have no common time.
    return entries.Entry(entries.with_notes(item, note), where, 0.0, 0.0)


def read_alignment(path: pathlib.Path) -> transcript_lib.Transcript:
  """Returns the words of an alignment; each has the middle of its interval as its time.

  Raises:
    OSError: the file cannot be read.
    ValueError: a line is malformed; the message names it.
  """
  cues, previous_s = [], 0.0
  for row in tables.text_rows(path):
    if isinstance(row, items.Problem):
      raise ValueError(f'line {row.where.rpartition(":")[2]}: {row.reason}')
    cells = row.values['text'].split()
    if len(cells) != 3 or not (cells[0].isdecimal() and cells[1].isdecimal()):
      raise ValueError(f'line {row.line}: wanted start, end and word; got {row.values["text"]!r}')
    start_s, end_s = int(cells[0]) / UNITS_PER_S, int(cells[1]) / UNITS_PER_S
    if not previous_s <= start_s < end_s:
      raise ValueError(
        f'line {row.line}: {cells[2]!r} must begin at {previous_s:g} s or later and end after its start; '
        f'got {start_s:g} s to {end_s:g} s'
      )
    previous_s = end_s
    if cells[2] not in _PAUSES:
      cues.append((cells[2], start_s, end_s))
  return transcript_lib.from_cues(cues)


def _by_clip(folder: storage.Path, suffixes: tuple[str, ...]) -> dict[str, storage.Path]:
  """Returns the files of each clip, such as 's1/bbaf2n', or 'bbaf2n' outside of a speaker's folder."""
  found: dict[str, storage.Path] = {}
  order = {suffix: index for index, suffix in enumerate(suffixes)}
  for parent, name in media_index.walk(folder):
    path = storage.parse(parent) / name
    if path.suffix.lower() not in order:
      continue
    # Folders above the given one do not count: a mounted bucket may be named s3.
    parts = (folder.name, *path.relative_to(folder).parts[:-1])
    speakers = [part for part in parts if _SPEAKER.fullmatch(part)]
    clip = f'{speakers[-1]}/{path.stem}' if speakers else path.stem
    other = found.get(clip)
    if other is None or (order[path.suffix.lower()], path) < (order[other.suffix.lower()], other):
      found[clip] = path
  return found
