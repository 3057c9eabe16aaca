"""VGGish against figures of torchvggish's own front end and network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import vggish
from v2a.models.published import layers

INPUTS = (jax.ShapeDtypeStruct((1, 96, 64), np.float32),)


@pytest.fixture(scope='module')
def examples():
  """Returns the log mels of the reference signal."""
  time_N = np.arange(32000) / 16000
  wave_N = 0.5 * np.sin(2 * np.pi * 440 * time_N) + 0.1 * np.sin(2 * np.pi * 3000 * time_N)
  return vggish.examples(wave_N)


@pytest.fixture(scope='module')
def weights():
  """Returns the reference's weights: as reference.weights, biases like the rest of 0.01."""
  return reference.weights(specs.shapes('vggish_torch'))


def test_log_mel_of_the_reference_signal(examples):
  assert examples.shape == (2, 96, 64)
  assert examples.mean() == pytest.approx(-3.1304729135517793, abs=1e-12)
  assert examples.std() == pytest.approx(2.320240643829218, abs=1e-12)
  known = [-3.736131, -2.743554, -2.204568, -2.052527, -2.339483, -0.347556]
  np.testing.assert_allclose(examples[0, 0, :6], known, atol=1e-6)
  assert examples[0, 0].argmax() == 8


def test_features_of_the_reference_weights(examples, weights):
  row_BF = jax.jit(vggish.apply)(weights, jnp.asarray(examples, jnp.float32))
  # The reference ends with a ReLU that the protocol leaves out.
  known_BF = np.maximum(np.asarray(row_BF), 0)
  np.testing.assert_allclose(known_BF[0, :6], [0, 0, 0, 0.19282083, 0.15212700, 0], atol=1e-6)
  assert known_BF.mean() == pytest.approx(0.07124444842338562, rel=1e-5)
  assert known_BF.std(ddof=1) == pytest.approx(0.08639808744192123, rel=1e-5)
  assert (np.asarray(row_BF) < 0).any()


def test_every_weight_of_the_published_file_is_read():
  shapes = specs.shapes('vggish_torch')
  structs = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
  assert layers.check(vggish.apply, structs, INPUTS, 'spec') == set(shapes)
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == 72_141_184


def test_a_clip_from_its_file_of_weights(tmp_path, weights, monkeypatch):
  path = tmp_path / 'vggish.safetensors'
  safetensors.numpy.save_file(weights, path)
  monkeypatch.setattr(vggish, 'CHECKPOINT', None)
  net = vggish.load(path)
  wave_NA = reference.wave(44100 * 2 + 20000, 2, 44100)
  rows_NF = net.embed(embedder_lib.Clip(wave_NA, 44100))['rows_NF']
  assert rows_NF.shape == (2, 128) and np.isfinite(rows_NF).all()
  # Nothing but the mean of the channels counts, and neither its offset nor an incomplete tail.
  mean_NA = wave_NA.mean(axis=1, keepdims=True)[: 44100 * 2] + 0.1
  # To the size of one sample at the cut, whose mean is another.
  again_NF = net.embed(embedder_lib.Clip(mean_NA, 44100))['rows_NF']
  np.testing.assert_allclose(again_NF, rows_NF, atol=0.02)
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 0.975 s of sound; a clip has 0.500 s'):
    net.embed(embedder_lib.Clip(wave_NA[:22050], 44100))
