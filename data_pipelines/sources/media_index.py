"""Media by id, under every naming that downloaders of public data sets use.

A folder, on this machine or in an object store, is listed once, with its subfolders (of classes or splits);
no file is opened or has its status read. For the video with the id ID, these are found (any suffix of a video
or sound):

  ID, YID, 'Title [ID]'           the whole video (YID: AudioSet's sound files; the last: yt-dlp)
  ID_000030, ID_30                cut from second 30 on (VGGSound)
  ID_30_40, ID_30.000_40.000      cut from second 30 to 40; ID_0030_0040, too
  ID_30000_40000                  the same in milliseconds: a cut is never longer than 1000 s

The first that fits is used: the cut that begins where the segment does (within 0.5 s), a longer cut that
contains the segment, the whole video. In the latter two the times of the segment apply.
"""

import bisect
from collections.abc import Iterator
import os
import re
from typing import NamedTuple

from v2a import storage
from v2a.media import folder as folder_lib

SUFFIXES = folder_lib.VIDEO_SUFFIXES + folder_lib.AUDIO_SUFFIXES
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

  path: storage.Path
  start_s: float
  end_s: float | None
  is_segment: bool


class MediaIndex:
  """The media below a folder, in about 250 bytes a file."""

  def __init__(self, folder: str | storage.Path, suffixes: tuple[str, ...] = SUFFIXES):
    """Lists the folder.

    Args:
      folder: the folder; its subfolders are listed, too.
      suffixes: of the files that count as media; where several files have one name, earlier suffixes win.

    Raises:
      OSError: the folder does not exist, or cannot be read.
    """
    self.folder = storage.parse(folder)
    order = {suffix: index for index, suffix in enumerate(suffixes)}
    # (id of the video or else the name, order of the suffix, folder, name of the file)
    self._files: list[tuple[str, int, str, str]] = []
    for parent, name in walk(self.folder):
      stem, suffix = os.path.splitext(name)
      if suffix.lower() in order:
        parsed = parse(stem)
        self._files.append((parsed[0] if parsed else stem, order[suffix.lower()], parent, name))
    self._files.sort()

  def named(self, stem: str, folder: str | None = None) -> storage.Path | None:
    """Returns the file with a name (without suffix), or None.

    Args:
      stem: the name.
      folder: name of one of the folders in which the file is; None for any.
    """
    parsed = parse(stem)
    for parent, name in self._of_video(parsed[0] if parsed else stem):
      path = storage.parse(parent) / name
      if path.stem == stem and (folder is None or folder in path.relative_to(self.folder).parts[:-1]):
        return path
    return None

  def find(self, video: str, start_s: float = 0.0, end_s: float | None = None) -> Found | None:
    """Returns the media of a segment of a video; see the module.

    Args:
      video: id of the video.
      start_s, end_s: segment of the video in seconds; end_s None is its end.

    Returns:
      The file and the segment in it; None if there is none.
    """
    nearest, longer, whole, nearest_s = None, None, None, _TOLERANCE_S
    for parent, name in self._of_video(video):
      _, cut_start_s, cut_end_s = parse(os.path.splitext(name)[0]) or (name, None, None)
      if cut_start_s is None:
        whole = whole or Found(storage.parse(parent) / name, start_s, end_s, False)
        continue
      distance_s = abs(cut_start_s - start_s)
      if distance_s < nearest_s and _is_end(cut_end_s, end_s):
        nearest, nearest_s = Found(storage.parse(parent) / name, 0.0, None, True), distance_s
      elif end_s is not None and cut_end_s is not None and cut_start_s <= start_s and end_s <= cut_end_s:
        path = storage.parse(parent) / name
        longer = longer or Found(path, start_s - cut_start_s, end_s - cut_start_s, False)
    return nearest or longer or whole

  def _of_video(self, key: str) -> Iterator[tuple[str, str]]:
    """Yields (folder, name) of the files of a video, or with a name."""
    for at in range(bisect.bisect_left(self._files, (key,)), len(self._files)):
      found, _, parent, name = self._files[at]
      if found != key:
        return
      yield parent, name


class Listings:
  """Whether files exist, by one listing of each folder."""

  def __init__(self):
    self._names: dict[str, frozenset[str]] = {}

  def __contains__(self, path: storage.Path) -> bool:
    """Whether a file exists. Raises OSError where an object store cannot be reached."""
    parent = os.fspath(path.parent)
    if parent not in self._names:
      self._names[parent] = frozenset(_names(path.parent))
    return path.name in self._names[parent]


def _names(folder: storage.Path) -> list[str]:
  if storage.is_remote(folder):
    return [path.name for path in storage.list_folder(folder)]
  try:
    return os.listdir(folder)
  except OSError:
    return []


def walk(folder: storage.Path) -> Iterator[tuple[str, str]]:
  """Yields (folder, name) of all files below a folder, without hidden ones; follows links, each folder once.

  Raises:
    OSError: a folder cannot be read.
  """
  if storage.is_remote(folder):
    for path in storage.list_files(folder):
      *parents, name = path.split('/')
      if not any(part.startswith('.') for part in (*parents, name)):
        yield os.fspath(folder.joinpath(*parents)), name
    return

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


def _is_end(cut_end_s: float | None, end_s: float | None) -> bool:
  """Whether a cut may end where a segment does."""
  return end_s is None or cut_end_s is None or abs(cut_end_s - end_s) < _TOLERANCE_S
