"""The licences of training records, by count: what an exported model says about its data.

The data of a model are a list with an entry for each folder of records, which names no path:

  {'hash': SHA-256 of the records, 'num_records': 38, 'licences': {'CC-BY-4.0': 30, 'unknown': 8}}
"""

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from v2a.data import media_source
from v2a.data import records

UNKNOWN = 'unknown'
GENERATED = 'generated'  # rendered by this project: the synthetic set, and the fake records of --tiny


def of_source(source: records.RecordSource) -> list[dict[str, Any]]:
  """Returns the data of a training: an entry for each folder of its records, in order."""
  if not source.folders:
    return [_entry(source.hash, len(source), {GENERATED: len(source)})]
  return [of_folder(folder) for folder in source.folders]


def of_folder(folder: records.FolderSource | media_source.MediaSource) -> dict[str, Any]:
  """Returns the entry of a folder; what its manifest does not say is unknown."""
  if isinstance(folder, media_source.MediaSource):
    return _entry(folder.hash, len(folder), folder.folder.manifest.get('licences', {}))
  about = folder.manifest.get('about', {})
  is_generated = about.get('source') == 'synthetic'
  known = about.get('licences', {GENERATED: len(folder)} if is_generated else {})
  return _entry(folder.hash, len(folder), known)


def unknown(about: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the entry of records of which no more is known than hash and number.

  Args:
    about: may have `records_hash` and `num_records`.
  """
  return _entry(about.get('records_hash'), about.get('num_records') or 0, {})


def merged(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """Returns entries without repetitions, in order."""
  found = []
  for entry in entries:
    if entry not in found:
      found.append(entry)
  return found


def _entry(digest: str | None, num_records: int, licences: Mapping[str, int]) -> dict[str, Any]:
  left = num_records - sum(licences.values())
  counts = dict(licences)
  if left > 0 or not counts:
    counts[UNKNOWN] = counts.get(UNKNOWN, 0) + max(left, 0)
  return {'hash': digest, 'num_records': num_records, 'licences': dict(sorted(counts.items()))}


def line(entry: Mapping[str, Any]) -> str:
  """Returns an entry as text: '38 records (4f0c2a91b3de): CC-BY-4.0 30, unknown 8'."""
  order = sorted(entry['licences'].items(), key=lambda item: (-item[1], item[0]))
  counts = ', '.join(f'{name} {count}' if count else name for name, count in order)
  digest = f' ({entry["hash"][:12]})' if entry['hash'] else ''
  return f'{entry["num_records"] or "an unknown number of"} records{digest}: {counts}'
