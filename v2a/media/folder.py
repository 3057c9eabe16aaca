"""What a folder is searched for: one list of suffixes for every command, and a count of the rest."""

import collections
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import os
import pathlib

from v2a import manifests

# Each is a format that v2a.media.source opens; a test goes through them.
VIDEO_SUFFIXES = (
  *('.mp4', '.m4v', '.mov', '.qt', '.f4v', '.3gp', '.3g2', '.mkv', '.webm', '.avi', '.divx', '.nut', '.mxf'),
  *('.mpg', '.mpeg', '.mpe', '.m1v', '.m2v', '.vob', '.mod', '.tod', '.ts', '.mts', '.m2t', '.m2ts'),
  *('.flv', '.wmv', '.asf', '.ogv', '.ogm', '.rm', '.rmvb', '.dv', '.dif'),
  *('.h264', '.264', '.avc', '.h265', '.265', '.hevc', '.ivf', '.obu', '.mjpeg', '.mjpg'),
)
STILL_SUFFIXES = (
  *('.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.gif', '.avif', '.heic', '.heif'),
  *('.bmp', '.tif', '.tiff', '.jxl', '.ppm', '.pgm'),
)
# Texts that may lie beside a video; they are not worth a word when a folder is searched.
SIDECAR_SUFFIXES = ('.txt', '.json', '.srt', '.vtt')
MAX_LISTED = 6


@dataclasses.dataclass(frozen=True)
class SearchResult:
  """What a search found.

  Attributes:
    folder: that was searched.
    paths: the files of the wanted suffixes, sorted.
    skipped_by_suffix: how many other files there are, by lower-case suffix; sidecars and hidden files do not
      count.
    num_outputs: files that a manifest of `v2a generate` beside them names; they are neither.
  """

  folder: pathlib.Path
  paths: list[pathlib.Path]
  skipped_by_suffix: dict[str, int]
  num_outputs: int = 0

  @property
  def skipped_summary(self) -> str:
    """What else is there, as '3 files passed over (.docx 2, .tmp 1)'; '' where there is nothing."""
    parts = []
    if num := sum(self.skipped_by_suffix.values()):
      by_number = sorted(self.skipped_by_suffix.items(), key=lambda item: (-item[1], item[0]))
      listed = [f'{suffix or "without a suffix"} {count}' for suffix, count in by_number[:MAX_LISTED]]
      if others := sum(count for _, count in by_number[MAX_LISTED:]):
        listed.append(f'others {others}')
      parts.append(f'{_files(num)} passed over ({", ".join(listed)})')
    if self.num_outputs:
      parts.append(f'{_files(self.num_outputs)} that v2a generate wrote')
    return ', '.join(parts)

  @property
  def note(self) -> str:
    """One line on what is passed over; '' where that is nothing, or outputs of v2a generate alone."""
    return f'{self.folder}: {self.skipped_summary}' if self.skipped_by_suffix else ''


def search(folder: pathlib.Path, suffixes: Iterable[str], is_recursive: bool = False) -> SearchResult:
  """Returns the files of a folder that end in one of some suffixes, in upper or lower case.

  Hidden files and folders are left alone, and so are files that `v2a generate` wrote there. Links are
  followed; a folder that is reached in two ways counts once.

  Args:
    folder: where to look.
    suffixes: VIDEO_SUFFIXES, STILL_SUFFIXES or both.
    is_recursive: whether folders inside it are searched too.

  Raises:
    OSError: a folder cannot be read.
  """
  wanted, paths, passed_over, num_outputs = frozenset(suffixes), [], collections.Counter(), 0
  for place, names in _walk(pathlib.Path(folder), is_recursive):
    outputs = _outputs(place, names)
    for name in names:
      suffix = pathlib.PurePath(name).suffix.lower()
      if name in outputs:
        num_outputs += 1
      elif suffix in wanted:
        paths.append(place / name)
      elif suffix not in SIDECAR_SUFFIXES:
        passed_over[suffix] += 1
  return SearchResult(pathlib.Path(folder), sorted(paths), dict(passed_over), num_outputs)


def _walk(folder: pathlib.Path, is_recursive: bool) -> Iterator[tuple[pathlib.Path, list[str]]]:
  """Yields (folder, names of what is in it and no folder), hidden names left out."""

  def refuse(error: OSError):
    raise error

  seen = set()
  for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
    status = os.stat(place)
    is_new = (status.st_dev, status.st_ino) not in seen
    seen.add((status.st_dev, status.st_ino))
    folders[:] = [name for name in folders if not name.startswith('.')] if is_recursive and is_new else []
    if is_new:
      yield pathlib.Path(place), [name for name in names if not name.startswith('.')]


def _outputs(folder: pathlib.Path, names: list[str]) -> set[str]:
  """Returns the names of the files in a folder that manifests of v2a generate name."""
  found = (manifests.read(folder / name) for name in names if name.endswith('.json'))
  return {name for manifest in found if manifest for name in manifest['files']}


def _files(num: int) -> str:
  return f'{num} file' if num == 1 else f'{num} files'
