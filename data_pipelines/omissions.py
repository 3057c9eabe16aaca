"""Content of a folder of videos that is not in the records, reported as one note per kind."""

from collections.abc import Sequence
import pathlib
import threading

from v2a.media import sidecar

_NUM_SHOWN = 3
_KEYS = ('annotation', 'transcript', 'words')
_SIDECARS = ('.txt', '.json', '.srt', '.vtt')


class Omissions:
  """Collects omitted content by kind; thread-safe."""

  def __init__(self):
    self._names: dict[str, set[str]] = {}
    self._keys: set[str] = set()
    self._tails_s: dict[str, float] = {}
    self._lock = threading.Lock()

  def add_sidecars(self, path: pathlib.Path, name: str, content: sidecar.Sidecar, num_windows: int) -> None:
    """Records what of the sidecars of a video is not used.

    Args:
      path: the video.
      name: name of the video in notes.
      content: the parsed sidecars.
      num_windows: number of windows of the video.
    """
    keys = set(sidecar.read_json(path)) - set(_KEYS)
    is_untimed = bool(content.transcript.text) and content.transcript.times_s is None and num_windows > 1
    with self._lock:
      if keys:
        self._keys |= keys
        self._names.setdefault('keys', set()).add(name)
      if is_untimed:
        self._names.setdefault('untimed', set()).add(name)

  def add_tail(self, name: str, tail_s: float) -> None:
    """Records the seconds at the end of a video that no window covers."""
    with self._lock:
      self._tails_s[name] = tail_s

  def notes(self) -> list[str]:
    """Returns one line per kind, with the first names."""
    lines = []
    if names := self._names.get('keys'):
      keys = _listed(sorted(self._keys))
      lines.append(f'the .json of {_some(names)} has unknown keys: {keys}; known keys are {", ".join(_KEYS)}')
    if names := self._names.get('untimed'):
      lines.append(f'the transcript of {_some(names)} is omitted: no times, but several windows')
    if self._tails_s:
      total_s = sum(self._tails_s.values())
      lines.append(
        f'the ends of {_some(self._tails_s)}, {total_s:.1f} s in total, are omitted: '
        'each is shorter than half a window'
      )
    return lines


def shared_sidecars(paths: Sequence[pathlib.Path]) -> list[str]:
  """Returns a line about videos that share sidecars (a.mp4 and a.mov share a.txt); empty if none do."""
  groups: dict[pathlib.Path, list[pathlib.Path]] = {}
  for path in paths:
    groups.setdefault(path.with_suffix(''), []).append(path)
  found = []
  for base, videos in groups.items():
    if len(videos) > 1:
      files = [path.name for path in map(base.with_suffix, _SIDECARS) if path.is_file()]
      if files:
        found.append(f'{" and ".join(path.name for path in videos)} share {" and ".join(files)}')
  if not found:
    return []
  return [f'{_listed(found)}: these sidecars are used for each of the videos']


def _some(names) -> str:
  count = f'{len(names)} video{"s" if len(names) != 1 else ""}'
  return f'{count} ({_listed(sorted(names))})'


def _listed(names: list[str]) -> str:
  more = f' and {len(names) - _NUM_SHOWN} more' if len(names) > _NUM_SHOWN else ''
  return ', '.join(names[:_NUM_SHOWN]) + more
