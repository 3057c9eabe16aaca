"""Layers against plain implementations; errors for weights that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from scipy import signal

from v2a.models.published import layers

RNG = np.random.default_rng(0)


def test_convolution_equals_scipy():
  x_BOYX, kernel = RNG.standard_normal((2, 3, 6, 5)), RNG.standard_normal((4, 3, 3, 2))
  weights = {'c.weight': jnp.asarray(kernel), 'c.bias': jnp.arange(4.0)}
  y_BOYX = layers.convolve(weights, 'c', jnp.asarray(x_BOYX), stride=(1, 2), padding=(1, 0))
  padded = np.pad(x_BOYX, ((0, 0), (0, 0), (1, 1), (0, 0)))
  for b in range(2):
    for o in range(4):
      expected = sum(signal.correlate2d(padded[b, i], kernel[o, i], 'valid') for i in range(3))[:, ::2] + o
      np.testing.assert_allclose(y_BOYX[b, o], expected, atol=1e-5)


def test_norms_pooling_and_attention_equal_their_definitions():
  x_BSF = jnp.asarray(RNG.standard_normal((2, 5, 8)), jnp.float32)
  vectors = {name: jnp.asarray(RNG.uniform(0.5, 2.0, 8), jnp.float32) for name in 'abcd'}
  weights = dict(zip(('n.weight', 'n.bias', 'n.running_mean', 'n.running_var'), vectors.values()))
  a, b, mean, var = (np.asarray(value) for value in vectors.values())
  found = layers.batch_norm(weights, 'n', x_BSF, axis=2)
  np.testing.assert_allclose(found, (np.asarray(x_BSF) - mean) / np.sqrt(var + 1e-5) * a + b, atol=1e-5)
  centred = np.asarray(x_BSF - x_BSF.mean(axis=2, keepdims=True))
  expected = centred / np.sqrt(np.asarray(x_BSF).var(axis=2, keepdims=True) + 1e-5) * a + b
  np.testing.assert_allclose(layers.layer_norm(weights, 'n', x_BSF), expected, atol=1e-5)
  for kind, reduce in (('max', np.max), ('mean', np.mean)):
    np.testing.assert_allclose(
      layers.pool(x_BSF, 3, kind), reduce(np.asarray(x_BSF)[:, :, :6].reshape(2, 5, 2, 3), axis=3), atol=1e-6
    )
  query_BSF = jnp.asarray(RNG.standard_normal((2, 3, 8)), jnp.float32)
  out_BQF = layers.attention(query_BSF, x_BSF, 2 * x_BSF, 2)
  for head in (slice(0, 4), slice(4, 8)):
    score = np.asarray(query_BSF[0, :, head]) @ np.asarray(x_BSF[0, :, head]).T / 2.0
    weight = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(out_BQF[0, :, head], weight @ (2 * np.asarray(x_BSF[0, :, head])), atol=1e-5)


def network(weights, x_BI):
  """Returns one linear layer."""
  return layers.linear(weights, 'out', x_BI)


@pytest.mark.parametrize(
  ('shapes', 'message'),
  [
    ({'out.weight': (3, 2), 'out.bias': (3,), 'odd': (1,)}, 'weights that the network does not use: odd'),
    ({'out.bias': (3,)}, r'x.safetensors has no weight out.weight'),
    ({'out.weight': (3, 5)}, r'do not fit the network'),
  ],
)
def test_weights_that_do_not_fit_are_named_in_the_error(tmp_path, shapes, message):
  arrays = {f'net.{name}': np.zeros(shape, np.float32) for name, shape in shapes.items()}
  safetensors.numpy.save_file({**arrays, 'elsewhere': np.zeros(1)}, tmp_path / 'x.safetensors')
  with pytest.raises(ValueError, match=message):
    layers.load(tmp_path / 'x.safetensors', network, (jax.ShapeDtypeStruct((1, 2), np.float32),), 'net.')


def test_load_returns_the_read_weights_in_float32(tmp_path):
  arrays = {'net.out.weight': np.ones((3, 2), np.float16), 'net.n.num_batches_tracked': np.array(7)}
  arrays |= {'net.old.bias': np.zeros(2, np.float32)}
  safetensors.numpy.save_file(arrays, tmp_path / 'x.safetensors')
  inputs = (jax.ShapeDtypeStruct((1, 2), np.float32),)
  found = layers.load(tmp_path / 'x.safetensors', network, inputs, 'net.', ignored=('old.',))
  assert list(found) == ['out.weight'] and found['out.weight'].dtype == np.float32
