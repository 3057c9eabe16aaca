"""Times of codecs; their reconstruction errors, bit rates and codebook usage on clips of the synthetic set.

  python benchmarks/codecs.py times [--seconds 8] [--torch]
  python benchmarks/codecs.py distances runs/codec_synthetic runs/codec_synthetic_rvq [--num-clips 64]

`times`: CPU and wall milliseconds that each configuration takes to encode, and to decode, one second of
sound, in float32 with random weights, and relative to the codec of the packaged model; with --torch, also
DAC at 44.1 kHz beside the same network in PyTorch (`transformers`), on as many threads. The share of Snake is
the part of the time that is saved when it is replaced by nothing.

`distances`: for each codec, relative to the first: multi-resolution STFT and mel distance (codecs.loss eq. 1
and 2) between the clips and their reconstruction from latents (means) or codes, and the bit rate. For an rvq
codec also, by codebook, the fraction of entries used by any step of any clip, and the perplexity.

The bit rate of an rvq codec is that of uniformly distributed codes; that of a kl codec is the divergence of
its latents from a standard normal, (nats per latent value) x channels x steps per second / ln 2. Both are
upper bounds of the information in the latents.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import importlib.util
import os
import sys
import time
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import builders
from v2a import clip
from v2a import entry_point
from v2a import flags
from v2a import weights
from v2a.codecs import convolution_layers
from v2a.codecs import convolutional
from v2a.codecs import loss
from v2a.config import files
from v2a.config import schema
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import round_trip
from v2a.sampling import bundle


def code_bits_per_s(spec: clip.ClipSpec, num_codebooks: int, codebook_size: int) -> float:
  """Returns the bit rate of uniformly distributed codes."""
  return spec.latent_rate_hz * num_codebooks * np.log2(codebook_size)


def latent_bits_per_s(spec: clip.ClipSpec, num_channels: int, kl_nats: float) -> float:
  """Returns the bit rate of latents with a mean divergence from a standard normal of `kl_nats` per value."""
  return spec.latent_rate_hz * num_channels * kl_nats / np.log(2)


def measured(codec: nnx.Module, waves: list[np.ndarray]) -> tuple[dict[str, float], np.ndarray | None]:
  """Returns mean distances (and `kl` of kl codecs) over clips, and usage counts count_KV of rvq codecs."""
  graphdef, state = nnx.split(codec)

  @jax.jit
  def run(state, wave_BNA):
    codec = nnx.merge(graphdef, state)
    if codec.bottleneck == 'kl':
      codes_BTK, output_BNA = None, codec.decode(codec.encode(wave_BNA)[0])
      rate = {'kl': loss.kl(*codec.posterior(wave_BNA))}
    else:
      codes_BTK = codec.encode_tokens(wave_BNA)
      output_BNA, rate = codec.decode_tokens(codes_BTK), {}
    return loss.spectral(wave_BNA, output_BNA, codec.spec.sample_rate_hz) | rate, codes_BTK

  found, counts = [], 0
  for wave_NA in waves:
    distances, codes_BTK = run(state, jnp.asarray(record_schema.wave_to_float(wave_NA))[None])
    found.append({name: float(value_B[0]) for name, value_B in distances.items()})
    if codes_BTK is not None:
      num_entries = codec.quantizer.share_KV.shape[1]
      codes_KT = np.asarray(codes_BTK[0]).T
      counts = counts + np.stack([np.bincount(codes_T, minlength=num_entries) for codes_T in codes_KT])
  return {name: float(np.mean([each[name] for each in found])) for name in found[0]}, counts


def _print_distances(args) -> None:
  """Prints one paragraph per codec."""
  exports = {path: weights.load_export(path) for path in args.codecs}
  for path, export in exports.items():
    if export.config.task != 'codec':
      raise ValueError(f'{path} is a model of the task {export.config.task!r}; wanted a codec.')
  specs = {path: schema.clip_spec(export.config) for path, export in exports.items()}
  round_trip.check_forms(specs)
  spec = specs[args.codecs[0]]
  waves = [example.wave_NA for example in synthetic_examples.render(args.seed, args.num_clips, spec)]
  first = None
  for path, export in exports.items():
    codec = builders.codec(export.config, nnx.Rngs(0))
    weights.assign(codec, export.arrays, source=path)
    distances, counts_KV = measured(codec, waves)
    if codec.bottleneck == 'kl':
      bits_per_s = latent_bits_per_s(codec.spec, codec.num_latent_channels, distances.pop('kl'))
    else:
      bits_per_s = code_bits_per_s(codec.spec, *codec.quantizer.share_KV.shape)
    first = first or distances
    print(
      path,
      ', '.join(
        f'{name} {value:.4f} ({value / first[name]:.3f} of the first)' for name, value in distances.items()
      ),
      f'{bits_per_s / 1000:.2f} kbit/s',
    )
    for k, count_V in enumerate(counts_KV if codec.bottleneck == 'rvq' else ()):
      p_V = count_V[count_V > 0] / count_V.sum()
      print(
        f'  codebook {k}: {np.mean(count_V > 0):.3f} of {len(count_V)} in use by {count_V.sum()} steps, '
        f'perplexity {np.exp(-np.sum(p_V * np.log(p_V))):.0f}, the most frequent entry has {p_V.max():.3f}'
      )


def milliseconds(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
  """Returns (wall, CPU) time of a call, each the minimum, after one that is not counted."""
  run()
  walls, cpus = [], []
  for _ in range(repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    walls.append(time.perf_counter() - wall)
    cpus.append(time.process_time() - cpu)
  return 1000 * min(walls), 1000 * min(cpus)


def codec_calls(codec: nnx.Module, wave_BNA: np.ndarray) -> dict[str, Callable[[], Any]]:
  """Returns the compiled calls 'encode' and 'decode' of a codec, on one waveform."""
  graph, state = nnx.split(codec)
  encode = jax.jit(lambda state, wave_BNA: nnx.merge(graph, state).trunk(wave_BNA))
  decode = jax.jit(lambda state, latent_BTC: nnx.merge(graph, state).synthesize(latent_BTC))
  latent_BTC = encode(state, wave_BNA)[..., : codec.num_latent_channels]
  return {
    'encode': lambda: encode(state, wave_BNA).block_until_ready(),
    'decode': lambda: decode(state, latent_BTC).block_until_ready(),
  }


def dac_calls(wave_BN1: np.ndarray) -> dict[str, Callable[[], Any]]:
  """Returns the same for the networks of DAC at 44.1 kHz, without its quantizer."""
  sizes = {'num_latent_channels': 1024, 'rngs': nnx.Rngs(0)}
  graph, state = nnx.split(convolutional.Encoder(1, 64, (2, 4, 8, 8), **sizes))
  encode = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
  decoder_graph, decoder_state = nnx.split(convolutional.Decoder(1, 1536, (8, 8, 4, 2), **sizes))
  decode = jax.jit(lambda state, x: nnx.merge(decoder_graph, state)(x))
  latent_BTC = encode(state, wave_BN1)
  return {
    'encode': lambda: encode(state, wave_BN1).block_until_ready(),
    'decode': lambda: decode(decoder_state, latent_BTC).block_until_ready(),
  }


def torch_dac_calls(wave_BN1: np.ndarray) -> dict[str, Callable[[], Any]]:
  """Returns the same of the networks of DacModel of `transformers`, which has no weight normalization."""
  import torch  # no requirement of the project
  import transformers

  torch.set_num_threads(os.cpu_count() or 1)
  model = transformers.DacModel(transformers.DacConfig(downsampling_ratios=[2, 4, 8, 8], sampling_rate=44100))
  wave_B1N = torch.from_numpy(wave_BN1.transpose(0, 2, 1).copy())

  def run(network, x):
    with torch.inference_mode():
      return network(x)

  latent_BCT = run(model.encoder, wave_B1N)
  return {
    'encode': lambda: run(model.encoder, wave_B1N),
    'decode': lambda: run(model.decoder, latent_BCT),
  }


@contextlib.contextmanager
def without_snake() -> Iterator[None]:
  """Replaces Snake by nothing, in networks that are compiled meanwhile."""
  call = convolution_layers.Snake.__call__
  convolution_layers.Snake.__call__ = lambda self, x_BTD: x_BTD
  try:
    yield
  finally:
    convolution_layers.Snake.__call__ = call


def small_config(architecture: str) -> ml_collections.ConfigDict:
  """Returns codec_16k with another architecture."""
  c = files.find('codec_16k').unlock()
  c.codec.architecture = architecture
  return c.lock()


def _rows(seconds: float, has_torch: bool) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
  """Yields the name of each codec and its (wall, CPU) milliseconds a second of sound, by call."""
  configs = {
    'packaged (16 kHz)': weights.load_export(bundle.MODELS_FOLDER / 'default' / 'codec').config,
    'codec_16k': files.find('codec_16k'),
    'phase, sizes of codec_16k': small_config('phase'),
    'waveform, 16 kHz': small_config('waveform'),
    'codec_48k': files.find('codec_48k'),
  }
  rng = np.random.default_rng(0)
  timed = lambda calls: {
    name: tuple(each / seconds for each in milliseconds(run, 3)) for name, run in calls.items()
  }
  for name, c in configs.items():
    spec = schema.clip_spec(c)
    num_samples = spec.latents_in(seconds) * spec.latent_hop_samples
    wave_BNA = 0.1 * rng.standard_normal((1, num_samples, spec.num_channels)).astype(np.float32)
    make = lambda c=c: builders.codec(c, nnx.Rngs(0))
    yield name, timed(codec_calls(make(), wave_BNA))
    if c.codec.architecture == 'waveform':
      with without_snake():
        yield f'{name}, without Snake', timed(codec_calls(make(), wave_BNA))
  if has_torch:
    wave_BN1 = 0.1 * rng.standard_normal((1, round(seconds * 44100) // 512 * 512, 1)).astype(np.float32)
    yield 'DAC 44.1 kHz', timed(dac_calls(wave_BN1))
    with without_snake():
      yield 'DAC 44.1 kHz, without Snake', timed(dac_calls(wave_BN1))
    yield 'DAC 44.1 kHz, PyTorch', timed(torch_dac_calls(wave_BN1))


def _print_times(args) -> None:
  """Prints a table in Markdown.

  Raises:
    ValueError: PyTorch is wanted and not installed.
  """
  if args.torch and not all(map(importlib.util.find_spec, ('torch', 'transformers'))):
    raise ValueError('--torch needs the packages torch and transformers, which are not installed.')
  print('| codec | encode wall | CPU | decode wall | CPU | decode / packaged |\n|---|---|---|---|---|---|')
  first = None
  for name, found in _rows(args.seconds, args.torch):
    first = first or found['decode'][0]
    numbers = [f'{each:.1f}' for call in ('encode', 'decode') for each in found[call]]
    print(f'| {name} | {" | ".join(numbers)} | {found["decode"][0] / first:.1f} |', flush=True)


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='codecs.py', description=__doc__.splitlines()[0])
  commands = parser.add_subparsers(dest='command', required=True)
  distances = commands.add_parser('distances', help='errors, bit rates and codebook usage')
  distances.add_argument(
    'codecs', nargs='+', metavar='DIR', help='training folder or exported model of a codec'
  )
  distances.add_argument(
    '--num-clips', type=flags.count, default=64, help='clips of the synthetic set (%(default)s)'
  )
  distances.add_argument(
    '--seed', type=flags.seed, default=synthetic_examples.HELDOUT_SEED, help='seed of the clips (%(default)s)'
  )
  distances.set_defaults(run=_print_distances)
  times = commands.add_parser('times', help='milliseconds of encoding and decoding')
  times.add_argument(
    '--seconds', type=flags.number(float, 0.5, 60), default=8.0, help='of sound in one call (%(default)s)'
  )
  times.add_argument('--torch', action='store_true', help='beside PyTorch, which must be installed')
  times.set_defaults(run=_print_times)
  args = parser.parse_args(argv)
  args.run(args)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('codecs.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
