"""SyncNet's front ends against values of syncnet_python; its weights."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import layers
from v2a.models.published import spectrograms
from v2a.models.published import syncnet

# Of python_speech_features 0.6.
CEPSTRA = (21.13263212, 4.75351517, -6.93314336, 55.01049647, -17.63890495, -4.90397872, 20.87325516)


def test_mfcc_equals_python_speech_features():
  cepstrum_FJ = syncnet.mfcc(reference.wave(640 * 9 + 300)[:, 0])
  assert cepstrum_FJ.shape == (13, 37)
  np.testing.assert_allclose(cepstrum_FJ[:7, 3], CEPSTRA, atol=1e-5)
  # The last frame is zero-padded.
  np.testing.assert_allclose(cepstrum_FJ[:3, -1], (20.88071654, 0.53808062, 4.96317776), atol=1e-5)
  assert cepstrum_FJ.mean() == pytest.approx(-5.354956119993526, rel=1e-6)
  assert cepstrum_FJ.std() == pytest.approx(25.350996443185, rel=1e-6)
  silence_JF = spectrograms.mfcc(np.zeros(1000))
  assert silence_JF[0, 0] == pytest.approx(-36.04365339) and np.abs(silence_JF[:, 1:]).max() < 1e-9
  # Samples beyond full scale are clipped, they do not wrap around.
  assert syncnet.mfcc(np.full(400, 1.5))[0, 0] == pytest.approx(syncnet.mfcc(np.full(400, 1.0))[0, 0])


def test_all_published_weights_are_read():
  shapes = specs.shapes('syncnet_v2')
  inputs = (
    jax.ShapeDtypeStruct((1, 3, 5, 224, 224), np.float32),
    jax.ShapeDtypeStruct((1, 13, 20), np.float32),
  )
  read = layers.check_shapes(syncnet.apply, reference.structs(shapes), inputs, 'spec')
  assert set(shapes) - read == {key for key in shapes if key.endswith('num_batches_tracked')}
  trained = {key: shapes[key] for key in read if 'running' not in key}
  assert reference.num_parameters(trained) == 13_631_616


def test_whole_frames_are_resized_and_converted_to_bgr():
  frame_LYX3 = np.zeros((2, 10, 20, 3), np.uint8)
  frame_LYX3[:, :, :10, 0], frame_LYX3[1, 5:, :, 2] = 200, 100
  resized_L3YX = syncnet.resize_frames(frame_LYX3[[0, 0, 1, 1]])
  assert resized_L3YX.shape == (4, 3, 224, 224) and resized_L3YX.dtype == np.uint8
  np.testing.assert_array_equal(resized_L3YX[:, 2, 0, [0, 100, 123, 223]], [[200, 200, 0, 0]] * 4)
  np.testing.assert_array_equal(resized_L3YX[:, 0, [100, 223], 223], [[0, 0], [0, 0], [0, 100], [0, 100]])
