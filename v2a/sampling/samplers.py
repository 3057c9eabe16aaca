"""Samplers: one window of latents by a flow, of tokens autoregressively, or of tokens by masked decoding.

Encoded audio is latents (latent_BTC, float) or codes (code_BTK, whole numbers); where it may be either, F
stands for C or K (encoded_BTF, prefix_BTF). Its first steps may be a prefix, the end of the window before: it
stays as it is, and the new steps continue it (inpainting). Conditions come branch by branch of guidance
(v2a.guidance eq. 1).

The noise of sample i depends on (seed, i) and the position in the clip alone, counted in blocks of about a
second (clip.ClipSpec.latents_per_block): a flow's noise of each block comes from
fold_in(fold_in(key(seed), i), block), tokens from such a key of their window's first block.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import builders
from v2a import guidance
from v2a.autoregressive import patterns
from v2a.autoregressive import sampling
from v2a.conditioning import condition as condition_lib
from v2a.config import schema
from v2a.diffusion import samplers


class FlowSampler:
  """Samples latents by solving the flow's differential equation: `diffusion.samplers`.

  Attributes:
    name: see GENERATORS.
    config: of the trained generator.
    spec: its clips.
    codec: part of a model that decodes what is sampled to a waveform.
    request_settings: settings that a request may choose, with defaults in config.generation.
    config_settings: further settings of config.generation.
  """

  name, codec = 'flow', 'codec'
  request_settings, config_settings = ('steps', 'solver'), ('timestep_shift',)

  def __init__(self, c: ml_collections.ConfigDict):
    self.config, self.spec = c, schema.clip_spec(c)

  def initial_canvas(self, num_steps: int) -> np.ndarray:
    """Returns latent_TC of a clip before its first window."""
    return np.zeros((num_steps, self.config.codec.num_latent_channels), np.float32)

  def initial_noise(
    self, seeds: Sequence[int], samples: Sequence[int], starts: Sequence[int]
  ) -> dict[str, np.ndarray]:
    """Returns the initial noise of a batch of windows.

    Args:
      seeds: of the requests.
      samples: numbers of the samples.
      starts: first latent steps of the windows in their clips.
    """
    return {'noise_BTC': np.stack([self._noise(*row) for row in zip(seeds, samples, starts, strict=True)])}

  def _noise(self, seed: int, sample: int, first: int) -> np.ndarray:
    size, num_latents = self.spec.latents_per_block, self.spec.num_latents
    blocks = range(first // size, -(-(first + num_latents) // size))
    shape = size, self.config.codec.num_latent_channels
    pieces = [np.asarray(_block_noise(seed, sample, block, shape)) for block in blocks]
    return np.concatenate(pieces)[first % size :][:num_latents]

  def num_evaluations(self, settings: Mapping) -> int:
    """Returns how often the network is evaluated, by each branch."""
    return samplers.num_evaluations(settings['solver'], settings['steps'])

  def sample(
    self,
    network: builders.FlowModel,
    condition: condition_lib.Condition,
    inputs: dict,
    weights_G: jax.Array,
    *,
    solver: str,
    steps: int,
    timestep_shift: float,
  ) -> jax.Array:
    """Returns latent_BTC.

    Args:
      network: a builders.FlowModel.
      condition: of G * B rows.
      inputs: `initial_noise`, prefix_BTF, and prefix_mask_BT: which of its steps are the prefix.
      weights_G: of the branches.
      solver, steps, timestep_shift: see diffusion.samplers.
    """
    noise_BTC, prefix_BTC = inputs['noise_BTC'], inputs['prefix_BTF']
    guided = guidance.guided(lambda z_BTC, t_B: network.velocity(z_BTC, t_B, condition), weights_G)

    def predict(z_BTC, t_B):
      v_BTC = guided(z_BTC, t_B).astype(jnp.float32)
      # The prefix follows the straight path from its noise (diffusion.process eq. 2).
      return jnp.where(inputs['prefix_mask_BT'][..., None], noise_BTC - prefix_BTC, v_BTC)

    return samplers.sample(predict, noise_BTC, solver=solver, num_steps=steps, timestep_shift=timestep_shift)


_LOGIT_SETTINGS = ('temperature', 'top_k', 'top_p')


class _CodeSampler:
  """What samplers of codes share. See FlowSampler."""

  codec = 'codec_rvq'

  def __init__(self, c: ml_collections.ConfigDict):
    self.config, self.spec = c, schema.clip_spec(c)

  def initial_canvas(self, num_steps: int) -> np.ndarray:
    """Returns code_TK of a clip before its first window."""
    return np.zeros((num_steps, self.config.codec.num_codebooks), np.int32)

  def initial_noise(
    self, seeds: Sequence[int], samples: Sequence[int], starts: Sequence[int]
  ) -> dict[str, np.ndarray]:
    """Returns what the PRNG keys of a batch of windows are made of; see FlowSampler.initial_noise."""
    block_B = np.asarray(starts, np.int32) // self.spec.latents_per_block
    return {
      'seed_B': np.asarray(seeds, np.int32),
      'sample_B': np.asarray(samples, np.int32),
      'block_B': block_B,
    }


class TokenSampler(_CodeSampler):
  """Samples tokens autoregressively: `autoregressive.sampling.sample`. See FlowSampler."""

  name = 'tokens'
  request_settings, config_settings = _LOGIT_SETTINGS, ()

  def num_evaluations(self, settings: Mapping) -> int:
    """Returns how often the network is evaluated by each branch; with its KV cache, a step at a time."""
    del settings
    delays = patterns.codebook_delays(self.config.tokens.pattern, self.config.codec.num_codebooks)
    return self.spec.num_latents + max(delays)

  def sample(
    self,
    network: builders.TokensModel,
    condition: condition_lib.Condition,
    inputs: dict,
    weights_G: jax.Array,
    *,
    temperature: float,
    top_k: int,
    top_p: float,
  ) -> jax.Array:
    """Returns code_BTK.

    Args:
      network: a builders.TokensModel.
      condition: of G * B rows.
      inputs: `initial_noise`, prefix_BTF, and prefix_mask_BT: which of its steps are the prefix.
      weights_G: of the branches.
      temperature, top_k, top_p: see autoregressive.sampling.Settings.
    """
    decoder, delays = network.decoder, network.delays
    prefix_BSK = patterns.build(inputs['prefix_BTF'], delays, decoder.padding_token)
    prefix_mask_BSK = patterns.build(_code_mask(inputs), delays, True)
    cache = decoder.prefill(condition, prefix_BSK.shape[1])
    code_BSK = sampling.sample(
      decoder.step,
      cache,
      _keys(inputs),
      prefix_BSK,
      prefix_mask_BSK,
      padding_token=decoder.padding_token,
      weights_G=weights_G,
      settings=sampling.Settings(temperature, top_k, top_p),
    )
    return patterns.revert(code_BSK, delays)


class MaskedSampler(_CodeSampler):
  """Samples all tokens in parallel by masked decoding: `sampling.decode_masked`. See FlowSampler."""

  name = 'masked'
  request_settings, config_settings = ('steps', *_LOGIT_SETTINGS), ('choice_temperature',)

  def num_evaluations(self, settings: Mapping) -> int:
    """Returns how often the network is evaluated, by each branch."""
    return settings['steps']

  def sample(
    self,
    network: builders.TokensModel,
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
    """Returns code_BTK.

    Args:
      network: a builders.TokensModel.
      condition: of G * B rows.
      inputs: `initial_noise`, prefix_BTF, and prefix_mask_BT: which of its steps are the prefix.
      weights_G: of the branches.
      steps: iterations, each with one evaluation of the network per branch.
      temperature, top_k, top_p: see autoregressive.sampling.Settings.
      choice_temperature: see autoregressive.sampling.decode_masked.
    """
    decoder = network.decoder
    cache = decoder.prefill(condition, inputs['prefix_BTF'].shape[1])
    return sampling.decode_masked(
      functools.partial(decoder.predict_masked, cache=cache),
      _keys(inputs),
      inputs['prefix_BTF'],
      _code_mask(inputs),
      mask_token=decoder.mask_token,
      num_iterations=steps,
      choice_temperature=choice_temperature,
      weights_G=weights_G,
      settings=sampling.Settings(temperature, top_k, top_p),
    )


Sampler = FlowSampler | TokenSampler | MaskedSampler
# In order of preference of a model that has several.
GENERATORS: dict[str, type[Sampler]] = {
  kind.name: kind for kind in (FlowSampler, TokenSampler, MaskedSampler)
}


def conditions(
  network: builders.FlowModel | builders.TokensModel, inputs: dict, branches: tuple[tuple[str, ...], ...]
) -> condition_lib.Condition:
  """Returns the conditions of all branches of guidance, one after the other along the batch.

  Args:
    network: of the generator.
    inputs: of a batch: condition.INPUTS, bytes and lengths of the negative prompts; others are ignored.
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
        inputs['negative_byte_BU'], inputs['negative_length_B']
      )
      condition = dataclasses.replace(condition, text_BUD=text_BUD, text_mask_BU=text_mask_BU)
    found.append(condition)
  return condition_lib.concatenate(found)


@functools.partial(jax.jit, static_argnames='shape')
def _block_noise(seed, sample, block, shape):
  return jax.random.normal(_key(seed, sample, block), shape)


def _key(seed, sample, block) -> jax.Array:
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), sample), block)


def _keys(inputs: dict) -> jax.Array:
  return jax.vmap(_key)(inputs['seed_B'], inputs['sample_B'], inputs['block_B'])


def _code_mask(inputs: dict) -> jax.Array:
  """Returns which codes are the prefix: all codebooks of a step, or none."""
  return jnp.broadcast_to(inputs['prefix_mask_BT'][..., None], inputs['prefix_BTF'].shape)
