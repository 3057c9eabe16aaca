"""The folder of recordings.

  audio/PACKAGE/NAME.flac   the sounds, with the rate and channels of the original
  manifest.jsonl            path, id, label, licence, split: what the source `audio_only` reads
  licences.csv              a row a file: package, version, path in it, licence, author, address
  README.txt                attributions
  copyright/PACKAGE.txt     what the package says about its licences, with their texts
  recordings.json           packages with versions and digests, what was left out and why; marks the folder
  packages/                 files of packages while a run is not finished

Every file is written whole, and `recordings.json` states `is_complete` at the end. A run that was interrupted
continues: packages that were fetched are there, and sounds with the same bytes are not written again.
"""

from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
import csv
import dataclasses
import hashlib
import io
import json
import pathlib
import shutil
from typing import Any

import soundfile

from data_pipelines.recordings import packages as packages_lib
from data_pipelines.recordings import sounds as sounds_lib
from data_pipelines.recordings import splits
from v2a import files

MANIFEST = 'manifest.jsonl'
STATE = 'recordings.json'
LICENCE_COLUMNS = ('file', 'package', 'version', 'path_in_package', 'licence', 'author', 'source')
LICENCE_TEXTS = {
  'CC-BY-3.0': 'https://creativecommons.org/licenses/by/3.0/',
  'CC-BY-4.0': 'https://creativecommons.org/licenses/by/4.0/',
  'CC0-1.0': 'https://creativecommons.org/publicdomain/zero/1.0/',
  'MIT': 'https://spdx.org/licenses/MIT.html',
}


@dataclasses.dataclass(frozen=True)
class Entry:
  """A sound in the folder.

  Attributes:
    file: its path in the folder.
    package, version: that it came from.
    sound: without its bytes.
    duration_s: its length.
  """

  file: str
  package: str
  version: str
  sound: sounds_lib.Sound
  duration_s: float


def begin(folder: pathlib.Path, names: Sequence[str]) -> None:
  """Makes the folder, or continues one that was begun for the same packages.

  Raises:
    FileExistsError: it has files of others, or recordings of other packages.
    OSError: it cannot be written.
  """
  state = read_state(folder)
  if state is not None:
    if sorted(state['names']) != sorted(names):
      raise FileExistsError(f'{folder}: has recordings of {", ".join(state["names"])}; name another folder.')
    return
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise FileExistsError(f'{folder}: exists and is not a folder of recordings; nothing is overwritten.')
  folder.mkdir(parents=True, exist_ok=True)
  _write_state(folder, {'names': list(names), 'is_complete': False})


def read_state(folder: pathlib.Path) -> dict[str, Any] | None:
  """Returns what `recordings.json` says, or None if it is not there.

  Raises:
    ValueError: it is none of this command.
    OSError: it cannot be read.
  """
  path = folder / STATE
  if not path.is_file():
    return None
  try:
    state = json.loads(path.read_text(encoding='utf-8'))
    return state if 'names' in state else None
  except (ValueError, TypeError) as error:
    raise ValueError(f'{path}: was not written by this command ({error}).') from error


def write(folder: pathlib.Path, packages: Sequence[packages_lib.Package]) -> dict[str, Any]:
  """Writes the sounds of packages and what is said about them; returns the final `recordings.json`.

  Raises:
    ValueError: a package is damaged.
    OSError: a file cannot be written.
  """
  entries, omitted = [], []
  first: dict[str, str] = {}  # digest -> file
  for package in packages:
    for found in sounds_lib.read(package.name, package.path):
      if isinstance(found, sounds_lib.Omission):
        omitted.append((package.name, found))
        continue
      file = f'audio/{package.name}/{found.name}.flac'
      digest = hashlib.sha256(found.flac).hexdigest()
      if digest in first:
        omitted.append(
          (package.name, sounds_lib.Omission(found.member, f'the same sound as {first[digest]}'))
        )
        continue
      first[digest] = file
      info = soundfile.info(io.BytesIO(found.flac))
      _write_bytes(folder / file, found.flac)
      sound = dataclasses.replace(found, flac=b'')
      entries.append(Entry(file, package.name, package.version, sound, info.frames / info.samplerate))
    notices = sounds_lib.notices(package.name, package.path)
    _write_bytes(folder / 'copyright' / f'{package.name}.txt', notices.encode())
  _write_tables(folder, entries)
  state = {
    'names': [package.name for package in packages],
    'is_complete': True,
    'packages': [
      {'name': package.name, 'version': package.version, 'sha256': package.sha256} for package in packages
    ],
    'totals': totals(entries),
    'left_out': [
      {'package': name, 'path_in_package': omission.member, 'reason': omission.reason}
      for name, omission in omitted
    ],
  }
  _write_state(folder, state)
  shutil.rmtree(folder / 'packages', ignore_errors=True)
  return state


def totals(entries: Iterable[Entry]) -> list[dict[str, Any]]:
  """Returns number of files and seconds by package and licence."""
  found: dict[tuple[str, str], list[float]] = {}
  for entry in entries:
    found.setdefault((entry.package, entry.sound.licence), []).append(entry.duration_s)
  return [
    {'package': package, 'licence': licence, 'num_files': len(seconds), 'duration_s': round(sum(seconds), 2)}
    for (package, licence), seconds in found.items()
  ]


def summary_lines(state: dict[str, Any]) -> list[str]:
  """Returns what a run wrote, by package and licence, and what was left out."""
  lines = [
    f'{row["package"]}: {row["num_files"]} files, {row["duration_s"] / 60:.1f} min, {row["licence"]}'
    for row in state['totals']
  ]
  reasons = Counter((row['package'], row['reason'].split(' as audio/')[0]) for row in state['left_out'])
  lines += [f'{package}: {count} left out ({reason})' for (package, reason), count in reasons.items()]
  return lines


def _write_tables(folder: pathlib.Path, entries: Sequence[Entry]) -> None:
  groups = splits.groups([entry.sound.related for entry in entries])
  table = io.StringIO()
  writer = csv.writer(table, lineterminator='\n')
  writer.writerow(LICENCE_COLUMNS)
  rows = []
  for entry, group in zip(entries, groups, strict=True):
    sound = entry.sound
    row = {'path': entry.file, 'id': f'{entry.package}/{sound.name}', 'label': sound.label}
    rows.append(json.dumps(row | {'licence': sound.licence, 'split': splits.split_of(group)}))
    writer.writerow(
      (entry.file, entry.package, entry.version, sound.member, sound.licence, sound.author, sound.source)
    )
  files.write_text(folder / 'licences.csv', table.getvalue())
  files.write_text(folder / 'README.txt', _readme(entries))
  files.write_text(folder / MANIFEST, '\n'.join(rows) + '\n')


def _readme(entries: Sequence[Entry]) -> str:
  """Returns the attributions, which CC-BY and MIT require; those of CC0 are in licences.csv alone."""
  lines = [
    'Recorded sounds from Debian packages. licences.csv has the licence and author of each file, and',
    'copyright/ what the packages say about their licences, with the texts and all credits.',
    'Files were converted to FLAC without loss and are otherwise as the packages have them; left and right',
    'samples of SoundFonts are one file.',
  ]
  for licence in sorted({entry.sound.licence for entry in entries}):
    count = sum(entry.sound.licence == licence for entry in entries)
    lines += ['', f'{licence}: {count} files, {LICENCE_TEXTS[licence]}']
    if licence == 'CC0-1.0':
      continue
    credits = Counter(
      (entry.package, entry.version, entry.sound.author, entry.sound.source)
      for entry in entries
      if entry.sound.licence == licence
    )
    for (package, version, author, source), num_files in credits.items():
      lines.append(f'  {package} {version}, {num_files} files: {author}{f", {source}" if source else ""}')
  return '\n'.join(lines) + '\n'


def _write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Writes a file as a whole, unless it is there with these bytes."""
  if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as partial:
    partial.write_bytes(content)


def _write_state(folder: pathlib.Path, state: dict[str, Any]) -> None:
  files.write_text(folder / STATE, json.dumps(state, indent=1) + '\n')
