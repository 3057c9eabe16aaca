"""The network of the classifiers, in NumPy and in JAX."""

import jax.numpy as jnp
import numpy as np

from v2a.metrics import classifier_networks


def test_numpy_and_jax_agree():
  window_BSR = np.random.default_rng(0).standard_normal((4, 5, 6)).astype(np.float32)
  params = classifier_networks.init_params(1, window_BSR, (7, 3))
  numpy_BO = classifier_networks.apply(params, window_BSR, np)
  jax_BO = classifier_networks.apply(
    {key: jnp.asarray(value) for key, value in params.items()}, jnp.asarray(window_BSR), jnp
  )
  assert numpy_BO.shape == (4, 3)
  np.testing.assert_allclose(numpy_BO, jax_BO, atol=1e-5)
  assert np.ptp(numpy_BO) > 0.1


def test_windows_are_centred():
  mel_JR = np.arange(10.0)[:, None].repeat(2, axis=1)
  window_BSR = classifier_networks.windows(mel_JR, 5, stride=3)
  assert window_BSR.shape == (4, 5, 2)
  np.testing.assert_array_equal(window_BSR[:, 2, 0], [0, 3, 6, 9])
  np.testing.assert_array_equal(window_BSR[0, :, 0], [0, 0, 0, 1, 2])
