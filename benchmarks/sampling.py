"""Token sampling with the KV cache compared with recomputation: `python benchmarks/sampling.py`.

A decoder of the size of the configuration, with random weights, samples one clip of the given duration, with
and without the cache; both sample the same tokens. Prints wall time and CPU time after compilation; the
ratios matter.
"""

import functools
import sys
import time

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import builders
from v2a import entry_point
from v2a import flags
from v2a.autoregressive import patterns
from v2a.autoregressive import sampling
from v2a.conditioning import condition as condition_lib
from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.training import tasks


def random_model(c) -> builders.TokensModel:
  """Returns a model with all weights random; the usual initialization has zeros in important places."""
  graphdef, state = nnx.split(nnx.eval_shape(lambda: builders.tokens(c, nnx.Rngs(0))))
  rng = np.random.default_rng(0)
  sample_leaf = lambda leaf: jnp.asarray(0.05 * rng.standard_normal(leaf.shape), leaf.dtype)
  return nnx.merge(graphdef, jax.tree.map(sample_leaf, state))


def recompute_step(decoder, condition, code_BK, tokens_BTK, index):
  """Returns logit_BKV of a step, like `Decoder.step`, from all previous tokens; tokens_BTK is the cache."""
  before = jnp.maximum(index - 1, 0)
  code_BK = jnp.where(index > 0, code_BK, tokens_BTK[:, 0])
  tokens_BTK = jax.lax.dynamic_update_slice_in_dim(tokens_BTK, code_BK[:, None], before, axis=1)
  logit_BTKV = decoder(tokens_BTK, condition)
  return jax.lax.dynamic_index_in_dim(logit_BTKV, index, axis=1, keepdims=False), tokens_BTK


def seconds(run, *arrays) -> tuple[np.ndarray, np.ndarray]:
  """Returns (wall time, CPU time) of a compiled call, the minimum of two, and its result."""
  run(*arrays).block_until_ready()
  times = []
  for _ in range(2):
    before = time.perf_counter(), time.process_time()
    found = run(*arrays).block_until_ready()
    times.append(np.subtract((time.perf_counter(), time.process_time()), before))
  return np.min(times, axis=0), np.asarray(found)


def _run(argv: list[str] | None) -> int:
  """Prints both times and their ratio."""
  parser = flags.Parser(prog='sampling.py', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--config', default='tokens_synthetic', help='configuration of a causal token model (%(default)s)'
  )
  parser.add_argument(
    '--clip-s', type=flags.duration_s, default=8.0, help='duration in seconds (%(default)s)'
  )
  args = parser.parse_args(argv)
  c = files.find(args.config).unlock()
  c.clip.clip_s = args.clip_s
  spec, model = schema.clip_spec(c), random_model(c)
  item = fake_records.make(spec, 0, c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size)
  batch = tasks.make(c).collate([item], np.random.default_rng(0))
  graphdef, state = nnx.split(model)
  num_steps = spec.num_latents + max(model.delays)
  settings = sampling.Settings()
  empty_BTK = np.zeros((1, spec.num_latents, c.codec.num_codebooks), np.int32)
  known_BTK = patterns.build(empty_BTK, model.delays, model.decoder.padding_token)
  is_known_BTK = known_BTK == model.decoder.padding_token

  def sample(state, batch, key_B, has_cache):
    network = nnx.merge(graphdef, state)
    decoder, condition = (
      network.decoder,
      network.conditioner(**{name: batch[name] for name in condition_lib.INPUTS}),
    )
    if has_cache:
      step, cache = decoder.step, decoder.prefill(condition, num_steps)
    else:
      step = functools.partial(recompute_step, decoder, condition)
      cache = jnp.full_like(known_BTK, decoder.padding_token)
    return sampling.sample(
      step, cache, key_B, known_BTK, is_known_BTK, padding_token=decoder.padding_token, settings=settings
    )

  key_B = jax.random.split(jax.random.key(0), 1)
  (cached_s, cached_tokens), (recomputed_s, recomputed_tokens) = (
    seconds(jax.jit(functools.partial(sample, has_cache=has_cache)), state, batch, key_B)
    for has_cache in (True, False)
  )
  same = (cached_tokens == recomputed_tokens).mean()
  print(f'{args.config}, {args.clip_s:g} s, {num_steps} steps; {same:.1%} of the tokens agree')
  for name, with_s, without_s in zip(('wall time', 'CPU time'), cached_s, recomputed_s):
    print(f'{name}: {with_s:.2f} s with the cache, {without_s:.2f} s without, {without_s / with_s:.1f} times')
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('sampling.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
