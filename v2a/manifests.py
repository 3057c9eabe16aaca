"""The manifest of the outputs of one input: it names every file, so that a later run knows what is ours.

A file is ours only if a manifest beside it names it and it is unchanged since: by its SHA-256, not by its
times, so that copied folders stay ours and edited files are the user's. A manifest cannot hold the SHA-256 of
its own file; for the same purpose it holds its name and a digest of its content (`manifest`, see
`with_digests`): JSON that is broken, edited, renamed, or of another program or version is the user's.
"""

from collections.abc import Mapping
import hashlib
import json
import os
import pathlib

from v2a import file_names
from v2a import files

ABOUT = f'{files.MARK} generate.'
_MAX_BYTES = 1 << 24


def with_digests(manifest: Mapping, name: str, digests: Mapping[str, str]) -> dict:
  """Returns a manifest that names the files with their digests (`files`), and itself (`manifest`).

  Its own digest is that of its content without this digest, as JSON with sorted keys.

  Args:
    manifest: JSON-able, without `files` and `manifest`.
    name: of the manifest's file.
    digests: SHA-256 of the other files, by name.
  """
  sealed = file_names.utf8({'about': ABOUT, **manifest, 'files': dict(digests), 'manifest': {'name': name}})
  return {**sealed, 'manifest': {**sealed['manifest'], 'content_sha256': _content_sha256(sealed)}}


def read(path: pathlib.Path) -> dict | None:
  """Returns what `with_digests` made and a file holds unchanged; None for every other file, or none."""
  try:
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
      return None
    found = json.loads(path.read_bytes())
  except (OSError, ValueError, RecursionError):  # not to be read, no JSON, or nested too deeply
    return None
  if not isinstance(found, dict) or found.get('about') != ABOUT or not isinstance(found.get('files'), dict):
    return None
  found = _with_manifest(found, file_names.utf8(path.name))
  if found is None:
    return None
  try:
    request_fields(found)
  except (KeyError, TypeError, ValueError):  # of a version that wrote something else
    return None
  # Whatever it says, no other file is touched.
  are_its = all(name.startswith(f'{path.stem}.') and os.sep not in name for name in found['files'])
  return found if are_its else None


def _with_manifest(found: dict, name: str) -> dict | None:
  """Returns a manifest whose own name and digest are right; that of version 0.1.0 in the present form."""
  digests = dict(found['files'])
  digest = digests.pop(name, None)
  if digest is not None:  # 0.1.0 listed the digest of the content among those of the files
    is_right = digest == _content_sha256({**found, 'files': digests})
    return with_digests(found, name, digests) if is_right else None
  own = {'name': name, 'content_sha256': _content_sha256({**found, 'manifest': {'name': name}})}
  return found if found.get('manifest') == own else None


def request_fields(manifest: Mapping) -> dict:
  """Returns what of a manifest decides its soundtracks and videos, but for the number of samples."""
  source, settings = manifest['input'], dict(manifest['settings'])
  del settings['num_samples']
  part = {'start_s': source['start_s'], 'requested_duration_s': source['requested_duration_s']}
  names_of_texts = 'seed', 'prompt', 'negative_prompt', 'transcript', 'word_times_s'
  texts = {name: manifest[name] for name in names_of_texts}
  return {'input': source['sha256'], 'model': manifest['model_digest'], **part, **texts, **settings}


def _content_sha256(sealed: Mapping) -> str:
  return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()
