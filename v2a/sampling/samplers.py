"""How each generator draws one window: latents along a flow, tokens one after the other, or tokens at once.

What a generator draws is called sound_BTC here: latents (float) or codes (whole numbers), T steps of C each.
A part of it may be known, the end of the window before: it stays as it is, and what is drawn continues it.
Conditions come branch by branch of guidance (v2a.guidance eq. 1).

Randomness of sample i depends on (seed, i) and the place in the clip alone, counted in blocks of about a
second (clip.ClipSpec.latents_per_block): a flow's noise of each block comes from
fold_in(fold_in(key(seed), i), block), tokens from such a key of their window's first block.
"""

from collections.abc import Mapping
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import guidance
from v2a.autoregressive import patterns
from v2a.autoregressive import sampling
from v2a.conditioning import condition as condition_lib
from v2a.config import schema
from v2a.diffusion import samplers


class FlowSampler:
  """Draws latents: `diffusion.samplers`.

  Attributes:
    name: see GENERATORS.
    config: of the trained generator.
    spec: its clips.
    codec: part of a model that turns what is drawn into a wave.
    request_settings: settings that a request may choose, with defaults in config.generation.
    config_settings: further settings of config.generation.
  """

  name, codec = 'flow', 'codec'
  request_settings, config_settings = ('steps', 'solver'), ('timestep_shift',)

  def __init__(self, c: ml_collections.ConfigDict):
    self.config, self.spec = c, schema.clip_spec(c)

  def initial_canvas(self, num_steps: int) -> np.ndarray:
    """Returns sound_TC in which nothing is known yet."""
    return np.zeros((num_steps, self.config.codec.num_latent_channels), np.float32)

  def initial_noise(self, seed: int, sample: int, first: int) -> dict[str, np.ndarray]:
    """Returns what a window that begins at a latent step of the clip draws from."""
    size, num_latents = self.spec.latents_per_block, self.spec.num_latents
    blocks = range(first // size, -(-(first + num_latents) // size))
    shape = size, self.config.codec.num_latent_channels
    pieces = [np.asarray(_block_noise(seed, sample, block, shape)) for block in blocks]
    return {'noise_TC': np.concatenate(pieces)[first % size :][:num_latents]}

  def num_evaluations(self, settings: Mapping) -> int:
    """Returns how often the network is evaluated, by each branch."""
    return samplers.num_evaluations(settings['solver'], settings['steps'])

  def sample(
    self,
    network,
    condition: condition_lib.Condition,
    inputs: dict,
    weights_G: jax.Array,
    *,
    solver: str,
    steps: int,
    timestep_shift: float,
  ) -> jax.Array:
    """Returns sound_BTC.

    Args:
      network: a builders.FlowModel.
      condition: of G * B rows.
      inputs: `initial_noise` of every row, known_BTC, and is_known_BT, which tells the steps that are known.
      weights_G: of the branches.
      solver, steps, timestep_shift: see diffusion.samplers.
    """
    noise_BTC, known_BTC = inputs['noise_BTC'], inputs['known_BTC']
    guided = guidance.guided(lambda z_BTC, t_B: network.velocity(z_BTC, t_B, condition), weights_G)

    def predict(z_BTC, t_B):
      v_BTC = guided(z_BTC, t_B).astype(jnp.float32)
      # Where it is known, the straight path to it (diffusion.process eq. 2).
      return jnp.where(inputs['is_known_BT'][..., None], noise_BTC - known_BTC, v_BTC)

    return samplers.sample(predict, noise_BTC, solver=solver, num_steps=steps, timestep_shift=timestep_shift)


class TokenSampler:
  """Draws tokens one step after the other: `autoregressive.sampling.sample`. See Flow."""

  name, codec = 'tokens', 'codec_rvq'
  request_settings, config_settings = ('temperature', 'top_k', 'top_p'), ()

  def __init__(self, c: ml_collections.ConfigDict):
    self.config, self.spec = c, schema.clip_spec(c)

  def initial_canvas(self, num_steps: int) -> np.ndarray:
    """Returns sound_TC in which nothing is known yet."""
    return np.zeros((num_steps, self.config.codec.num_codebooks), np.int32)

  def initial_noise(self, seed: int, sample: int, first: int) -> dict[str, np.ndarray]:
    """Returns what a window that begins at a latent step, the first of a block, draws from."""
    block = first // self.spec.latents_per_block
    return {'seed': np.int32(seed), 'sample': np.int32(sample), 'block': np.int32(block)}

  def num_evaluations(self, settings: Mapping) -> int:
    """Returns how often the network is evaluated, by each branch; with its cache, on a step at a time."""
    del settings
    late = patterns.codebook_delays(self.config.tokens.pattern, self.config.codec.num_codebooks)
    return self.spec.num_latents + max(late)

  def sample(
    self,
    network,
    condition: condition_lib.Condition,
    inputs: dict,
    weights_G: jax.Array,
    *,
    temperature: float,
    top_k: int,
    top_p: float,
  ) -> jax.Array:
    """Returns sound_BTC.

    Args:
      network: a builders.TokensModel.
      condition: of G * B rows.
      inputs: `initial_noise` of every row, known_BTC, and is_known_BT, which tells the steps that are known.
      weights_G: of the branches.
      temperature, top_k, top_p: see autoregressive.sampling.Settings.
    """
    decoder, late = network.decoder, network.delays
    known_BSK = patterns.build(inputs['known_BTC'], late, decoder.padding_token)
    is_known_BSK = patterns.build(_of_books(inputs), late, True)
    cache = decoder.prefill(condition, known_BSK.shape[1])
    code_BSK = sampling.sample(
      decoder.step,
      cache,
      _keys(inputs),
      known_BSK,
      is_known_BSK,
      padding_token=decoder.padding_token,
      weights_G=weights_G,
      settings=sampling.Settings(temperature, top_k, top_p),
    )
    return patterns.revert(code_BSK, late)


class MaskedSampler(TokenSampler):
  """Draws all tokens at once, then the least certain again: `sampling.decode_masked`. See Flow."""

  name, request_settings, config_settings = (
    'masked',
    ('steps', *TokenSampler.request_settings),
    ('choice_temperature',),
  )

  def num_evaluations(self, settings: Mapping) -> int:
    """Returns how often the network is evaluated, by each branch."""
    return settings['steps']

  def sample(
    self,
    network,
    condition: condition_lib.Condition,
    inputs: dict,
    weights_G: jax.Array,
    *,
    steps: int,
    temperature: float,
    top_k: int,
    top_p: float,
    choice_temperature: float,
  ) -> jax.Array:
    """Returns sound_BTC; see TokenSampler.sample, and sampling.decode_masked for the settings."""
    decoder = network.decoder
    cache = decoder.prefill(condition, inputs['known_BTC'].shape[1])
    return sampling.decode_masked(
      functools.partial(decoder.predict_masked, cache=cache),
      _keys(inputs),
      inputs['known_BTC'],
      _of_books(inputs),
      mask_token=decoder.mask_token,
      num_iterations=steps,
      choice_temperature=choice_temperature,
      weights_G=weights_G,
      settings=sampling.Settings(temperature, top_k, top_p),
    )


# In the order in which a model that has several prefers them.
GENERATORS = {kind.name: kind for kind in (FlowSampler, TokenSampler, MaskedSampler)}


def conditions(network, inputs: dict, branches: tuple[tuple[str, ...], ...]) -> condition_lib.Condition:
  """Returns the conditions of all branches of guidance, one after the other along the batch.

  Args:
    network: whose conditioner reads.
    inputs: of a batch: condition.INPUTS, bytes and lengths of the negative prompts; others are left alone.
    branches: modalities that each branch drops.
  """
  full = network.conditioner(**{name: inputs[name] for name in condition_lib.INPUTS})
  everything_B = jnp.ones_like(inputs['has_video_B'])
  found = []
  for dropped in branches:
    keep = [everything_B if name not in dropped else ~everything_B for name in guidance.MODALITIES]
    condition = network.conditioner.drop(full, *keep)
    if 'text' in dropped:
      text_BUD, text_mask_BU = network.conditioner.encode_text(
        inputs['negative_BU'], inputs['negative_length_B']
      )
      condition = condition.replace(text_BUD=text_BUD, text_mask_BU=text_mask_BU)
    found.append(condition)
  return condition_lib.concatenate(found)


@functools.partial(jax.jit, static_argnames='shape')
def _block_noise(seed, sample, block, shape):
  return jax.random.normal(_key(seed, sample, block), shape)


def _key(seed, sample, block) -> jax.Array:
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), sample), block)


def _keys(inputs: dict) -> jax.Array:
  return jax.vmap(_key)(inputs['seed_B'], inputs['sample_B'], inputs['block_B'])


def _of_books(inputs: dict) -> jax.Array:
  """Returns which codes are known: all books of a step, or none."""
  return jnp.broadcast_to(inputs['is_known_BT'][..., None], inputs['known_BTC'].shape)
