"""The PANNs embedder against values of av-benchmark with the same weights."""

import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import panns

# Of av-benchmark 050a5cdb9b, torchlibrosa 0.1.0, torchaudio 2.9.0 and torch 2.13.0: the network with
# reference.weights on reference.wave of 1.2 s at 44.1 kHz, stereo, through av-benchmark's loader.
FEATURES = (0, 0.37449443, 0, 0, 0.5778465, 0)
LOGITS = (-0.11288014, 0.01695094, 0.06425837, -0.1501407, 0.14304033, -0.11400916)


def test_features_and_logits_equal_av_benchmark():
  net = panns.Panns(reference.weights(specs.shapes('panns_cnn14_16k')), 'digest')
  arrays = net.embed(embedder_lib.Clip(reference.wave(52920, 2, 44100), 44100))
  rows_NF, logits_O = arrays['rows_NF'], arrays['logits_O']
  assert rows_NF.shape == (1, 2048) and logits_O.shape == (527,)
  np.testing.assert_allclose(rows_NF[0, :6], FEATURES, atol=5e-6)
  assert rows_NF.mean() == pytest.approx(0.19309449, rel=1e-5)
  assert rows_NF.std() == pytest.approx(0.23397373, rel=1e-5)
  np.testing.assert_allclose(logits_O[:6], LOGITS, atol=2e-6)
  assert logits_O.std() == pytest.approx(0.1101154, rel=1e-5)


def test_short_clips_are_not_supported():
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 0.31 s of audio; the clip has 0.250 s'):
    panns.Panns({}, 'digest').embed(embedder_lib.Clip(reference.wave(4000), 16000))
