"""The stereo magnitude codec: principal components, stereo, silence, and pieces that equal the whole."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.codecs import calls
from v2a import clip
from v2a.codecs import griffin_lim
from v2a.codecs import log_magnitude
from v2a.codecs import loss
from v2a.codecs import stereo_magnitude

SPEC = clip.ClipSpec(clip_s=1.0)
HOP, N_FFT = SPEC.hop_samples, 640


def make_codec(spec=SPEC, bottleneck='kl'):
  return stereo_magnitude.StereoMagnitudeAutoencoder(
    spec,
    n_fft=N_FFT,
    num_latent_channels=4,
    width=32,
    num_encoder_layers=1,
    num_decoder_layers=1,
    bottleneck=bottleneck,
    num_codebooks=3,
    codebook_size=16,
    num_griffin_lim_iterations=4,
    rngs=nnx.Rngs(0),
  )


def noise(seed, num_samples=16000, num_channels=2):
  return 0.1 * np.random.default_rng(seed).standard_normal((1, num_samples, num_channels)).astype(np.float32)


def reconstructed(wave_BNA):
  """Returns a waveform with the true levels and reconstructed phases."""

  @jax.jit
  def run(wave_BNA):
    level_BAJF = log_magnitude.from_waveform(wave_BNA, N_FFT, HOP)
    magnitude_BAJF = log_magnitude.to_magnitude(level_BAJF, N_FFT)
    return griffin_lim.reconstruct_stereo(magnitude_BAJF, N_FFT, HOP, 16)

  return np.asarray(run(jnp.asarray(wave_BNA)))


@pytest.mark.parametrize('num_channels', [1, 2])
def test_lengths_follow_the_spec(num_channels):
  spec = dataclasses.replace(SPEC, num_channels=num_channels)
  run = calls.compiled(make_codec(spec))
  mean_BTC, std_BTC = run('encode', noise(1, num_channels=num_channels))
  assert mean_BTC.shape == std_BTC.shape == (1, spec.num_latents, 4)
  assert run('decode', mean_BTC).shape == (1, spec.num_samples, num_channels)


def test_tokens_round_trip():
  run = calls.compiled(make_codec(bottleneck='rvq'))
  codes_BTK = run('encode_tokens', noise(1))
  assert codes_BTK.shape == (1, SPEC.num_latents, 3) and codes_BTK.dtype == jnp.int32
  assert run('decode_tokens', codes_BTK).shape == (1, SPEC.num_samples, 2)


@pytest.mark.parametrize('bottleneck', ['kl', 'rvq'])
def test_training_begins_with_principal_components(bottleneck):
  codec = make_codec(bottleneck=bottleneck)
  rng = np.random.default_rng(3)
  size = SPEC.patch_frames * 4 * codec.num_bins
  # Patches of two components, whose standard deviations are 60 and 20.
  component_2I = np.linalg.qr(rng.standard_normal((size, 2)))[0].T
  patch_SI = -5 + (rng.standard_normal((200, 2)) * [60, 20]) @ component_2I + 1e-3 * rng.standard_normal(size)
  codec.set_statistics(patch_SI.astype(np.float32))
  np.testing.assert_allclose(codec.std_C[:2], [60, 20], rtol=0.2)
  patch_BTI = jnp.asarray(patch_SI[None, :20], jnp.float32)
  level_BAJF = patch_BTI.reshape(1, 80, 4, -1).swapaxes(1, 2)
  run = calls.compiled(codec)
  np.testing.assert_array_equal(run('patches', level_BAJF), patch_BTI)
  latent_BTC = run('trunk_of_levels', level_BAJF)[..., :4]
  error = np.asarray(run('decode_levels', latent_BTC) - level_BAJF).std()
  assert error < 0.1 * np.asarray(level_BAJF).std()


@pytest.mark.parametrize('num_patches', [1, 3])
def test_fewer_patches_than_channels_are_coded_without_error(num_patches):
  codec = make_codec()
  size = SPEC.patch_frames * 4 * codec.num_bins
  patch_SI = np.random.default_rng(3).standard_normal((num_patches, size)).astype(np.float32) - 5
  codec.set_statistics(patch_SI)
  assert codec.basis_CI.shape == (4, size) and (codec.std_C[...] > 0.5).all()
  level_BAJF = patch_SI[None].reshape(1, num_patches * SPEC.patch_frames, 4, -1).swapaxes(1, 2)
  run = calls.compiled(codec)
  decoded_BAJF = run('decode_levels', run('trunk_of_levels', level_BAJF)[..., :4])
  assert np.abs(decoded_BAJF - level_BAJF).mean() < 0.3


def test_the_loss_of_levels_keeps_the_level_of_noise():
  rng = np.random.default_rng(0)
  normal_BAJF = rng.standard_normal((1, 2, 50, 401)) + 1j * rng.standard_normal((1, 2, 50, 401))
  level_BAJF = np.log(np.abs(normal_BAJF) * 1e-2).astype(np.float32)
  rms = np.log(np.sqrt(np.mean(np.exp(2 * level_BAJF))))
  change_db = np.arange(-4.0, 1.0, 0.25)
  found = [
    float(loss.levels(level_BAJF, np.full_like(level_BAJF, rms + change / 8.686), 16000)[0])
    for change in change_db
  ]
  # The mean of the logarithms is at -2.5 dB.
  assert abs(change_db[np.argmin(found)]) < 1.0


def test_a_codec_with_codes_decodes_the_latents_of_its_trunk():
  kl, rvq = make_codec(), make_codec(bottleneck='rvq')
  patch_SI = np.random.default_rng(3).standard_normal((50, SPEC.patch_frames * 4 * kl.num_bins)) - 5
  for codec in (kl, rvq):
    codec.set_statistics(patch_SI.astype(np.float32))
  latent_BTC = jax.random.normal(jax.random.key(0), (1, 5, 4))
  for name in ('from_latent', 'decoder', 'head'):
    nnx.update(getattr(rvq, name), nnx.state(getattr(kl, name)))
  scaled_BTC = latent_BTC * kl.std_C[...][None, None]
  np.testing.assert_allclose(
    calls.compiled(rvq)('decode_levels', scaled_BTC),
    calls.compiled(kl)('decode_levels', latent_BTC),
    atol=1e-4,
  )


@pytest.mark.parametrize('gains', [(1.0, 0.0), (1.0, 1.0), (1.0, 0.3), (1.0, -1.0)])
def test_a_source_keeps_its_position(gains):
  wave_BNA = noise(2, num_channels=1) * np.array(gains, np.float32)
  output_BNA = reconstructed(wave_BNA)
  level = lambda wave_BNA: np.sqrt(np.mean(np.square(wave_BNA), axis=(0, 1)))
  np.testing.assert_allclose(level(output_BNA), level(wave_BNA), atol=0.02 * level(wave_BNA).max())
  if gains[1]:
    assert np.corrcoef(output_BNA[0].T)[0, 1] * np.sign(gains[1]) > 0.98


def test_wide_sound_stays_wide():
  wave_BNA = noise(2)
  assert abs(np.corrcoef(wave_BNA[0].T)[0, 1]) < 0.05
  assert abs(np.corrcoef(reconstructed(wave_BNA)[0].T)[0, 1]) < 0.1


def test_phases_are_those_of_the_magnitudes():
  time_N = np.arange(16000) / 16000
  sines = [np.sin(2 * np.pi * 437 * time_N), np.sin(2 * np.pi * 1234 * time_N + 1)]
  wave_BNA = 0.3 * np.stack(sines, axis=-1)[None].astype(np.float32)
  views = lambda wave_BNA: np.asarray(loss.magnitude(loss.views(jnp.asarray(wave_BNA)), 2048, 512))
  true_BAJF, output_BAJF = views(wave_BNA)[:, :, 2:-2], views(reconstructed(wave_BNA))[:, :, 2:-2]
  assert np.abs(output_BAJF - true_BAJF).sum() < 0.25 * true_BAJF.sum()


def test_a_piece_continues_the_phases_of_its_prefix():
  time_N = np.arange(32000) / 16000
  sines = [np.sin(2 * np.pi * 437 * time_N), 0.5 * np.sin(2 * np.pi * 437 * time_N + 2)]
  wave_BNA = jnp.asarray(0.3 * np.stack(sines, axis=-1)[None], jnp.float32)
  codec, second = make_codec(), 16000
  run = calls.compiled(codec)
  level_BAJF = log_magnitude.from_waveform(wave_BNA, N_FFT, HOP)
  piece_BNA = run('to_waveform', level_BAJF, wave_BNA[:, :second])
  # From a quarter of a second after the prefix on, the sines are still where they would be.
  true_NA, found_NA = (np.asarray(x_BNA)[0, second + 4000 : -4000] for x_BNA in (wave_BNA, piece_BNA))
  for channel in range(2):
    assert np.corrcoef(true_NA[:, channel], found_NA[:, channel])[0, 1] > 0.95
  free_NA = np.asarray(run('to_waveform', level_BAJF))[0, second + 4000 : -4000]
  assert abs(np.corrcoef(true_NA[:, 0], free_NA[:, 0])[0, 1]) < 0.9


def test_silence_stays_silent_and_has_finite_gradients():
  wave_BNA = jnp.zeros((1, 6 * SPEC.latent_hop_samples, 2))
  assert np.abs(reconstructed(wave_BNA)).max() < 1e-5
  graph, state = nnx.split(make_codec())

  @jax.jit
  @jax.grad
  def gradient(state):
    model = nnx.merge(graph, state)
    level_BAJF = model.levels(wave_BNA)
    decoded_BAJF = model.decode_levels(model.trunk_of_levels(level_BAJF)[..., :4])
    spectral = loss.spectral(wave_BNA, model.to_waveform(decoded_BAJF), 16000, floor=1e-5)
    return sum(value_B[0] for value_B in [loss.levels(level_BAJF, decoded_BAJF, 16000), *spectral.values()])

  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(state)))
