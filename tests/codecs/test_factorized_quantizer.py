"""Lookup on the sphere, dropout and gradients of the factorized quantizer; parity is in tests/pretrained."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a.codecs import factorized_quantizer


@pytest.fixture(scope='module')
def quantizer():
  return factorized_quantizer.FactorizedQuantizer(3, 8, 2, 5, rngs=nnx.Rngs(0))


@pytest.fixture(scope='module')
def latent_BTC():
  return jax.random.normal(jax.random.key(1), (2, 6, 5))


def test_nearest_entry_is_that_of_the_largest_cosine(quantizer):
  codebook = quantizer.codebooks[0]
  entry_VF = codebook.entry_VF[...]
  np.testing.assert_array_equal(codebook.nearest(0.1 * entry_VF[None]), [np.arange(8)])
  projection_BTF = jax.random.normal(jax.random.key(2), (1, 50, 2))
  cosine_BTV = (projection_BTF @ entry_VF.T) / jnp.linalg.norm(entry_VF, axis=1)[None, None]
  np.testing.assert_array_equal(codebook.nearest(projection_BTF), jnp.argmax(cosine_BTV, axis=-1))


def test_codes_decode_to_the_quantized_latents(quantizer, latent_BTC):
  quantized = quantizer(latent_BTC)
  np.testing.assert_allclose(quantizer.decode(quantized.codes_BTK), quantized.latent_BTC, atol=1e-5)
  np.testing.assert_array_equal(quantizer.encode(latent_BTC, 2), quantized.codes_BTK[..., :2])


def test_dropped_codebooks_do_not_count(quantizer, latent_BTC):
  quantized, dropped = quantizer(latent_BTC), quantizer(latent_BTC, jnp.array([1, 3]))
  np.testing.assert_allclose(
    dropped.latent_BTC[0], quantizer.decode(quantized.codes_BTK[..., :1])[0], atol=1e-5
  )
  np.testing.assert_allclose(dropped.latent_BTC[1], quantized.latent_BTC[1], atol=1e-5)
  np.testing.assert_array_equal(dropped.codes_BTK, quantized.codes_BTK)
  assert 0 < dropped.codebook_loss < quantized.codebook_loss


def test_losses_train_projections_and_entries_apart(quantizer, latent_BTC):
  graph, params = nnx.split(quantizer)

  def gradient(loss):
    of = jax.grad(lambda params: getattr(nnx.merge(graph, params)(latent_BTC), loss))(params)
    first = of['codebooks'][0]
    return {
      name: float(jnp.abs(value[...]).sum())
      for name, value in (('entry', first['entry_VF']), ('projection', first['project_in']['v_SIO']))
    }

  commitment, codebook = gradient('commitment_loss'), gradient('codebook_loss')
  assert commitment['projection'] > 0 and codebook['entry'] > 0
  # The residual after the first codebook depends on its entries by the straight-through estimator alone.
  assert commitment['entry'] == 0
  quantized = quantizer(latent_BTC)
  np.testing.assert_allclose(quantized.commitment_loss, quantized.codebook_loss, rtol=1e-6)


def test_gradient_passes_straight_through_the_lookup(quantizer, latent_BTC):
  codebook = quantizer.codebooks[0]
  one = factorized_quantizer.FactorizedQuantizer(1, 8, 2, 5, rngs=nnx.Rngs(0))
  nnx.update(one.codebooks[0], nnx.state(codebook))
  target_BTC = jnp.ones_like(latent_BTC)
  actual = jax.grad(lambda x_BTC: jnp.sum(one(x_BTC).latent_BTC * target_BTC))(latent_BTC)
  linear = jax.grad(lambda x_BTC: jnp.sum(codebook.project_out(codebook.project_in(x_BTC)) * target_BTC))(
    latent_BTC
  )
  np.testing.assert_allclose(actual, linear, atol=1e-6)
