"""What a folder of videos holds that no record does, for one note a kind."""

from collections.abc import Sequence
import pathlib
import threading

from v2a.media import sidecar

_NUM_SHOWN = 3
_KEYS = ('annotation', 'transcript', 'words')
_SIDECARS = ('.txt', '.json', '.srt', '.vtt')


class Omissions:
  """Collects names by kind, from several threads."""

  def __init__(self):
    self._names: dict[str, set[str]] = {}
    self._keys: set[str] = set()
    self._tails_s: dict[str, float] = {}
    self._lock = threading.Lock()

  def add_sidecars(self, path: pathlib.Path, name: str, words: sidecar.Sidecar, num_windows: int) -> None:
    """Notes what of the sidecars of a video is not read.

    Args:
      path: the video.
      name: for the note.
      words: what was read.
      num_windows: of the video.
    """
    keys = set(sidecar.read_json(path)) - set(_KEYS)
    is_untimed = bool(words.transcript.text) and words.transcript.times_s is None and num_windows > 1
    with self._lock:
      if keys:
        self._keys |= keys
        self._names.setdefault('keys', set()).add(name)
      if is_untimed:
        self._names.setdefault('untimed', set()).add(name)

  def add_tail(self, name: str, tail_s: float) -> None:
    """Notes the seconds at the end of a video that no window holds."""
    with self._lock:
      self._tails_s[name] = tail_s

  def notes(self) -> list[str]:
    """Returns a line a kind, with the first names."""
    lines = []
    if names := self._names.get('keys'):
      keys = _listed(sorted(self._keys))
      lines.append(
        f'the .json beside {_some(names)} has keys that are not read: {keys}; known are {", ".join(_KEYS)}'
      )
    if names := self._names.get('untimed'):
      lines.append(f'the transcript of {_some(names)} is left out: no times, but several windows')
    if self._tails_s:
      total_s = sum(self._tails_s.values())
      lines.append(
        f'the ends of {_some(self._tails_s)}, {total_s:.1f} s in all, are left out: '
        'each is shorter than half a window'
      )
    return lines


def shared_sidecars(paths: Sequence[pathlib.Path]) -> list[str]:
  """Returns a line on videos that share sidecars, as a.mp4 and a.mov do a.txt; nothing where none do."""
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
  return [f'{_listed(found)}: what these say is taken to be of each video']


def _some(names) -> str:
  count = f'{len(names)} video{"s" if len(names) != 1 else ""}'
  return f'{count} ({_listed(sorted(names))})'


def _listed(names: list[str]) -> str:
  more = f' and {len(names) - _NUM_SHOWN} more' if len(names) > _NUM_SHOWN else ''
  return ', '.join(names[:_NUM_SHOWN]) + more
