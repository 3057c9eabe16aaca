"""The PaSST embedder against values of hear21passt with the same weights."""

import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import small_networks
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import passt

# Of passt_hear21 5f1cce6a54, torchaudio 2.9.0 and torch 2.13.0: small_networks.passt on reference.wave of 2
# s at 44.1 kHz, stereo, through av-benchmark's loader.
FEATURES = (-0.4886508, -0.31660113, -0.20896025, -0.59663767, 0.9660489, -0.76160014)
LOGITS = (-1.2077734, 1.1140659, -0.99399185, 0.79074633, -0.56040925, 0.29568946)


def test_features_and_logits_equal_the_published_code():
  net = passt.Passt(small_networks.passt(), 'd')
  arrays = net.embed(embedder_lib.Clip(reference.wave(88200, 2, 44100), 44100))
  rows_NF, logits_O = arrays['rows_NF'], arrays['logits_O']
  assert rows_NF.shape == (1, 128) and logits_O.shape == (527,)
  np.testing.assert_allclose(rows_NF[0, :6], FEATURES, atol=2e-5)
  assert rows_NF.std() == pytest.approx(0.97422075, rel=1e-5)
  np.testing.assert_allclose(logits_O[:6], LOGITS, atol=2e-5)
  assert logits_O.std() == pytest.approx(0.8548386, rel=1e-5)
