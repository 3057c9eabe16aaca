"""Players of a page: soundtracks muxed with the frames of their clips, in a folder beside the page.

The folder of PAGE.html is PAGE_media. It holds a FLAC file of each sound and, where the clip has frames, an
MP4 file with the sound (AAC) and the frames (`v2a.media.preview`). The page refers to them by relative URLs:
page and folder can be moved together, and need no network. LISTING names the files; a later run replaces
them, and no other file.
"""

from collections.abc import Generator
from collections.abc import Iterator
import contextlib
import dataclasses
import fractions
import html
import json
import pathlib
import shutil
import urllib.parse

from PIL import Image

from v2a import file_names
from v2a import files
from v2a.data import examples as examples_lib
from v2a.media import audio_file
from v2a.media import preview
from v2a.media import write
from v2a.metrics import metric as metric_lib
from v2a.reports import outputs

LISTING = 'files.json'
_SUFFIX = '_media'
_NAME_BYTES = 120
_POSTER_QUALITY = 75


def folder_of(page: pathlib.Path) -> pathlib.Path:
  """Returns the folder of the players of a page."""
  return page.with_name(page.stem + _SUFFIX)


def check(page: pathlib.Path) -> None:
  """Raises FileExistsError where the folder of a page's players holds anything that v2a did not write."""
  _check_folder(folder_of(page))


def _check_folder(folder: pathlib.Path) -> None:
  if not folder.exists() and not folder.is_symlink():
    return
  if not folder.is_dir() or folder.is_symlink():
    raise FileExistsError(f'{folder}: exists and was not written by v2a; nothing is overwritten.')
  known = _listed(folder)
  for path in sorted(folder.iterdir()):
    if path.name not in known or not path.is_file() or path.is_symlink():
      raise FileExistsError(f'{path}: exists and was not written by v2a; nothing is overwritten.')


def _listed(folder: pathlib.Path) -> set[str]:
  """Returns the names of the files that v2a wrote into a folder."""
  listing = folder / LISTING
  if not listing.is_file():
    return set()
  try:
    files.check_replaceable(listing)
    return {LISTING, *json.loads(listing.read_text(encoding='utf-8'))['files']}
  except (FileExistsError, ValueError, KeyError, TypeError):
    return set()


@dataclasses.dataclass(frozen=True)
class _SilentVideo:
  """Frames of a clip without sound, and a still of them."""

  path: pathlib.Path
  poster: str
  width: int
  height: int


@dataclasses.dataclass(frozen=True)
class Player:
  """HTML elements of one sound: what plays it, and the link to the sound alone."""

  element: str
  download: str


class Writer:
  """Writes the media of one page, and returns the elements that play them."""

  def __init__(self, folder: pathlib.Path, url: str):
    """Args: folder: to write into. url: of the folder, relative to the page."""
    self._folder, self._url = folder, url
    # By identity, since videos of a folder may share a name; with the objects, so that no other gets an id.
    self._silent: dict[tuple[int, str], tuple[examples_lib.Example, _SilentVideo | None]] = {}
    self._players: dict[tuple[int, str, int], tuple[metric_lib.Sound, Player]] = {}
    self._names: list[str] = []

  def player(
    self, example: examples_lib.Example, sound: metric_lib.Sound, label: str, corruption: str = 'clean'
  ) -> Player:
    """Returns a video player, or an audio player without frames; writes what it plays.

    A sound that is played in several parts of a page is written once.

    Args:
      example: the clip, whose frames are shown.
      sound: the soundtrack.
      label: what it is, such as the name of a system.
      corruption: of the frames: 'clean', or that of a paired variant.
    """
    key = id(example), corruption, id(sound)
    if key not in self._players:
      self._players[key] = sound, self._write(example, sound, label, corruption)
    return self._players[key][1]

  def _write(
    self, example: examples_lib.Example, sound: metric_lib.Sound, label: str, corruption: str
  ) -> Player:
    name, alt = f'{example.name} {label}', html.escape(f'{example.name}: {label}', quote=True)
    flac = self._new_path(name, '.flac')
    audio_file.flac(flac, sound.wave_NA, sound.sample_rate_hz)
    download = f'<a class="download" href="{self._link(flac)}" download>FLAC</a>'
    silent = self._silent_video(example, sound, corruption)
    if silent is None:
      audio = f'<audio controls preload="none" src="{self._link(flac)}" aria-label="{alt}"></audio>'
      return Player(audio, download)
    video = self._new_path(name, '.mp4')
    write.mux(silent.path, sound.wave_NA, sound.sample_rate_hz, video)
    element = (
      f'<video controls playsinline preload="none" width="{silent.width}" height="{silent.height}" '
      f'poster="{silent.poster}" src="{self._link(video)}" aria-label="{alt}"></video>'
    )
    return Player(element, download)

  def publish(self, folder: pathlib.Path) -> None:
    """Puts the files in place of those of an earlier run; without any, removes those.

    Raises:
      FileExistsError: the folder holds files that v2a did not write.
    """
    for _, silent in self._silent.values():
      if silent is not None:
        silent.path.unlink()
    _check_folder(folder)  # again: rendering takes long, and files may have appeared meanwhile
    if folder.exists():
      shutil.rmtree(folder)
    if self._names:
      listing = {'about': files.MARK, 'files': self._names}
      files.write_text(self._folder / LISTING, json.dumps(listing, indent=1) + '\n')
      self._folder.rename(folder)

  def _new_path(self, name: str, suffix: str) -> pathlib.Path:
    # The number makes names of clips unique that differ by case alone.
    stem = file_names.file_name(f'{len(self._names):03d} {name}', _NAME_BYTES)
    self._names.append(f'{stem}{suffix}')
    return self._folder / self._names[-1]

  def _link(self, path: pathlib.Path) -> str:
    return html.escape(urllib.parse.quote(f'{self._url}/{path.name}'), quote=True)

  def _silent_video(
    self, example: examples_lib.Example, sound: metric_lib.Sound, corruption: str
  ) -> _SilentVideo | None:
    key = id(example), corruption
    if key not in self._silent:
      self._silent[key] = example, self._encode(example, sound, corruption)
    return self._silent[key][1]

  def _encode(
    self, example: examples_lib.Example, sound: metric_lib.Sound, corruption: str
  ) -> _SilentVideo | None:
    duration_s = fractions.Fraction(len(sound.wave_NA), sound.sample_rate_hz)
    frames = _frames(example, corruption, duration_s)
    if frames is None:
      return None
    path = self._folder / f'.silent-{len(self._silent)}.mp4'
    middle: list[preview.TimedFrame] = []

    def seen() -> Iterator[preview.TimedFrame]:
      for time_s, frame_YX3 in frames:
        if not middle or time_s <= duration_s / 2:
          middle[:] = [(time_s, frame_YX3)]
        yield time_s, frame_YX3

    preview.write(path, seen(), duration_s)
    still_YX3 = middle[0][1]
    poster = self._new_path(f'{example.name} {corruption}', '.jpg')
    Image.fromarray(still_YX3).save(poster, 'JPEG', quality=_POSTER_QUALITY)
    return _SilentVideo(path, self._link(poster), still_YX3.shape[1], still_YX3.shape[0])


def _frames(
  example: examples_lib.Example, corruption: str, duration_s: fractions.Fraction
) -> Iterator[preview.TimedFrame] | None:
  """Returns the frames of a clip, those of its file where there is one; None where there are none."""
  if corruption == 'clean' and example.video is not None:
    return preview.read_frames(example.video, duration_s)
  frame_LYX3 = example.corrupted_frames(corruption)[1]
  # Zeros stand for the frames of a record without video.
  return preview.array_frames(frame_LYX3, len(frame_LYX3) / duration_s) if frame_LYX3.any() else None


@contextlib.contextmanager
def writer(page: pathlib.Path) -> Generator[Writer]:
  """Yields what writes the media of a page; they are put in place at the end of the block, if it succeeds.

  Args:
    page: the file of the page, in an existing folder.

  Raises:
    FileExistsError: files of the user are in the way.
  """
  check(page)
  folder = folder_of(page)
  with outputs.staging_folder(folder) as staged:
    found = Writer(staged, folder.name)
    yield found
    found.publish(folder)
