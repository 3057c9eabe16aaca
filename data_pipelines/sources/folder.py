"""A folder of videos or sounds, on this machine or in an object store, each with texts beside it.

Beside a.mp4: a.txt, a description of its sound; a.srt or a.vtt, subtitles of its speech; and a.json, with the
keys annotation, transcript and words (see `v2a.media.sidecar`), and label, licence and split. Subfolders are
searched; hidden files and what `v2a generate` wrote are left out (see `v2a.media.folder`).
"""

from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import pathlib
import tempfile

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from v2a import file_names
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.media import folder as folder_lib
from v2a.media import sidecar

_KEYS = ('label', 'licence', 'split')


@dataclasses.dataclass(frozen=True)
class Folder:
  """A folder of media with texts beside them; see the module.

  Attributes:
    path: the folder.
    suffixes: of the files that are items.
    licence, split: of items whose .json names none.
    name: of the data set.
  """

  path: storage.Path
  suffixes: tuple[str, ...] = media_index.SUFFIXES
  licence: str | None = None
  split: str | None = None
  name: str = 'folder'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item for each file, or a problem if a text beside it is malformed; in the order of names.

    Raises:
      OSError: the folder cannot be read.
      ValueError: it has no such files.
    """
    paths, names = self._search()
    if not paths:
      skipped = f' ({self.skipped_note})' if self.skipped_note else ''
      raise ValueError(f'{self.path}: has no video or sound{skipped}; wanted {", ".join(self.suffixes)}.')
    yield from entries.checked(
      entries.attempt(lambda where, path=path: self._entry(path, where, names), items.where(path))
      for path in paths
    )

  @property
  def skipped_note(self) -> str:
    """Files that are neither media nor texts, such as '2 files skipped (.docx 2)'; '' without any."""
    if not isinstance(self.path, pathlib.Path):
      return ''
    return folder_lib.search(self.path, self.suffixes, is_recursive=True).skipped_summary

  def _search(self) -> tuple[Sequence[storage.Path], frozenset[str]]:
    """Returns the media, and the names of all objects where the folder is in a store."""
    if isinstance(self.path, pathlib.Path):
      return folder_lib.search(self.path, self.suffixes, is_recursive=True).paths, frozenset()
    names = frozenset(storage.list_files(self.path))
    paths = (storage.parse(parent) / name for parent, name in media_index.walk(self.path))
    return sorted(path for path in paths if path.suffix.lower() in self.suffixes), names

  def _entry(self, path: storage.Path, where: str, names: frozenset[str]) -> entries.Entry:
    name = file_names.printable(path.relative_to(self.path).as_posix())
    try:
      with self._beside(path, names) as local:
        texts, content = sidecar.read(local), sidecar.read_json(local)
      for key in _KEYS:
        if not isinstance(content.get(key) or '', str):
          raise ValueError(f'{path.with_suffix(".json")}: {key} must be a string; got {content[key]!r}.')
    except ValueError as error:
      raise entries.UnusableError('malformed', str(error), name) from error
    captions = (annotations_lib.Caption(texts.annotation, 'short'),) if texts.annotation else ()
    item = items.Item(
      name,
      items.MediaFile(path),
      name,
      annotations=annotations_lib.Annotations(
        entries.label_captions(content.get('label') or '') + captions, texts.transcript
      ),
      licence=content.get('licence') or self.licence,
      split=entries.split_of(content.get('split') or '') or self.split,
    )
    return entries.of_item(item, where)

  @contextlib.contextmanager
  def _beside(self, path: storage.Path, names: frozenset[str]) -> Generator[pathlib.Path]:
    """Gives the path on this machine beside which the texts of a file are: copies, if they are in a store.

    Args:
      path: of the media.
      names: of all objects below the folder, if it is in a store.
    """
    if isinstance(path, pathlib.Path):
      yield path
      return
    with tempfile.TemporaryDirectory(prefix='v2a-') as temporary:
      for suffix in folder_lib.SIDECAR_SUFFIXES:
        text = path.with_suffix(suffix)
        if text.relative_to(self.path).as_posix() in names:
          storage.download(text, pathlib.Path(temporary) / text.name)
      try:
        yield pathlib.Path(temporary) / path.name
      except ValueError as error:
        raise ValueError(str(error).replace(temporary, str(path.parent))) from error
