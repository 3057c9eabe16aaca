"""Convolutions against XLA's own, receptive fields by gradient, and pieces against the whole."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import weights
from v2a.codecs import convolution_layers
from v2a.codecs import convolutional
from v2a.codecs import pieces
from v2a.sharding import rules

AXES = (None, None)


def encoder(strides=(2, 5), num_channels=2, **options):
  return convolutional.Encoder(
    num_channels, 4, strides, num_latent_channels=3, rngs=nnx.Rngs(0), **{'dilations': (1, 3), **options}
  )


def decoder(strides=(5, 2), num_channels=2, **options):
  return convolutional.Decoder(
    num_channels, 16, strides, num_latent_channels=3, rngs=nnx.Rngs(1), **{'dilations': (1, 3), **options}
  )


def run(network, x):
  return nnx.jit(lambda network, x: network(x))(network, x)


def random(*shape):
  return jax.random.normal(jax.random.key(7), shape)


@pytest.mark.parametrize('num_samples', [40, 41, 44])
@pytest.mark.parametrize('stride', [2, 5])
def test_strided_convolution_is_that_of_xla(stride, num_samples):
  layer = convolution_layers.Strided(3, 4, stride, AXES, rngs=nnx.Rngs(0))
  x_BTI, half = random(2, num_samples, 3), -(-stride // 2)
  expected_BTO = jax.lax.conv_general_dilated(
    x_BTI, layer.kernel(), (stride,), [(half, half)], dimension_numbers=('NWC', 'WIO', 'NWC')
  )
  np.testing.assert_allclose(layer(x_BTI), expected_BTO, atol=1e-5)


@pytest.mark.parametrize('stride', [2, 5])
def test_transposed_convolution_is_the_adjoint_of_the_strided_one(stride):
  layer = convolution_layers.Transposed(3, 4, stride, AXES, rngs=nnx.Rngs(0))
  forward = convolution_layers.Strided(4, 3, stride, AXES, use_weight_norm=False, rngs=nnx.Rngs(0))
  forward.kernel_SIO.set_value(layer.kernel().transpose(0, 2, 1))
  x_BTI = random(2, 8, 3)
  y_BTO = layer(x_BTI)
  assert y_BTO.shape == (2, 8 * stride - stride % 2, 4)
  _, pull = jax.vjp(forward, jnp.zeros_like(y_BTO))
  np.testing.assert_allclose(y_BTO, pull(x_BTI)[0], atol=1e-5)


def test_kernel_has_the_norms_of_its_scales():
  conv = convolution_layers.Conv(3, 4, 7, AXES, rngs=nnx.Rngs(0))
  before_SIO = conv.kernel()
  conv.v_SIO.set_value(3 * conv.v_SIO[...])
  np.testing.assert_allclose(conv.kernel(), before_SIO, rtol=1e-5)
  conv.g_O.set_value(jnp.arange(1.0, 5))
  np.testing.assert_allclose(jnp.linalg.norm(conv.kernel(), axis=(0, 1)), np.arange(1, 5), rtol=1e-5)
  transposed = convolution_layers.Transposed(3, 4, 2, AXES, rngs=nnx.Rngs(0))
  transposed.g_O.set_value(jnp.arange(1.0, 4))
  np.testing.assert_allclose(jnp.linalg.norm(transposed.kernel(), axis=(0, 2)), np.arange(1, 4), rtol=1e-5)


def test_snake_is_as_published():
  snake = convolution_layers.Snake(2)
  snake.alpha_D.set_value(jnp.array([0.5, 2.0]))
  x_BTD = jnp.array([[[0.3, -0.7]]])
  expected = [0.3 + np.sin(0.15) ** 2 / 0.5, -0.7 + np.sin(-1.4) ** 2 / 2]
  np.testing.assert_allclose(snake(x_BTD)[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize('activation', convolution_layers.ACTIVATIONS)
def test_steps_and_samples(activation):
  latent_BTC = run(encoder(activation_name=activation), random(2, 60, 2))
  assert latent_BTC.shape == (2, 6, 3)
  wave_BNA = run(decoder(activation_name=activation), latent_BTC)
  assert wave_BNA.shape == (2, 60, 2) and jnp.all(jnp.abs(wave_BNA) <= 1)
  assert run(decoder(activation_name=activation, keep_length=False), latent_BTC).shape == (2, 60 - 2, 2)
  assert run(decoder(strides=(4, 2), keep_length=False), latent_BTC).shape == (2, 48, 2)


def test_sine_squared_and_its_gradient_are_exact():
  x = np.concatenate([np.linspace(-1000, 1000, 100_001), np.linspace(-4, 4, 10_001)]).astype(np.float32)
  found, slope = jax.vmap(jax.value_and_grad(convolution_layers.sine_squared))(jnp.asarray(x))
  np.testing.assert_allclose(found, np.sin(x.astype(np.float64)) ** 2, atol=2e-6)
  np.testing.assert_allclose(slope, np.sin(2 * x.astype(np.float64)), atol=4e-6)
  assert float(convolution_layers.sine_squared(jnp.zeros(()))) == 0.0


def test_receptive_field_is_that_of_the_gradient():
  network, hop = encoder(), 10
  wave_BNA, step = random(1, 60 * hop, 2), 30
  gradient = nnx.jit(lambda network, x: jax.grad(lambda x: jnp.sum(network(x)[:, step]))(x))
  read = np.flatnonzero(gradient(network, wave_BNA)[0].any(axis=1))
  before, after = network.receptive_field_samples
  assert (step * hop - read[0], read[-1] - step * hop) == (before, after)

  network = decoder()
  latent_BTC = random(1, 60, 3)
  part = slice(step * hop, (step + 1) * hop)
  gradient = nnx.jit(lambda network, x: jax.grad(lambda x: jnp.sum(network(x)[:, part]))(x))
  read = np.flatnonzero(gradient(network, latent_BTC)[0].any(axis=1))
  before, after = network.receptive_field_steps
  assert (step - read[0], read[-1] - step) == (before, after)


@pytest.mark.parametrize('num_steps', [40])
def test_pieces_equal_the_whole(num_steps):
  wave_BNA = random(1, 1000, 2)
  latent_BTC = run(encoder(), wave_BNA)
  in_pieces = nnx.jit(lambda network, x: pieces.encode_in_pieces(network, x, num_steps))
  np.testing.assert_allclose(in_pieces(encoder(), wave_BNA), latent_BTC, atol=1e-5)
  in_pieces = nnx.jit(lambda network, x: pieces.decode_in_pieces(network, x, num_steps))
  np.testing.assert_allclose(in_pieces(decoder(), latent_BTC), run(decoder(), latent_BTC), atol=1e-5)


def test_bfloat16_products_are_close_and_the_output_is_float32():
  wave_BNA = random(1, 200, 2)
  exact_BTC = run(encoder(), wave_BNA)
  rough_BTC = run(encoder(dtype=jnp.bfloat16), wave_BNA)
  assert rough_BTC.dtype == jnp.float32
  assert 0 < jnp.linalg.norm(rough_BTC - exact_BTC) < 0.03 * jnp.linalg.norm(exact_BTC)


def test_parameters_can_be_sharded():
  sizes = {'replica': 1, 'data': 1, 'fsdp': 2, 'context': 1, 'tensor': 2}
  mesh = jax.make_mesh(tuple(sizes.values()), tuple(sizes), devices=jax.devices()[:4])
  for network in (encoder(), decoder()):
    shardings = weights.flatten(rules.shardings(nnx.state(network), mesh))
    spec = shardings['blocks.0.units.0.conv1.v_SIO'].spec
    assert spec == jax.sharding.PartitionSpec(None, 'fsdp', 'tensor')


def test_wrong_arguments_are_named():
  with pytest.raises(ValueError, match=r"activation must be one of .*; got 'relu'"):
    encoder(activation_name='relu')
  with pytest.raises(ValueError, match='width must be a multiple of 32'):
    decoder(strides=(2,) * 5)
  with pytest.raises(ValueError, match=r'2 audio channel\(s\); got wave_BNA of shape \(1, 40, 1\)'):
    encoder()(jnp.zeros((1, 40, 1)))
  with pytest.raises(ValueError, match='multiple of 10 samples; got 41'):
    pieces.encode_in_pieces(encoder(), jnp.zeros((1, 41, 2)), 4)
