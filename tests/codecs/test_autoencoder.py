"""The codec: lengths, gradients that stay apart, quantizer round trips."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import clip
from v2a.codecs import autoencoder
from v2a.codecs import discriminators
from v2a.codecs import loss
from v2a.codecs import quantizer

SPEC = clip.ClipSpec(clip_s=1.0)


def _codec(bottleneck='kl', spec=SPEC):
  return autoencoder.Autoencoder(
      spec, n_fft=960, num_latent_channels=4, width=32, num_encoder_layers=1, num_decoder_layers=1,
      bottleneck=bottleneck, num_codebooks=3, codebook_size=16, num_phase_iterations=2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize('spec', [
    SPEC, dataclasses.replace(SPEC, num_channels=1),
    dataclasses.replace(SPEC, sample_rate_hz=48000, hop_samples=480)])
def test_lengths_follow_the_spec(spec):
  codec = _codec(spec=dataclasses.replace(spec)) if spec.hop_samples == 160 else None
  if codec is None:
    codec = autoencoder.Autoencoder(
        spec, n_fft=1920, num_latent_channels=4, width=32, num_encoder_layers=1, num_decoder_layers=1,
        bottleneck='kl', num_codebooks=2, codebook_size=8, num_phase_iterations=1, rngs=nnx.Rngs(0))
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (2, spec.num_samples, spec.num_channels))
  mean_BTC, std_BTC = codec.encode(wave_BNA)
  assert mean_BTC.shape == std_BTC.shape == (2, spec.num_latents, 4)
  assert codec.decode(mean_BTC).shape == wave_BNA.shape


def test_tokens_round_trip():
  codec = _codec('rvq')
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (2, SPEC.num_samples, 2))
  codes_BTK = codec.encode_tokens(wave_BNA)
  assert codes_BTK.shape == (2, SPEC.num_latents, 3) and codes_BTK.dtype == jnp.int32
  assert codec.decode_tokens(codes_BTK).shape == wave_BNA.shape


def test_statistics_normalise_latents():
  codec = _codec()
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (1, SPEC.num_samples, 2))
  before_BTC, _ = codec.encode(wave_BNA)
  wave_before_BNA = codec.decode(before_BTC)
  codec.latent_mean_C.set_value(jnp.full(4, 0.5))
  codec.latent_std_C.set_value(jnp.full(4, 2.0))
  after_BTC, _ = codec.encode(wave_BNA)
  np.testing.assert_allclose(after_BTC, (before_BTC - 0.5) / 2, atol=1e-5)
  np.testing.assert_allclose(codec.decode(after_BTC), wave_before_BNA, atol=1e-4)


def test_silence_has_finite_gradients_and_decodes_to_silence():
  codec = _codec()
  graphdef, state = nnx.split(codec)
  wave_BNA = jnp.zeros((1, SPEC.num_samples, 2))

  def value(state):
    model = nnx.merge(graphdef, state)
    level_BAJF = model.level(model.spectrogram(wave_BNA))
    mean_BTC, log_std_BTC = model.posterior(level_BAJF)
    return loss.level(level_BAJF, model.synthesize(mean_BTC)) + loss.kl(mean_BTC, log_std_BTC)

  norms = [float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(jax.grad(value)(state))]
  assert np.isfinite(norms).all() and max(norms) < 100
  floor_BAJF = jnp.full((1, 2, 100, 481), np.log(autoencoder.FLOOR) - 0.1)
  assert float(jnp.abs(codec.sound(floor_BAJF)).max()) == 0


def test_stereo_position_survives_shared_phases():
  wave_BNA = 0.3 * jax.random.normal(jax.random.key(1), (1, SPEC.num_samples, 1)) * jnp.array([[[1.0, 0.25]]])
  codec = _codec()
  sound_BNA = codec.sound(codec.level(codec.spectrogram(wave_BNA)))
  left, right = np.sqrt(np.mean(np.square(sound_BNA[0]), axis=0))
  assert right / left == pytest.approx(0.25, abs=0.03)


def test_fewer_books_leave_the_later_ones_out():
  model = quantizer.ResidualQuantizer(4, 64, 4, rngs=nnx.Rngs(0))
  latent_BTC = 0.5 * jax.random.normal(jax.random.key(0), (4, 50, 4))
  whole_BTC, codes_BTK, _ = model(latent_BTC)
  np.testing.assert_allclose(model.decode(codes_BTK), whole_BTC, atol=1e-5)
  codebook_KVC = model.codebook_KVC[...]
  for num in (1, 2):
    part_BTC, _, _ = model(latent_BTC, jnp.full(4, num))
    wanted_BTC = sum(codebook_KVC[k][codes_BTK[..., k]] for k in range(num))
    np.testing.assert_allclose(part_BTC, wanted_BTC, atol=1e-5)
  first_distance_BTV = jnp.sum(jnp.square(latent_BTC[:, :, None] - codebook_KVC[0][None, None]), axis=-1)
  np.testing.assert_array_equal(codes_BTK[..., 0], jnp.argmin(first_distance_BTV, axis=-1))


def test_quantizer_gradient_passes_straight_through():
  model = quantizer.ResidualQuantizer(2, 8, 4, rngs=nnx.Rngs(0))
  latent_BTC = jax.random.normal(jax.random.key(0), (1, 3, 4))
  slope_BTC = jax.grad(lambda x_BTC: jnp.sum(model(x_BTC)[0]))(latent_BTC)
  np.testing.assert_allclose(slope_BTC, jnp.ones_like(latent_BTC))


def test_discriminators_tell_apart_by_hinge():
  ones, minus = [[jnp.ones((1, 2, 2, 1))]], [[-jnp.ones((1, 2, 2, 1))]]
  assert float(discriminators.discriminator_loss(ones, minus)) == 0
  assert float(discriminators.discriminator_loss(minus, ones)) == 4
  model = discriminators.Discriminators(2, 4, rngs=nnx.Rngs(0))
  assert len(model(jnp.zeros((1, 4096, 2)))) == len(discriminators.RESOLUTIONS)


def test_unknown_bottleneck_is_named():
  with pytest.raises(ValueError, match="codec.bottleneck must be one of .* got 'vq'"):
    _codec('vq')
