r"""Builds a TFDS data set.

  python -m data_pipelines.tfds vggsound --manual-dir DIR --data-dir DATA
  python -m data_pipelines.tfds v2a_synthetic --data-dir DATA \
      --config '{"name": "small", "splits": {"train": [0, 100]}}'

The data set appears under its name when it is complete; one that exists is not overwritten. Unlike `tfds
build`, the command does not need Apache Beam.
"""

import importlib
import json
import pathlib
from typing import Any

from v2a import entry_point
from v2a import flags
from v2a import termination

# Module and class of the builder of each data set; imported when it is built, as TFDS is an extra.
BUILDERS = {
  'audiocaps': ('data_pipelines.tfds.audiocaps', 'AudioCaps'),
  'v2a_synthetic': ('data_pipelines.tfds.synthetic', 'Synthetic'),
  'vggsound': ('data_pipelines.tfds.vggsound', 'VggSound'),
}


def _parser() -> flags.Parser:
  parser = flags.Parser(
    prog='python -m data_pipelines.tfds',
    description='Builds a data set of TensorFlow Datasets in ArrayRecord files.',
    allow_abbrev=False,
  )
  parser.add_argument('dataset', choices=sorted(BUILDERS), help='name of the data set')
  parser.add_argument(
    '--manual-dir',
    type=flags.local_path,
    help='folder with the tables and media that were downloaded; not for v2a_synthetic',
  )
  parser.add_argument('--data-dir', type=flags.local_path, required=True, help='folder of data sets')
  parser.add_argument(
    '--config',
    help='name of a configuration, or a JSON object of its name and settings; see the module of the builder',
  )
  return parser


def _config(of_type: type, text: str | None) -> Any:
  """Returns the configuration of --config.

  Raises:
    ValueError: it is no JSON, or has unknown settings.
  """
  if text is None or not text.lstrip().startswith('{'):
    return text
  try:
    return of_type(**json.loads(text))
  except (TypeError, AttributeError, json.JSONDecodeError) as error:
    raise ValueError(f'--config: wanted JSON with the settings of {of_type.__name__}; {error}') from error


def _builder(dataset: str, data_dir: pathlib.Path, config: str | None) -> Any:
  """Returns the builder of a data set.

  Raises:
    FileExistsError: it is built already.
    ValueError: TFDS is not installed, or there is no such configuration.
  """
  module, name = BUILDERS[dataset]
  try:
    of_type = getattr(importlib.import_module(module), name)
  except ImportError as error:
    message = f"data sets of TFDS need tensorflow-datasets; pip install 'v2a[tfds]' ({error})."
    raise ValueError(message) from error
  builder = of_type(data_dir=data_dir, config=_config(of_type.builder_config_cls, config))
  if builder.data_path.exists():
    raise FileExistsError(f'{builder.data_path} exists already; give another --data-dir, or remove it.')
  return builder


def _run(argv: list[str] | None) -> int:
  args = _parser().parse_args(argv)
  builder = _builder(args.dataset, args.data_dir, args.config)
  if bool(args.manual_dir) != bool(builder.MANUAL_DOWNLOAD_INSTRUCTIONS):
    raise ValueError(f'{args.dataset} {"takes no" if args.manual_dir else "needs"} --manual-dir.')
  if args.manual_dir and not args.manual_dir.is_dir():
    raise FileNotFoundError(f'--manual-dir: there is no folder {args.manual_dir}.')
  # All builders have the same base class; see the module of BUILDERS for why it is not imported above.
  item_builder = importlib.import_module('data_pipelines.tfds.item_builder')
  print(item_builder.summary(item_builder.build(builder, args.manual_dir)))
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code."""
  return entry_point.run('data_pipelines.tfds', lambda: _run(argv), 'interrupted; nothing was written')


if __name__ == '__main__':
  termination.exit_program(main())
