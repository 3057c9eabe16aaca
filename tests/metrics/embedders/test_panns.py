"""Cnn14 against figures of av-benchmark's own code with the same weights."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import panns
from v2a.models.published import layers

# Made with av-benchmark 050a5cdb9b, torchlibrosa 0.1.0, torchaudio 2.9.0 and torch 2.13.0: the network of
# reference.weights, hearing reference.wave of 1.2 s at 44.1 kHz, stereo, through av-benchmark's loader.
FEATURES = (0, 0.37449443, 0, 0, 0.5778465, 0)
LOGITS = (-0.11288014, 0.01695094, 0.06425837, -0.1501407, 0.14304033, -0.11400916)


def test_a_clip_as_av_benchmark_hears_it():
  net = panns.Panns(reference.weights(specs.shapes('panns_cnn14_16k')), 'digest')
  arrays = net.embed(embedder_lib.Clip(reference.wave(52920, 2, 44100), 44100))
  rows_NF, logits_O = arrays['rows_NF'], arrays['logits_O']
  assert rows_NF.shape == (1, 2048) and logits_O.shape == (527,)
  np.testing.assert_allclose(rows_NF[0, :6], FEATURES, atol=5e-6)
  assert rows_NF.mean() == pytest.approx(0.19309449, rel=1e-5)
  assert rows_NF.std() == pytest.approx(0.23397373, rel=1e-5)
  np.testing.assert_allclose(logits_O[:6], LOGITS, atol=2e-6)
  assert logits_O.std() == pytest.approx(0.1101154, rel=1e-5)
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 0.31 s of sound; a clip has 0.250 s'):
    net.embed(embedder_lib.Clip(reference.wave(4000), 16000))


@pytest.mark.parametrize(('name', 'window', 'num'), [('16k', 512, 81_033_231), ('32k', 1024, 81_837_071)])
def test_every_weight_of_the_published_file_is_read(name, window, num):
  shapes = specs.shapes(f'panns_cnn14_{name}')
  structs = {key: jax.ShapeDtypeStruct(shape, np.float32) for key, shape in shapes.items()}
  inputs = (jax.ShapeDtypeStruct((1, 32, window), np.float32),)
  read = layers.check(panns.apply, structs, inputs, 'spec')
  assert set(shapes) - read == {key for key in shapes if key.endswith('num_batches_tracked')}
  trained = [key for key in read if 'running' not in key]
  assert sum(int(np.prod(shapes[key])) for key in trained) == num
