"""Finding media files in folders: one list of suffixes for all commands, and a count of skipped files."""

import collections
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import os
import pathlib

from v2a import manifests

# v2a.media.source opens all of these; a test checks each.
VIDEO_SUFFIXES = (
  *('.mp4', '.m4v', '.mov', '.qt', '.f4v', '.3gp', '.3g2', '.mkv', '.webm', '.avi', '.divx', '.nut', '.mxf'),
  *('.mpg', '.mpeg', '.mpe', '.m1v', '.m2v', '.vob', '.mod', '.tod', '.ts', '.mts', '.m2t', '.m2ts'),
  *('.flv', '.wmv', '.asf', '.ogv', '.ogm', '.rm', '.rmvb', '.dv', '.dif'),
  *('.h264', '.264', '.avc', '.h265', '.265', '.hevc', '.ivf', '.obu', '.mjpeg', '.mjpg'),
)
AUDIO_SUFFIXES = (
  *('.wav', '.wave', '.flac', '.mp3', '.m4a', '.aac', '.ogg', '.oga', '.opus', '.wma', '.aif', '.aiff'),
  *('.aifc', '.caf', '.au', '.ac3', '.eac3', '.mka', '.w64', '.rf64', '.ape', '.wv', '.amr'),
)
STILL_SUFFIXES = (
  *('.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.gif', '.avif', '.heic', '.heif'),
  *('.bmp', '.tif', '.tiff', '.jxl', '.ppm', '.pgm'),
)
# Texts that may accompany a video; not reported as skipped.
SIDECAR_SUFFIXES = ('.txt', '.json', '.srt', '.vtt')
MAX_LISTED = 6


@dataclasses.dataclass(frozen=True)
class SearchResult:
  """Result of a search.

  Attributes:
    folder: the folder that was searched.
    paths: the files with the requested suffixes, sorted.
    skipped_by_suffix: number of other files by lower-case suffix, without sidecars and hidden files.
    num_outputs: number of files written by `v2a generate`, as listed in its manifests; counted in neither.
  """

  folder: pathlib.Path
  paths: list[pathlib.Path]
  skipped_by_suffix: dict[str, int]
  num_outputs: int = 0

  @property
  def skipped_summary(self) -> str:
    """Summary of skipped files, such as '3 files skipped (.docx 2, .tmp 1)'; '' if there are none."""
    parts = []
    if num := sum(self.skipped_by_suffix.values()):
      by_count = sorted(self.skipped_by_suffix.items(), key=lambda item: (-item[1], item[0]))
      listed = [f'{suffix or "without a suffix"} {count}' for suffix, count in by_count[:MAX_LISTED]]
      if others := sum(count for _, count in by_count[MAX_LISTED:]):
        listed.append(f'others {others}')
      parts.append(f'{_files(num)} skipped ({", ".join(listed)})')
    if self.num_outputs:
      parts.append(f'{_files(self.num_outputs)} that v2a generate wrote')
    return ', '.join(parts)

  @property
  def note(self) -> str:
    """One line about skipped files; '' if there are none besides outputs of v2a generate."""
    return f'{self.folder}: {self.skipped_summary}' if self.skipped_by_suffix else ''


def search(folder: pathlib.Path, suffixes: Iterable[str], is_recursive: bool = False) -> SearchResult:
  """Returns the files of a folder that have one of the given suffixes, in upper or lower case.

  Hidden files and folders are ignored, and so are files that `v2a generate` wrote there. Links are
  followed; a folder that is reached by two paths is searched once.

  Args:
    folder: the folder to search.
    suffixes: VIDEO_SUFFIXES, AUDIO_SUFFIXES, STILL_SUFFIXES, or several of them.
    is_recursive: whether to search subfolders, too.

  Raises:
    OSError: a folder cannot be read.
  """
  suffix_set, paths, skipped, num_outputs = frozenset(suffixes), [], collections.Counter(), 0
  for subfolder, names in _walk(pathlib.Path(folder), is_recursive):
    outputs = _outputs(subfolder, names)
    for name in names:
      suffix = pathlib.PurePath(name).suffix.lower()
      if name in outputs:
        num_outputs += 1
      elif suffix in suffix_set:
        paths.append(subfolder / name)
      elif suffix not in SIDECAR_SUFFIXES:
        skipped[suffix] += 1
  return SearchResult(pathlib.Path(folder), sorted(paths), dict(skipped), num_outputs)


def _walk(folder: pathlib.Path, is_recursive: bool) -> Iterator[tuple[pathlib.Path, list[str]]]:
  """Yields (folder, names of its files) without hidden names."""

  def reraise(error: OSError):
    raise error

  seen = set()
  for subfolder, folders, names in os.walk(folder, onerror=reraise, followlinks=True):
    status = os.stat(subfolder)
    is_new = (status.st_dev, status.st_ino) not in seen
    seen.add((status.st_dev, status.st_ino))
    folders[:] = [name for name in folders if not name.startswith('.')] if is_recursive and is_new else []
    if is_new:
      yield pathlib.Path(subfolder), [name for name in names if not name.startswith('.')]


def _outputs(folder: pathlib.Path, names: list[str]) -> set[str]:
  """Returns the names of the files in a folder that are listed in manifests of v2a generate."""
  found = {name: manifests.read(folder / name) for name in names if name.endswith('.json')}
  return {each for name, manifest in found.items() if manifest for each in (name, *manifest['files'])}


def _files(num: int) -> str:
  return f'{num} file' if num == 1 else f'{num} files'
