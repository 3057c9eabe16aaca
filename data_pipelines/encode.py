"""Adds codec latents to records: python -m data_pipelines.encode --records DIR --codec MODEL --output DIR.

The flow and sync tasks train on latents; encoding every clip once saves the codec's work in each
step. MODEL is a training folder of a codec (kl bottleneck) or its exported model.
"""

import argparse
import pathlib
import sys
import time

from flax import nnx
import jax
import numpy as np

from v2a import assembly
from v2a import config
from v2a import records
from v2a import weights

BATCH = 16


def encoded(source, codec_path: str):
  """Yields the records of a source with latent_mean_TC and latent_std_TC.

  Args:
    source: records (see `records.open`).
    codec_path: of the codec.

  Raises:
    ValueError: the codec has another bottleneck or other rates than the records.
  """
  export = weights.load_export(codec_path)
  if export.config.task != 'codec' or export.config.codec.bottleneck != 'kl':
    raise ValueError(f'{codec_path} must be a codec with the kl bottleneck; got task {export.config.task}, '
                     f'bottleneck {export.config.codec.bottleneck}.')
  spec = config.clip_spec(export.config)
  for name in ('sample_rate_hz', 'num_channels'):
    if getattr(spec, name) != getattr(source.spec, name):
      raise ValueError(f'the codec works at {name}={getattr(spec, name)}; '
                       f'the records have {getattr(source.spec, name)}.')
  model = assembly.codec(export.config, nnx.Rngs(0))
  weights.assign(model, export.arrays, source=codec_path)
  graphdef, state = nnx.split(model)
  encode = jax.jit(lambda state, wave_BNA: nnx.merge(graphdef, state).encode(wave_BNA))
  for start in range(0, len(source), BATCH):
    items = [source[index] for index in range(start, min(start + BATCH, len(source)))]
    wave_BNA = np.stack([records.wave_to_float(item['wave_NA']) for item in items])
    padded_BNA = np.concatenate([wave_BNA, np.zeros((BATCH - len(items),) + wave_BNA.shape[1:], np.float32)])
    mean_BTC, std_BTC = (np.asarray(x, np.float16) for x in encode(state, padded_BNA))
    for row, item in enumerate(items):
      yield item | {'latent_mean_TC': mean_BTC[row], 'latent_std_TC': std_BTC[row]}


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code."""
  parser = argparse.ArgumentParser(prog='python -m data_pipelines.encode', description=__doc__)
  parser.add_argument('--records', required=True, type=pathlib.Path, help='folder of records')
  parser.add_argument('--codec', required=True, help='training folder or exported model of a codec')
  parser.add_argument('--output', required=True, type=pathlib.Path, help='new folder of records')
  args = parser.parse_args(argv)
  try:
    source = records.open(args.records)
    about = {'records': source.hash, 'codec': str(args.codec)}
    start_s = time.monotonic()
    with records.Writer(args.output, source.spec, about) as writer:
      for count, record in enumerate(encoded(source, args.codec), 1):
        writer.add(record)
        if count % 64 == 0 or count == len(source):
          rate = count / (time.monotonic() - start_s)
          left_s = (len(source) - count) / rate
          print(f'\r{count}/{len(source)} clips, {rate:.1f} clips/s, {left_s:.0f} s left', end='',
                file=sys.stderr, flush=True)
    print(file=sys.stderr)
  except (ValueError, FileNotFoundError, FileExistsError, PermissionError) as error:
    print(f'data_pipelines.encode: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
