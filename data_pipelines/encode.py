"""Adds what encoders compute to records: latents, codes, frames.

  python -m data_pipelines.encode --records DIR --codec MODEL --frames CONFIG

The flow and sync tasks train on latents (kl bottleneck), the tokens task on codes (rvq); encoding every clip
once avoids running the codec in each step. MODEL is the training folder or the exported model of a codec.

To media records columns are added beside them, which the next training reads; an interrupted run continues,
and --replace computes a column again by another encoder. With --frames, frames at the size and rate of a
configuration and the texts are stored, too: training then decodes nothing, and does not read the media.

Records of fixed length (those of the synthetic set) are copied with the new fields to the new folder
--output. Both latents and codes may be added.
"""

import argparse
from collections.abc import Iterator
import sys
import time
from typing import Any

from flax import nnx
import jax
import numpy as np

from data_pipelines import codec_column
from data_pipelines import encode_column
from v2a import builders
from v2a import entry_point
from v2a import flags
from v2a import termination
from v2a import weights
from v2a.config import files
from v2a.config import schema
from v2a.data import feature_columns
from v2a.data import licences
from v2a.data import media_folder
from v2a.data import media_source
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.data import records

BATCH = 16


def encoded(source: records.ConcatSource, export: weights.Export) -> Iterator[dict[str, Any]]:
  """Yields the records of a source with latent_mean_TC and latent_std_TC, or with codes_TK.

  Args:
    source: records (see `records.open`).
    export: exported codec.

  Raises:
    ValueError: the model is not a codec, or its rates differ from those of the records.
  """
  if export.config.task != 'codec':
    raise ValueError(f'{export.folder} must be a codec; got task {export.config.task}.')
  spec = schema.clip_spec(export.config)
  for name in ('sample_rate_hz', 'num_channels'):
    if getattr(spec, name) != getattr(source.spec, name):
      raise ValueError(
        f'the codec has {name}={getattr(spec, name)}; the records have {getattr(source.spec, name)}.'
      )
  model = builders.codec(export.config, nnx.Rngs(0))
  weights.assign(model, export.arrays, source=export.folder or '')
  graphdef, state = nnx.split(model)
  encode = jax.jit(lambda state, wave_BNA: codec_column.encoded_fields(nnx.merge(graphdef, state), wave_BNA))
  for start in range(0, len(source), BATCH):
    items = [source[index] for index in range(start, min(start + BATCH, len(source)))]
    wave_BNA = np.stack([record_schema.wave_to_float(item['wave_NA']) for item in items])
    padded_BNA = np.concatenate([wave_BNA, np.zeros((BATCH - len(items),) + wave_BNA.shape[1:], np.float32)])
    fields = encode(state, padded_BNA)
    fields = {name: np.asarray(rows, record_schema.NOT_ENCODED[name].dtype) for name, rows in fields.items()}
    for row, item in enumerate(items):
      yield item | {name: rows[row] for name, rows in fields.items()}


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Returns the flags."""
  parser = flags.Parser(prog='python -m data_pipelines.encode', description=__doc__)
  parser.add_argument('--records', required=True, type=flags.path, help='folder of records')
  parser.add_argument('--codec', type=flags.path, help='training folder or exported model of a codec')
  parser.add_argument(
    '--frames', metavar='CONFIG', help='configuration whose size and rate of frames are stored; media records'
  )
  parser.add_argument(
    '--mirrored', action='store_true', help='encode sound with exchanged channels, too; media records'
  )
  parser.add_argument('--output', type=flags.path, help='new folder of records; not for media records')
  parser.add_argument('--replace', action='store_true', help='replace columns of other encoders')
  return parser.parse_args(argv)


def _run(argv: list[str] | None) -> int:
  args = parse(argv)
  if media_folder.is_media_folder(args.records):
    if args.output:
      raise ValueError(f'--output: columns are added to the media records in {args.records}.')
    if not args.codec and not args.frames:
      raise ValueError('wanted --codec, --frames, or both; got neither.')
    _add_columns(media_folder.MediaFolder(args.records), args)
    return 0
  if not args.output or not args.codec or args.frames or args.mirrored or args.replace:
    raise ValueError(
      f'{args.records} holds records of fixed length: wanted --codec and --output, without '
      '--frames, --mirrored or --replace.'
    )
  source = records.open(args.records)
  export = weights.load_export(args.codec)
  codec = {'path': str(args.codec), 'digest': weights.codec_digest(export)}
  (info,) = source.folders
  about = {
    'records': source.hash,
    'codecs': info.codecs | {export.config.codec.bottleneck: codec},
    'licences': licences.of_folder(info)['licences'],
  }
  start_s = time.monotonic()
  with record_writer.Writer(args.output, source.spec, about) as writer:
    for count, record in enumerate(encoded(source, export), 1):
      writer.add(record)
      if count % 64 == 0 or count == len(source):
        rate = count / (time.monotonic() - start_s)
        left_s = (len(source) - count) / rate
        print(
          f'\r{count}/{len(source)} clips, {rate:.1f} clips/s, {left_s:.0f} s left',
          end='',
          file=sys.stderr,
          flush=True,
        )
  print(file=sys.stderr)
  return 0


def _add_columns(folder: media_folder.MediaFolder, args: argparse.Namespace) -> None:
  """Adds the columns of a codec, and of the frames of a configuration, to media records."""
  encoders: list[encode_column.Encoder] = []
  if args.frames:
    encoders.append(encode_column.FrameEncoder(schema.clip_spec(files.find(args.frames))))
    if media_source.ANNOTATIONS not in feature_columns.names(folder):
      encoders.append(encode_column.AnnotationEncoder())
  if args.codec:
    encoders.append(codec_column.CodecEncoder(weights.load_export(args.codec), args.mirrored))
  for encoder in encoders:
    encode_column.encode(folder, encoder, args.replace)


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code."""
  return entry_point.run(
    'data_pipelines.encode', lambda: _run(argv), 'interrupted; nothing half-written remains'
  )


if __name__ == '__main__':
  termination.exit_program(main())
