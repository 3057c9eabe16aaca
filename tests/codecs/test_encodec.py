"""Lengths, causality by gradient, and pieces of EnCodec's networks; parity is in tests/pretrained."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import weights
from v2a.codecs import encodec
from v2a.codecs import pieces
from v2a.sharding import rules

SMALL = {'width': 4, 'strides': (5, 2), 'num_latent_channels': 3}


def networks(**options):
  arch = encodec.Architecture(**{**SMALL, **options})
  return encodec.Encoder(arch, rngs=nnx.Rngs(0)), encodec.Decoder(arch, rngs=nnx.Rngs(1))


def random(*shape):
  return jax.random.normal(jax.random.key(7), shape)


def run(network, x):
  return nnx.jit(lambda network, x: network(x))(network, x)


@pytest.mark.parametrize('norm', encodec.NORMS)
@pytest.mark.parametrize('is_causal', [True, False])
def test_a_started_step_is_encoded_and_decoded_whole(is_causal, norm):
  encoder, decoder = networks(is_causal=is_causal, norm=norm, num_channels=2)
  latent_BTC = run(encoder, random(2, 91, 2))
  assert latent_BTC.shape == (2, 10, 3)
  assert run(decoder, latent_BTC).shape == (2, 100, 2)


def steps_read(network, x, part):
  """Returns the first and the last step of x that a part of the output depends on."""
  gradient = nnx.jit(lambda network, x: jax.grad(lambda x: jnp.sum(network(x)[:, part]))(x))
  read = np.flatnonzero(gradient(network, x)[0].any(axis=1))
  return read[0], read[-1]


@pytest.mark.parametrize('is_causal', [True, False])
def test_receptive_fields_are_those_of_the_gradient(is_causal):
  # Without an LSTM, which reads all steps before.
  encoder, decoder = networks(is_causal=is_causal, num_lstm_layers=0)
  first, last = steps_read(encoder, random(1, 300, 1), slice(15, 16))
  assert (150 - first, last - 150) == encoder.receptive_field_samples
  first, last = steps_read(decoder, random(1, 30, 3), slice(150, 160))
  assert (15 - first, last - 15) == decoder.receptive_field_steps
  assert is_causal == (decoder.receptive_field_steps[1] == 0)


def test_pieces_with_context_for_the_lstm_are_close_to_the_whole():
  encoder, decoder = networks()
  wave_BNA = random(1, 1200, 1)
  latent_BTC = run(encoder, wave_BNA)
  in_pieces = nnx.jit(lambda network, x: pieces.encode_in_pieces(network, x, 60, extra_steps=30))
  np.testing.assert_allclose(in_pieces(encoder, wave_BNA), latent_BTC, atol=1e-5)
  in_pieces = nnx.jit(lambda network, x: pieces.decode_in_pieces(network, x, 60, extra_steps=30))
  np.testing.assert_allclose(in_pieces(decoder, latent_BTC), run(decoder, latent_BTC), atol=1e-5)


def test_lstm_keeps_its_cell_where_only_the_forget_gate_is_open():
  lstm = encodec.LstmLayer(2, rngs=nnx.Rngs(0))
  lstm.hidden_IO.set_value(jnp.zeros((2, 8)))
  lstm.hidden_bias_O.set_value(jnp.zeros(8))
  # Gates: input opens with the input alone, forget and output are open, the cell's new value is tanh(1).
  weight_IO = jnp.zeros((2, 8)).at[0, 0].set(100.0).at[1, 1].set(100.0)
  lstm.input_IO.set_value(weight_IO)
  lstm.input_bias_O.set_value(jnp.array([-50.0] * 2 + [50.0] * 2 + [1.0] * 2 + [50.0] * 2))
  x_BTD = jnp.array([[[0, 0], [1, 0], [0, 0], [1, 1]]], jnp.float32)
  new = np.tanh(1)
  expected = np.tanh([[0, 0], [new, 0], [new, 0], [2 * new, new]])
  np.testing.assert_allclose(lstm(x_BTD)[0], expected, atol=1e-6)


@pytest.mark.parametrize('norm', encodec.NORMS)
def test_parameters_can_be_sharded(norm):
  sizes = {'replica': 1, 'data': 1, 'fsdp': 2, 'context': 1, 'tensor': 2}
  mesh = jax.make_mesh(tuple(sizes.values()), tuple(sizes), devices=jax.devices()[:4])
  for network in networks(norm=norm):
    shardings = weights.flatten(rules.shardings(nnx.state(network), mesh))
    assert shardings['lstm.layers.0.hidden_IO'].spec == jax.sharding.PartitionSpec('fsdp', 'tensor')


def test_wrong_architectures_are_refused():
  with pytest.raises(ValueError, match="norm must be one of .*; got 'batch'"):
    encodec.Architecture(norm='batch')
  with pytest.raises(ValueError, match="pad_mode must be one of .*; got 'wrap'"):
    encodec.Architecture(pad_mode='wrap')
  with pytest.raises(ValueError, match='trim_right_ratio must be 1'):
    encodec.Architecture(is_causal=False, trim_right_ratio=0.5)
