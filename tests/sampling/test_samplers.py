"""Each sampler against a single evaluation of its network: prefix, padding, branches of guidance."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import builders
from v2a.conditioning import text as text_lib
from v2a.config import schema
from v2a.sampling import samplers

NUM_PREFIX = 20
GREEDY = {'temperature': 1.0, 'top_k': 1, 'top_p': 1.0}
BRANCHES = (), ('text',), ('video', 'text', 'transcript')
WEIGHTS_G = 4.0, -1.0, -2.0


@functools.cache
def _network(is_causal):
  """Returns the configuration, graph and state of a token model with random weights."""
  c = schema.tiny(schema.base()).unlock()
  c.tokens.is_causal = is_causal
  graphdef, state = nnx.split(nnx.eval_shape(lambda: builders.tokens(c, nnx.Rngs(0))))
  rng = np.random.default_rng(0)
  random = lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype)
  return c, graphdef, jax.tree.map(random, state)


def _inputs(generator, spec):
  """Returns the inputs of two rows of a window that begins with a prefix."""
  rng, size = np.random.default_rng(1), (2, spec.frame_size, spec.frame_size, 3)
  frames = lambda num: rng.integers(0, 256, (2, num, *size[1:]), np.uint8)
  inputs = {
    'semantic_frame_BMYX3': frames(spec.num_semantic_frames),
    'sync_frame_BLYX3': frames(spec.num_sync_frames),
    'has_video_B': np.ones(2, bool),
    'prefix_BTF': rng.integers(0, 16, (2, spec.num_latents, generator.config.codec.num_codebooks)),
    'prefix_mask_BT': np.tile(np.arange(spec.num_latents) < NUM_PREFIX, (2, 1)),
  }
  for name, length, text, num_bytes in (
    ('text_byte_BU', 'text_length_B', 'wood', spec.num_text_bytes),
    ('negative_byte_BU', 'negative_length_B', 'music', spec.num_text_bytes),
    ('transcript_byte_BW', 'transcript_length_B', 'hello', spec.num_transcript_bytes),
  ):
    inputs[name], inputs[length] = text_lib.to_bytes([text] * 2, num_bytes)
  return inputs | generator.initial_noise([3, 3], [0, 1], [0, 0])


def _check(is_causal, likeliest):
  """Returns greedy samples of a generator, and the likeliest tokens of one call on all steps.

  Args:
    is_causal: which generator.
    likeliest: (network, what was sampled, inputs, logits of codes) -> codes of the two rows.
  """
  c, graphdef, state = _network(is_causal)
  generator = samplers.GENERATORS['tokens' if is_causal else 'masked'](c)
  inputs = _inputs(generator, generator.spec)
  settings = GREEDY if is_causal else GREEDY | {'steps': 1, 'choice_temperature': 0.0}

  @jax.jit
  def run(state, inputs):
    network = nnx.merge(graphdef, state)
    condition = samplers.conditions(network, inputs, BRANCHES)
    found_BTK = generator.sample(network, condition, inputs, jnp.asarray(WEIGHTS_G), **settings)

    def logits(code_BSK):
      each = network.decoder(jnp.tile(code_BSK, (3, 1, 1)), condition)
      each_GBSKV = each.reshape((3, 2) + each.shape[1:])
      return sum(weight * each_GBSKV[g] for g, weight in enumerate(WEIGHTS_G))

    return found_BTK, likeliest(network, found_BTK, inputs, logits)

  found_BTK, wanted_BTK = map(np.asarray, run(state, inputs))
  np.testing.assert_array_equal(found_BTK[:, :NUM_PREFIX], inputs['prefix_BTF'][:, :NUM_PREFIX])
  np.testing.assert_array_equal(found_BTK[:, NUM_PREFIX:], wanted_BTK[:, NUM_PREFIX:])
  assert len(np.unique(found_BTK[:, NUM_PREFIX:])) > 4


def test_tokens_continue_the_prefix_with_padding_as_in_training():

  def likeliest(network, found_BTK, inputs, logits):
    T, K = found_BTK.shape[1:]
    # As training builds the pattern: padding before the first and after the last token of a codebook.
    code_BSK = jnp.full((2, T + K - 1, K), network.decoder.padding_token)
    for k in range(K):
      code_BSK = code_BSK.at[:, k : k + T, k].set(found_BTK[..., k])
    predicted_BSK = jnp.argmax(logits(code_BSK), axis=-1)
    return jnp.stack([predicted_BSK[:, k : k + T, k] for k in range(K)], axis=-1)

  _check(True, likeliest)


def test_masked_tokens_are_predicted_from_the_prefix():

  def likeliest(network, found_BTK, inputs, logits):
    prefix_mask_BT1 = inputs['prefix_mask_BT'][..., None]
    code_BTK = jnp.where(prefix_mask_BT1, inputs['prefix_BTF'], network.decoder.mask_token)
    return jnp.argmax(logits(code_BTK), axis=-1)

  _check(False, likeliest)


def test_the_negative_prompt_replaces_the_dropped_text():
  c, graphdef, state = _network(True)
  generator = samplers.TokenSampler(c)

  @jax.jit
  def run(state, inputs):
    network = nnx.merge(graphdef, state)
    text = lambda name: network.conditioner.encode_text(inputs[f'{name}_byte_BU'], inputs[f'{name}_length_B'])
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
def test_noise_depends_on_seed_sample_and_block_alone(name):
  c = schema.tiny(schema.base())
  generator = samplers.GENERATORS[name](c)
  block = generator.spec.latents_per_block
  noise = lambda *rows: generator.initial_noise(*zip(*rows))
  base = noise((3, 1, 2 * block))
  for other in ((4, 1, 2 * block), (3, 2, 2 * block), (3, 1, 3 * block)):
    assert any(not np.array_equal(base[key], value) for key, value in noise(other).items())
  if name == 'flow':
    for step in (7, block):  # the noise of a step of the clip is the same in every window
      later_TC = noise((3, 1, 2 * block + step))['noise_BTC'][0]
      np.testing.assert_array_equal(base['noise_BTC'][0, step:], later_TC[:-step])
  else:
    keys = lambda *rows: jax.random.key_data(samplers._keys(jax.tree.map(jnp.asarray, noise(*rows))))
    positions = (3, 1, 2 * block), (4, 1, 2 * block), (3, 2, 2 * block), (3, 1, 3 * block)
    assert len(np.unique(keys(*positions), axis=0)) == 4
