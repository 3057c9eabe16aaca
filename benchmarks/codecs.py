"""Reconstruction errors, bit rates and codebook usage of codecs on clips of the synthetic set.

  python benchmarks/codecs.py runs/codec_synthetic runs/codec_synthetic_rvq [--num-clips 64] [--seed 20260001]

For each codec, relative to the first: multi-resolution STFT and mel distance (codecs.loss eq. 1 and 2)
between the clips and their reconstruction from latents (means) or codes, and the bit rate. For an rvq codec
also, by codebook, the fraction of entries used by any step of any clip, and the perplexity.

The bit rate of an rvq codec is that of uniformly distributed codes; that of a kl codec is the divergence of
its latents from a standard normal, (nats per latent value) x channels x steps per second / ln 2. Both are
upper bounds of the information in the latents.
"""

import sys

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import builders
from v2a import clip
from v2a import entry_point
from v2a import flags
from v2a import weights
from v2a.codecs import loss
from v2a.config import schema
from v2a.data import record_schema
from v2a.data import synthetic_examples


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


def _run(argv: list[str] | None) -> int:
  """Prints one paragraph per codec."""
  parser = flags.Parser(prog='codecs.py', description=__doc__.splitlines()[0])
  parser.add_argument('codecs', nargs='+', metavar='DIR', help='training folder or exported model of a codec')
  parser.add_argument(
    '--num-clips', type=flags.count, default=64, help='clips of the synthetic set (%(default)s)'
  )
  parser.add_argument(
    '--seed', type=flags.seed, default=synthetic_examples.HELDOUT_SEED, help='seed of the clips (%(default)s)'
  )
  args = parser.parse_args(argv)
  exports = {path: weights.load_export(path) for path in args.codecs}
  spec = schema.clip_spec(exports[args.codecs[0]].config)
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
        f'  codebook {k}: {np.mean(count_V > 0):.3f} of {len(count_V)} entries in use, perplexity '
        f'{np.exp(-np.sum(p_V * np.log(p_V))):.0f}, the first entry has {p_V.max():.3f} of the steps'
      )
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('codecs.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
