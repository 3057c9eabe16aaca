"""Each generator against its network asked all at once: what is known, what is padded, which branch leads."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import builders
from v2a.config import schema
from v2a.sampling import request
from v2a.sampling import samplers

NUM_KNOWN = 20
GREEDY = {'temperature': 1.0, 'top_k': 1, 'top_p': 1.0}
BRANCHES = (), ('text',), ('video', 'text', 'transcript')
WEIGHTS_G = 4.0, -1.0, -2.0


@functools.cache
def _network(is_causal):
  """Returns the configuration, graph and state of a token model whose every weight is drawn."""
  c = schema.tiny(schema.base()).unlock()
  c.tokens.is_causal = is_causal
  graphdef, state = nnx.split(nnx.eval_shape(lambda: builders.tokens(c, nnx.Rngs(0))))
  rng = np.random.default_rng(0)
  draw = lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype)
  return c, graphdef, jax.tree.map(draw, state)


def _inputs(generator, spec):
  """Returns what two rows of a window are drawn from."""
  rng, size = np.random.default_rng(1), (spec.frame_size, spec.frame_size, 3)
  frames = lambda num: rng.integers(0, 256, (num, *size), np.uint8)
  num_codes = generator.config.codec.num_codebooks
  rows = [
    request.text_inputs(spec, 'wood', 'music', 'hello')
    | generator.initial_noise(3, sample, 0)
    | {
      'semantic_frame_MYX3': frames(spec.num_semantic_frames),
      'sync_frame_LYX3': frames(spec.num_sync_frames),
      'has_video': np.array(True),
      'known_TC': rng.integers(0, 16, (spec.num_latents, num_codes)),
      'is_known_T': np.arange(spec.num_latents) < NUM_KNOWN,
    }
    for sample in range(2)
  ]
  return {_batched(name): np.stack([row[name] for row in rows]) for name in rows[0]}


def _batched(name):
  head, _, tail = name.rpartition('_')
  return f'{head}_B{tail}' if tail and tail[0].isupper() else f'{name}_B'


def _asked(is_causal, likeliest):
  """Returns what a generator draws greedily, and the likeliest tokens of the network asked all at once.

  Args:
    is_causal: which generator.
    likeliest: (network, what was drawn, inputs, logits of codes) -> codes of the two rows.
  """
  c, graphdef, state = _network(is_causal)
  generator = samplers.GENERATORS['tokens' if is_causal else 'masked'](c)
  inputs = _inputs(generator, generator.spec)
  told = GREEDY if is_causal else GREEDY | {'steps': 1, 'choice_temperature': 0.0}

  @jax.jit
  def run(state, inputs):
    network = nnx.merge(graphdef, state)
    condition = samplers.conditions(network, inputs, BRANCHES)
    found_BTK = generator.sample(network, condition, inputs, jnp.asarray(WEIGHTS_G), **told)

    def logits(code_BSK):
      each = network.decoder(jnp.tile(code_BSK, (3, 1, 1)), condition)
      each_GBSKV = each.reshape((3, 2) + each.shape[1:])
      return sum(weight * each_GBSKV[g] for g, weight in enumerate(WEIGHTS_G))

    return found_BTK, likeliest(network, found_BTK, inputs, logits)

  found_BTK, wanted_BTK = map(np.asarray, run(state, inputs))
  np.testing.assert_array_equal(found_BTK[:, :NUM_KNOWN], inputs['known_BTC'][:, :NUM_KNOWN])
  np.testing.assert_array_equal(found_BTK[:, NUM_KNOWN:], wanted_BTK[:, NUM_KNOWN:])
  assert len(np.unique(found_BTK[:, NUM_KNOWN:])) > 4


def test_tokens_follow_what_is_known_with_padding_as_in_training():

  def likeliest(network, found_BTK, inputs, logits):
    T, K = found_BTK.shape[1:]
    # As training builds the pattern: padding before the first and after the last token of a book.
    code_BSK = jnp.full((2, T + K - 1, K), network.decoder.padding_token)
    for k in range(K):
      code_BSK = code_BSK.at[:, k : k + T, k].set(found_BTK[..., k])
    told_BSK = jnp.argmax(logits(code_BSK), axis=-1)
    return jnp.stack([told_BSK[:, k : k + T, k] for k in range(K)], axis=-1)

  _asked(True, likeliest)


def test_masked_tokens_are_told_from_what_is_known():

  def likeliest(network, found_BTK, inputs, logits):
    is_known_BT1 = inputs['is_known_BT'][..., None]
    code_BTK = jnp.where(is_known_BT1, inputs['known_BTC'], network.decoder.mask_token)
    return jnp.argmax(logits(code_BTK), axis=-1)

  _asked(False, likeliest)


def test_the_negative_prompt_takes_the_place_of_the_text_that_is_dropped():
  c, graphdef, state = _network(True)
  generator = samplers.TokenSampler(c)

  @jax.jit
  def run(state, inputs):
    network = nnx.merge(graphdef, state)
    text = lambda name: network.conditioner.encode_text(inputs[f'{name}_BU'], inputs[f'{name}_length_B'])
    nulls = network.conditioner.sync_null_D[...]
    return samplers.conditions(network, inputs, BRANCHES), text('text'), text('negative'), nulls

  condition, prompt, negative, null_D = run(state, _inputs(generator, generator.spec))
  for g, wanted in enumerate((prompt, negative, negative)):
    rows = slice(2 * g, 2 * g + 2)
    np.testing.assert_allclose(condition.text_BUD[rows], wanted[0], atol=1e-5)
    np.testing.assert_array_equal(condition.text_mask_BU[rows], wanted[1])
    is_null = np.abs(np.asarray(condition.sync_BLD[rows]) - np.asarray(null_D)).max() < 1e-6
    assert is_null == ('video' in BRANCHES[g])
  np.testing.assert_allclose(condition.transcript_BWD[:2], condition.transcript_BWD[2:4], atol=1e-6)
  assert not np.allclose(condition.transcript_BWD[:2], condition.transcript_BWD[4:])


@pytest.mark.parametrize('name', samplers.GENERATORS)
def test_randomness_is_that_of_seed_sample_and_block(name):
  c = schema.tiny(schema.base())
  generator = samplers.GENERATORS[name](c)
  block = generator.spec.latents_per_block
  base = generator.initial_noise(3, 1, 2 * block)
  for other in ((4, 1, 2 * block), (3, 2, 2 * block), (3, 1, 3 * block)):
    assert any(not np.array_equal(base[key], value) for key, value in generator.initial_noise(*other).items())
  if name == 'flow':
    for step in (7, block):  # noise belongs to a place in the clip, whatever window it lies in
      later_TC = generator.initial_noise(3, 1, 2 * block + step)['noise_TC']
      np.testing.assert_array_equal(base['noise_TC'][step:], later_TC[:-step])
  else:
    drawn = lambda triples, key: jnp.asarray([generator.initial_noise(*triple)[key] for triple in triples])
    keys = lambda *triples: jax.random.key_data(
      samplers._keys({f'{key}_B': drawn(triples, key) for key in base})
    )
    places = (3, 1, 2 * block), (4, 1, 2 * block), (3, 2, 2 * block), (3, 1, 3 * block)
    assert len(np.unique(keys(*places), axis=0)) == 4
