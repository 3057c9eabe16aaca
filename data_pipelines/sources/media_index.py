"""Media on disk by id, under every naming that downloaders of public data sets use.

A folder is listed once, with its subfolders (of classes or splits); no file is opened or has its status
read. For the video with the id ID, these are found (any suffix of a video or sound):

  ID, YID, 'Title [ID]'           the whole video (YID: AudioSet's sound files; the last: yt-dlp)
  ID_000030, ID_30                cut from second 30 on (VGGSound)
  ID_30_40, ID_30.000_40.000      cut from second 30 to 40; ID_0030_0040, too
  ID_30000_40000                  the same in milliseconds: a cut is never longer than 1000 s

The first that fits is used: the cut that begins where the segment does (within 0.5 s), a longer cut that
contains the segment, the whole video. In the latter two the times of the segment apply.
"""

from collections.abc import Iterator
import os
import pathlib
import re
from typing import NamedTuple

from v2a.media import folder as folder_lib

AUDIO_SUFFIXES = (
  *('.wav', '.wave', '.flac', '.mp3', '.m4a', '.aac', '.ogg', '.oga', '.opus', '.wma', '.aif', '.aiff'),
  *('.aifc', '.caf', '.au', '.ac3', '.eac3', '.mka', '.w64', '.rf64', '.ape', '.wv', '.amr'),
)
SUFFIXES = folder_lib.VIDEO_SUFFIXES + AUDIO_SUFFIXES
_MAX_CUT_S = 1000.0
_TOLERANCE_S = 0.5
_VIDEO = r'(?P<id>[A-Za-z0-9_-]{11})'  # of YouTube
_NUMBER = r'\d+(?:\.\d+)?'
_NAMES = (
  re.compile(rf'{_VIDEO}(?:_(?P<start>{_NUMBER})(?:_(?P<end>{_NUMBER}))?)?'),
  re.compile(rf'Y{_VIDEO}(?:_(?P<start>{_NUMBER})(?:_(?P<end>{_NUMBER}))?)?'),
  re.compile(rf'.*\[{_VIDEO}\](?P<start>)(?P<end>)'),
)


class Found(NamedTuple):
  """Media of a segment.

  Attributes:
    path: the file.
    start_s, end_s: the segment in the file; end_s None is its end.
    is_segment: whether the file holds the segment and nothing else.
  """

  path: pathlib.Path
  start_s: float
  end_s: float | None
  is_segment: bool


class _Cut(NamedTuple):
  """A file that was cut from a video; end_s is None if it is not known."""

  path: str
  start_s: float
  end_s: float | None


class MediaIndex:
  """The media below a folder."""

  def __init__(self, folder: str | os.PathLike, suffixes: tuple[str, ...] = SUFFIXES):
    """Lists the folder.

    Args:
      folder: the folder; its subfolders are listed, too.
      suffixes: of the files that count as media; where several files have one name, earlier suffixes win.

    Raises:
      OSError: the folder does not exist, or cannot be read.
    """
    self.folder = pathlib.Path(folder)
    order = {suffix: index for index, suffix in enumerate(suffixes)}
    listed = []
    for parent, name in walk(self.folder):
      stem, suffix = os.path.splitext(name)
      if suffix.lower() in order:
        listed.append((order[suffix.lower()], parent, stem, name))
    listed.sort()
    self._by_stem: dict[str, list[str]] = {}
    self._cuts: dict[str, list[_Cut]] = {}
    self._whole: dict[str, str] = {}
    for _, parent, stem, name in listed:
      path = os.path.join(parent, name)
      self._by_stem.setdefault(stem, []).append(path)
      if parsed := parse(stem):
        video, start_s, end_s = parsed
        if start_s is None:
          self._whole.setdefault(video, path)
        else:
          self._cuts.setdefault(video, []).append(_Cut(path, start_s, end_s))

  def named(self, stem: str, folder: str | None = None) -> pathlib.Path | None:
    """Returns the file with a name (without suffix), or None.

    Args:
      stem: the name.
      folder: name of one of the folders in which the file is; None for any.
    """
    for path in self._by_stem.get(stem, ()):
      if folder is None or folder in pathlib.Path(path).relative_to(self.folder).parts[:-1]:
        return pathlib.Path(path)
    return None

  def find(self, video: str, start_s: float = 0.0, end_s: float | None = None) -> Found | None:
    """Returns the media of a segment of a video; see the module.

    Args:
      video: id of the video.
      start_s, end_s: segment of the video in seconds; end_s None is its end.

    Returns:
      The file and the segment in it; None if there is none.
    """
    cuts = self._cuts.get(video, ())
    exact = [cut for cut in cuts if _is_segment(cut, start_s, end_s)]
    if exact:
      nearest = min(exact, key=lambda cut: abs(cut.start_s - start_s))
      return Found(pathlib.Path(nearest.path), 0.0, None, True)
    for cut in cuts:
      if end_s is not None and cut.end_s is not None and cut.start_s <= start_s and end_s <= cut.end_s:
        return Found(pathlib.Path(cut.path), start_s - cut.start_s, end_s - cut.start_s, False)
    whole = self._whole.get(video) or next(iter(self._by_stem.get(video, ())), None)
    return Found(pathlib.Path(whole), start_s, end_s, False) if whole else None


class Listings:
  """Whether files exist, by one listing of each folder."""

  def __init__(self):
    self._names: dict[str, frozenset[str]] = {}

  def __contains__(self, path: pathlib.Path) -> bool:
    """Whether a file exists."""
    parent = os.fspath(path.parent)
    if parent not in self._names:
      try:
        self._names[parent] = frozenset(os.listdir(parent))
      except OSError:
        self._names[parent] = frozenset()
    return path.name in self._names[parent]


def walk(folder: str | os.PathLike) -> Iterator[tuple[str, str]]:
  """Yields (folder, name) of all files below a folder, without hidden ones; follows links, each folder once.

  Raises:
    OSError: a folder cannot be read.
  """

  def reraise(error: OSError):
    raise error

  seen = set()
  for parent, folders, names in os.walk(folder, onerror=reraise, followlinks=True):
    status = os.stat(parent)
    is_new = (status.st_dev, status.st_ino) not in seen
    seen.add((status.st_dev, status.st_ino))
    folders[:] = [name for name in folders if not name.startswith('.')] if is_new else []
    if is_new:
      yield from ((parent, name) for name in names if not name.startswith('.'))


def parse(stem: str) -> tuple[str, float | None, float | None] | None:
  """Returns (id of the video, start_s, end_s) of the name of a file; times are None if the name has none."""
  for pattern in _NAMES:
    if match := pattern.fullmatch(stem):
      start_s = float(match['start']) if match['start'] else None
      end_s = float(match['end']) if match['end'] else None
      if start_s is not None and end_s is not None and end_s - start_s >= _MAX_CUT_S:
        start_s, end_s = start_s / 1000, end_s / 1000
      return match['id'], start_s, end_s
  return None


def _is_segment(cut: _Cut, start_s: float, end_s: float | None) -> bool:
  """Whether a file holds a segment and nothing else."""
  if abs(cut.start_s - start_s) >= _TOLERANCE_S:
    return False
  return end_s is None or cut.end_s is None or abs(cut.end_s - end_s) < _TOLERANCE_S
