"""PaSST against figures of hear21passt's own code with the same weights."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import passt
from v2a.metrics.embedders import waves
from v2a.models.published import layers

# Made with passt_hear21 5f1cce6a54, torchaudio 2.9.0 and torch 2.13.0: the narrow network of
# reference.weights, hearing reference.wave of 2 s at 44.1 kHz, stereo, through av-benchmark's loader.
MEL = (-1.4020994, -1.4005041, -1.2433653, -1.221791)
FEATURES = (-0.4886508, -0.31660113, -0.20896025, -0.59663767, 0.9660489, -0.76160014)
LOGITS = (-1.2077734, 1.1140659, -0.99399185, 0.79074633, -0.56040925, 0.29568946)
WIDTHS = {768: 128, 2304: 384, 3072: 512}


@pytest.fixture(scope='module')
def clip():
  """Returns 2 s of stereo."""
  return embedder_lib.Clip(reference.wave(88200, 2, 44100), 44100)


def test_log_mel_as_hear21passt_makes_it(clip):
  wave_N = waves.mono(clip.wave_NA, clip.sample_rate_hz, passt.RATE_HZ)
  mel_RJ = passt.log_mel(np.pad(wave_N, (0, passt.NUM_SAMPLES - len(wave_N))))
  assert mel_RJ.shape == (128, 1000)
  np.testing.assert_allclose(mel_RJ[:4, 10], MEL, atol=2e-5)
  assert mel_RJ.mean() == pytest.approx(-1.3234793, abs=1e-5)
  assert mel_RJ.std() == pytest.approx(0.39817768, abs=1e-5)


def test_a_clip_as_av_benchmark_hears_it(clip):
  net = passt.Passt(
    reference.weights(reference.narrow(specs.shapes('passt_s_ap476'), WIDTHS, 'blocks.', 2)), 'd'
  )
  arrays = net.embed(clip)
  rows_NF, logits_O = arrays['rows_NF'], arrays['logits_O']
  assert rows_NF.shape == (1, 128) and logits_O.shape == (527,)
  np.testing.assert_allclose(rows_NF[0, :6], FEATURES, atol=2e-5)
  assert rows_NF.std() == pytest.approx(0.97422075, rel=1e-5)
  np.testing.assert_allclose(logits_O[:6], LOGITS, atol=2e-5)
  assert logits_O.std() == pytest.approx(0.8548386, rel=1e-5)


def test_every_weight_of_the_published_file_is_read():
  shapes = specs.shapes('passt_s_ap476')
  structs = {key: jax.ShapeDtypeStruct(shape, np.float32) for key, shape in shapes.items()}
  inputs = (jax.ShapeDtypeStruct((1, 128, 1000), np.float32),)
  read = layers.check(passt.apply, structs, inputs, 'spec', ignored=('head_dist.',))
  assert set(shapes) - read == {'head_dist.weight', 'head_dist.bias'}
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == 86_153_758
