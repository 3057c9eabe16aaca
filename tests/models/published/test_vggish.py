"""VGGish against values of torchvggish with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import layers
from v2a.models.published import vggish

INPUTS = (jax.ShapeDtypeStruct((1, 96, 64), np.float32),)


@pytest.fixture(scope='module')
def examples():
  """Returns the log-mel examples of the reference waveform."""
  time_N = np.arange(32000) / 16000
  wave_N = 0.5 * np.sin(2 * np.pi * 440 * time_N) + 0.1 * np.sin(2 * np.pi * 3000 * time_N)
  return vggish.log_mel_examples(wave_N)


def test_log_mel_equals_torchvggish(examples):
  assert examples.shape == (2, 96, 64)
  assert examples.mean() == pytest.approx(-3.1304729135517793, abs=1e-12)
  assert examples.std() == pytest.approx(2.320240643829218, abs=1e-12)
  expected = [-3.736131, -2.743554, -2.204568, -2.052527, -2.339483, -0.347556]
  np.testing.assert_allclose(examples[0, 0, :6], expected, atol=1e-6)
  assert examples[0, 0].argmax() == 8


def test_features_equal_torchvggish(examples):
  weights = reference.weights(specs.shapes('vggish_torch'))
  feature_BF = np.asarray(jax.jit(vggish.apply)(weights, jnp.asarray(examples, jnp.float32)))
  # The reference ends with a ReLU.
  rectified_BF = np.maximum(feature_BF, 0)
  np.testing.assert_allclose(rectified_BF[0, :6], [0, 0, 0, 0.19282083, 0.15212700, 0], atol=1e-6)
  assert rectified_BF.mean() == pytest.approx(0.07124444842338562, rel=1e-5)
  assert rectified_BF.std(ddof=1) == pytest.approx(0.08639808744192123, rel=1e-5)
  assert (feature_BF < 0).any()


def test_all_published_weights_are_read():
  shapes = specs.shapes('vggish_torch')
  assert layers.check_shapes(vggish.apply, reference.structs(shapes), INPUTS, 'spec') == set(shapes)
  assert reference.num_parameters(shapes) == 72_141_184
