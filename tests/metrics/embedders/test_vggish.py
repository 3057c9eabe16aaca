"""The VGGish embedder: loading from a file, its protocol, short clips."""

import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import vggish
from v2a.models.published import vggish as network


def test_rows_depend_on_the_centred_mono_mix_of_whole_examples(tmp_path, monkeypatch):
  path = tmp_path / 'vggish.safetensors'
  safetensors.numpy.save_file(reference.weights(specs.shapes('vggish_torch')), path)
  monkeypatch.setattr(network, 'CHECKPOINT', None)
  net = vggish.load(path)
  wave_NA = reference.wave(44100 * 2 + 20000, 2, 44100)
  rows_NF = net.embed(embedder_lib.Clip(wave_NA, 44100))['rows_NF']
  assert rows_NF.shape == (2, 128) and np.isfinite(rows_NF).all()
  mono_NA = wave_NA.mean(axis=1, keepdims=True)[: 44100 * 2] + 0.1
  mono_rows_NF = net.embed(embedder_lib.Clip(mono_NA, 44100))['rows_NF']
  # The cut waveform has another mean, which differs by the size of one sample.
  np.testing.assert_allclose(mono_rows_NF, rows_NF, atol=0.02)
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 0.975 s of audio; the clip has 0.500 s'):
    net.embed(embedder_lib.Clip(wave_NA[:22050], 44100))
