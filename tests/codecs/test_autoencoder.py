"""The codec: lengths, independent gradients, round trips."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import clip
from v2a.codecs import loss
from v2a.codecs import magnitude

SPEC = clip.ClipSpec(clip_s=1.0)


def _codec(bottleneck='kl', spec=SPEC):
  return magnitude.MagnitudeAutoencoder(
    spec,
    n_fft=960,
    num_latent_channels=4,
    width=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
    bottleneck=bottleneck,
    num_codebooks=3,
    codebook_size=16,
    num_channel_level_bands=8,
    num_griffin_lim_iterations=2,
    rngs=nnx.Rngs(0),
  )


def _run(codec, fn, *args):
  """Returns fn(codec, *args) as one compiled program."""
  graphdef, state = nnx.split(codec)
  return jax.jit(lambda state, *args: fn(nnx.merge(graphdef, state), *args))(state, *args)


@pytest.mark.parametrize(
  'spec',
  [
    SPEC,
    dataclasses.replace(SPEC, num_channels=1),
    dataclasses.replace(SPEC, sample_rate_hz=48000, hop_samples=480),
  ],
)
def test_lengths_follow_the_spec(spec):
  codec = _codec(spec=dataclasses.replace(spec)) if spec.hop_samples == 160 else None
  if codec is None:
    codec = magnitude.MagnitudeAutoencoder(
      spec,
      n_fft=1920,
      num_latent_channels=4,
      width=32,
      num_encoder_layers=1,
      num_decoder_layers=1,
      bottleneck='kl',
      num_codebooks=2,
      codebook_size=8,
      num_channel_level_bands=8,
      num_griffin_lim_iterations=1,
      rngs=nnx.Rngs(0),
    )
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (2, spec.num_samples, spec.num_channels))

  def round_trip(codec, wave_BNA):
    mean_BTC, std_BTC = codec.encode(wave_BNA)
    return mean_BTC, std_BTC, codec.decode(mean_BTC)

  mean_BTC, std_BTC, again_BNA = _run(codec, round_trip, wave_BNA)
  assert mean_BTC.shape == std_BTC.shape == (2, spec.num_latents, 4)
  assert again_BNA.shape == wave_BNA.shape


def test_tokens_round_trip():
  codec = _codec('rvq')
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (2, SPEC.num_samples, 2))
  codes_BTK = _run(codec, lambda codec, wave_BNA: codec.encode_tokens(wave_BNA), wave_BNA)
  assert codes_BTK.shape == (2, SPEC.num_latents, 3) and codes_BTK.dtype == jnp.int32
  again_BNA = _run(codec, lambda codec, codes_BTK: codec.decode_tokens(codes_BTK), codes_BTK)
  assert again_BNA.shape == wave_BNA.shape


def test_latent_statistics_normalise_latents():
  codec = _codec()
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(1), (1, SPEC.num_samples, 2))
  encode = lambda codec, wave_BNA: codec.encode(wave_BNA)[0]
  decode = lambda codec, latent_BTC: codec.decode(latent_BTC)
  before_BTC = _run(codec, encode, wave_BNA)
  wave_before_BNA = _run(codec, decode, before_BTC)
  codec.latent_mean_C.set_value(jnp.full(4, 0.5))
  codec.latent_std_C.set_value(jnp.full(4, 2.0))
  after_BTC = _run(codec, encode, wave_BNA)
  np.testing.assert_allclose(after_BTC, (before_BTC - 0.5) / 2, atol=1e-5)
  np.testing.assert_allclose(_run(codec, decode, after_BTC), wave_before_BNA, atol=1e-4)


def test_silence_has_finite_gradients_and_decodes_to_silence():
  codec = _codec()
  graphdef, state = nnx.split(codec)
  wave_BNA = jnp.zeros((1, SPEC.num_samples, 2))

  def value(state):
    model = nnx.merge(graphdef, state)
    levels = model.spectral_features(model.spectrogram(wave_BNA))
    mean_BTC, log_std_BTC = model.posterior(wave_BNA)
    output = model.decode_features(mean_BTC)
    return (
      loss.log_magnitude(levels.log_magnitude_BJF, output.log_magnitude_BJF, SPEC.sample_rate_hz)
      + loss.channel_level(levels.channel_level_BTR, output.channel_level_BTR, model.band_magnitude(levels))
      + loss.kl(mean_BTC, log_std_BTC)
    )[0]

  norms = [float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(jax.jit(jax.grad(value))(state))]
  assert np.isfinite(norms).all() and max(norms) < 100
  floor = magnitude.SpectralFeatures(
    jnp.full((1, 100, 481), np.log(magnitude.MAGNITUDE_FLOOR) - 0.1), jnp.zeros((1, 25, 8))
  )
  assert float(jnp.abs(_run(codec, lambda codec, floor: codec.to_waveform(floor), floor)).max()) == 0


def test_shared_phases_preserve_panning():
  # Low noise from the left, high noise from the right, one louder than the other.
  noise_N2 = np.random.default_rng(1).standard_normal((SPEC.num_samples, 2))
  low_N, high_N = np.cumsum(noise_N2[:, 0]) * 0.05, np.diff(noise_N2[:, 1], prepend=0)
  low_N -= np.convolve(low_N, np.full(401, 1 / 401), mode='same')
  wave_NA = 0.1 * np.stack([low_N + 0.25 * high_N, 0.25 * low_N + high_N], axis=1)
  codec = _codec()
  sound_BNA = _run(
    codec,
    lambda codec, wave_BNA: codec.to_waveform(codec.spectral_features(codec.spectrogram(wave_BNA))),
    jnp.asarray(wave_NA[None], jnp.float32),
  )
  wanted_FA, got_FA = (np.abs(np.fft.rfft(x_NA, axis=0)) for x_NA in (wave_NA, np.asarray(sound_BNA[0])))
  for low_bin, high_bin in ((100, 400), (5000, 7500)):
    wanted, got = (np.sqrt(np.square(x_FA[low_bin:high_bin]).sum(axis=0)) for x_FA in (wanted_FA, got_FA))
    np.testing.assert_allclose(got[1] / got[0], wanted[1] / wanted[0], rtol=0.15)
    np.testing.assert_allclose(got.sum(), wanted.sum(), rtol=0.15)


def test_mono_has_no_channel_levels():
  spec = dataclasses.replace(SPEC, num_channels=1)
  codec = _codec(spec=spec)
  levels = codec.spectral_features(codec.spectrogram(jnp.zeros((1, spec.num_samples, 1))))
  assert levels.channel_level_BTR.shape == (1, spec.num_latents, 0)


def test_unknown_bottleneck_is_an_error():
  with pytest.raises(ValueError, match="codec.bottleneck must be one of .* got 'vq'"):
    _codec('vq')
