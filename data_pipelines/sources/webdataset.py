"""WebDataset: tar archives, in which the files of a clip follow each other and share a name.

github.com/webdataset/webdataset; written by video2dataset, among others. The key of a member is its name up
to the first dot of its last part, and what follows is its kind: of a/0001.mp4, a/0001.json and a/0001.txt,
the key is a/0001. Archives are read without unpacking: media stays where it is in the archive.

  .mp4, .flac, ...       the media; video before sound
  .txt, .cls             a caption; the name of a class
  .srt, .vtt             the transcript
  .json                  caption (or text), label, transcript, licence (or license), split

An archive that was cut gives a problem, another for its last clip, which may lack members, and the clips
before that. Compressed archives have no positions that could be read at: they are refused.
"""

from collections.abc import Iterator
import dataclasses
import json
import os
import pathlib
import tarfile

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from v2a.data import annotations as annotations_lib
from v2a.media import transcript as transcript_lib

_MAX_TEXT_BYTES = 1 << 20
_TEXTS = ('.txt', '.cls', '.srt', '.vtt', '.json')
_ORDER = {suffix: index for index, suffix in enumerate(media_index.SUFFIXES)}
_GZIP = b'\x1f\x8b'


@dataclasses.dataclass(frozen=True)
class WebDataset:
  """Clips in tar archives; see the module.

  Attributes:
    path: an archive, a folder of archives, or a path with '*' in the name of the archives.
    licence, split: of clips whose .json names none.
    name: of the data set.
  """

  path: pathlib.Path
  licence: str | None = None
  split: str | None = None
  name: str = 'webdataset'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each clip, and a problem for each archive that is damaged.

    Raises:
      OSError: the folder cannot be read, or there is no such archive.
      ValueError: there are no archives, or the first is compressed.
    """
    yield from entries.checked(found for path in _archives(self.path) for found in self._of_archive(path))

  def _of_archive(self, path: pathlib.Path) -> Iterator[entries.Entry | items.Problem]:
    key, members = None, []
    for member in _members(path):
      if isinstance(member, items.Problem):
        if members:
          reason = f'its archive ends in {members[-1].name} or after it: some of it may be missing'
          yield items.Problem('malformed', key or '', f'{items.where(path)}/{members[0].name}', reason)
        yield member
        return
      folder, _, name = member.name.rpartition('/')
      stem = f'{folder}/{name.partition(".")[0]}'.lstrip('/')
      if stem != key and members:
        yield self._clip(path, key, members)
        members = []
      key = stem
      members.append(member)
    if members:
      yield self._clip(path, key, members)

  def _clip(
    self, path: pathlib.Path, key: str | None, members: list[tarfile.TarInfo]
  ) -> entries.Entry | items.Problem:
    name = key or members[0].name
    return entries.attempt(
      lambda where: self._entry(path, name, members, where), f'{items.where(path)}/{members[0].name}'
    )

  def _entry(self, path: pathlib.Path, key: str, members: list[tarfile.TarInfo], where: str) -> entries.Entry:
    by_suffix = {pathlib.PurePosixPath(member.name).suffix.lower(): member for member in members}
    media = min(filter(_ORDER.__contains__, by_suffix), key=_ORDER.__getitem__, default=None)
    if media is None:
      got = ', '.join(by_suffix)
      raise entries.UnusableError(
        'missing',
        f'no video or sound follows it in the archive, as files of a clip must follow each other; got {got}',
        key,
      )
    try:
      texts = {suffix: _read(path, by_suffix[suffix]) for suffix in _TEXTS if suffix in by_suffix}
      annotations, values = _annotations(texts)
    except ValueError as error:
      raise entries.UnusableError('malformed', str(error), key) from error
    member = by_suffix[media]
    item = items.Item(
      key,
      items.FileRange(path, member.name, member.offset_data, member.size),
      key,
      annotations=annotations,
      licence=values.get('licence') or values.get('license') or self.licence,
      split=entries.split_of(values.get('split', '')) or self.split,
    )
    return entries.of_item(item, where)


def _archives(path: pathlib.Path) -> list[pathlib.Path]:
  """Returns the archives of a path."""
  if path.is_dir():
    found = sorted(path.glob('*.tar'))
  elif '*' in path.name:
    found = sorted(path.parent.glob(path.name))
  else:
    found = [path]
  if not found:
    raise ValueError(f'{path}: has no archive; wanted files such as 00000.tar.')
  with open(found[0], 'rb') as file:
    if file.read(2) == _GZIP:
      raise ValueError(f'{found[0]}: is compressed; wanted a plain tar, whose members can be read in it.')
  return found


def _members(path: pathlib.Path) -> Iterator[tarfile.TarInfo | items.Problem]:
  """Yields the files of an archive, in order; a problem if it is damaged, maybe in the last file."""
  try:
    num_bytes = os.path.getsize(path)
    with tarfile.open(path, 'r:') as archive:
      end = 0
      while (member := archive.next()) is not None:
        end = member.offset_data + member.size
        if member.isfile() and not member.name.rpartition('/')[2].startswith('.'):
          yield member
        if end > num_bytes:
          yield _damaged(path, f'{member.name} ends at byte {end}, the archive at {num_bytes}: it was cut')
          return
  except (OSError, tarfile.TarError) as error:
    yield _damaged(path, f'cannot be read: {error}')
    return
  # tarfile takes the end of the file for the end of the archive, which has a block of zeros at least.
  if num_bytes - -(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE < tarfile.BLOCKSIZE:
    yield _damaged(path, f'ends after byte {end} without the mark of an end: it was cut')


def _damaged(path: pathlib.Path, reason: str) -> items.Problem:
  return items.Problem('malformed', '', items.where(path), reason)


def _read(path: pathlib.Path, member: tarfile.TarInfo) -> str:
  """Returns the text of a member."""
  if member.size > _MAX_TEXT_BYTES:
    raise ValueError(f'{member.name} has {member.size} bytes; wanted a text of at most {_MAX_TEXT_BYTES}')
  with open(path, 'rb') as file:
    file.seek(member.offset_data)
    try:
      return file.read(member.size).decode('utf-8-sig')
    except UnicodeDecodeError as error:
      raise ValueError(f'{member.name} is no UTF-8 text: {error}') from error


def _annotations(texts: dict[str, str]) -> tuple[annotations_lib.Annotations, dict[str, str]]:
  """Returns the annotations in the texts of a clip by suffix, and the texts in its .json by key."""
  try:
    content = json.loads(texts.get('.json', '{}'))
  except (ValueError, RecursionError) as error:
    raise ValueError(f'.json is no JSON: {error}') from error
  if not isinstance(content, dict):
    raise ValueError(f'.json must be an object; got {type(content).__name__}')
  values = {key: value for key, value in content.items() if isinstance(value, str)}
  caption = ' '.join((values.get('caption') or values.get('text') or texts.get('.txt', '')).split())
  labels = entries.label_captions(values.get('label') or texts.get('.cls', ''))
  spoken = texts.get('.srt') or texts.get('.vtt') or values.get('transcript', '')
  return (
    annotations_lib.Annotations(
      labels + ((annotations_lib.Caption(caption, 'short'),) if caption else ()), transcript_lib.parse(spoken)
    ),
    values,
  )
