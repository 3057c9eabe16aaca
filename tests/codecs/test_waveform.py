"""The waveform codec: lengths, stereo, pieces that equal the whole, and learning."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.codecs import calls
from v2a import clip
from v2a.codecs import waveform

SPEC = clip.ClipSpec(clip_s=1.0)


def make_codec(spec=SPEC, bottleneck='kl', strides=(4, 8, 20), **sizes):
  values = {'encoder_width': 2, 'decoder_width': 16, 'num_latent_channels': 4, 'width': 8} | sizes
  values |= {'num_codebooks': 3, 'codebook_size': 16, 'bottleneck': bottleneck}
  return waveform.WaveformAutoencoder(spec, strides=strides, rngs=nnx.Rngs(0), **values)


@pytest.mark.parametrize('strides', [(4, 8, 20), (5, 8, 16)])
@pytest.mark.parametrize('num_channels', [1, 2])
def test_lengths_follow_the_spec(num_channels, strides):
  spec = dataclasses.replace(SPEC, num_channels=num_channels)
  run = calls.compiled(make_codec(spec, strides=strides))
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (2, spec.num_samples, num_channels))
  mean_BTC, std_BTC = run('encode', wave_BNA)
  assert mean_BTC.shape == std_BTC.shape == (2, spec.num_latents, 4)
  assert run('decode', mean_BTC).shape == wave_BNA.shape


def test_tokens_round_trip():
  run = calls.compiled(make_codec(bottleneck='rvq'))
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (2, SPEC.num_samples, 2))
  codes_BTK = run('encode_tokens', wave_BNA)
  assert codes_BTK.shape == (2, SPEC.num_latents, 3) and codes_BTK.dtype == jnp.int32
  assert run('decode_tokens', codes_BTK).shape == wave_BNA.shape


@pytest.mark.parametrize('strides', [(4, 8, 20), (5, 8, 16)])
def test_pieces_with_context_are_coded_as_the_whole(strides):
  codec = make_codec(strides=strides)
  before, after = codec.encoder.receptive_field_samples
  hop = SPEC.latent_hop_samples
  context = -(-max(before, after) // hop)
  assert context < SPEC.latents_in(1.0), 'soundtracks are decoded with 1 s of context'
  run, num = calls.compiled(codec), 12 + 2 * context
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (1, (num + 8) * hop, 2))
  whole_BTC = run('encode', wave_BNA)[0]
  piece_BTC = run('encode', wave_BNA[:, 4 * hop : (4 + num) * hop])[0]
  np.testing.assert_allclose(
    piece_BTC[:, context:-context], whole_BTC[:, 4 + context : 4 + num - context], rtol=1e-5, atol=1e-6
  )
  latent_BTC = jax.random.normal(jax.random.key(2), (1, num + 8, 4))
  context = max(codec.decoder.receptive_field_steps)
  whole_BNA = run('synthesize', latent_BTC)
  piece_BNA = run('synthesize', latent_BTC[:, 4 : 4 + num])
  inner = slice((4 + context) * hop, (4 + num - context) * hop)
  np.testing.assert_allclose(
    piece_BNA[:, context * hop : (num - context) * hop], whole_BNA[:, inner], atol=1e-6
  )


def test_strides_of_another_product_are_refused():
  with pytest.raises(ValueError, match='must have the product 640, the samples of a latent step'):
    make_codec(strides=(4, 8))


def test_it_learns_two_channels_with_their_phases():
  spec = dataclasses.replace(SPEC, hop_samples=8)
  codec = make_codec(
    spec, strides=(4, 8), encoder_width=8, decoder_width=64, width=32, num_latent_channels=16
  )
  time_N = np.arange(1024) / 16000
  sines = [np.sin(2 * np.pi * 440 * time_N), np.sin(2 * np.pi * 660 * time_N + 1)]
  wave_BNA = jnp.asarray(0.3 * np.stack(sines, axis=-1)[None], jnp.float32)
  graph, params, rest = nnx.split(codec, nnx.Param, ...)
  optimizer = optax.adam(3e-3)

  @jax.jit
  def step(params, opt_state):
    def error(params):
      model = nnx.merge(graph, params, rest)
      output_BNA = model.synthesize(model.posterior(wave_BNA)[0])
      return jnp.mean(jnp.square(output_BNA - wave_BNA)) / jnp.mean(jnp.square(wave_BNA))

    value, gradient = jax.value_and_grad(error)(params)
    updates, opt_state = optimizer.update(gradient, opt_state)
    return optax.apply_updates(params, updates), opt_state, value

  opt_state, values = optimizer.init(params), []
  for _ in range(150):
    params, opt_state, value = step(params, opt_state)
    values.append(float(value))
  assert values[0] > 0.9 and values[-1] < 0.1
