"""The phase codec: lengths, mid and side, silence, and pieces that equal the whole."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.codecs import calls
from v2a import clip
from v2a.codecs import loss
from v2a.codecs import phase
from v2a.codecs import stft

SPEC = clip.ClipSpec(clip_s=1.0)


def make_codec(spec=SPEC, bottleneck='kl'):
  return phase.PhaseAutoencoder(
    spec,
    n_fft=640,
    num_latent_channels=4,
    width=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
    bottleneck=bottleneck,
    num_codebooks=3,
    codebook_size=16,
    rngs=nnx.Rngs(0),
  )


@pytest.mark.parametrize('num_channels', [1, 2])
def test_lengths_follow_the_spec(num_channels):
  spec = dataclasses.replace(SPEC, num_channels=num_channels)
  run = calls.compiled(make_codec(spec))
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


def test_the_spectrogram_is_that_of_mid_and_side():
  run = calls.compiled(make_codec())
  latent_BTC = jax.random.normal(jax.random.key(2), (1, 10, 4))
  mid_and_side_BNA = stft.inverse(run('spectrogram', latent_BTC), 640, SPEC.hop_samples)
  views_BNA = loss.views(run('synthesize', latent_BTC))
  np.testing.assert_allclose(views_BNA[..., 2:], mid_and_side_BNA, atol=1e-6)


def test_pieces_with_context_are_decoded_as_the_whole():
  run = calls.compiled(make_codec())
  latent_BTC = jax.random.normal(jax.random.key(2), (1, 24, 4))
  whole_BNA = run('synthesize', latent_BTC)
  piece_BNA = run('synthesize', latent_BTC[:, 8:20])
  hop = SPEC.latent_hop_samples
  np.testing.assert_allclose(piece_BNA[:, 3 * hop : 9 * hop], whole_BNA[:, 11 * hop : 17 * hop], atol=1e-6)


def test_silence_has_finite_gradients():
  graph, state = nnx.split(make_codec())
  wave_BNA = jnp.zeros((1, 6 * SPEC.latent_hop_samples, 2))

  @jax.jit
  @jax.grad
  def gradient(state):
    model = nnx.merge(graph, state)
    output_BNA = model.synthesize(model.posterior(wave_BNA)[0])
    return sum(value_B[0] for value_B in loss.spectral(wave_BNA, output_BNA, 16000, floor=1e-5).values())

  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(state)))
