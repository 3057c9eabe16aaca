"""`v2a doctor`: devices, versions, codecs, and what is missing."""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import sys

import v2a
from v2a.cli import compilation_cache
from v2a.cli import models

PACKAGES = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'grain',
  'array-record',
  'numpy',
  'scipy',
  'av',
  'pillow',
  'pillow-heif',
  'soxr',
  'soundfile',
  'espeakng-loader',
  'safetensors',
)
OPTIONAL = ('libtpu', 'jax-cuda13-plugin', 'tensorflow-datasets')
ENCODERS = ('aac', 'libopus', 'libmp3lame', 'flac', 'libx264')
DECODERS = ('h264', 'hevc', 'vp8', 'vp9', 'libdav1d', 'mpeg1video', 'mpeg4', 'aac', 'opus', 'mp3', 'ac3')
# Optional features of Pillow.
FORMATS = ('avif', 'webp', 'jpg', 'libtiff', 'littlecms2')
MIN_FREE_BYTES = 1 << 30


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument('--json', action='store_true', help='print JSON instead of lines')


def _version(package: str) -> str | None:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _codecs() -> dict[str, bool]:
  import av

  found = {}
  for mode, names in (('w', ENCODERS), ('r', DECODERS)):
    for name in names:
      key = f'{"write" if mode == "w" else "read"} {name}'
      try:
        av.Codec(name, mode)
        found[key] = True
      except ValueError:  # PyAV's UnknownCodecError is one.
        found[key] = False
  return found


def _formats() -> dict[str, bool]:
  from PIL import features

  return {f'read {name}': bool(features.check(name)) for name in FORMATS}


def _espeak() -> str | None:
  """Returns the path of the speech synthesizer's library, or None where it is missing."""
  if _version('espeakng-loader') is None:
    return None
  import espeakng_loader

  path = pathlib.Path(espeakng_loader.get_library_path())
  return str(path) if path.exists() else None


def _missing_for_metrics() -> dict[str, list[str]]:
  """Returns the optional networks that metrics of v2a evaluate lack, with the reasons."""
  from v2a.metrics import speech
  from v2a.metrics.embedders import catalog

  embedders = {name: catalog.missing(name) for name in catalog.EMBEDDERS}
  return {name: reasons for name, reasons in embedders.items() if reasons} | speech.missing()


def _devices() -> list[str]:
  import jax

  return [f'{device.platform}:{device.id} {device.device_kind}' for device in jax.devices()]


def _memory_bytes() -> int | None:
  if 'SC_PHYS_PAGES' not in os.sysconf_names:
    return None
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def examine() -> dict:
  """Returns all findings; `missing` lists what keeps `v2a generate` from running."""
  path = compilation_cache.folder()
  versions = {name: _version(name) for name in PACKAGES}
  missing = [f'the package {name}' for name, version in versions.items() if version is None]
  codecs = _codecs() if versions['av'] else {}
  codecs |= _formats() if versions['pillow'] else {}
  missing += [f'the codec to {name}' for name, is_there in codecs.items() if not is_there]
  espeak = _espeak()
  if espeak is None:
    missing.append('the library of espeak-ng (speech in the synthetic set)')
  packaged = models.packaged()
  if not packaged:
    missing.append('a packaged model (v2a train makes one)')
  free_bytes = shutil.disk_usage(pathlib.Path.cwd()).free
  if free_bytes < MIN_FREE_BYTES:
    missing.append(f'disk space: {free_bytes / 1e9:.1f} GB are free here')
  return {
    'v2a': v2a.__version__,
    'python': platform.python_version(),
    'platform': platform.platform(),
    'cores': os.cpu_count(),
    'memory_bytes': _memory_bytes(),
    'free_disk_bytes': free_bytes,
    'devices': _devices() if versions['jax'] else [],
    'versions': versions,
    'optional': {name: _version(name) for name in OPTIONAL},
    'missing_for_metrics': _missing_for_metrics() if versions['jax'] else {},
    'codecs': codecs,
    'espeak': espeak,
    'models': [model['name'] for model in packaged],
    'compile_cache': str(path) if path else None,
    'missing': missing,
  }


def _why_uncached() -> str:
  is_empty = os.environ.get('V2A_CACHE') == ''
  return 'V2A_CACHE is empty' if is_empty else 'no home folder; V2A_CACHE names another'


def _print(found: dict) -> None:
  memory = f', {found["memory_bytes"] / 1e9:.0f} GB memory' if found['memory_bytes'] else ''
  rows = [
    ('v2a', found['v2a']),
    ('python', f'{found["python"]} on {found["platform"]}'),
    ('machine', f'{found["cores"]} cores{memory}, {found["free_disk_bytes"] / 1e9:.0f} GB free here'),
    ('devices', ', '.join(found['devices']) or 'none'),
    ('packages', ', '.join(f'{name} {version}' for name, version in found['versions'].items() if version)),
    ('optional', ', '.join(f'{name} {version or "-"}' for name, version in found['optional'].items())),
    ('codecs', ', '.join(name for name, is_there in found['codecs'].items() if is_there)),
    ('espeak', found['espeak'] or 'none'),
    ('models', ', '.join(found['models']) or 'none'),
    ('cache', found['compile_cache'] or f'off ({_why_uncached()})'),
  ]
  for name, text in rows:
    print(f'{name:<9} {text}')
  if found['missing_for_metrics']:
    lines = (f'{name}: {", ".join(reasons)}' for name, reasons in found['missing_for_metrics'].items())
    print('metrics   v2a evaluate leaves out those of\n          ' + '\n          '.join(lines))
  if found['missing']:
    print('missing   ' + '\n          '.join(found['missing']))
  else:
    print('missing   nothing required is missing')


def run(args: argparse.Namespace) -> int:
  """Prints the findings; 1 where something is missing."""
  if not args.json and sys.stderr.isatty():
    print('looking for devices ...', end='\r', file=sys.stderr)
  found = examine()
  if args.json:
    print(json.dumps(found, indent=2))
  else:
    _print(found)
  return 1 if found['missing'] else 0
