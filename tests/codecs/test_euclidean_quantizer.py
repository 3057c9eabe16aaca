"""Residuals of nearest entries; parity is in tests/pretrained."""

from flax import nnx
import jax.numpy as jnp
import numpy as np

from v2a.codecs import euclidean_quantizer


def test_codes_are_nearest_entries_of_residuals():
  quantizer = euclidean_quantizer.EuclideanQuantizer(2, 3, 2, rngs=nnx.Rngs(0))
  quantizer.codebooks[0].entry_VC.set_value(jnp.array([[0.0, 0], [4, 0], [0, 4]]))
  quantizer.codebooks[1].entry_VC.set_value(jnp.array([[1.0, 0], [0, 1], [-1, 0]]))
  latent_BTC = jnp.array([[[4.9, 0], [0.2, 0.8], [-1.1, 4.1]]])
  codes_BTK = quantizer.encode(latent_BTC)
  np.testing.assert_array_equal(codes_BTK, [[[1, 0], [0, 1], [2, 2]]])
  np.testing.assert_allclose(quantizer.decode(codes_BTK), [[[5, 0], [0, 1], [-1, 4]]])
  np.testing.assert_array_equal(quantizer.encode(latent_BTC, 1), codes_BTK[..., :1])
  np.testing.assert_allclose(quantizer.decode(codes_BTK[..., :1]), [[[4, 0], [0, 0], [0, 4]]])
