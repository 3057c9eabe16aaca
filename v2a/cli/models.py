"""`v2a models`: lists the packaged models, says what a model was trained on, packs one for use elsewhere."""

import argparse
import json
import os
import pathlib

import v2a
from v2a import file_names
from v2a import flags
from v2a import storage

FOLDER = pathlib.Path(v2a.__file__).parent / 'assets' / 'models'


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
  parser.add_argument(
    '--show',
    type=flags.path,
    metavar='NAME-or-DIR',
    help='print the parts of a model, and the records that each was trained on with their licences',
  )
  parser.add_argument(
    '--pack',
    nargs='+',
    metavar='RUN',
    help='write the generators of training folders, with their codecs and sync model, to --output; or one '
    'codec by itself',
  )
  parser.add_argument(
    '--output',
    type=flags.local_path,
    metavar='DIR',
    help='for --pack: a new folder, or a packed model to extend',
  )


def _summary(folder: pathlib.Path) -> str:
  """Returns the first sentence of a model's README below its heading."""
  readme = folder / 'README.md'
  if not readme.exists():
    return ''
  lines = [line.strip() for line in readme.read_text().splitlines()]
  return next((line for line in lines if line and not line.startswith('#')), '')


def packaged(root: pathlib.Path = FOLDER) -> list[dict]:
  """Returns one dict a packaged model: name, path, size_bytes, summary.

  Args:
    root: the folder of models, each a folder with weights (.safetensors) and config.json beside them.
  """
  if not root.is_dir():
    return []
  found = []
  for folder in sorted(root.iterdir()):
    weights = sorted(folder.glob('**/*.safetensors'))
    if not weights or not all(path.with_name('config.json').exists() for path in weights):
      continue
    size_bytes = sum(path.stat().st_size for path in weights)
    found.append(
      {'name': folder.name, 'path': str(folder), 'size_bytes': size_bytes, 'summary': _summary(folder)}
    )
  return found


def packaged_codecs(root: pathlib.Path = FOLDER.parent / 'codecs') -> list[dict]:
  """Returns one dict a packaged codec, as `packaged`.

  Args:
    root: the folder of codecs.
  """
  return [
    {
      'name': file.parent.name,
      'path': str(file.parent),
      'size_bytes': file.stat().st_size,
      'summary': 'A codec, for `v2a codec` and for training generators.',
    }
    for file in sorted(root.glob('*/*.safetensors'))
  ]


def parts(path: storage.Path) -> dict[str, dict]:
  """Returns the metadata of each part of a model: its name, the step, and the data if they are recorded.

  Args:
    path: name of a packaged model, folder of a model, or training folder.

  Raises:
    FileNotFoundError: there is no model.
    ValueError: a file is damaged.
  """
  from v2a import weights  # needs JAX

  if not storage.exists(path) and len(path.parts) == 1 and (FOLDER / path.name).is_dir():
    path = FOLDER / path.name
  found = {
    folder.name: weights.read_about(folder)
    for folder in storage.list_folder(path)
    if folder.name != weights.EXPORT_FOLDER and storage.is_file(folder / weights.WEIGHTS)
  }
  return found or {weights.locate(path).name: weights.read_about(path)}


def show(path: storage.Path, is_json: bool) -> None:
  """Prints the parts of a model and their data. Raises as `parts`."""
  from v2a.data import licences

  found = parts(path)
  if is_json:
    print(json.dumps(found, indent=2))
    return
  for name, about in found.items():
    print(f'{name}: {about.get("name", "unnamed")}, step {about.get("step", "unknown")}')
    for entry in about.get('data') or [licences.unknown(about)]:
      print(f'  {file_names.printable(licences.line(entry))}')


def pack(runs: list[str], output: pathlib.Path | None) -> None:
  """Writes trained generators, or one codec, as one folder of float16 weights that knows no other path.

  Raises:
    FileExistsError: the folder is there, and is no packed model that could be extended by these.
    ValueError: no folder to write was named, or the generators do not belong together.
  """
  if output is None:
    raise ValueError('--pack needs --output, a new folder or a packed model to extend.')
  from v2a import weights  # only this needs JAX
  from v2a.sampling import bundle
  from v2a.sampling import bundle_files

  if len(runs) == 1 and bundle.is_codec(runs[0]):
    output.parent.mkdir(parents=True, exist_ok=True)
    bundle_files.save_codec(weights.load_export(runs[0]), output)
    _print_size(output)
    return
  is_there = os.path.lexists(output)
  if is_there and not bundle_files.is_bundle(output):
    raise FileExistsError(
      f'--output {output} exists already and is no packed model; wanted a new folder, or '
      'a packed model to extend.'
    )
  output.parent.mkdir(parents=True, exist_ok=True)
  model = bundle.join([bundle.load(run) for run in runs])
  if is_there:
    bundle_files.extend(output, model)
  else:
    bundle_files.save(model, output)
  _print_size(output)


def _print_size(folder: pathlib.Path) -> None:
  size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
  print(f'{file_names.printable(str(folder))}: {size / 1e6:.1f} MB')


def run(args: argparse.Namespace) -> int:
  """Prints the models, or packs one."""
  if args.show is not None:
    show(args.show, args.json)
    return 0
  if args.pack:
    pack(args.pack, args.output)
    return 0
  found = packaged()
  found += packaged_codecs()
  if args.json:
    print(json.dumps(found, indent=2))
  elif not found:
    print('No models are packaged with this installation; train one with v2a train.')
  else:
    width = max(len(model['name']) for model in found)
    for model in found:
      print(f'{model["name"]:<{width}}  {model["size_bytes"] / 1e6:6.1f} MB  {model["summary"]}')
  return 0
