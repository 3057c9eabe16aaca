"""PaSST's log-mel spectrogram against values of hear21passt; its weights."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import layers
from v2a.models.published import passt
from v2a.models.published import waveforms

# Of passt_hear21 5f1cce6a54 and torchaudio 2.9.0, see tests/metrics/embedders/test_passt.py.
MEL = (-1.4020994, -1.4005041, -1.2433653, -1.221791)


def test_log_mel_equals_the_published_code():
  wave_N = waveforms.to_mono(reference.wave(88200, 2, 44100), 44100, passt.RATE_HZ)
  mel_RJ = passt.log_mel(np.pad(wave_N, (0, passt.NUM_SAMPLES - len(wave_N))))
  assert mel_RJ.shape == (128, 1000)
  np.testing.assert_allclose(mel_RJ[:4, 10], MEL, atol=2e-5)
  assert mel_RJ.mean() == pytest.approx(-1.3234793, abs=1e-5)
  assert mel_RJ.std() == pytest.approx(0.39817768, abs=1e-5)


def test_all_published_weights_are_read():
  shapes = specs.shapes('passt_s_ap476')
  inputs = (jax.ShapeDtypeStruct((1, 128, 1000), np.float32),)
  read = layers.check_shapes(passt.apply, reference.structs(shapes), inputs, 'spec', ignored=('head_dist.',))
  assert set(shapes) - read == {'head_dist.weight', 'head_dist.bias'}
  assert reference.num_parameters(shapes) == 86_153_758
